//! Control groups: the limits, the kill switch and the meter of a sandbox.
//!
//! Callers: the supervisor (opens the [`Pool`], claims a [`Group`] per sandbox, a [`Domain`] per execution) and
//! `doctor` ([`Layout`] alone). Own code on files: the work is a few reads and writes, and what matters is which ones
//! are left out. Nothing here needs threads. Every path is built from numbers.

mod dir;
mod domain;
pub mod enter;
mod error;
mod kill;
mod layout;
mod pool;
mod trees;
mod watch;

pub use domain::{Domain, Usage};
pub use error::Error;
pub use layout::{Controllers, Host, Layout, Missing, V1, V2};
pub use pool::{Group, Pool, Swept};
pub use watch::OomWatch;

/// Limits of a group; `None` is no limit of its own. A limit whose controller the layout lacks is not
/// set: ask [`Pool::controllers`] first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupLimits {
    /// Memory in bytes, rounded down to whole pages; swap is never added.
    pub memory: Option<u64>,
    /// CPU in thousandths of a core, 10 or more.
    pub cpu_millis: Option<u32>,
    /// Processes and threads together.
    pub processes: Option<u32>,
}
