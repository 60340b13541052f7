//! One execution's group: what kills it, counts it and tells why it died.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use rustix::fs::OFlags;

use super::{
    Error, GroupLimits,
    dir::{Dir, keyed},
    kill,
    trees::Trees,
    watch::OomWatch,
};

/// A group is thrown away rather than used again when more than this many bytes stay charged to it (page
/// cache of files it read or wrote): they would count towards the next execution's peak.
const RESIDUE_MOST_BYTES: u64 = 16 << 20;

/// What one execution used. Bytes count transfers to and from block devices, not to memory file systems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_user_us: u64,
    pub cpu_system_us: u64,
    /// Most memory charged at once, page cache and tmpfs included. `None` where the kernel keeps no peak
    /// (version 2 before 5.19, or no memory controller).
    pub peak_memory_bytes: Option<u64>,
    pub read_bytes: u64,
    pub write_bytes: u64,
}

/// The group of one execution.
#[derive(Debug)]
pub struct Domain {
    k: u32,
    trees: Trees,
    entry: Vec<OwnedFd>,
    unified_procs: Option<OwnedFd>,
    /// Version 2 resets a peak per open file.
    peak: Option<File>,
    oom: Option<OomWatch>,
    start: Start,
}

/// Counters when the execution began.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    usage: Usage,
    oom_kills: u64,
    refused_forks: u64,
    limit_hits: u64,
    memory: u64,
}

impl Domain {
    pub(super) fn open(
        code: &Trees,
        k: u32,
        limits: &GroupLimits,
        agent_uid: Option<u32>,
    ) -> Result<Self, Error> {
        let (trees, made) = Self::trees(code, k, limits)?;
        let mut domain = Self {
            k,
            entry: Vec::new(),
            unified_procs: None,
            peak: None,
            oom: None,
            start: Start::default(),
            trees,
        };
        domain.open_entry(agent_uid)?;
        if made {
            domain.begin(limits)?;
        } else {
            domain.renew(code, limits, agent_uid)?;
        }
        Ok(domain)
    }

    /// Sets up a group that was made just now: every counter is at zero.
    fn begin(&mut self, limits: &GroupLimits) -> Result<(), Error> {
        self.start = Start::default();
        self.trees.set_new(limits)?;
        if let Some(dir) = self.trees.unified.as_ref().filter(|_| self.trees.handed.memory) {
            dir.write_if_there("memory.oom.group", "1")?;
            self.peak = dir.open_file("memory.peak", OFlags::RDONLY).ok().map(File::from);
        }
        Ok(())
    }

    /// The group's directories. Without a CPU limit of its own the execution counts against the sandbox's
    /// CPU group itself: a deeper group would only cost the scheduler.
    fn trees(code: &Trees, k: u32, limits: &GroupLimits) -> Result<(Trees, bool), Error> {
        let name = format!("e{k}");
        // Where `cpuacct` is mounted together with `cpu`, the group is needed for its clock.
        let (trees, made) = if limits.cpu_millis.is_none() && code.cpuacct.is_none() {
            code.child_sharing_cpu(&name)?
        } else {
            code.child_or_make(&name)?
        };
        Ok((trees, made))
    }

    /// Opens what an execution needs to enter.
    fn open_entry(&mut self, agent_uid: Option<u32>) -> Result<(), Error> {
        self.entry.clear();
        for dir in self.trees.v1_dirs() {
            self.entry.push(dir.open_file("tasks", OFlags::WRONLY)?);
        }
        self.unified_procs = None;
        if let Some(dir) = &self.trees.unified {
            self.unified_procs = Some(dir.open_file("cgroup.procs", OFlags::WRONLY)?);
            if let Some(uid) = agent_uid {
                dir.give("cgroup.procs", uid)?;
            }
        }
        Ok(())
    }

    pub(super) fn renew(
        &mut self,
        code: &Trees,
        limits: &GroupLimits,
        agent_uid: Option<u32>,
    ) -> Result<(), Error> {
        self.thaw()?;
        if !self.is_empty()? {
            self.kill_and_wait()?;
        }
        let shape_changed = self.trees.shared_cpu.is_some() && limits.cpu_millis.is_some();
        let killed = self.trees.unified.as_ref().map_or(Ok(false), kill::was_killed)?;
        if killed || shape_changed || self.residue() > RESIDUE_MOST_BYTES || self.trees.set(limits).is_err() {
            return self.replace(code, limits, agent_uid);
        }
        match self.count_from_here() {
            Ok(()) => Ok(()),
            Err(_) => self.replace(code, limits, agent_uid),
        }
    }

    /// Removes the group and makes it anew: the way to a clean count where nothing can be reset.
    fn replace(&mut self, code: &Trees, limits: &GroupLimits, agent_uid: Option<u32>) -> Result<(), Error> {
        (self.peak, self.oom) = (None, None);
        let name = format!("e{}", self.k);
        code.remove_child(&name)?;
        let (trees, _) = Self::trees(code, self.k, limits)?;
        self.trees = trees;
        self.open_entry(agent_uid)?;
        self.begin(limits)
    }

    /// The number of this domain in its sandbox.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.k
    }

    /// Directory to clone the execution into (`clone3` with `CLONE_INTO_CGROUP`); version 2 trees only.
    /// See [`super::enter`].
    #[must_use]
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.trees.unified.as_ref().map(Dir::as_fd)
    }

    /// Write-only `tasks` files of the version 1 groups: the forked child, still single-threaded, writes `0`
    /// to each ([`super::enter`]). The kernel asks for the rights of whoever opened them, so the child needs none.
    #[must_use]
    pub fn procs_fds(&self) -> &[OwnedFd] {
        &self.entry
    }

    /// `cgroup.procs` of the version 2 group, for a child that could not be cloned into it: it writes `0`
    /// before it writes to [`Domain::procs_fds`]. Takes 5 to 25 ms where [`Domain::clone_into`] takes nothing.
    #[must_use]
    pub fn unified_procs_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified_procs.as_ref().map(|fd| fd.as_fd())
    }

    /// Sends SIGKILL to everything in the domain, frozen or not, without waiting for it to end.
    ///
    /// Without a version 2 tree a child is in the domain only from when it has written to [`Domain::procs_fds`]: until
    /// it says so, its parent must kill it by its process id.
    ///
    /// # Errors
    /// [`Error::File`] where the kernel refuses.
    pub fn kill(&self) -> Result<(), Error> {
        match &self.trees.unified {
            Some(dir) => kill::signal_unified(dir),
            None => kill::signal_v1(&self.trees),
        }
    }

    /// Kills everything in the domain and waits until it is gone, about two seconds at most.
    ///
    /// # Errors
    /// [`Error::StillAlive`] after that, [`Error::File`] where the kernel refuses.
    pub fn kill_and_wait(&self) -> Result<(), Error> {
        match &self.trees.unified {
            Some(dir) => kill::unified(dir),
            None => kill::v1(&self.trees),
        }
    }

    /// Stops everything in the domain until [`Domain::thaw`]. Takes effect soon after, not at once.
    ///
    /// # Errors
    /// [`Error::File`] where the kernel refuses.
    pub fn freeze(&self) -> Result<(), Error> {
        match (&self.trees.unified, &self.trees.freezer) {
            (Some(dir), _) => dir.write("cgroup.freeze", "1"),
            (None, Some(dir)) => dir.write("freezer.state", "FROZEN"),
            (None, None) => Ok(()),
        }
    }

    /// Lets a frozen domain run again.
    ///
    /// # Errors
    /// [`Error::File`] where the kernel refuses.
    pub fn thaw(&self) -> Result<(), Error> {
        match (&self.trees.unified, &self.trees.freezer) {
            (Some(dir), _) => dir.write("cgroup.freeze", "0"),
            (None, Some(dir)) => dir.write("freezer.state", "THAWED"),
            (None, None) => Ok(()),
        }
    }

    /// Whether no process is left.
    ///
    /// # Errors
    /// [`Error::File`] where the kernel refuses.
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.trees.is_empty()
    }

    /// Processes of the domain, as this process numbers them.
    ///
    /// # Errors
    /// [`Error::File`] where the kernel refuses.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        self.trees.members().map_or(Ok(Vec::new()), Dir::read_pids)
    }

    /// How many processes the kernel has killed here for want of memory since the domain was made ready.
    ///
    /// # Errors
    /// [`Error::File`] where the kernel refuses.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        Ok(self.oom_kills_ever()?.saturating_sub(self.start.oom_kills))
    }

    /// How many forks the process limit has refused since the domain was made ready.
    ///
    /// # Errors
    /// [`Error::File`] where the kernel refuses.
    pub fn refused_forks(&self) -> Result<u64, Error> {
        Ok(self.refused_forks_ever()?.saturating_sub(self.start.refused_forks))
    }

    /// A descriptor that becomes ready when the domain runs out of memory; made at the first call and kept.
    ///
    /// # Errors
    /// [`Error::File`] where the kernel refuses. `Ok(None)` without a memory controller.
    pub fn oom_watch(&mut self) -> Result<Option<&OomWatch>, Error> {
        if self.oom.is_none() {
            self.oom = OomWatch::new(&self.trees)?;
        }
        Ok(self.oom.as_ref())
    }

    /// What was used since the domain was made ready.
    ///
    /// # Errors
    /// [`Error::File`] where the kernel refuses.
    pub fn usage(&self) -> Result<Usage, Error> {
        let (now, start) = (self.counters()?, self.start.usage);
        Ok(Usage {
            cpu_user_us: now.cpu_user_us.saturating_sub(start.cpu_user_us),
            cpu_system_us: now.cpu_system_us.saturating_sub(start.cpu_system_us),
            read_bytes: now.read_bytes.saturating_sub(start.read_bytes),
            write_bytes: now.write_bytes.saturating_sub(start.write_bytes),
            peak_memory_bytes: self.peak_memory(),
        })
    }

    /// The highest charge, less what was charged already at the start. If the limit was hit, the kernel may have
    /// reclaimed that residue, so nothing is taken off.
    fn peak_memory(&self) -> Option<u64> {
        let peak = match (&self.trees.memory, &self.peak) {
            (Some(dir), _) => dir.read_number("memory.max_usage_in_bytes").ok()??,
            (None, Some(file)) => read_number_at_start(file)?,
            (None, None) => return None,
        };
        let untouched = self.limit_hits_ever() == self.start.limit_hits;
        Some(if untouched { peak.saturating_sub(self.start.memory) } else { peak })
    }

    /// Resets what can be reset and notes the rest.
    fn count_from_here(&mut self) -> Result<(), Error> {
        if let Some(dir) = &self.trees.memory {
            dir.write("memory.max_usage_in_bytes", "0")?;
        } else if let Some(dir) = self.trees.unified.as_ref().filter(|_| self.trees.handed.memory) {
            self.peak = reset_peak(dir)?;
        }
        self.start = Start {
            usage: self.counters()?,
            oom_kills: self.oom_kills_ever()?,
            refused_forks: self.refused_forks_ever()?,
            limit_hits: self.limit_hits_ever(),
            memory: self.residue(),
        };
        Ok(())
    }

    fn residue(&self) -> u64 {
        self.trees.memory_now().unwrap_or(0)
    }

    /// CPU time and bytes since the group was made.
    fn counters(&self) -> Result<Usage, Error> {
        let (cpu_user_us, cpu_system_us) = self.trees.cpu_times()?;
        let (read_bytes, write_bytes) = self.trees.block_bytes()?;
        Ok(Usage { cpu_user_us, cpu_system_us, peak_memory_bytes: None, read_bytes, write_bytes })
    }

    fn oom_kills_ever(&self) -> Result<u64, Error> {
        match (&self.trees.memory, &self.trees.unified) {
            (Some(dir), _) => dir.read_keyed("memory.oom_control", "oom_kill"),
            (None, Some(dir)) if self.trees.handed.memory => dir.read_keyed("memory.events", "oom_kill"),
            (None, _) => Ok(0),
        }
    }

    fn refused_forks_ever(&self) -> Result<u64, Error> {
        match (&self.trees.pids, &self.trees.unified) {
            (Some(dir), _) => dir.read_keyed("pids.events", "max"),
            (None, Some(dir)) if self.trees.handed.pids => dir.read_keyed("pids.events", "max"),
            (None, _) => Ok(0),
        }
    }

    fn limit_hits_ever(&self) -> u64 {
        match (&self.trees.memory, &self.trees.unified) {
            (Some(dir), _) => dir.read_number("memory.failcnt").ok().flatten().unwrap_or(0),
            (None, Some(dir)) => {
                dir.read("memory.events").ok().and_then(|text| keyed(&text, "max")).unwrap_or(0)
            }
            (None, None) => 0,
        }
    }
}

/// Resets a version 2 peak for readers of the returned file.
///
/// From 6.12 a write resets it, for the file it went through. Between 5.19 and that the peak can be read but
/// not reset: an error, on which the caller replaces the group. Before 5.19 there is no peak.
fn reset_peak(dir: &Dir) -> Result<Option<File>, Error> {
    if let Ok(fd) = dir.open_file("memory.peak", OFlags::RDWR) {
        let file = File::from(fd);
        return match file.write_at(b"reset", 0) {
            Ok(_) => Ok(Some(file)),
            Err(_) => Err(dir.error("reset", "memory.peak", rustix::io::Errno::OPNOTSUPP)),
        };
    }
    match dir.open_file("memory.peak", OFlags::RDONLY) {
        Ok(_) => Err(dir.error("reset", "memory.peak", rustix::io::Errno::OPNOTSUPP)),
        Err(e) if e.errno() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn read_number_at_start(file: &File) -> Option<u64> {
    let mut buffer = [0u8; 32];
    let length = file.read_at(&mut buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()?.trim().parse().ok()
}
