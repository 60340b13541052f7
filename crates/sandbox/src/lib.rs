//! The Linux mechanism behind a sandbox: namespaces, mounts, ids, seccomp, Landlock, capabilities,
//! control groups, resource limits. Each module is one wall or one tool; `agent` composes them.
//!
//! Nothing here knows of protocols, async runtimes or policy: callers say what they want, these
//! modules make the kernel do it or return what the kernel said. With `agent`'s few named modules this is
//! the one place that holds `unsafe`.

pub mod caps;
pub mod cgroup;
pub mod ext4;
pub mod fence;
pub mod gate;
pub mod idmap;
pub mod keyring;
pub mod loopdev;
pub mod mount;
pub mod net;
pub mod pids;
pub mod process;
pub mod rlimit;
pub mod root;
pub mod seccomp;
pub mod start;
pub mod tree;
pub mod userns;
pub mod watch;
