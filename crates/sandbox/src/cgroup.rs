//! Control groups: the limits, the kill switch and the meter of a sandbox.
//!
//! Callers: the supervisor (opens the [`Pool`], claims a [`Group`] per sandbox, a [`Domain`] per execution) and
//! `doctor` ([`Layout`] alone). Own code on files: the work is a few reads and writes, and what matters is which ones
//! are left out. Nothing here needs threads. Every path is built from numbers.
//!
//! ```text
//! version 1, per controller        version 2 (in a hybrid: without controllers, for freeze, kill and CPU time)
//! sandkeep             ceiling     sandkeep             ceiling
//!   s<slot>            limits        s<slot>            agent may place processes below
//!     e<k>             execution       agent            the agent, outside the code's limits
//!                                      code             limits
//!                                        e<k>           execution
//! ```
//!
//! In version 1 an execution without a CPU limit of its own enters `s<slot>` of the `cpu` tree itself; the agent is
//! in no version 1 group. Groups stay when a sandbox ends, for the next one in the slot; see [`Pool::claim`].
//!
//! # What it costs
//!
//! Medians in µs of `tests/cgroup_costs.rs` on a quiet two-core guest, Linux 6.18, hybrid.
//!
//! | step | µs | step | µs |
//! | --- | --- | --- | --- |
//! | open the pool | 87 | open a new domain, an old one | 73, 68 |
//! | claim a new group, an old one | 47, 33 | renew a domain (after an execution) | 36 |
//! | the same with other limits | 38 | renew one that was killed | 145 |
//! | remove a group and its domains | 456 | `usage`, `is_empty`, `oom_kills` | 12, 3, 3 |
//!
//! Entering, one bare program that forks and waits, executions 30 ms apart, in µs:
//!
//! | way in | least | median | worst |
//! | --- | --- | --- | --- |
//! | none | 228 | 380 | 629 |
//! | clone into the version 2 group | 252 | 384 | 542 |
//! | `0` to `tasks` of one version 1 tree (memory, pids, cpu and blkio alike) | 259 | 410 | 620 |
//! | `0` to `tasks` of four trees, and the clone | 292 | 438 | 638 |
//! | `0` to `cgroup.procs` of any one tree, of either version | 4700 | 5200 to 11000 | 25000 |
//!
//! The last row waits for a grace period: writing `cgroup.procs` takes a lock that every fork and exit of
//! the machine shares. Back to back the lock stays cheap and the row looks like the others, which hides it from
//! a tight benchmark. One thread alone (`tasks`) and a clone do not take it. Version 2 has no counterpart of `tasks`
//! for whole groups, so there only the clone is quick.
//!
//! # Traps
//!
//! - A group on which `cgroup.kill` was used kills what is cloned into it ever after (Linux 6.13 and later): it
//!   is marked and replaced.
//! - On a tree mounted with `nsdelegate`, as systemd does, nobody clones across the root of their cgroup namespace.
//!   The agent must not have one that was made before it was in its leaf: the execution makes its own.
//! - The peak of a version 2 group can be reset from 6.12 on; before that the group is replaced; before 5.19 there is none.
//! - A process in another pid namespace reads as 0 in a member list, and signalling 0 would kill ourselves.

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
pub use pool::{Group, PARENT, Pool, Swept};
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
