//! Layers as root keeps them: file systems in files.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sandkeep_core::code::ErrorCode;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::{Layer, SandboxSpec};
use sandkeep_runtime::{Driver, Sandbox};

use crate::support::{PATIENCE, block_on, eventually, run, shell, until_output};
use crate::with_layer;

const MIB: u64 = 1 << 20;

/// A layer of a sandbox that wrote `first` into its workspace; `None` (told) where nobody is root.
async fn used(driver: &dyn Driver) -> Option<(tempfile::TempDir, SandboxSpec)> {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED images: only root can mount one");
        return None;
    }
    let parent = tempfile::tempdir().unwrap();
    let spec = with_layer(&parent, ByteSize::from_mib(32), 2048);
    let sandbox = driver.create(&spec).await.unwrap();
    run(sandbox.as_ref(), &shell("echo first > first")).await.assert_succeeded();
    sandbox.stop().await;
    Some((parent, spec))
}

fn image(spec: &SandboxSpec) -> PathBuf {
    let Layer::Persistent { directory } = &spec.layer else { unreachable!("made so") };
    Path::new(directory).join("disk.ext4")
}

/// Bytes and inodes of the workspace's file system.
async fn room(sandbox: &dyn Sandbox) -> (u64, u64) {
    let heard = run(sandbox, &shell("cat first; stat -f -c '%b %S %c' .")).await;
    let out = heard.assert_succeeded().out();
    let numbers = out.strip_prefix("first\n").unwrap().split_whitespace();
    let numbers: Vec<u64> = numbers.map(|n| n.parse().unwrap()).collect();
    (numbers[0] * numbers[1], numbers[2])
}

async fn code_of(driver: &dyn Driver, spec: &SandboxSpec) -> ErrorCode {
    driver.create(spec).await.map(drop).unwrap_err().code
}

#[test]
fn a_layer_grows_and_does_not_shrink() {
    block_on(async {
        let driver = crate::local();
        let Some((_parent, mut spec)) = used(&driver).await else { return };
        // Three groups of 128 MiB, each with as many inodes as the first.
        (spec.limits.disk, spec.limits.inodes) = (ByteSize::from_mib(320), 6000);
        for _ in 0..2 {
            let sandbox = driver.create(&spec).await.unwrap();
            let (bytes, inodes) = room(sandbox.as_ref()).await;
            assert!((290 * MIB..=320 * MIB).contains(&bytes) && inodes == 6144, "{bytes} {inodes}");
            sandbox.stop().await;
        }
        for (disk, inodes) in [(319, 6144), (32, 2048), (320, 1024), (640, 65_536)] {
            (spec.limits.disk, spec.limits.inodes) = (ByteSize::from_mib(disk), inodes);
            assert_eq!(code_of(&driver, &spec).await, ErrorCode::LimitOutOfRange, "{disk} MiB, {inodes}");
        }
    });
}

#[test]
fn a_layer_that_is_too_small_is_refused_before_it_is_made() {
    block_on(async {
        let driver = crate::local();
        let Some((parent, mut spec)) = used(&driver).await else { return };
        let directory = parent.path().join("other");
        spec.layer = Layer::Persistent { directory: directory.to_str().unwrap().to_owned() };
        for (disk, inodes) in [(ByteSize::from_mib(15), 2048), (ByteSize::from_gib(1024), 4096)] {
            (spec.limits.disk, spec.limits.inodes) = (disk, inodes);
            assert_eq!(code_of(&driver, &spec).await, ErrorCode::LimitOutOfRange);
        }
        assert!(!directory.exists());
    });
}

/// Runs itself again where no such program is to be seen.
#[test]
fn without_its_tools_a_layer_is_refused_with_what_to_install() {
    const HIDDEN: &str = "SANDKEEP_TEST_HIDDEN";
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED images: only root can mount one");
        return;
    }
    if std::env::var_os(HIDDEN).is_none() {
        let test = "images::without_its_tools_a_layer_is_refused_with_what_to_install";
        let hide = "mount -t tmpfs none /usr/sbin && { [ -L /sbin ] || mount -t tmpfs none /sbin; } && exec \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", hide]).arg(std::env::current_exe().unwrap());
        let output = command.args([test, "--exact", "--nocapture"]).env(HIDDEN, "1").output().unwrap();
        assert!(output.status.success() && said(&output).contains("1 passed"), "{}", said(&output));
        return;
    }
    block_on(async {
        let parent = tempfile::tempdir().unwrap();
        let spec = with_layer(&parent, ByteSize::from_mib(32), 2048);
        let problem = crate::local().create(&spec).await.map(drop).unwrap_err();
        assert_eq!(problem.code, ErrorCode::LayerToolsMissing);
        assert!(problem.expected.unwrap().contains("e2fsprogs"));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "nothing is left");
    });
}

#[test]
fn growing_that_was_interrupted_is_taken_back_and_done_again() {
    block_on(async {
        let driver = crate::local();
        let Some((_parent, mut spec)) = used(&driver).await else { return };
        let path = image(&spec);
        // As a kill leaves it: larger, all of the new size written or none, and what undoes it still there.
        for (done, factor) in [(true, 4), (false, 2)] {
            let size = fs::metadata(&path).unwrap().len() * factor;
            File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
            let undo = path.with_file_name("grow.undo");
            if done {
                tool("e2fsck", &["-f", "-p"], &path);
                tool("resize2fs", &["-z", undo.to_str().unwrap()], &path);
            } else {
                fs::write(&undo, "").unwrap();
            }
            spec.limits.disk = ByteSize::from_bytes(size);
            let sandbox = driver.create(&spec).await.unwrap();
            let (bytes, _) = room(sandbox.as_ref()).await;
            assert!(bytes > size / 10 * 8, "{bytes} of {size}");
            assert!(!undo.exists());
            sandbox.stop().await;
        }
    });
}

#[test]
fn after_growing_failed_the_limits_of_before_are_good_again() {
    block_on(async {
        let driver = crate::local();
        let Some((_parent, spec)) = used(&driver).await else { return };
        let path = image(&spec);
        let size = fs::metadata(&path).unwrap().len();
        // As it is left where the file had become larger, and nothing else had.
        for with_undo in [false, true] {
            File::options().write(true).open(&path).unwrap().set_len(size * 4).unwrap();
            if with_undo {
                fs::write(path.with_file_name("grow.undo"), "").unwrap();
            }
            let sandbox = driver.create(&spec).await.unwrap();
            let (bytes, _) = room(sandbox.as_ref()).await;
            assert!(bytes <= size, "{bytes} of {size}");
            sandbox.stop().await;
            assert_eq!(fs::metadata(&path).unwrap().len(), size);
        }
    });
}

#[test]
fn a_damaged_image_is_mended_or_refused() {
    block_on(async {
        let driver = crate::local();
        let Some((_parent, spec)) = used(&driver).await else { return };
        let path = image(&spec);
        let write = |at: u64, bytes: &[u8]| {
            File::options().write(true).open(&path).unwrap().write_all_at(bytes, at).unwrap();
        };
        // What the kernel marks when it finds something wrong (s_state: ERROR_FS), without a checksum that fits.
        tool("debugfs", &["-w", "-R", "ssv state 2"], &path);
        let sandbox = driver.create(&spec).await.unwrap();
        room(sandbox.as_ref()).await;
        sandbox.stop().await;
        assert!(!said(&tool("dumpe2fs", &["-h"], &path)).contains("with errors"));
        // A superblock that is none, a file that is cut short, one that is gone.
        write(1024 + 56, &[0, 0]);
        assert_eq!(code_of(&driver, &spec).await, ErrorCode::LayerDamaged);
        File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
        assert_eq!(code_of(&driver, &spec).await, ErrorCode::LayerDamaged);
        fs::remove_file(&path).unwrap();
        assert_eq!(code_of(&driver, &spec).await, ErrorCode::LayerDamaged);
        let Layer::Persistent { directory } = &spec.layer else { unreachable!("made so") };
        driver.remove_layer(directory).await.unwrap();
    });
}

#[test]
fn garbage_inside_is_refused_and_the_host_lives() {
    block_on(async {
        let driver = crate::local();
        let Some((_parent, spec)) = used(&driver).await else { return };
        // All but the superblock itself: descriptors of groups, bitmaps, inodes.
        let file = File::options().write(true).open(image(&spec)).unwrap();
        file.write_all_at(&[0xA5; 512 << 10], 4096).unwrap();
        let code = code_of(&driver, &spec).await;
        assert_eq!(code, ErrorCode::LayerDamaged);
        assert!(loops_of(&spec).is_empty());
    });
}

#[test]
fn what_was_synced_survives_the_loss_of_the_host() {
    block_on(async {
        let driver = crate::local();
        let Some((_parent, mut spec)) = used(&driver).await else { return };
        let sandbox = driver.create(&spec).await.unwrap();
        let write = "for i in $(seq 200); do mkdir d$i; echo $i > d$i/f; done; sync; echo synced; \
                     while :; do mv d1 d0; mv d0 d1; done";
        let mut running = sandbox.start(&shell(write)).await.unwrap();
        drop(until_output(running.as_mut(), "synced").await);
        // As the storage would have it if the power went now.
        let lost = tempfile::tempdir().unwrap();
        fs::copy(image(&spec), lost.path().join("disk.ext4")).unwrap();
        let record = image(&spec).with_file_name("sandkeep-layer");
        fs::copy(record, lost.path().join("sandkeep-layer")).unwrap();
        drop(running);
        sandbox.stop().await;
        spec.layer = Layer::Persistent { directory: lost.path().to_str().unwrap().to_owned() };
        assert!(said(&tool("dumpe2fs", &["-h"], &image(&spec))).contains("needs_recovery"));
        let sandbox = driver.create(&spec).await.unwrap();
        let heard = run(sandbox.as_ref(), &shell("cat d*/f | sort -n | tail -1; ls -d d* | wc -l")).await;
        assert_eq!(heard.assert_succeeded().out(), "200\n200\n");
        sandbox.stop().await;
    });
}

#[test]
fn killed_while_it_is_made_it_can_be_made_again() {
    block_on(async {
        let driver = crate::local();
        let Some((parent, mut spec)) = used(&driver).await else { return };
        for round in 0..40_u64 {
            let directory = parent.path().join(format!("layer-{}", round / 8));
            spec.layer = Layer::Persistent { directory: directory.to_str().unwrap().to_owned() };
            // Every eighth begins with nothing; the others find what the last one left.
            let made = driver.create(&spec);
            let killed = async {
                tokio::time::sleep(Duration::from_micros(500 + round * 997 % 30_000)).await;
                for pid in children() {
                    let _gone = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
                }
            };
            let (made, ()) = tokio::join!(made, killed);
            drop(made);
            if round % 8 == 7 {
                let sandbox = patiently(&driver, &spec).await;
                run(sandbox.as_ref(), &shell("echo works > file")).await.assert_succeeded();
                sandbox.stop().await;
                driver.remove_layer(directory.to_str().unwrap()).await.unwrap();
                eventually("no loop device is left", || loops_of(&spec).is_empty());
            }
        }
    });
}

#[test]
fn a_kill_of_everything_leaves_no_mount_and_no_device() {
    block_on(async {
        let driver = crate::local();
        let Some((_parent, spec)) = used(&driver).await else { return };
        let sandbox = driver.create(&spec).await.unwrap();
        let mut running = sandbox.start(&shell("echo on; cat /dev/zero > zeros")).await.unwrap();
        drop(until_output(running.as_mut(), "on").await);
        let devices = loops_of(&spec);
        assert_eq!(devices.len(), 1, "{devices:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&format!("/dev/{} ", devices[0])), "the host has it mounted nowhere");
        for pid in [sandbox.facts().supervisor_pid, sandbox.facts().agent_pid] {
            kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
        }
        drop((running, sandbox));
        eventually("no loop device is left", || loops_of(&spec).is_empty());
    });
}

#[test]
fn many_at_once_do_not_take_each_others_devices() {
    block_on(async {
        let driver = crate::local();
        let Some((parent, spec)) = used(&driver).await else { return };
        let specs = (0..20).map(|n| {
            let mut spec = spec.clone();
            let directory = parent.path().join(n.to_string()).to_str().unwrap().to_owned();
            (spec.layer, spec.id) = (Layer::Persistent { directory }, crate::support::sandbox_spec().id);
            spec
        });
        let specs: Vec<_> = specs.collect();
        let mut sandboxes = Vec::new();
        for made in futures(specs.iter().map(|spec| driver.create(spec))).await {
            sandboxes.push(made.unwrap());
        }
        for (n, sandbox) in sandboxes.iter().enumerate() {
            run(sandbox.as_ref(), &shell(&format!("echo {n} > mine"))).await.assert_succeeded();
        }
        for (n, sandbox) in sandboxes.iter().enumerate() {
            assert_eq!(run(sandbox.as_ref(), &shell("cat mine")).await.out(), format!("{n}\n"));
            sandbox.stop().await;
        }
    });
}

/// All of them at the same time, on this thread.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in waiting.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *done = Some(value);
            }
        }
        if waiting.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    waiting.into_iter().filter_map(|(_, done)| done).collect()
}

/// What a killed supervisor had started may still work on the layer, which is then in use.
async fn patiently(driver: &dyn Driver, spec: &SandboxSpec) -> Box<dyn Sandbox> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match driver.create(spec).await {
            Err(problem) if problem.code == ErrorCode::LayerInUse && std::time::Instant::now() < deadline => {
            }
            made => return made.unwrap(),
        }
    }
}

/// Loop devices that show the image of this layer.
fn loops_of(spec: &SandboxSpec) -> Vec<String> {
    let wanted = image(spec);
    let shows = |device: &fs::DirEntry| {
        let file = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        file.trim().trim_end_matches(" (deleted)") == wanted.to_str().unwrap()
    };
    let devices = fs::read_dir("/sys/block").unwrap().flatten().filter(shows);
    devices.map(|device| device.file_name().into_string().unwrap()).collect()
}

/// Supervisors that this thread has started.
fn children() -> Vec<i32> {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let list = fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn tool(name: &str, options: &[&str], image: &Path) -> std::process::Output {
    let path = format!("/usr/sbin:/sbin:{}", std::env::var("PATH").unwrap());
    let output = Command::new(name).args(options).arg(image).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{name}: {}", said(&output));
    output
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
