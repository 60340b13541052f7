//! One pooled control group per hierarchy, made once, entered by every child.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::sys;

const NAME: &str = "sandkeep-floor";

/// Open files to write a `0` into, and the directories to remove at the end.
pub(crate) struct Groups {
    pub(crate) files: Vec<i32>,
    directories: Vec<PathBuf>,
}

impl Groups {
    /// Version 1: memory, pids, cpu and blkio, as ours. Version 2: the one tree. None where we may make none.
    pub(crate) fn prepare() -> Self {
        let mut groups = Self { files: Vec::new(), directories: Vec::new() };
        let base = PathBuf::from("/sys/fs/cgroup");
        if base.join("cgroup.controllers").exists() {
            groups.add(base.join(NAME), "cgroup.procs", "memory.max");
            return groups;
        }
        for controller in ["memory", "pids", "cpu", "blkio"] {
            groups.add(base.join(controller).join(NAME), "tasks", "memory.limit_in_bytes");
        }
        groups
    }

    fn add(&mut self, directory: PathBuf, entry: &str, limit: &str) {
        if fs::create_dir(&directory).is_err() && !directory.is_dir() {
            return;
        }
        if directory.join(limit).exists() {
            let _unlimited = fs::write(directory.join(limit), "536870912");
        }
        let path = CString::new(directory.join(entry).into_os_string().into_vec()).expect("no NUL");
        // SAFETY: a terminated path.
        let opened = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
        if opened >= 0 {
            self.files.push(opened);
        }
        self.directories.push(directory);
    }

    /// Called in the child.
    pub(crate) fn enter(&self) {
        for file in &self.files {
            sys::write(*file, b"0");
        }
    }

    pub(crate) fn remove(&self) {
        for directory in &self.directories {
            let _left = fs::remove_dir(directory);
        }
    }
}
