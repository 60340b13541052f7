//! What a program could change for the whole machine, looked at before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};

/// Settings of the kernel that hostile code would like to change.
const SETTINGS: [&str; 25] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/core_pipe_limit",
    "/proc/sys/kernel/core_uses_pid",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/modules_disabled",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/kernel/poweroff_cmd",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/kernel/kptr_restrict",
    "/proc/sys/kernel/dmesg_restrict",
    "/proc/sys/kernel/perf_event_paranoid",
    "/proc/sys/kernel/unprivileged_bpf_disabled",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/sys/kernel/ctrl-alt-del",
    "/proc/sys/kernel/cap_last_cap",
    "/proc/sys/vm/mmap_min_addr",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/fs/suid_dumpable",
    "/proc/sys/fs/protected_symlinks",
    "/proc/sys/net/ipv4/ip_forward",
    "/sys/kernel/uevent_helper",
];

/// Names that programs of area `races` try to leave beside their workspace.
const STRAYS: [&str; 3] = ["attack-up", "attack-root", "attack-two"];

/// A clock that jumps more than this was set; less than this is what time services do.
const CLOCK_TOLERANCE_MS: i128 = 2_000;

/// The machine at one moment.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    settings: BTreeMap<&'static str, Option<String>>,
    /// Wall clock less the clock that nobody sets.
    clock_offset_ms: i128,
    /// Our own mounts, of which there should be none.
    mounts: Vec<String>,
    /// What stands in our own directory besides locks, and strays.
    files: Vec<PathBuf>,
}

impl Machine {
    pub(super) fn now(state_dir: &Path) -> Self {
        let settings = SETTINGS.iter().map(|path| (*path, fs::read_to_string(path).ok())).collect();
        Self { settings, clock_offset_ms: clock_offset_ms(), mounts: mounts(), files: files(state_dir) }
    }

    /// What is different `later`, as sentences.
    pub(super) fn differences(&self, later: &Self) -> Vec<String> {
        let changed = self.settings.iter().filter(|(path, value)| later.settings.get(*path) != Some(value));
        let mut found: Vec<String> =
            changed.map(|(path, value)| format!("{path} of the host changed from {value:?}")).collect();
        if (later.clock_offset_ms - self.clock_offset_ms).abs() > CLOCK_TOLERANCE_MS {
            found.push("the clock of the host was set".to_owned());
        }
        let new_mounts = later.mounts.iter().filter(|mount| !self.mounts.contains(mount));
        found.extend(new_mounts.map(|mount| format!("a mount is left on the host: {mount}")));
        let new_files = later.files.iter().filter(|file| !self.files.contains(file));
        found.extend(new_files.map(|file| format!("{} is left on the host", file.display())));
        found
    }
}

fn clock_offset_ms() -> i128 {
    let ms = |clock| {
        let now = clock_gettime(clock);
        i128::from(now.tv_sec) * 1_000 + i128::from(now.tv_nsec) / 1_000_000
    };
    ms(ClockId::Realtime) - ms(ClockId::Boottime)
}

/// Mounts of this mount namespace that only a sandbox of ours could have made.
fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .filter(|line| line.contains("/workspace ") || line.contains("sandkeep"))
        .map(str::to_owned)
        .collect()
}

fn files(state_dir: &Path) -> Vec<PathBuf> {
    let names = |directory: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let is_lock = |path: &PathBuf| {
        path.is_file() && path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok())
    };
    let mut found: Vec<PathBuf> =
        names(state_dir).into_iter().filter(|path| !path.ends_with("slots")).collect();
    found.extend(names(&state_dir.join("slots")).into_iter().filter(|path| !is_lock(path)));
    let places = [Path::new("/"), Path::new("/tmp"), Path::new("/run"), state_dir];
    let strays = places.iter().flat_map(|place| STRAYS.map(|name| place.join(name)));
    found.extend(strays.filter(|path| path.symlink_metadata().is_ok()));
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_left_alone_has_no_differences() {
        let state = tempfile::tempdir().unwrap();
        let before = Machine::now(state.path());
        assert!(before.settings["/proc/sys/kernel/hostname"].is_some());
        assert_eq!(before.differences(&Machine::now(state.path())), Vec::<String>::new());
    }

    #[test]
    fn changes_are_told() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("slots")).unwrap();
        let before = Machine::now(state.path());
        fs::write(state.path().join("slots/7"), "").unwrap();
        assert!(before.differences(&Machine::now(state.path())).is_empty(), "a lock is no remainder");
        fs::write(state.path().join("attack-up"), "").unwrap();
        fs::create_dir(state.path().join("slots/s7")).unwrap();
        let mut later = Machine::now(state.path());
        later.settings.insert("/proc/sys/kernel/hostname", Some("owned".to_owned()));
        later.clock_offset_ms += 3_600_000;
        later.mounts.push("1 2 0:5 / /workspace rw".to_owned());
        assert_eq!(before.differences(&later).len(), 5, "{:?}", before.differences(&later));
    }
}
