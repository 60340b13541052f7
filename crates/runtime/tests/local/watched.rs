//! Layers as an ordinary user keeps them: plain directories, measured.

use sandkeep_core::code::ErrorCode;
use sandkeep_core::execution::{ExecutionState, Language};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::sandbox::Profile;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::{ExecutionSpec, Layer, Mount, SandboxSpec};
use sandkeep_runtime::{Driver, Sandbox};

use crate::support::{Heard, block_on, run, script, shell};
use crate::with_layer;

const DISK: ByteSize = ByteSize::from_mib(64);
/// What an overshoot may be at most, here as for memory.
const OVERSHOOT: u64 = 512 << 20;

/// A sandbox with a watched layer; `None` (told) for root, whose are not.
async fn watched(driver: &dyn Driver) -> Option<(tempfile::TempDir, SandboxSpec, Box<dyn Sandbox>)> {
    if rustix::process::geteuid().is_root() {
        println!("SKIPPED watched: the kernel bounds layers of root's sandboxes");
        return None;
    }
    let parent = tempfile::tempdir().unwrap();
    let spec = with_layer(&parent, DISK, 4096);
    let sandbox = driver.create(&spec).await.unwrap();
    Some((parent, spec, sandbox))
}

async fn remove(driver: &dyn Driver, spec: &SandboxSpec) {
    let Layer::Persistent { directory } = &spec.layer else { unreachable!("made so") };
    driver.remove_layer(directory).await.unwrap();
}

#[track_caller]
fn assert_ended_for(heard: &Heard, limit: LimitKind) {
    assert_eq!((heard.end().state, heard.end().limit), (ExecutionState::Failed, Some(limit)), "{heard:?}");
}

/// Writes for ever, as fast as it can, keeping to what was asked of it.
fn writer(how: &str) -> ExecutionSpec {
    let code = format!(
        "import os\npiece = b'x' * (1 << 20)\nfd = None\ndef fresh(n):\n    global fd\n    \
         fd = os.open(f'f{{n}}', os.O_CREAT | os.O_RDWR)\n{how}\n\
         for n in range(1 << 30):\n    step(n)\n    os.write(fd, piece)\n    done = n"
    );
    script(Language::Python, &code)
}

#[test]
fn whoever_writes_too_much_is_ended_soon() {
    block_on(async {
        let driver = crate::local();
        let Some((_parent, spec, sandbox)) = watched(&driver).await else { return };
        let ways = [
            // One file, many files, one whose name is gone, one in a directory that nobody may enter.
            "def step(n):\n    if n == 0: fresh(n)",
            "def step(n):\n    if n % 8 == 0: fresh(n)",
            "def step(n):\n    if n == 0: fresh(n); os.unlink('f0')",
            "def step(n):\n    if n == 0: os.mkdir('d'); os.chdir('d'); fresh(n); os.chmod('.', 0)",
        ];
        for way in ways {
            assert_ended_for(&run(sandbox.as_ref(), &writer(way)).await, LimitKind::Disk);
            let left = run(sandbox.as_ref(), &shell("chmod 700 d; du -sk . | cut -f1; rm -rf d f*")).await;
            let kib: u64 = left.assert_succeeded().out().trim().parse().unwrap();
            assert!(kib << 10 < DISK.bytes() + OVERSHOOT, "{kib} KiB by {way}");
        }
        sandbox.stop().await;
        remove(&driver, &spec).await;
    });
}

#[test]
fn whoever_goes_over_again_and_again_starts_nothing_any_more() {
    block_on(async {
        let driver = crate::local();
        let Some((_parent, spec, sandbox)) = watched(&driver).await else { return };
        let grow = "def step(n):\n    if n == 0: fresh(os.getpid())\n    if n == 200: os.lseek(fd, 0, 0)";
        assert_ended_for(&run(sandbox.as_ref(), &writer(grow)).await, LimitKind::Disk);
        // It may live with what is there; whoever adds to it is ended, a few times.
        run(sandbox.as_ref(), &shell("ls; cat f* > /dev/null")).await.assert_succeeded();
        let more = shell("n=0; while :; do cat f* > more$$-$n; n=$((n+1)); done");
        let mut times = 1;
        loop {
            let heard = run(sandbox.as_ref(), &more_of(&more)).await;
            if let Some(problem) = &heard.problem {
                assert_eq!(problem.code, ErrorCode::LayerFull, "{problem}");
                break;
            }
            assert_ended_for(&heard, LimitKind::Disk);
            times += 1;
        }
        assert_eq!(times, 4);
        sandbox.stop().await;
        // With room for it all, it goes on.
        let mut larger = spec.clone();
        (larger.limits.disk, larger.incarnation) = (ByteSize::from_gib(8), 2);
        let sandbox = driver.create(&larger).await.unwrap();
        run(sandbox.as_ref(), &shell("rm f* more*")).await.assert_succeeded();
        sandbox.stop().await;
        remove(&driver, &spec).await;
    });
}

/// The same once more.
fn more_of(spec: &ExecutionSpec) -> ExecutionSpec {
    ExecutionSpec { id: crate::support::new_execution_id(), ..spec.clone() }
}

#[test]
fn what_is_too_deep_to_be_measured_is_ended() {
    block_on(async {
        let driver = crate::local();
        let Some((_parent, spec, sandbox)) = watched(&driver).await else { return };
        let deep =
            "import os, time\nfor n in range(700):\n    os.mkdir('d')\n    os.chdir('d')\ntime.sleep(20)";
        assert_ended_for(&run(sandbox.as_ref(), &script(Language::Python, deep)).await, LimitKind::Inodes);
        sandbox.stop().await;
        remove(&driver, &spec).await;
    });
}

#[test]
fn files_of_other_ids_are_refused() {
    block_on(async {
        let driver = crate::local();
        let Some((parent, mut spec, sandbox)) = watched(&driver).await else { return };
        let one_id = sandbox.facts().id_count == 1;
        sandbox.stop().await;
        if one_id {
            spec.profile = Profile::Dev;
        } else {
            let source = parent.path().to_str().unwrap().to_owned();
            spec.mounts = vec![Mount { source, target: "/shown".parse().unwrap(), writable: false }];
        }
        let problem = driver.create(&spec).await.map(drop).unwrap_err();
        assert_eq!(problem.code, ErrorCode::LayerUnusable, "{problem}");
        remove(&driver, &spec).await;
    });
}
