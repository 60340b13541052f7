//! What the run showed: a table for people, JSON for programs. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sandkeep_core::enforcement::Enforcement;
use sandkeep_core::sandbox::Profile;
use serde::Serialize;

use super::As;
use super::judge::Verdict;
use super::program::Program;
use super::suite::Row;

/// The whole run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Programs that ran.
    pub(super) total: usize,
    /// Those that the sandbox held.
    pub(super) blocked: usize,
    /// Programs that would show nothing here.
    pub(super) skipped: usize,
    pub(super) profile: Profile,
    pub(super) user: As,
    pub(super) ms: u64,
    pub(super) programs: Vec<Row>,
    /// What is wrong and is no program's own.
    pub(super) findings: Vec<String>,
    pub(super) enforcement: Enforcement,
}

impl Report {
    pub(super) fn new(
        profile: Profile,
        user: As,
        enforcement: Enforcement,
        programs: Vec<Row>,
        findings: Vec<String>,
        ms: u64,
    ) -> Self {
        let count = |verdict| programs.iter().filter(|row| row.verdict == verdict).count();
        let (skipped, blocked) = (count(Verdict::Skipped), count(Verdict::Blocked));
        let total = programs.len() - skipped;
        Self { total, blocked, skipped, profile, user, ms, programs, findings, enforcement }
    }

    /// Everything that ran was held, something did run, and nothing is left.
    pub(super) fn holds(&self) -> bool {
        self.total > 0 && self.blocked == self.total && self.findings.is_empty()
    }

    /// For a person; the last line is the verdict.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut areas: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for row in self.programs.iter().filter(|row| row.verdict != Verdict::Skipped) {
            let (blocked, total) = areas.entry(row.area).or_default();
            *total += 1;
            *blocked += usize::from(row.verdict == Verdict::Blocked);
        }
        add(&mut text, &format!("{:<14}{:>9}", "area", "blocked"));
        for (area, (blocked, total)) in areas {
            add(&mut text, &format!("{area:<14}{:>9}", format!("{blocked}/{total}")));
        }
        self.rows(&mut text, "skipped", |verdict| verdict == Verdict::Skipped);
        self.rows(&mut text, "not blocked", |verdict| matches!(verdict, Verdict::Escaped | Verdict::Failed));
        if !self.findings.is_empty() {
            add(&mut text, "\nbesides:");
        }
        for finding in &self.findings {
            add(&mut text, &format!("  {finding}"));
        }
        add(&mut text, &format!("\n{}", self.verdict()));
        text
    }

    fn rows(&self, text: &mut String, title: &str, wanted: fn(Verdict) -> bool) {
        let rows: Vec<&Row> = self.programs.iter().filter(|row| wanted(row.verdict)).collect();
        if rows.is_empty() {
            return;
        }
        add(text, &format!("\n{title}:"));
        for row in rows {
            add(text, &format!("  {}/{}: {}: {}", row.area, row.name, row.verdict.as_str(), row.detail));
        }
    }

    fn verdict(&self) -> String {
        let counts = format!("{} of {} hostile programs blocked", self.blocked, self.total);
        let skipped = if self.skipped == 0 { String::new() } else { format!(", {} skipped", self.skipped) };
        let left = if self.findings.is_empty() { "" } else { ", but see above" };
        let word = if self.holds() { "the sandbox holds" } else { "THE SANDBOX DOES NOT HOLD" };
        format!(
            "verdict: {word}: {counts}{skipped}{left} (profile {}, as {})",
            self.profile,
            self.user.as_str()
        )
    }
}

fn add(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes everything");
}

/// All programs, for a person.
pub(super) fn list(programs: &[Program]) -> String {
    let mut text = String::new();
    for program in programs {
        let name = format!("{}/{}", program.area, program.name);
        add(&mut text, &format!("{name:<34}{:<14}{}", program.expectation(), program.about));
    }
    text
}

/// All programs, for a program.
pub(super) fn list_json(programs: &[Program]) -> serde_json::Value {
    let one = |program: &Program| {
        serde_json::json!({
            "name": program.name,
            "area": program.area,
            "about": program.about,
            "expect": program.expectation(),
        })
    };
    programs.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, verdict: Verdict) -> Row {
        Row { name, area: "proc", verdict, detail: "because".to_owned(), ms: 1 }
    }

    fn report(rows: Vec<Row>, findings: &[&str]) -> Report {
        let findings = findings.iter().map(|&text| text.to_owned()).collect();
        Report::new(Profile::Strict, As::User, Enforcement::full(), rows, findings, 5)
    }

    #[test]
    fn skipped_programs_count_nowhere() {
        let report = report(vec![row("a", Verdict::Blocked), row("b", Verdict::Skipped)], &[]);
        assert_eq!((report.blocked, report.total, report.skipped, report.holds()), (1, 1, 1, true));
        let text = report.text();
        assert!(text.contains("proc                1/1\n"), "{text}");
        assert!(
            text.ends_with("1 of 1 hostile programs blocked, 1 skipped (profile strict, as user)\n"),
            "{text}"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["total"], &json["blocked"]), (&1.into(), &1.into()));
        assert_eq!(json["programs"][1]["verdict"], "skipped");
    }

    #[test]
    fn anything_else_than_blocked_is_shown_and_fails() {
        for bad in [Verdict::Escaped, Verdict::Failed] {
            let report = report(vec![row("a", Verdict::Blocked), row("b", bad)], &[]);
            assert!(!report.holds());
            assert!(report.text().contains(&format!("  proc/b: {}: because\n", bad.as_str())));
        }
        assert!(!report(vec![row("a", Verdict::Blocked)], &["a process is left"]).holds());
        assert!(!report(Vec::new(), &[]).holds(), "nothing ran");
    }
}
