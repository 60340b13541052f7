//! Executions: one piece of code or one command run in a sandbox.
//!
//! [`spec`] says what is to run, [`start`] why it did not start, [`state`] how it lives, [`end`] how facts add
//! up to one end, [`returned`] what a handler's end comes to, and [`result`] what is told about it. [`language`]
//! knows which language a file is in, and [`exit`] what `sandkeep run` exits with.

pub mod end;
pub mod exit;
pub mod json;
pub mod language;
pub mod result;
pub mod returned;
pub mod spec;
pub mod start;
pub mod state;

pub use end::{End, EndFacts, Exit, conclude};
pub use exit::exit_status;
pub use json::Json;
pub use language::Language;
pub use result::{Artifact, Encoding, ErrorInfo, ExecutionResult, Metrics, MetricsSource};
pub use spec::{CodeSource, Kind, Work};
pub use start::NotRunnable;
pub use state::{Event, ExecutionState, Illegal, transition};
