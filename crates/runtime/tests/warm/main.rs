//! The warm interpreter of the driver `local`: that code cannot tell a fork of it from an interpreter of its own, that it is
//! nobody's to reach, and that nothing is lost or run twice when it dies.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]
#![allow(unreachable_pub, dead_code, reason = "the support is shared with other suites")]

mod apart;
mod deaths;
mod same;
#[path = "../support/mod.rs"]
mod support;

use std::time::Instant;

use sandkeep_core::defaults::python_modules;
use sandkeep_core::execution::Language;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::Sandbox;
use sandkeep_runtime::driver::ExecutionSpec;
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};

use support::{PATIENCE, fresh, run, script};

fn local() -> Local {
    let state = StateDirectory::open(&StateDirectory::default_path()).unwrap();
    Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(8) })
}

/// The driver, keeping interpreters that have imported what is usual.
fn warming() -> Local {
    local().warming_python(python_modules())
}

fn python(code: &str) -> ExecutionSpec {
    script(Language::Python, code)
}

/// Says whether it is run by a fork: only there something is below it.
const IS_WARM: &str = "import sys; print(sys._getframe().f_back is not None)";

async fn is_warm(sandbox: &dyn Sandbox) -> bool {
    run(sandbox, &python(IS_WARM)).await.assert_succeeded().out() == "True\n"
}

/// A sandbox whose interpreter is ready.
async fn warm() -> Box<dyn Sandbox> {
    let sandbox = fresh(&warming()).await;
    become_warm(sandbox.as_ref()).await;
    sandbox
}

async fn become_warm(sandbox: &dyn Sandbox) {
    let deadline = Instant::now() + PATIENCE;
    while !is_warm(sandbox).await {
        assert!(Instant::now() < deadline, "the interpreter never became warm");
    }
}

/// False, and says so, where the agent has the code's id: there no interpreter is kept.
fn only_where_it_can_be_warm() -> bool {
    let single = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| !status.contains("\nUid:\t0\t"))
        && !has_subordinate_ids();
    if single {
        println!("SKIPPED: no interpreter is kept warm where a sandbox has a single id");
    }
    !single
}

fn has_subordinate_ids() -> bool {
    let user = std::env::var("USER").unwrap_or_default();
    std::fs::read_to_string("/etc/subuid")
        .is_ok_and(|text| text.lines().any(|line| line.starts_with(&format!("{user}:"))))
}

/// The host's number of the interpreter that a sandbox keeps.
fn interpreter(sandbox: &dyn Sandbox) -> Option<i32> {
    let agent = sandbox.facts().agent_pid;
    let children = std::fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).ok()?;
    let is_it = |pid: &&str| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sandkeep-warm\n")
    };
    children.split_whitespace().find(is_it)?.parse().ok()
}
