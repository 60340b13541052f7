//! What a host can hold of each limit, said honestly.
//!
//! A driver looks at its host and fills an [`Enforcement`]; [`Enforcement::check`] then decides, from
//! what was asked for, whether a start may go ahead.

use serde::{Deserialize, Serialize};

use crate::code::{ErrorCode, Problem};
use crate::limits::{Explicit, LimitKind};

/// How a limit is held. The order is from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Not at all.
    None,
    /// We look often and kill what went over; it may overshoot for a moment.
    Watched,
    /// Cannot be passed: held by the kernel, or by the supervisor through whose hands all of it goes.
    Kernel,
}

impl Level {
    /// The name used in JSON and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::None => "none",
            Level::Watched => "watched",
            Level::Kernel => "kernel",
        }
    }
}

/// Why a limit is held less than fully, and what would mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The limit.
    pub limit: LimitKind,
    /// How it is held.
    pub level: Level,
    /// What is missing on this host, as a sentence without its end.
    pub cause: String,
    /// The command or setting that mends it.
    pub remedy: String,
}

/// How each limit is held on a host, or was held in an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// Memory.
    pub memory: Level,
    /// Processor share.
    pub cpu: Level,
    /// Processes.
    pub processes: Level,
    /// Disk bytes.
    pub disk: Level,
    /// Disk inodes.
    pub inodes: Level,
    /// Wall time.
    pub timeout: Level,
    /// Output.
    pub output: Level,
    /// One entry for each limit below [`Level::Kernel`].
    pub causes: Vec<Cause>,
}

/// How strict a start is about what the host cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Demand {
    /// A limit that was asked for must be held somehow. The default.
    #[default]
    AskedFor,
    /// `--allow-unenforced`: start whatever is held.
    AllowUnenforced,
    /// `--require-limits`: every limit must be held by the kernel.
    RequireKernel,
}

impl Enforcement {
    /// Every limit held by the kernel.
    pub fn full() -> Self {
        let kernel = Level::Kernel;
        Enforcement {
            memory: kernel,
            cpu: kernel,
            processes: kernel,
            disk: kernel,
            inodes: kernel,
            timeout: kernel,
            output: kernel,
            causes: Vec::new(),
        }
    }

    /// How `kind` is held.
    pub fn level(&self, kind: LimitKind) -> Level {
        match kind {
            LimitKind::Timeout => self.timeout,
            LimitKind::Memory => self.memory,
            LimitKind::Cpu => self.cpu,
            LimitKind::Processes => self.processes,
            LimitKind::Disk => self.disk,
            LimitKind::Inodes => self.inodes,
            LimitKind::Output => self.output,
        }
    }

    /// Records that `limit` is held only at `level`, and why.
    pub fn lower(&mut self, limit: LimitKind, level: Level, cause: &str, remedy: &str) {
        *self.level_mut(limit) = level;
        self.causes.retain(|known| known.limit != limit);
        self.causes.push(Cause { limit, level, cause: cause.to_owned(), remedy: remedy.to_owned() });
    }

    fn level_mut(&mut self, kind: LimitKind) -> &mut Level {
        match kind {
            LimitKind::Timeout => &mut self.timeout,
            LimitKind::Memory => &mut self.memory,
            LimitKind::Cpu => &mut self.cpu,
            LimitKind::Processes => &mut self.processes,
            LimitKind::Disk => &mut self.disk,
            LimitKind::Inodes => &mut self.inodes,
            LimitKind::Output => &mut self.output,
        }
    }

    /// Whether a start may go ahead when `explicit` limits were asked for under `demand`.
    ///
    /// # Errors
    /// `limit_not_enforceable`, naming the first limit that stands in the way, the cause and the remedy.
    pub fn check(&self, explicit: Explicit, demand: Demand) -> Result<(), Problem> {
        let stands_in_the_way = |kind: LimitKind| match demand {
            Demand::AllowUnenforced => false,
            Demand::AskedFor => explicit.contains(kind) && self.level(kind) == Level::None,
            Demand::RequireKernel => self.level(kind) != Level::Kernel,
        };
        match LimitKind::ALL.into_iter().find(|&kind| stands_in_the_way(kind)) {
            Some(kind) => Err(self.refusal(kind)),
            None => Ok(()),
        }
    }

    fn refusal(&self, kind: LimitKind) -> Problem {
        let held = match self.level(kind) {
            Level::None => "cannot be enforced on this host",
            Level::Watched => "can only be watched on this host",
            Level::Kernel => "is enforced by the kernel",
        };
        let cause = self.causes.iter().find(|cause| cause.limit == kind);
        let why = cause.map(|cause| format!(" ({})", cause.cause)).unwrap_or_default();
        let mend = cause.map(|cause| format!("{}, or ", cause.remedy)).unwrap_or_default();
        let message = format!("the limit on {kind} {held}{why}; {mend}add --allow-unenforced");
        let mut problem = Problem::new(ErrorCode::LimitNotEnforceable, message);
        problem.value = Some(kind.as_str().to_owned());
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Enforcement {
        let mut host = Enforcement::full();
        host.lower(LimitKind::Cpu, Level::None, "no control group is delegated", "run as root");
        host.lower(LimitKind::Memory, Level::Watched, "no control group is delegated", "run as root");
        host
    }

    #[test]
    fn a_start_is_refused_for_what_was_asked_and_cannot_be_held() {
        let asked = |kind| Explicit::NONE.with(kind, true);
        let cases = [
            (Explicit::NONE, Demand::AskedFor, None),
            (asked(LimitKind::Memory), Demand::AskedFor, None),
            (asked(LimitKind::Cpu), Demand::AskedFor, Some("cpu")),
            (asked(LimitKind::Cpu), Demand::AllowUnenforced, None),
            (Explicit::NONE, Demand::RequireKernel, Some("memory")),
        ];
        for (explicit, demand, refused) in cases {
            let problem = host().check(explicit, demand).err();
            assert_eq!(problem.and_then(|problem| problem.value).as_deref(), refused, "{demand:?}");
        }
        assert_eq!(Enforcement::full().check(Explicit::NONE, Demand::RequireKernel), Ok(()));
    }

    #[test]
    fn a_refusal_names_cause_and_remedy() {
        let problem = host().check(Explicit::NONE.with(LimitKind::Cpu, true), Demand::AskedFor).unwrap_err();
        assert_eq!(
            problem.to_string(),
            "limit_not_enforceable: the limit on cpu cannot be enforced on this host (no control group is \
             delegated); run as root, or add --allow-unenforced"
        );
    }

    #[test]
    fn lowering_twice_keeps_the_last_word() {
        let mut host = host();
        host.lower(LimitKind::Cpu, Level::Watched, "later", "mend");
        assert_eq!(host.level(LimitKind::Cpu), Level::Watched);
        assert_eq!(host.causes.iter().filter(|cause| cause.limit == LimitKind::Cpu).count(), 1);
    }

    #[test]
    fn every_limit_has_its_level() {
        for kind in LimitKind::ALL {
            let mut host = Enforcement::full();
            host.lower(kind, Level::None, "", "");
            let lowered = LimitKind::ALL.into_iter().filter(|&other| host.level(other) == Level::None);
            assert_eq!(lowered.collect::<Vec<_>>(), [kind]);
        }
    }

    #[test]
    fn levels_are_those_of_json_and_ordered() {
        for level in [Level::None, Level::Watched, Level::Kernel] {
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
        }
        assert!(Level::None < Level::Watched && Level::Watched < Level::Kernel);
    }
}
