//! What `doctor` found, and the verdict.

use std::path::PathBuf;

use sandkeep_core::code::Problem;
use sandkeep_core::enforcement::{Enforcement, Level};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::Facts;
use sandkeep_runtime::local::Interpreter;
use sandkeep_runtime::local::probe::{Exposed, Finding, State};
use serde_json::{Value, json};

use super::selftest::{Outcome, Trial};

/// A sandbox that was made.
#[derive(Debug)]
pub(super) struct Booted {
    pub(super) enforcement: Enforcement,
    pub(super) facts: Facts,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    pub(super) booted: Result<Booted, Problem>,
    pub(super) self_test: Option<Vec<Trial>>,
    pub(super) interpreters: Vec<Interpreter>,
    pub(super) exposed: Exposed,
    pub(super) state_path: PathBuf,
    pub(super) ceiling: ByteSize,
}

impl Report {
    /// Whether programs can be run, and limits hold as they say.
    pub(super) fn is_fit(&self) -> bool {
        self.booted.is_ok() && self.failed_trials().is_empty()
    }

    fn failed_trials(&self) -> Vec<&str> {
        let trials = self.self_test.iter().flatten();
        trials.filter(|trial| trial.outcome == Outcome::Failed).map(|trial| trial.limit.as_str()).collect()
    }

    /// One sentence.
    pub(super) fn verdict(&self) -> String {
        let booted = match &self.booted {
            Ok(booted) => booted,
            Err(problem) => return format!("nothing can be run here: {}", problem.code),
        };
        let failed = self.failed_trials();
        if !failed.is_empty() {
            return format!("do not rely on this host: these limits do not hold: {}", failed.join(", "));
        }
        let at = |level| {
            let limits = LimitKind::ALL.into_iter().filter(|&limit| booted.enforcement.level(limit) == level);
            limits.map(LimitKind::as_str).collect::<Vec<_>>().join(", ")
        };
        match (at(Level::Watched), at(Level::None)) {
            (watched, none) if watched.is_empty() && none.is_empty() => {
                "ready, and the kernel keeps every limit".to_owned()
            }
            (watched, none) if none.is_empty() => {
                format!("ready; watched, not kept by the kernel: {watched}")
            }
            (watched, none) if watched.is_empty() => format!("ready, but not limited: {none}"),
            (watched, none) => format!("ready, but not limited: {none}; watched: {watched}"),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "subject": finding.subject,
                "state": state(finding.state),
                "found": finding.found,
                "remedy": finding.remedy,
            })
        });
        let interpreters = self.interpreters.iter().map(|interpreter| {
            json!({
                "language": interpreter.language,
                "path": interpreter.path.as_ref().ok(),
                "reason": interpreter.path.as_ref().err(),
            })
        });
        let trials = self.self_test.as_ref().map(|trials| {
            trials
                .iter()
                .map(|trial| json!({"limit": trial.limit, "outcome": trial.outcome, "seen": trial.seen}))
                .collect::<Vec<_>>()
        });
        json!({
            "fit": self.is_fit(),
            "verdict": self.verdict(),
            "problem": self.booted.as_ref().err(),
            "enforcement": self.booted.as_ref().ok().map(|booted| &booted.enforcement),
            "sandbox": self.booted.as_ref().ok().map(|booted| facts(&booted.facts)),
            "host": findings.collect::<Vec<_>>(),
            "interpreters": interpreters.collect::<Vec<_>>(),
            "exposed": {
                "shown": self.exposed.shown,
                "hidden": self.exposed.hidden,
                "shown_in_dev": self.exposed.shown_in_dev,
            },
            "state_directory": self.state_path,
            "all_sandboxes_memory_bytes": self.ceiling,
            "self_test": trials,
        })
    }
}

fn facts(facts: &Facts) -> Value {
    json!({
        "user_host_id": facts.user_host_id,
        "agent_host_id": facts.agent_host_id,
        "id_count": facts.id_count,
        "landlock_abi": facts.landlock_abi,
    })
}

fn state(state: State) -> &'static str {
    match state {
        State::Good => "good",
        State::Weaker => "weaker",
        State::Missing => "missing",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use sandkeep_core::code::ErrorCode;

    pub(in crate::doctor) fn report(booted: Result<Enforcement, Problem>) -> Report {
        Report {
            findings: vec![Finding {
                subject: "ids",
                state: State::Weaker,
                found: "none".to_owned(),
                remedy: Some("get some".to_owned()),
            }],
            booted: booted.map(|enforcement| Booted { enforcement, facts: Facts::default() }),
            self_test: None,
            interpreters: Vec::new(),
            exposed: Exposed {
                shown: vec!["/usr".to_owned()],
                hidden: Vec::new(),
                shown_in_dev: vec!["/var/lib/dpkg".to_owned()],
            },
            state_path: "/run/x".into(),
            ceiling: ByteSize::from_gib(1),
        }
    }

    #[test]
    fn the_verdict_names_what_is_not_kept() {
        let mut host = Enforcement::full();
        assert_eq!(report(Ok(host.clone())).verdict(), "ready, and the kernel keeps every limit");
        host.lower(LimitKind::Memory, Level::Watched, "c", "r");
        assert_eq!(report(Ok(host.clone())).verdict(), "ready; watched, not kept by the kernel: memory");
        host.lower(LimitKind::Cpu, Level::None, "c", "r");
        let all = report(Ok(host));
        assert_eq!(all.verdict(), "ready, but not limited: cpu; watched: memory");
        assert!(all.is_fit());
        let none = report(Err(Problem::new(ErrorCode::IsolationUnavailable, "EPERM")));
        assert_eq!(none.verdict(), "nothing can be run here: isolation_unavailable");
        assert!(!none.is_fit());
    }

    #[test]
    fn a_limit_that_does_not_hold_is_the_verdict() {
        let trial = |outcome| Trial { limit: LimitKind::Disk, outcome, seen: String::new() };
        for (outcome, fit) in [(Outcome::Held, true), (Outcome::NotTried, true), (Outcome::Failed, false)] {
            let mut report = report(Ok(Enforcement::full()));
            report.self_test = Some(vec![trial(outcome)]);
            assert_eq!(report.is_fit(), fit);
            assert_eq!(report.verdict().contains("do not hold: disk"), !fit);
        }
    }

    #[test]
    fn json_has_every_field_whatever_happened() {
        let full = report(Ok(Enforcement::full())).to_json();
        let none = report(Err(Problem::new(ErrorCode::IsolationUnavailable, "EPERM"))).to_json();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&full), keys(&none));
        assert_eq!(none["problem"]["code"], "isolation_unavailable");
        assert_eq!(full["host"][0]["remedy"], "get some");
    }
}
