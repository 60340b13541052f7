//! The control plane: services that authorise, decide and write down what is wanted, and loops that make it so.
//!
//! A service writes in one transaction and answers at once; nothing here waits for a driver because somebody asked for
//! something. Loops are woken by what was written, look at the rows, and act through `sandkeep_runtime`. What is decided is
//! decided by pure functions of `sandkeep_core`; what is written is written by `sandkeep_store`. It knows nothing of HTTP.

pub mod audit;
pub mod clock;
pub mod ends;
pub mod engine;
pub mod events;
pub mod executions;
pub mod fault;
pub mod first_start;
pub mod idempotency;
pub mod identity;
pub mod ids;
mod key_file;
pub mod list;
pub mod master_key;
pub mod offset;
pub mod output;
pub mod probe;
pub mod projects;
pub mod request;
pub mod retention;
pub mod sandboxes;
pub mod seal;
pub mod secrets;
pub mod session;
pub mod tokens;
