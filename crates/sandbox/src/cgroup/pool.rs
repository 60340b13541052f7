//! Groups of sandboxes, kept when a sandbox ends and used again by the next one in the same slot.

use std::os::fd::BorrowedFd;

use super::{
    Controllers, Domain, Error, GroupLimits, Layout,
    dir::Dir,
    kill,
    trees::{Trees, hand_down},
};

/// Name of the parent of all our groups, unless told otherwise.
pub const PARENT: &str = "sandkeep";
/// In a version 2 tree the code's groups stand in this child of the sandbox's group, beside [`AGENT`]: a
/// group with limits for its children may hold no processes, and the agent stands outside the code's limits.
const CODE: &str = "code";
/// Leaf for the agent in a version 2 tree.
const AGENT: &str = "agent";
/// Leaf into which processes move that sat in the base of a delegated tree.
const EVACUATED: &str = "sandkeep-outside";

/// The parent group in every tree, with the ceiling for all sandboxes together.
#[derive(Debug)]
pub struct Pool {
    parent: Trees,
    controllers: Controllers,
}

impl Pool {
    /// Opens the group `parent`, making it where it is missing, and gives it the memory ceiling.
    ///
    /// Any number of processes may do this at the same time; the last ceiling wins.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without usable trees, [`Error::File`] where the kernel refuses.
    pub fn open(layout: &Layout, parent: &str, ceiling_bytes: Option<u64>) -> Result<Self, Error> {
        let roots = Trees::roots(layout)?;
        if let (Layout::V2(v2), Some(base)) = (layout, &roots.unified) {
            if v2.evacuate {
                evacuate(base)?;
            }
            hand_down(base, v2.controllers)?;
        }
        let (parent, made) = roots.child_or_make(parent)?;
        if let Some(dir) = parent.memory.as_ref().filter(|_| made) {
            old_hierarchy(dir)?;
        }
        parent.hand_down()?;
        parent.set_memory(ceiling_bytes)?;
        Ok(Self { parent, controllers: layout.controllers() })
    }

    /// Which limits the groups of this pool hold.
    #[must_use]
    pub fn controllers(&self) -> Controllers {
        self.controllers
    }

    /// The group of sandbox slot `slot`, emptied of whatever an earlier use left and set to `limits`.
    ///
    /// The caller holds the lock of the slot: two claims of one slot at the same time kill each other.
    ///
    /// # Errors
    /// [`Error::StillAlive`] if leftovers cannot be killed, [`Error::File`] where the kernel refuses.
    pub fn claim(&self, slot: u32, limits: &GroupLimits) -> Result<Group, Error> {
        let (mut group, made) = self.open_slot(slot)?;
        if made {
            group.code.set_new(limits)?;
        } else if !group.is_clean()? || group.code.set(limits).is_err() {
            // Killed before, or what is charged does not fit the new limits, or a child's CPU quota
            // stands above the new one: begin afresh.
            self.remove_slot(&group)?;
            (group, _) = self.open_slot(slot)?;
            group.code.set_new(limits)?;
        }
        group.limits = *limits;
        Ok(group)
    }

    /// Kills everything in groups of slots that nobody holds, and removes those groups if asked to.
    ///
    /// `lock` takes the lock of a slot and returns the guard that keeps it, or `None` if the slot is in use:
    /// the guard is held while the slot is swept, so no sandbox can start in it meanwhile.
    ///
    /// # Errors
    /// The first refusal of the kernel, after every slot was tried.
    pub fn sweep<G>(&self, mut lock: impl FnMut(u32) -> Option<G>, remove: bool) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let mut first = None;
        for slot in self.slots()? {
            let Some(guard) = lock(slot) else { continue };
            if let Err(e) = self.sweep_slot(slot, remove, &mut swept) {
                first.get_or_insert(e);
            }
            drop(guard);
        }
        first.map_or(Ok(swept), Err)
    }

    fn sweep_slot(&self, slot: u32, remove: bool, swept: &mut Swept) -> Result<(), Error> {
        let (group, _) = self.open_slot(slot)?;
        if !group.is_empty()? {
            swept.killed.push(slot);
            group.empty()?;
        }
        if remove {
            self.remove_slot(&group)?;
            swept.removed.push(slot);
        }
        Ok(())
    }

    /// The group of `slot` as it is, and whether it was made just now.
    fn open_slot(&self, slot: u32) -> Result<(Group, bool), Error> {
        let (top, made) = self.parent.child_or_make(&slot_name(slot))?;
        Ok((Group::below(slot, top, made)?, made))
    }

    /// Slots that have a group in any tree.
    fn slots(&self) -> Result<Vec<u32>, Error> {
        let mut slots = Vec::new();
        for dir in self.parent.v1_dirs().into_iter().chain(&self.parent.unified) {
            slots.extend(
                dir.children()?.iter().filter_map(|name| name.strip_prefix('s')?.parse::<u32>().ok()),
            );
        }
        slots.sort_unstable();
        slots.dedup();
        Ok(slots)
    }

    /// Removes an empty group.
    fn remove_slot(&self, group: &Group) -> Result<(), Error> {
        group.drop_domains()?;
        for name in [CODE, AGENT] {
            group.top.iter().try_for_each(|dir| dir.remove_child(name))?;
        }
        self.parent.remove_child(&slot_name(group.slot))
    }
}

/// What [`Pool::sweep`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Slots in which processes were killed.
    pub killed: Vec<u32>,
    /// Slots whose groups were removed.
    pub removed: Vec<u32>,
}

/// The group of one sandbox.
#[derive(Debug)]
pub struct Group {
    slot: u32,
    /// The sandbox's group in the version 2 tree, above the code's; the agent's leaf in it.
    top: Option<Dir>,
    agent: Option<Dir>,
    /// The group that limits the code.
    code: Trees,
    limits: GroupLimits,
    /// Host uid that may place processes in the domains, besides us.
    agent_uid: Option<u32>,
}

impl Group {
    fn below(slot: u32, mut top: Trees, made: bool) -> Result<Self, Error> {
        let (mut unified_top, mut agent) = (None, None);
        if let Some(dir) = top.unified.take() {
            if made {
                hand_down(&dir, top.handed)?;
            }
            agent = Some(dir.child_or_make(AGENT)?.0);
            let (code, code_made) = dir.child_or_make(CODE)?;
            if code_made {
                hand_down(&code, top.handed)?;
            }
            top.unified = Some(code);
            unified_top = Some(dir);
        }
        Ok(Self { slot, top: unified_top, agent, code: top, limits: GroupLimits::default(), agent_uid: None })
    }

    /// The slot this group belongs to.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Lets the process with host user id `uid`, the agent, clone its children into domains.
    ///
    /// The kernel asks the cloning process itself for the right to write `cgroup.procs` of the target and
    /// of the nearest group above both; so the agent must also be in [`Group::agent_leaf`]. Needed only
    /// where that uid is not ours. Domains opened before this call do not get it.
    ///
    /// # Errors
    /// [`Error::File`] where the kernel refuses.
    pub fn admit(&mut self, uid: u32) -> Result<(), Error> {
        for dir in self.top.iter().chain(&self.agent) {
            dir.give("cgroup.procs", uid)?;
        }
        self.agent_uid = Some(uid);
        Ok(())
    }

    /// Directory of the agent's leaf, to be cloned into (`clone3` with `CLONE_INTO_CGROUP`); version 2 trees only.
    #[must_use]
    pub fn agent_leaf(&self) -> Option<BorrowedFd<'_>> {
        self.agent.as_ref().map(Dir::as_fd)
    }

    /// The kill and accounting domain number `k`, empty and counting from zero, held to `limits` besides the
    /// sandbox's own.
    ///
    /// # Errors
    /// [`Error::StillAlive`] if leftovers cannot be killed, [`Error::File`] where the kernel refuses.
    pub fn domain(&self, k: u32, limits: Option<&GroupLimits>) -> Result<Domain, Error> {
        Domain::open(&self.code, k, &self.clamped(limits), self.agent_uid)
    }

    /// Makes an ended domain ready for the next execution; cheaper than [`Group::domain`].
    ///
    /// # Errors
    /// As [`Group::domain`].
    pub fn renew(&self, domain: &mut Domain, limits: Option<&GroupLimits>) -> Result<(), Error> {
        domain.renew(&self.code, &self.clamped(limits), self.agent_uid)
    }

    /// Version 1 refuses a child's CPU quota above its parent's.
    fn clamped(&self, limits: Option<&GroupLimits>) -> GroupLimits {
        let mut limits = limits.copied().unwrap_or_default();
        if let (Some(own), Some(most)) = (limits.cpu_millis, self.limits.cpu_millis) {
            limits.cpu_millis = Some(own.min(most));
        }
        limits
    }

    /// Whether no process is left in the sandbox, the agent's leaf included.
    ///
    /// # Errors
    /// [`Error::File`] where the kernel refuses.
    pub fn is_empty(&self) -> Result<bool, Error> {
        let code = self.code.is_empty()?;
        match &self.top {
            Some(dir) => Ok(code && dir.read_keyed("cgroup.events", "populated")? == 0),
            None => Ok(code),
        }
    }

    /// Kills everything in the sandbox, the agent's leaf included, and waits until it is gone.
    ///
    /// # Errors
    /// [`Error::StillAlive`] after the bounded wait, [`Error::File`] where the kernel refuses.
    pub fn empty(&self) -> Result<(), Error> {
        if self.is_empty()? {
            return Ok(());
        }
        match &self.top {
            Some(dir) => kill::unified(dir),
            None => kill::v1(&self.code),
        }
    }

    /// Kernel memory charged to the code of this sandbox, in bytes; `None` where the kernel does not say.
    #[must_use]
    pub fn kernel_memory_bytes(&self) -> Option<u64> {
        self.code.kernel_memory()
    }

    /// Memory charged to the code of this sandbox now that the kernel cannot just drop, in bytes: tmpfs included, cached files
    /// of other file systems not.
    #[must_use]
    pub fn held_bytes(&self) -> Option<u64> {
        Some(self.code.memory_now()?.saturating_sub(self.code.cached_files()))
    }

    /// Gives the group back to the pool: kills what is left. Directories and limits stay for the next claim:
    /// making them anew is as fast as checking them, but removing them takes 0.4 ms.
    ///
    /// # Errors
    /// As [`Group::empty`].
    pub fn release(self) -> Result<(), Error> {
        self.empty()
    }

    /// Empties the group, and says whether it can be used again as it is.
    fn is_clean(&self) -> Result<bool, Error> {
        self.empty()?;
        self.top.as_ref().map_or(Ok(true), |dir| kill::was_killed(dir).map(|killed| !killed))
    }

    fn drop_domains(&self) -> Result<(), Error> {
        for dir in self.code.v1_dirs().into_iter().chain(&self.code.unified) {
            for name in dir.children()? {
                dir.remove_child(&name)?;
            }
        }
        Ok(())
    }
}

fn slot_name(slot: u32) -> String {
    format!("s{slot}")
}

/// Kernels before 5.11 let a version 1 memory group be flat; ours are trees.
fn old_hierarchy(dir: &Dir) -> Result<(), Error> {
    if dir.read_number("memory.use_hierarchy").is_ok_and(|value| value == Some(0)) {
        dir.write("memory.use_hierarchy", "1")?;
    }
    Ok(())
}

/// Moves every process of a delegated base into a leaf, so that the base may hand controllers down.
fn evacuate(base: &Dir) -> Result<(), Error> {
    const ROUNDS: u32 = 16;
    let (leaf, _) = base.child_or_make(EVACUATED)?;
    for _ in 0..ROUNDS {
        let pids = base.read_pids()?;
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids {
            match leaf.write("cgroup.procs", &pid.to_string()) {
                Err(e) if e.errno() != Some(libc::ESRCH) => return Err(e),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}
