//! The same group in every tree of a host, and the handful of settings that differ between versions.

use super::{
    Controllers, Error, GroupLimits, Layout,
    dir::{Dir, keyed},
};

/// CPU quotas are per this many microseconds: the kernel's own default in both versions.
const CPU_PERIOD_US: u64 = 100_000;
/// Least quota the kernel takes.
const CPU_QUOTA_MIN_US: u64 = 1000;
/// Version 1 shows "no limit" as the largest whole number of pages; anything in this range means it.
const UNLIMITED_FROM: u64 = 1 << 60;
/// The kernel counts memory limits in pages and rounds them down.
const PAGE_BYTES: u64 = 4096;

/// One group, as its directory in each tree. Trees that the layout does not have are `None`; so are
/// `freezer` and `cpuacct` where a version 2 tree does their work.
#[derive(Debug, Default)]
pub(super) struct Trees {
    pub(super) memory: Option<Dir>,
    pub(super) pids: Option<Dir>,
    pub(super) cpu: Option<Dir>,
    pub(super) cpuacct: Option<Dir>,
    pub(super) blkio: Option<Dir>,
    pub(super) freezer: Option<Dir>,
    pub(super) unified: Option<Dir>,
    /// The parent's version 1 `cpu` group, where this group has none of its own: members enter it, nothing is set.
    pub(super) shared_cpu: Option<Dir>,
    /// Controllers of the version 2 tree; none of them in a hybrid layout.
    pub(super) handed: Controllers,
}

impl Trees {
    /// The directories under which `sandkeep` stands.
    pub(super) fn roots(layout: &Layout) -> Result<Self, Error> {
        let open = |path: &Option<std::path::PathBuf>| path.as_deref().map(Dir::open).transpose();
        let (v1, unified, handed) = match layout {
            Layout::V2(v2) => (None, Some(v2.base.clone()), v2.controllers),
            Layout::V1(v1) => (Some(v1), None, Controllers::default()),
            Layout::Hybrid { v1, unified } => (Some(v1), Some(unified.clone()), Controllers::default()),
            Layout::None { cause, remedy } => {
                return Err(Error::Unavailable { cause: cause.clone(), remedy: remedy.clone() });
            }
        };
        let mut trees = Self { unified: open(&unified)?, handed, ..Self::default() };
        if let Some(v1) = v1 {
            trees.memory = open(&v1.memory)?;
            trees.pids = open(&v1.pids)?;
            trees.cpu = open(&v1.cpu)?;
            trees.blkio = open(&v1.blkio)?;
            if trees.unified.is_none() {
                trees.cpuacct = open(&v1.cpuacct)?;
                trees.freezer = open(&v1.freezer)?;
            }
        }
        Ok(trees)
    }

    /// The child group `name` in every tree, made where it is missing. The flag says whether any was made.
    pub(super) fn child_or_make(&self, name: &str) -> Result<(Self, bool), Error> {
        self.child_in_trees(name, true)
    }

    /// The same, with the `cpu` tree left out: members of the child stay in this group's.
    pub(super) fn child_sharing_cpu(&self, name: &str) -> Result<(Self, bool), Error> {
        let (mut child, made) = self.child_in_trees(name, false)?;
        child.shared_cpu = self.cpu.as_ref().map(|dir| Dir::open(dir.path())).transpose()?;
        Ok((child, made))
    }

    fn child_in_trees(&self, name: &str, own_cpu: bool) -> Result<(Self, bool), Error> {
        let mut made = false;
        let mut go = |dir: &Option<Dir>| -> Result<Option<Dir>, Error> {
            let Some(dir) = dir else { return Ok(None) };
            let (child, new) = dir.child_or_make(name)?;
            made |= new;
            Ok(Some(child))
        };
        let child = Self {
            memory: go(&self.memory)?,
            pids: go(&self.pids)?,
            cpu: if own_cpu { go(&self.cpu)? } else { None },
            cpuacct: go(&self.cpuacct)?,
            blkio: go(&self.blkio)?,
            freezer: go(&self.freezer)?,
            unified: go(&self.unified)?,
            shared_cpu: None,
            handed: self.handed,
        };
        Ok((child, made))
    }

    /// Every directory once: trees mounted together (`cpu,cpuacct`) are one directory.
    pub(super) fn v1_dirs(&self) -> Vec<&Dir> {
        let all = [
            &self.memory,
            &self.pids,
            &self.cpu,
            &self.shared_cpu,
            &self.cpuacct,
            &self.blkio,
            &self.freezer,
        ];
        let mut dirs: Vec<&Dir> = Vec::with_capacity(all.len());
        for dir in all.into_iter().flatten() {
            if !dirs.iter().any(|known| known.path() == dir.path()) {
                dirs.push(dir);
            }
        }
        dirs
    }

    /// The directory whose member list is complete: version 2 where there is one.
    pub(super) fn members(&self) -> Option<&Dir> {
        self.unified
            .as_ref()
            .or(self.freezer.as_ref())
            .or(self.memory.as_ref())
            .or(self.pids.as_ref())
            .or(self.cpu.as_ref())
    }

    /// Whether no process is in the group or below it.
    pub(super) fn is_empty(&self) -> Result<bool, Error> {
        if let Some(dir) = &self.unified {
            return Ok(dir.read_keyed("cgroup.events", "populated")? == 0);
        }
        let Some(dir) = self.members() else { return Ok(true) };
        if !dir.read_pids()?.is_empty() {
            return Ok(false);
        }
        for name in dir.children()? {
            if !dir.child(&name)?.read_pids()?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the child group `name` in every tree.
    pub(super) fn remove_child(&self, name: &str) -> Result<(), Error> {
        for dir in self.v1_dirs().into_iter().chain(&self.unified) {
            dir.remove_child(name)?;
        }
        Ok(())
    }

    /// Hands the version 2 controllers down to the children of this group.
    pub(super) fn hand_down(&self) -> Result<(), Error> {
        let Some(dir) = &self.unified else { return Ok(()) };
        hand_down(dir, self.handed)
    }

    /// Sets every limit that this layout can hold and that differs from what is set.
    pub(super) fn set(&self, limits: &GroupLimits) -> Result<(), Error> {
        self.set_memory(limits.memory)?;
        self.set_processes(limits.processes)?;
        self.set_cpu(limits.cpu_millis)
    }

    /// Sets limits of a group that was made just now and so has none.
    pub(super) fn set_new(&self, limits: &GroupLimits) -> Result<(), Error> {
        if limits.memory.is_some() {
            self.set_memory(limits.memory)?;
        }
        if limits.processes.is_some() {
            self.set_processes(limits.processes)?;
        }
        if limits.cpu_millis.is_some() { self.set_cpu(limits.cpu_millis) } else { Ok(()) }
    }

    pub(super) fn set_memory(&self, bytes: Option<u64>) -> Result<(), Error> {
        let bytes = bytes.map(|bytes| bytes / PAGE_BYTES * PAGE_BYTES);
        if self.handed.memory {
            let Some(dir) = &self.unified else { return Ok(()) };
            if set_number(dir, "memory.max", bytes, "max")? && bytes.is_some() {
                dir.write_if_there("memory.swap.max", "0")?;
            }
            return Ok(());
        }
        self.memory.as_ref().map_or(Ok(()), |dir| set_memory_v1(dir, bytes))
    }

    fn set_processes(&self, most: Option<u32>) -> Result<(), Error> {
        let dir = if self.handed.pids { &self.unified } else { &self.pids };
        let Some(dir) = dir else { return Ok(()) };
        set_number(dir, "pids.max", most.map(u64::from), "max").map(drop)
    }

    fn set_cpu(&self, millis: Option<u32>) -> Result<(), Error> {
        let quota = millis.map(|millis| (u64::from(millis) * CPU_PERIOD_US / 1000).max(CPU_QUOTA_MIN_US));
        if self.handed.cpu {
            let Some(dir) = &self.unified else { return Ok(()) };
            let want = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            let want = format!("{want} {CPU_PERIOD_US}");
            if dir.read("cpu.max")?.trim() != want {
                dir.write("cpu.max", &want)?;
            }
            return Ok(());
        }
        let Some(dir) = &self.cpu else { return Ok(()) };
        set_number(dir, "cpu.cfs_quota_us", quota, "-1").map(drop)
    }

    /// CPU time of the group since it was made, user and system, in microseconds.
    pub(super) fn cpu_times(&self) -> Result<(u64, u64), Error> {
        if let Some(dir) = &self.unified {
            let text = dir.read("cpu.stat")?;
            return Ok((keyed(&text, "user_usec").unwrap_or(0), keyed(&text, "system_usec").unwrap_or(0)));
        }
        let Some(dir) = &self.cpuacct else { return Ok((0, 0)) };
        let micros = |file| Ok(dir.read_number(file)?.unwrap_or(0) / 1000);
        Ok((micros("cpuacct.usage_user")?, micros("cpuacct.usage_sys")?))
    }

    /// Bytes read from and written to block devices since the group was made.
    pub(super) fn block_bytes(&self) -> Result<(u64, u64), Error> {
        match (&self.blkio, &self.unified) {
            (Some(dir), _) => Ok(block_bytes_v1(&dir.read("blkio.throttle.io_service_bytes")?)),
            (None, Some(dir)) if self.handed.io => Ok(block_bytes_v2(&dir.read("io.stat")?)),
            (None, _) => Ok((0, 0)),
        }
    }

    /// Bytes of kernel memory charged to the group; `None` where the kernel does not say.
    pub(super) fn kernel_memory(&self) -> Option<u64> {
        if let Some(dir) = &self.memory {
            return dir.read_number("memory.kmem.usage_in_bytes").ok().flatten();
        }
        let text = self.unified.as_ref()?.read("memory.stat").ok()?;
        // `kernel` is there from 5.18; before that the parts have to do.
        keyed(&text, "kernel").or_else(|| {
            let parts = ["slab", "kernel_stack", "pagetables", "percpu"];
            Some(parts.iter().filter_map(|part| keyed(&text, part)).sum())
        })
    }

    /// Bytes of cached files among those charged to the group and below; tmpfs is none (it counts as anonymous).
    pub(super) fn cached_files(&self) -> u64 {
        let (dir, keys) = match (&self.memory, &self.unified) {
            (Some(dir), _) => (dir, ["total_inactive_file", "total_active_file"]),
            (None, Some(dir)) if self.handed.memory => (dir, ["inactive_file", "active_file"]),
            (None, _) => return 0,
        };
        let text = dir.read("memory.stat").unwrap_or_default();
        keys.iter().filter_map(|key| keyed(&text, key)).sum()
    }

    /// Bytes charged to the group now.
    pub(super) fn memory_now(&self) -> Option<u64> {
        match (&self.memory, &self.unified) {
            (Some(dir), _) => dir.read_number("memory.usage_in_bytes").ok().flatten(),
            (None, Some(dir)) if self.handed.memory => dir.read_number("memory.current").ok().flatten(),
            (None, _) => None,
        }
    }
}

/// Hands `controllers` down from `dir`, as far as they are not handed down already.
pub(super) fn hand_down(dir: &Dir, controllers: Controllers) -> Result<(), Error> {
    let now = Controllers::of(&dir.read("cgroup.subtree_control")?);
    let wanted = [
        ("+memory", controllers.memory && !now.memory),
        ("+pids", controllers.pids && !now.pids),
        ("+cpu", controllers.cpu && !now.cpu),
        ("+io", controllers.io && !now.io),
    ];
    let missing: Vec<&str> = wanted.iter().filter(|(_, missing)| *missing).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { dir.write("cgroup.subtree_control", &missing.join(" ")) }
}

/// Writes a number where it differs from what is set; returns whether it wrote.
fn set_number(dir: &Dir, file: &'static str, value: Option<u64>, unlimited: &str) -> Result<bool, Error> {
    if dir.read_number(file)? == value {
        return Ok(false);
    }
    match value {
        Some(value) => dir.write(file, &value.to_string())?,
        None => dir.write(file, unlimited)?,
    }
    Ok(true)
}

/// Memory and memory-with-swap to the same value.
fn set_memory_v1(dir: &Dir, bytes: Option<u64>) -> Result<(), Error> {
    for _ in 0..RACES {
        match set_memory_v1_once(dir, bytes) {
            // Another process set another value at the same time, and so this order was the wrong one.
            Err(error) if error.errno() == Some(libc::EINVAL) => {}
            done => return done,
        }
    }
    set_memory_v1_once(dir, bytes)
}

/// How often another process may come in between.
const RACES: usize = 100;

/// The second may never be below the first, so the order depends on the direction; hosts without swap accounting have only
/// the first.
fn set_memory_v1_once(dir: &Dir, bytes: Option<u64>) -> Result<(), Error> {
    const MEMORY: &str = "memory.limit_in_bytes";
    const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";
    let read = |file| Ok::<_, Error>(dir.read_number(file)?.filter(|bytes| *bytes < UNLIMITED_FROM));
    let with_swap = match read(WITH_SWAP) {
        Err(error) if error.errno() == Some(libc::ENOENT) => bytes,
        with_swap => with_swap?,
    };
    let now = read(MEMORY)?;
    if (now, with_swap) == (bytes, bytes) {
        return Ok(());
    }
    let text = bytes.map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string());
    let raise = bytes.unwrap_or(u64::MAX) > now.unwrap_or(u64::MAX);
    if raise {
        dir.write_if_there(WITH_SWAP, &text)?;
        dir.write(MEMORY, &text)
    } else {
        dir.write(MEMORY, &text)?;
        dir.write_if_there(WITH_SWAP, &text).map(drop)
    }
}

/// Sums lines such as `8:0 Read 4096`.
fn block_bytes_v1(text: &str) -> (u64, u64) {
    let sum = |kind: &str| {
        text.lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace().skip(1);
                (words.next()? == kind).then(|| words.next()?.parse::<u64>().ok()).flatten()
            })
            .sum()
    };
    (sum("Read"), sum("Write"))
}

/// Sums lines such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn block_bytes_v2(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).sum()
    };
    (sum("rbytes="), sum("wbytes="))
}
