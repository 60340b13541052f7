//! The figures for people.

use std::fmt::Write as _;

use super::crowd::{Alive, Idle};
use super::interleaved::Interleaved;
use super::python::Python;
use super::stats::Summary;
use super::targets::{Verdict, mebibytes};
use super::{Measured, bursts::Burst, live::Live};

const HEADINGS: &str = "       n      min      p50      p95      p99   ms";

/// Everything measured, in tables.
pub(crate) fn text(measured: &Measured, trace: bool) -> String {
    let mut text = String::new();
    line(&mut text, &format!("at the start: {}", measured.load_before.words()));
    if let Some(cold) = &measured.cold {
        self::cold(&mut text, cold, trace);
    }
    if let Some(live) = &measured.live {
        self::live(&mut text, live);
    }
    if let Some(python) = &measured.python {
        self::python(&mut text, python);
    }
    if !measured.bursts.is_empty() {
        bursts(&mut text, &measured.bursts);
    }
    if let Some(idle) = &measured.idle {
        self::idle(&mut text, idle);
    }
    if let Some(alive) = &measured.alive {
        self::alive(&mut text, alive);
    }
    verdicts(&mut text, &measured.verdicts);
    line(&mut text, &format!("\nat the end: {}", measured.load_after.words()));
    text
}

fn cold(text: &mut String, cold: &Interleaved, trace: bool) {
    heading(text, "`true` in a sandbox of its own, and peers", HEADINGS);
    let first = &cold.first_command;
    row(text, "sandkeep: create + first command", first, None);
    row(text, "sandkeep: the same, and stopped", &cold.whole_life, None);
    for (name, summary) in &cold.peers {
        row(text, &name.replace('_', " "), summary, Some(first.p50_ms / summary.p50_ms));
    }
    for absent in &cold.absent {
        line(text, &format!("  not compared: {absent}"));
    }
    if trace {
        heading(text, "where it goes, medians", "      ms");
        for step in &cold.steps {
            line(text, &format!("  {:<40}{:>8.3}", step.name, step.p50_ms));
        }
    }
}

fn live(text: &mut String, live: &Live) {
    heading(text, "`true` in a live sandbox", HEADINGS);
    row(text, "sandkeep: call to result", &live.command, None);
    row(text, "sandkeep: call to running code", &live.started, None);
    row(text, "bare spawn", &live.bare_spawn, Some(live.command.p50_ms / live.bare_spawn.p50_ms));
}

fn python(text: &mut String, python: &Python) {
    heading(text, "a line of Python", HEADINGS);
    let alone = python.interpreter.p50_ms;
    let times = |summary: &Summary| Some(summary.p50_ms / alone);
    row(text, "python3 -I -c pass, as a plain process", &python.interpreter, None);
    row(text, "in a live sandbox, by a fork", &python.warm, times(&python.warm));
    row(text, "in a live sandbox, started anew", &python.plain, times(&python.plain));
    row(text, "create a sandbox + first program", &python.first, times(&python.first));
    if let Some(bwrap) = &python.bwrap {
        row(text, "bwrap, with `true`", bwrap, None);
    }
    line(text, &format!("  {} MiB PSS of the warm interpreter", size(python.warm_pss_bytes)));
}

fn bursts(text: &mut String, bursts: &[Burst]) {
    heading(text, "time to first command, less 5 % each side", &format!("{HEADINGS}   succeeded"));
    for burst in bursts {
        let name = format!("{}, {}", burst.command, burst.mode.words());
        let share = format!("{} of {}", burst.succeeded, burst.succeeded + burst.failed);
        match &burst.first_command {
            Some(summary) => line(text, &format!("  {name:<40}{}        {share}", cells(summary))),
            None => line(text, &format!("  {name:<40}{share}")),
        }
        if let Some(failure) = &burst.failure {
            line(text, &format!("    {failure}"));
        }
    }
}

fn idle(text: &mut String, idle: &Idle) {
    heading(text, &format!("an idle sandbox, of {}", idle.sandboxes), "     MiB");
    let mut row = |name: &str, value: String| line(text, &format!("  {name:<40}{value:>8}"));
    row("PSS of supervisor and agent", size(idle.pss_bytes));
    row("PSS when it is the only one", size(idle.pss_alone_bytes));
    row("kernel memory of its group", size(idle.group_kernel_bytes));
    row("less available on the machine, each", format!("{:.2}", signed(idle.available_delta_bytes)));
    row("more kernel objects (slab), each", format!("{:.2}", signed(idle.slab_delta_bytes)));
    if let Some(failure) = &idle.failure {
        line(text, &format!("  no more of them: {failure}"));
    }
}

fn alive(text: &mut String, alive: &Alive) {
    heading(text, &format!("{} sandboxes at once", alive.asked), "");
    line(text, &format!("  {} alive, {} answered a command", alive.alive, alive.answered));
    line(
        text,
        &format!(
            "  {:.0} created, {:.0} commands, {:.0} stopped per second",
            alive.created_per_second, alive.commands_per_second, alive.stopped_per_second
        ),
    );
    let (pss, less) = (size(alive.pss_bytes), signed(alive.available_delta_bytes));
    line(text, &format!("  {pss} MiB PSS, {less:.2} MiB less available on the machine, each"));
    let left = alive.left;
    line(
        text,
        &format!(
            "  left after the end: {} processes, {} mounts, {} processes in groups",
            left.processes, left.mounts, left.group_processes
        ),
    );
    if let Some(failure) = &alive.failure {
        line(text, &format!("  the first failure: {failure}"));
    }
}

fn verdicts(text: &mut String, verdicts: &[Verdict]) {
    if verdicts.is_empty() {
        return;
    }
    heading(text, "targets", "");
    for verdict in verdicts {
        let word = if verdict.reached { "reached" } else { "missed " };
        let relation = if verdict.at_least { "≥" } else { "≤" };
        let Verdict { target, figure, limit, .. } = verdict;
        line(text, &format!("  {word}  {target:<54}{figure:>8.2}  {relation} {limit}"));
    }
}

fn heading(text: &mut String, title: &str, columns: &str) {
    let pad = 42_usize.saturating_sub(title.chars().count());
    line(text, &format!("\n{title}{}{columns}", " ".repeat(pad)));
}

fn row(text: &mut String, name: &str, summary: &Summary, ours: Option<f64>) {
    let ratio = ours.map_or(String::new(), |ratio| format!("   sandkeep is {ratio:.2} ×"));
    line(text, &format!("  {name:<40}{}{ratio}", cells(summary)));
}

fn cells(summary: &Summary) -> String {
    let Summary { count, min_ms, p50_ms, p95_ms, p99_ms, .. } = summary;
    format!("{count:>8}{min_ms:>9.2}{p50_ms:>9.2}{p95_ms:>9.2}{p99_ms:>9.2}")
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.2}", mebibytes(bytes)))
}

fn signed(bytes: i64) -> f64 {
    let size = mebibytes(bytes.unsigned_abs());
    if bytes < 0 { -size } else { size }
}

fn line(text: &mut String, content: &str) {
    writeln!(text, "{content}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::live::Live;

    #[test]
    fn a_report_has_what_was_measured_and_nothing_else() {
        let flat = Summary { count: 300, min_ms: 1.0, p50_ms: 2.0, p95_ms: 3.0, p99_ms: 4.0, max_ms: 5.0 };
        let half = Summary { p50_ms: 1.0, ..flat };
        let live = Some(Live { command: flat, started: half, bare_spawn: half });
        let mut measured = Measured { live, ..Measured::default() };
        measured.verdicts = crate::bench::targets::judge(&measured);
        let text = text(&measured, false);
        assert!(text.contains("sandkeep is 2.00 ×") && text.contains("reached  live command"), "{text}");
        assert!(!text.contains("bwrap") && !text.contains("at once"), "{text}");
    }
}
