//! The project's own targets, and whether what was measured reaches them. Pure.

use serde::Serialize;

use super::Measured;
use super::bursts::Mode;
use super::interleaved::Interleaved;
use super::python::Python;

/// One target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// What is compared, in words.
    pub(crate) target: &'static str,
    /// What was measured, in the unit of the target.
    pub(crate) figure: f64,
    pub(crate) limit: f64,
    /// Whether `figure` has to be at least `limit` rather than at most.
    pub(crate) at_least: bool,
    pub(crate) reached: bool,
}

const MEBIBYTE: f64 = 1_048_576.0;

/// Judges what can be judged: a peer that is absent decides nothing.
pub(crate) fn judge(measured: &Measured) -> Vec<Verdict> {
    let mut verdicts = measured.cold.as_ref().map(cold).unwrap_or_default();
    if let Some(live) = &measured.live {
        let ratio = live.command.p50_ms / live.bare_spawn.p50_ms;
        verdicts.push(at_most("live command, times bare spawn", ratio, 2.0));
    }
    if let Some(python) = &measured.python {
        verdicts.extend(of_python(python));
    }
    let at_once = measured.bursts.iter().filter(|burst| burst.mode == Mode::AtOnce);
    if let Some(failed) = at_once.map(|burst| burst.failed).reduce(|sum, failed| sum + failed) {
        verdicts.push(at_most("100 at once, failures", f64::from(failed), 0.0));
    }
    if let Some((idle, pss)) = measured.idle.as_ref().and_then(|idle| Some((idle, idle.pss_bytes?))) {
        let bytes = pss + idle.group_kernel_bytes.unwrap_or(0);
        verdicts.push(at_most("idle sandbox, MiB (PSS + group's kernel memory)", mebibytes(bytes), 3.0));
    }
    if let Some(alive) = &measured.alive {
        let missing = usize::try_from(alive.asked).unwrap_or(usize::MAX).saturating_sub(alive.answered);
        let left = alive.left.processes + alive.left.mounts + alive.left.group_processes;
        verdicts.push(at_most("many alive: without an answer", count(missing), 0.0));
        verdicts.push(at_most("many alive: left over after the end", count(left), 0.0));
    }
    verdicts
}

fn of_python(python: &Python) -> Vec<Verdict> {
    let alone = python.interpreter.p50_ms;
    let mut verdicts =
        vec![at_most("Python in a live sandbox, times python3 -I", python.warm.p50_ms / alone, 0.4)];
    if let Some(bwrap) = &python.bwrap {
        let less = (python.first.p50_ms - alone) / bwrap.p50_ms;
        verdicts.push(at_most("create + first Python, less python3 -I, times bwrap", less, 2.0));
    }
    if let Some(bytes) = python.warm_pss_bytes {
        verdicts.push(at_most("warm interpreter, MB (PSS)", mebibytes(bytes) * MEBIBYTE / 1e6, 10.0));
    }
    verdicts
}

fn cold(cold: &Interleaved) -> Vec<Verdict> {
    let first = cold.first_command.p50_ms;
    let median = |name: &str| cold.peers.get(name).map(|summary| summary.p50_ms);
    let mut verdicts =
        vec![at_most("create + first command, p99 times p50", cold.first_command.p99_ms / first, 4.0)];
    if let Some(bwrap) = median("bwrap") {
        verdicts.push(at_most("create + first command, times bwrap", first / bwrap, 1.5));
    }
    if let Some(runc) = median("runc_run") {
        verdicts.push(at_most("create + first command, times runc run", first / runc, 0.4));
    }
    if let Some(docker) = median("docker_run") {
        let faster = docker / first;
        let reached = faster >= 50.0;
        verdicts.push(Verdict {
            target: "create + first command, times faster than docker run",
            figure: round(faster),
            limit: 50.0,
            at_least: true,
            reached,
        });
    }
    if let (Some(floor), Some(small)) = (median("floor"), median("small_spawn")) {
        let ratio = (first - small) / floor;
        verdicts.push(at_most("mechanism less one small exec, times floor", ratio, 1.5));
    }
    verdicts
}

fn at_most(target: &'static str, figure: f64, limit: f64) -> Verdict {
    let reached = figure <= limit;
    Verdict { target, figure: round(figure), limit, at_least: false, reached }
}

fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

/// For people and ratios: bytes as MiB.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    // Exact up to 4 PiB in steps of 1 MiB; what is weighed here is far below.
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) * 1_024.0 / MEBIBYTE
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::stats::Summary;

    fn flat(ms: f64) -> Summary {
        Summary { count: 200, min_ms: ms, p50_ms: ms, p95_ms: ms, p99_ms: ms * 3.0, max_ms: ms * 5.0 }
    }

    fn measured(first: f64, peers: &[(&'static str, f64)]) -> Measured {
        let cold = Interleaved {
            first_command: flat(first),
            whole_life: flat(first),
            peers: peers.iter().map(|(name, ms)| (*name, flat(*ms))).collect::<BTreeMap<_, _>>(),
            steps: Vec::new(),
            absent: Vec::new(),
        };
        Measured { cold: Some(cold), ..Measured::default() }
    }

    #[test]
    fn each_target_is_judged_against_its_own_peer() {
        let peers =
            [("bwrap", 4.0), ("runc_run", 20.0), ("docker_run", 300.0), ("floor", 3.0), ("small_spawn", 0.3)];
        let reached =
            |first| -> Vec<bool> { judge(&measured(first, &peers)).iter().map(|v| v.reached).collect() };
        // p99, bwrap 6.0, runc 8.0, docker 6.0, floor 4.8
        for (first, expect) in [
            (4.8, [true, true, true, true, true]),
            (5.0, [true, true, true, true, false]),
            (6.1, [true, false, true, false, false]),
            (8.1, [true, false, false, false, false]),
        ] {
            assert_eq!(reached(first), expect, "{first}");
        }
    }

    #[test]
    fn an_absent_peer_decides_nothing() {
        let verdicts = judge(&measured(5.0, &[("bwrap", 4.0)]));
        assert_eq!(verdicts.len(), 2);
        assert!(judge(&Measured::default()).is_empty());
    }

    #[test]
    fn bytes_become_mebibytes() {
        assert!((mebibytes(3 << 20) - 3.0).abs() < 1e-9);
        assert!((mebibytes(1_572_864) - 1.5).abs() < 1e-9);
    }
}
