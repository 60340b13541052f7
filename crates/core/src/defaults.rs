//! What holds when nobody says otherwise: one place, shown by `sandkeep config show`.

use std::path::PathBuf;

use crate::cpu::CpuMillis;
use crate::duration::Span;
use crate::limits::Limits;
use crate::sandbox::Profile;
use crate::size::ByteSize;

/// Wall time of an execution.
pub const TIMEOUT: Span = Span::from_secs(60);
/// Memory of a sandbox.
pub const MEMORY: ByteSize = ByteSize::from_mib(512);
/// Processor share of a sandbox.
pub const CPU: CpuMillis = CpuMillis::ONE;
/// Processes and threads of a sandbox.
pub const PROCESSES: u32 = 256;
/// Disk of an ephemeral sandbox.
pub const DISK: ByteSize = ByteSize::from_gib(1);
/// Disk of a persistent sandbox.
pub const DISK_PERSISTENT: ByteSize = ByteSize::from_gib(10);
/// Files on that disk: one per 16 KiB of [`DISK`], the ratio of ext4.
pub const INODES: u64 = 65_536;
/// Output kept per execution: the first [`OUTPUT_HEAD`] and the last [`OUTPUT_TAIL`].
pub const OUTPUT: ByteSize = ByteSize::from_mib(10);
/// Output kept from the start.
pub const OUTPUT_HEAD: ByteSize = ByteSize::from_mib(8);
/// Output kept from the end.
pub const OUTPUT_TAIL: ByteSize = ByteSize::from_mib(2);
/// Descriptors per process: enough for a busy server, and a table of 128 KiB at most.
pub const OPEN_FILES: u32 = 4_096;
/// Share of the machine's memory that all sandboxes together may use.
pub const ALL_SANDBOXES_MEMORY_PERCENT: u32 = 80;
/// Largest code of an execution.
pub const CODE_MAX: ByteSize = ByteSize::from_mib(8);
/// Largest event of a handler.
pub const EVENT_MAX: ByteSize = ByteSize::from_mib(8);
/// Largest return value of a handler, as JSON.
pub const RETURN_VALUE_MAX: ByteSize = ByteSize::from_mib(8);
/// Files named by one result.
pub const ARTIFACTS_MAX: usize = 1_000;
/// Bytes of files hashed for one result.
pub const ARTIFACTS_BYTES_MAX: ByteSize = ByteSize::from_mib(256);
/// Security profile of a sandbox.
pub const PROFILE: Profile = Profile::Strict;
/// What a warm interpreter of Python has imported: what most small programs and handlers begin with, and no more than what
/// fits into 10 MB (asyncio alone takes three).
pub const PYTHON_MODULES: &str = "base64,collections,copy,csv,dataclasses,datetime,functools,inspect,io,itertools,json,\
     logging,math,os,pathlib,random,re,string,subprocess,sys,textwrap,threading,time,traceback,typing,\
     urllib.parse";
/// What `sandkeep run` starts from.
pub const TEMPLATE: &str = "host";
/// What a sandbox reaches.
pub const NETWORK: &str = "closed";

/// [`PYTHON_MODULES`], one by one.
pub fn python_modules() -> Vec<String> {
    PYTHON_MODULES.split(',').map(|module| module.trim().to_owned()).collect()
}

/// Where a server keeps its data unless said otherwise: what belongs to the whole machine for root, else what belongs to a user
/// (XDG Base Directory Specification).
#[must_use]
pub fn data_dir(is_root: bool, variable: impl Fn(&str) -> Option<String>) -> PathBuf {
    if is_root {
        return PathBuf::from("/var/lib/sandkeep");
    }
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/share"));
    let below = absolute("XDG_DATA_HOME").or_else(home).unwrap_or_else(|| PathBuf::from("/var/tmp"));
    below.join("sandkeep")
}

/// The default limits of one execution.
pub const fn limits() -> Limits {
    Limits {
        memory: MEMORY,
        cpu: CPU,
        processes: PROCESSES,
        disk: DISK,
        inodes: INODES,
        timeout: TIMEOUT,
        output: OUTPUT,
        output_kill: None,
        open_files: OPEN_FILES,
    }
}

/// One line of `sandkeep config show`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DefaultRow {
    /// Stable name of the value.
    pub key: &'static str,
    /// The value as a person would write it.
    pub value: String,
    /// What it is.
    pub what: &'static str,
}

/// Every default, in the order in which it is shown.
pub fn table() -> Vec<DefaultRow> {
    let row = |key, value: &dyn ToString, what| DefaultRow { key, value: value.to_string(), what };
    vec![
        row("timeout", &TIMEOUT, "wall time of an execution"),
        row("memory", &MEMORY, "memory of a sandbox, without swap"),
        row("cpu", &CPU, "processors a sandbox may use"),
        row("processes", &PROCESSES, "processes and threads in a sandbox"),
        row("disk", &DISK, "disk of an ephemeral sandbox"),
        row("disk_persistent", &DISK_PERSISTENT, "disk of a persistent sandbox"),
        row("inodes", &INODES, "files on the disk of a sandbox"),
        row("open_files", &OPEN_FILES, "open descriptors per process"),
        row("output", &OUTPUT, "output kept per execution"),
        row("output_head", &OUTPUT_HEAD, "of which from the start"),
        row("output_tail", &OUTPUT_TAIL, "of which from the end"),
        row("output_kill", &"off", "output after which an execution is ended"),
        row("code_max", &CODE_MAX, "largest code of an execution"),
        row("event_max", &EVENT_MAX, "largest event of a handler"),
        row("artifacts_max", &ARTIFACTS_MAX, "files named by one result"),
        row("artifacts_bytes_max", &ARTIFACTS_BYTES_MAX, "bytes of files hashed for one result"),
        row("all_sandboxes_memory_percent", &ALL_SANDBOXES_MEMORY_PERCENT, "of the machine's memory"),
        row("profile", &PROFILE, "security profile of a sandbox"),
        row("template", &TEMPLATE, "what `sandkeep run` starts from"),
        row("network", &NETWORK, "what a sandbox reaches"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_in_range_and_add_up() {
        assert_eq!(limits().check(&crate::limits::Names::OPTIONS), Ok(()));
        assert_eq!(OUTPUT.bytes(), OUTPUT_HEAD.bytes() + OUTPUT_TAIL.bytes());
        assert_eq!(INODES, DISK.bytes() / (16 * 1024));
    }

    #[test]
    fn the_table_has_each_key_once() {
        let table = table();
        let mut keys: Vec<_> = table.iter().map(|row| row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), table.len());
        let value = |key| table.iter().find(|row| row.key == key).map(|row| row.value.as_str());
        assert_eq!(value("timeout"), Some("1m"));
        assert_eq!(value("memory"), Some("512 MiB"));
        assert_eq!(value("cpu"), Some("1"));
        assert_eq!(value("processes"), Some("256"));
        assert_eq!(value("disk"), Some("1 GiB"));
        assert_eq!(value("disk_persistent"), Some("10 GiB"));
        assert_eq!(value("output"), Some("10 MiB"));
    }

    #[test]
    fn the_data_directory_belongs_to_whoever_runs_the_server() {
        let of = |root, pairs: &'static [(&str, &str)]| {
            let variable =
                |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned());
            data_dir(root, variable).display().to_string()
        };
        assert_eq!(of(true, &[("HOME", "/root")]), "/var/lib/sandkeep");
        assert_eq!(of(false, &[("HOME", "/home/a")]), "/home/a/.local/share/sandkeep");
        assert_eq!(of(false, &[("HOME", "/home/a"), ("XDG_DATA_HOME", "/d")]), "/d/sandkeep");
        assert_eq!(
            of(false, &[("HOME", "/home/a"), ("XDG_DATA_HOME", "d")]),
            "/home/a/.local/share/sandkeep"
        );
        assert_eq!(of(false, &[]), "/var/tmp/sandkeep");
    }
}
