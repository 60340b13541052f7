//! The ceiling over all sandboxes, reached by two that each keep within their own limit.
//!
//! In slots, groups and ids of its own: the ceiling of those that others use at the same time stays as it is.

use std::fs;
use std::path::{Path, PathBuf};

use sandkeep_core::execution::{ExecutionState, Language};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::Driver;
use sandkeep_runtime::local::{Config, Local, Slots, StateDirectory};
use sandkeep_sandbox::cgroup::{Layout, Pool};

use crate::support::{all_of, block_on, command, run, sandbox_spec, script, to_end, until_output};

/// 4,094 slots below the usual base, and as many above this one.
const BASE: u32 = 1_500_000_000;
const CEILING: ByteSize = ByteSize::from_mib(256);
/// What each may use, and what it does: twice that is more than the ceiling.
const MEMORY: ByteSize = ByteSize::from_mib(220);
const HOARD: &str = "hoard = b'x' * (160 << 20)\nprint('full', flush=True)\nimport time\ntime.sleep(100)";

#[test]
fn two_that_keep_their_limits_cannot_pass_it_together() {
    let layout = Layout::detect();
    if !rustix::process::geteuid().is_root() || !layout.controllers().memory {
        println!("SKIPPED ceiling: it is kept by control groups, which nobody but root has here");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let config = Config {
        state: StateDirectory::open(&state.path().join("state")).unwrap(),
        id_base: BASE,
        ceiling: CEILING,
    };
    let _tidied = Tidied(Slots::of(config.state.path(), BASE), layout);
    block_on(reach_it(&Local::new(config)));
}

async fn reach_it(driver: &dyn Driver) {
    let mut spec = sandbox_spec();
    (spec.limits.memory, spec.limits.disk) = (MEMORY, ByteSize::from_mib(16));
    let first = driver.create(&spec).await.unwrap();
    let second = driver.create(&spec).await.unwrap();
    let mut full = first.start(&script(Language::Python, HOARD)).await.unwrap();
    let heard = until_output(full.as_mut(), "full").await;
    let mut other = second.start(&script(Language::Python, HOARD)).await.unwrap();
    // Either may be the one that the kernel takes, and it takes nothing else.
    let ended = tokio::select! {
        heard = all_of(other.as_mut()) => heard,
        heard = to_end(full.as_mut(), heard) => heard,
    };
    assert_eq!((ended.end().state, ended.end().limit), (ExecutionState::Failed, Some(LimitKind::Memory)));
    for sandbox in [&first, &second] {
        assert!(Path::new(&format!("/proc/{}", sandbox.facts().supervisor_pid)).exists());
    }
    drop((full, other));
    for sandbox in [first, second] {
        run(sandbox.as_ref(), &command(&["true"])).await.assert_succeeded();
        sandbox.stop().await;
    }
}

/// Takes away what these slots left on the host.
struct Tidied(Slots, Layout);

impl Drop for Tidied {
    fn drop(&mut self) {
        let Self(slots, layout) = self;
        let swept = Pool::open(layout, &slots.group, None).and_then(|pool| pool.sweep(|_| Some(()), true));
        let trees = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        for tree in trees.chain([PathBuf::from("/sys/fs/cgroup")]) {
            let _was_not_there = fs::remove_dir(tree.join(&slots.group));
        }
        let _none = fs::remove_dir_all(&slots.directory);
        assert!(std::thread::panicking() || swept.is_ok(), "{swept:?}");
    }
}
