//! The run: programs from a queue, several at a time, each judged with what it left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sandkeep_core::code::Problem;
use sandkeep_core::duration::Span;
use sandkeep_core::enforcement::{Enforcement, Level};
use sandkeep_core::limits::{Limits, LimitsRequest};
use sandkeep_core::sandbox::Profile;
use sandkeep_runtime::driver::{Event, Facts, Running, User};
use sandkeep_runtime::local::Local;
use serde::Serialize;
use tokio::task::JoinSet;

use super::bait::Bait;
use super::judge::{How, Verdict, judge};
use super::program::{Need, Program};
use super::remains;
use super::trial::{Aftermath, Cell};
use super::watch::Machine;
use crate::out;

/// What holds for every program of a run.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) profile: Profile,
    pub(super) user: User,
    /// Where the bait lies.
    pub(super) env: BTreeMap<String, String>,
}

/// What became of one program.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) area: &'static str,
    pub(super) verdict: Verdict,
    pub(super) detail: String,
    pub(super) ms: u64,
}

/// What the workers share.
#[derive(Debug)]
pub(super) struct Suite {
    driver: Arc<Local>,
    terms: Terms,
    secret: String,
    bait: Mutex<Bait>,
    machine: Mutex<Machine>,
    state_dir: PathBuf,
    queue: Mutex<VecDeque<Program>>,
    running: Mutex<Vec<&'static str>>,
    /// Slots, and with them ids, that our sandboxes had.
    slots: Mutex<BTreeSet<u32>>,
    /// What is wrong and is no program's own.
    findings: Mutex<Vec<String>>,
}

/// A poisoned lock holds what was true before a panic that ends the run anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For keys to be collected, which the kernel does when it has time (`key_gc_work`).
const KEYS_GONE: Duration = Duration::from_secs(10);

impl Suite {
    pub(super) fn new(
        driver: Arc<Local>,
        terms: Terms,
        bait: Bait,
        state_dir: PathBuf,
        queue: Vec<Program>,
    ) -> Self {
        Self {
            driver,
            terms,
            secret: bait.secret().to_owned(),
            bait: Mutex::new(bait),
            machine: Mutex::new(Machine::now(&state_dir)),
            state_dir,
            queue: Mutex::new(in_order(queue)),
            running: Mutex::default(),
            slots: Mutex::default(),
            findings: Mutex::default(),
        }
    }

    /// Runs all of it; rows by area and name, and what is wrong besides.
    pub(super) async fn run(self: Arc<Self>, jobs: usize) -> (Vec<Row>, Vec<String>) {
        let mut workers = JoinSet::new();
        for _ in 0..jobs {
            workers.spawn(Arc::clone(&self).work());
        }
        let mut rows: Vec<Row> = workers.join_all().await.into_iter().flatten().collect();
        rows.sort_by_key(|row| (row.area, row.name));
        self.wait_for_keys().await;
        let findings = std::mem::take(&mut *lock(&self.findings));
        (rows, findings)
    }

    async fn work(self: Arc<Self>) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut shared = None;
        loop {
            let Some(program) = lock(&self.queue).pop_front() else { break };
            lock(&self.running).push(program.name);
            let begun = Instant::now();
            let (verdict, detail) = self.one(&program, &mut shared).await;
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            lock(&self.running).retain(|name| *name != program.name);
            let row = Row { name: program.name, area: program.area, verdict, detail, ms };
            if out::is_watched() {
                out::note(&format!("{}/{}: {} ({ms} ms)", row.area, row.name, verdict.as_str()));
            }
            rows.push(row);
        }
        if let Some(cell) = shared {
            let left = Cell::close(cell).await;
            lock(&self.findings).extend(left);
        }
        rows
    }

    /// `shared` is the sandbox that harmless programs of this worker use one after another.
    async fn one(&self, program: &Program, shared: &mut Option<Cell>) -> (Verdict, String) {
        let mut cell = match self.cell_for(program, shared).await {
            Ok(cell) => cell,
            Err(problem) => return (Verdict::Failed, format!("no sandbox: {problem}")),
        };
        let (mut verdict, mut detail, hung) = match cell.run(program, &self.secret).await {
            Ok(seen) => {
                let memory = cell.sandbox().enforcement().memory;
                let (verdict, detail) = judge(program, &seen, &cell.limits_for(program), memory);
                (verdict, detail, matches!(seen.how, How::Hung))
            }
            Err(problem) => (Verdict::Failed, problem.to_string(), false),
        };
        let hangs = || Aftermath { ended: Some("its program hangs".to_owned()), faults: Vec::new() };
        let Aftermath { ended, mut faults } = if hung { hangs() } else { cell.look_after().await };
        if let Some(why) = &ended {
            detail = format!("{detail}; the sandbox ended: {why}");
        }
        if program.shares() && ended.is_none() && faults.is_empty() {
            *shared = Some(cell);
        } else {
            faults.extend(cell.close().await);
        }
        faults.extend(self.host_faults());
        if !faults.is_empty() {
            verdict = if verdict == Verdict::Blocked { Verdict::Failed } else { verdict };
            detail = format!("{}; it said: {detail}", faults.join("; "));
        }
        (verdict, detail)
    }

    async fn cell_for(&self, program: &Program, shared: &mut Option<Cell>) -> Result<Cell, Problem> {
        if program.shares()
            && let Some(cell) = shared.take()
        {
            return Ok(cell);
        }
        let asks = if program.shares() { LimitsRequest::default() } else { program.limits };
        let cell = Cell::open(self.driver.as_ref(), &self.terms, &asks).await?;
        lock(&self.slots).extend(remains::slot_with_ids(cell.sandbox().facts()));
        Ok(cell)
    }

    /// What changed on the host since the last look, and who may have done it.
    fn host_faults(&self) -> Vec<String> {
        let mut faults = lock(&self.bait).touched();
        let mut machine = lock(&self.machine);
        let now = Machine::now(&self.state_dir);
        faults.extend(machine.differences(&now));
        *machine = now;
        let running = lock(&self.running);
        if !faults.is_empty() && running.len() > 1 {
            faults.push(format!("(one of {} did that)", running.join(", ")));
        }
        faults
    }

    async fn wait_for_keys(&self) {
        let deadline = Instant::now() + KEYS_GONE;
        loop {
            let left = remains::keys_of_slots(&self.state_dir, &lock(&self.slots));
            if left.is_empty() || Instant::now() >= deadline {
                return lock(&self.findings).extend(left);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The slow ones first, so that none of them is alone at the end; those that share a sandbox last.
fn in_order(mut programs: Vec<Program>) -> VecDeque<Program> {
    programs.sort_by_key(|program| {
        let timeout = program.limits.timeout.map_or(0, Span::as_millis);
        (program.shares(), std::cmp::Reverse(timeout), program.area, program.name)
    });
    programs.into()
}

/// A second sandbox that lives beside the hostile ones, for them to reach.
#[derive(Debug)]
pub(super) struct Sibling {
    cell: Cell,
    process: Box<dyn Running>,
    marker: String,
}

impl Sibling {
    /// # Errors
    /// The driver's.
    pub(super) async fn start(driver: &Local, terms: &Terms) -> Result<Self, Problem> {
        let asks = LimitsRequest { timeout: Some(Span::from_secs(3_600)), ..LimitsRequest::default() };
        let cell = Cell::open(driver, terms, &asks).await?;
        let id = cell.sandbox().id().to_string();
        let marker = format!("marker-{id}");
        let limits: Limits = cell.limits();
        let argv = ["bash", "-c", "sleep infinity; :", &id];
        let mut process = cell.start(&argv, vec![(marker.clone(), id.clone().into_bytes())], limits).await?;
        loop {
            match process.next().await? {
                Some(Event::Started) => return Ok(Self { cell, process, marker }),
                Some(Event::Output { .. } | Event::Gap { .. }) => {}
                Some(Event::Ended(_)) | None => return Err(out::failed("the sibling", &"ended at once")),
            }
        }
    }

    pub(super) fn id(&self) -> String {
        self.cell.sandbox().id().to_string()
    }

    pub(super) fn enforcement(&self) -> &Enforcement {
        self.cell.sandbox().enforcement()
    }

    pub(super) fn facts(&self) -> &Facts {
        self.cell.sandbox().facts()
    }

    /// Ends it, and tells what had happened to it.
    pub(super) async fn end(mut self) -> Vec<String> {
        let mut found = remains::wrong_ids(self.facts());
        let soon = Duration::from_millis(50);
        if let Ok(event) = tokio::time::timeout(soon, self.process.next()).await {
            found.push(format!("the process of the sibling did not stay: {event:?}"));
        }
        let path = format!("/workspace/{}", self.marker);
        let marker = self.cell.sandbox().read_file(&path, 1 << 10).await;
        if marker.map_or(true, |bytes| bytes != self.id().into_bytes()) {
            found.push("the marker of the sibling was changed".to_owned());
        }
        drop(self.process);
        found.extend(self.cell.close().await);
        found
    }
}

/// Why a program shows nothing on this host.
pub(super) fn skip(program: &Program, enforcement: &Enforcement, facts: &Facts) -> Option<String> {
    let lacks = |need: &Need| match need {
        Need::X86 => (std::env::consts::ARCH != "x86_64").then_some("needs an x86-64 processor"),
        Need::MemoryByKernel => {
            (enforcement.memory != Level::Kernel).then_some("memory is not kept by the kernel here")
        }
        Need::CpuByKernel => {
            (enforcement.cpu != Level::Kernel).then_some("processor share is not kept by the kernel here")
        }
        Need::IdRange => (facts.id_count < 2).then_some("only one id can be mapped here"),
        Need::Warm => {
            (facts.id_count < 2).then_some("no interpreter is kept warm where only one id can be mapped")
        }
    };
    if let Some(why) = program.needs.iter().find_map(lacks) {
        return Some(why.to_owned());
    }
    let unheld = program.rests_on().into_iter().find(|kind| enforcement.level(*kind) == Level::None);
    unheld.map(|kind| format!("not enforced here: {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::program;
    use sandkeep_core::limits::LimitKind;

    fn named(name: &str) -> Program {
        program::all().into_iter().find(|program| program.name == name).unwrap()
    }

    #[test]
    fn what_a_host_cannot_do_is_skipped_with_the_reason() {
        let many = Facts { id_count: 65_536, ..Facts::default() };
        let one = Facts { id_count: 1, ..Facts::default() };
        let full = Enforcement::full();
        let mut bare = Enforcement::full();
        bare.lower(LimitKind::Memory, Level::None, "", "");
        bare.lower(LimitKind::Cpu, Level::None, "", "");
        assert!(
            program::all().iter().all(|program| {
                skip(program, &full, &many).is_none() || program.needs.contains(&Need::X86)
            })
        );
        let why = |name, enforcement, facts| skip(&named(name), enforcement, facts).unwrap_or_default();
        assert_eq!(why("memory-heap", &bare, &many), "not enforced here: memory");
        assert!(why("cpu-share", &bare, &many).contains("processor share"));
        assert!(why("groups", &full, &one).contains("one id"));
        assert_eq!(why("groups", &bare, &many), "");
    }

    #[test]
    fn those_that_share_come_last() {
        let order = in_order(program::all());
        let first_sharing = order.iter().position(Program::shares).unwrap();
        assert!(order.iter().skip(first_sharing).all(Program::shares));
        assert!(first_sharing > 20 && first_sharing < order.len() - 20);
    }
}
