//! What `doctor` found, for a person.

use std::fmt::Write as _;

use sandkeep_core::enforcement::Level;
use sandkeep_core::limits::LimitKind;
use sandkeep_runtime::local::probe::State;

use super::report::{Booted, Report};

/// All of it; the last line is the verdict.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    match &report.booted {
        Ok(booted) => limits(&mut text, booted),
        Err(problem) => add(&mut text, format_args!("no sandbox can be made: {problem}")),
    }
    add(&mut text, format_args!(""));
    for finding in &report.findings {
        row(&mut text, finding.subject, &finding.found);
    }
    row(&mut text, "own directory", &report.state_path.display().to_string());
    row(&mut text, "all together", &format!("at most {} of memory", report.ceiling.rounded()));
    for interpreter in &report.interpreters {
        match &interpreter.path {
            Ok(path) => row(&mut text, interpreter.language.as_str(), &path.display().to_string()),
            Err(why) => row(&mut text, interpreter.language.as_str(), &format!("none: {why}")),
        }
    }
    row(&mut text, "shown inside", &format!("{} (read-only)", report.exposed.shown.join(" ")));
    if !report.exposed.hidden.is_empty() {
        row(&mut text, "hidden there", &report.exposed.hidden.join(" "));
    }
    if !report.exposed.shown_in_dev.is_empty() {
        row(&mut text, "in dev besides", &format!("{} (read-only)", report.exposed.shown_in_dev.join(" ")));
    }
    remedies(&mut text, report);
    trials(&mut text, report);
    add(&mut text, format_args!("\nverdict: {}", report.verdict()));
    text
}

fn add(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes everything");
}

fn row(text: &mut String, subject: &str, found: &str) {
    add(text, format_args!("{subject:<18}{found}"));
}

fn limits(text: &mut String, booted: &Booted) {
    row(text, "limit", "kept by");
    for limit in LimitKind::ALL {
        let level = booted.enforcement.level(limit);
        let meaning = match level {
            Level::Kernel => "",
            Level::Watched => "  (measured, and killed when over)",
            Level::None => "  (nothing)",
        };
        row(text, limit.as_str(), &format!("{}{meaning}", level.as_str()));
    }
}

/// Cause and remedy of everything that is less than it could be; what shares both stands together.
fn remedies(text: &mut String, report: &Report) {
    let causes = report.booted.iter().flat_map(|booted| &booted.enforcement.causes);
    let limits = causes.map(|cause| (cause.limit.as_str(), cause.cause.as_str(), cause.remedy.as_str()));
    let weak = report.findings.iter().filter(|finding| finding.state != State::Good);
    let rest = weak.filter_map(|found| Some((found.subject, found.found.as_str(), found.remedy.as_deref()?)));
    let mut told: Vec<(Vec<&str>, &str, &str)> = Vec::new();
    for (subject, cause, remedy) in limits.chain(rest) {
        match told.iter_mut().find(|(_, known, mend)| (*known, *mend) == (cause, remedy)) {
            Some((subjects, ..)) => subjects.push(subject),
            None => told.push((vec![subject], cause, remedy)),
        }
    }
    for (subjects, cause, remedy) in told {
        add(text, format_args!("\n{}: {cause}\n  to mend it: {remedy}", subjects.join(", ")));
    }
}

fn trials(text: &mut String, report: &Report) {
    let Some(trials) = &report.self_test else { return };
    add(text, format_args!(""));
    for trial in trials {
        row(text, &format!("test {}", trial.limit), &format!("{}: {}", trial.outcome.as_str(), trial.seen));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::tests::report;
    use crate::doctor::selftest::{Outcome, Trial};
    use sandkeep_core::code::{ErrorCode, Problem};
    use sandkeep_core::enforcement::Enforcement;

    #[test]
    fn a_cause_is_told_once_with_its_remedy() {
        let mut host = Enforcement::full();
        host.lower(LimitKind::Memory, Level::Watched, "no delegation", "delegate it");
        host.lower(LimitKind::Cpu, Level::None, "no delegation", "delegate it");
        let text = text(&report(Ok(host)));
        assert_eq!(text.matches("to mend it: delegate it").count(), 1, "{text}");
        assert!(text.contains("\nmemory, cpu: no delegation\n"), "{text}");
        assert!(text.contains("\nmemory            watched"), "{text}");
        assert!(text.contains("\nin dev besides    /var/lib/dpkg (read-only)\n"), "{text}");
        assert!(text.contains("\nids: none\n  to mend it: get some\n"), "{text}");
        assert_eq!(text.lines().last().map(|line| line.starts_with("verdict: ready, but")), Some(true));
    }

    #[test]
    fn what_was_tried_is_told_and_what_failed_is_the_verdict() {
        let mut report = report(Ok(Enforcement::full()));
        let tried = [(LimitKind::Cpu, Outcome::NotTried), (LimitKind::Disk, Outcome::Failed)];
        let trial = |(limit, outcome)| Trial { limit, outcome, seen: "exit 0".to_owned() };
        report.self_test = Some(tried.map(trial).into());
        let text = text(&report);
        assert!(
            text.contains("\ntest cpu          not tried: exit 0\ntest disk         FAILED: exit 0\n"),
            "{text}"
        );
        assert!(
            text.ends_with("\nverdict: do not rely on this host: these limits do not hold: disk\n"),
            "{text}"
        );
    }

    #[test]
    fn a_host_without_sandboxes_says_so_first() {
        let text = text(&report(Err(Problem::new(ErrorCode::IsolationUnavailable, "EPERM"))));
        assert!(text.starts_with("no sandbox can be made: isolation_unavailable: EPERM\n"), "{text}");
        assert!(text.ends_with("verdict: nothing can be run here: isolation_unavailable\n"), "{text}");
    }
}
