//! One program in a sandbox: run, watched, and what it left looked for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sandkeep_core::code::Problem;
use sandkeep_core::defaults;
use sandkeep_core::execution::{Artifact, CodeSource, ExecutionState, Json, Language, Work, conclude};
use sandkeep_core::limits::{Limits, LimitsRequest};
use sandkeep_core::output::{Mask, Stream};
use sandkeep_runtime::driver::{Ended, Event, ExecutionSpec, Running, SandboxSpec, Stdin, User};
use sandkeep_runtime::{Driver, Sandbox};
use tokio::time::timeout;

use super::judge::{How, Seen};
use super::program::{BINARY, Form, Need, Program};
use super::remains::{self, Trace};
use super::suite::Terms;
use crate::host;
use crate::out;
use crate::run::request;

/// The compiled programs, in the workspace.
const PLACE: &str = "attack-programs";
/// Beyond a program's timeout, until its end is told: its artifacts are found and hashed in between.
const LATE: Duration = Duration::from_secs(30);
/// For what should take milliseconds, on a machine that other programs of the suite keep busy.
const PATIENCE: Duration = Duration::from_secs(15);
/// For processes to be gone that were killed.
const BURIAL: Duration = Duration::from_secs(3);
/// How much of the end of each stream is kept.
const TAIL_BYTES: usize = 16 << 10;
/// Artifacts that are read to look for the secret, and how large they may be.
const READ_ARTIFACTS: usize = 20;
const READ_ARTIFACT_BYTES: u64 = 64 << 10;

/// A sandbox for programs.
#[derive(Debug)]
pub(super) struct Cell {
    sandbox: Box<dyn Sandbox>,
    limits: Limits,
    user: User,
    env: BTreeMap<String, String>,
    has_binary: bool,
}

/// What was found after a program.
#[derive(Debug)]
pub(super) struct Aftermath {
    /// Why the sandbox does not work any more, if so.
    pub(super) ended: Option<String>,
    /// What should not be.
    pub(super) faults: Vec<String>,
}

impl Cell {
    /// Makes a sandbox with what `program` asks for.
    ///
    /// # Errors
    /// The driver's.
    pub(super) async fn open(
        driver: &dyn Driver,
        terms: &Terms,
        asks: &LimitsRequest,
    ) -> Result<Self, Problem> {
        let (limits, _) = request::limits(asks, host::processors())?;
        let host = SandboxSpec::of_host(host::sandbox_id()?, limits);
        let spec = SandboxSpec { profile: terms.profile, ..host };
        let sandbox = driver.create(&spec).await?;
        let mut env = terms.env.clone();
        let number = [
            ("ATTACK_LIMIT_MEMORY", limits.memory.bytes()),
            ("ATTACK_LIMIT_DISK", limits.disk.bytes()),
            ("ATTACK_LIMIT_PROCESSES", u64::from(limits.processes)),
            ("ATTACK_LIMIT_OPEN_FILES", u64::from(limits.open_files)),
            ("ATTACK_LIMIT_INODES", limits.inodes),
            ("ATTACK_LIMIT_CPU_MILLIS", u64::from(limits.cpu.millis())),
        ];
        env.extend(number.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())));
        env.insert("ATTACK_SANDBOX".to_owned(), spec.id.to_string());
        env.insert("ATTACK_PROFILE".to_owned(), terms.profile.to_string());
        Ok(Self { sandbox, limits, user: terms.user, env, has_binary: false })
    }

    pub(super) fn limits_for(&self, program: &Program) -> Limits {
        Limits { timeout: program.limits.timeout.unwrap_or(self.limits.timeout), ..self.limits }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// The sandbox itself.
    pub(super) fn sandbox(&self) -> &dyn Sandbox {
        self.sandbox.as_ref()
    }

    /// Runs one program to its end, or until it is plain that there will be none.
    ///
    /// # Errors
    /// The compiled programs cannot be put there.
    pub(super) async fn run(&mut self, program: &Program, secret: &str) -> Result<Seen, Problem> {
        if program.form == Form::Compiled && !self.has_binary {
            self.place().await?;
        }
        if program.needs.contains(&Need::Warm) {
            self.become_warm(secret).await?;
        }
        let limits = self.limits_for(program);
        let artifacts = program.form != Form::Compiled || program.area == "races";
        let spec = self.execution(work(program), Vec::new(), limits, artifacts)?;
        let mut heard = Heard::new(secret);
        let mut artifact_fault = None;
        let deadline = limits.timeout.to_duration() + LATE;
        let how = match timeout(deadline, follow(self.sandbox.as_ref(), &spec, &mut heard)).await {
            Err(_) => How::Hung,
            Ok(Err(problem)) => How::Gone(problem.to_string()),
            Ok(Ok(ended)) => {
                heard.saw_secret |= self.artifacts_hold(&ended.artifacts, secret).await;
                artifact_fault = fault_of(&ended.artifacts);
                How::Ended {
                    end: conclude(&ended.facts),
                    wall_ms: ended.metrics.wall_ms,
                    peak_memory: ended.metrics.peak_memory_bytes,
                }
            }
        };
        let [last_line, last_error] = heard.last_lines();
        Ok(Seen { how, last_line, last_error, saw_secret: heard.saw_secret, artifact_fault })
    }

    /// Runs Python until that is a fork of an interpreter that the sandbox keeps.
    async fn become_warm(&self, secret: &str) -> Result<(), Problem> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let code = b"import gc, sys; sys.exit(gc.get_freeze_count() < 5000)".to_vec();
            let code = CodeSource::Inline { name: "main.py".to_owned(), code };
            let work = Work::Script { language: Language::Python, code, args: Vec::new() };
            let spec = self.execution(work, Vec::new(), self.limits, false)?;
            let ended = follow(self.sandbox.as_ref(), &spec, &mut Heard::new(secret)).await?;
            if conclude(&ended.facts).state == ExecutionState::Succeeded {
                return Ok(());
            }
        }
        Err(out::failed("the interpreter", &"did not become warm"))
    }

    /// Starts something that stays.
    ///
    /// # Errors
    /// The driver's.
    pub(super) async fn start(
        &self,
        argv: &[&str],
        files: Vec<(String, Vec<u8>)>,
        limits: Limits,
    ) -> Result<Box<dyn Running>, Problem> {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        self.sandbox.start(&self.execution(Work::Command { argv }, files, limits, false)?).await
    }

    /// Looks for what a program left, while its sandbox lives.
    pub(super) async fn look_after(&self) -> Aftermath {
        let mut faults = self.processes_left().await;
        match timeout(PATIENCE, self.next_execution()).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(how))) => faults.push(format!("the next execution did not work: {how}")),
            Ok(Err(problem)) => return Aftermath { ended: Some(problem.to_string()), faults },
            Err(_) => {
                faults.push("the next execution hangs".to_owned());
                return Aftermath { ended: Some("it hangs".to_owned()), faults };
            }
        }
        if self.heart_beats().await {
            faults.push("a process still writes its heartbeat".to_owned());
        }
        Aftermath { ended: None, faults }
    }

    /// Ends it and says what is left on the host.
    pub(super) async fn close(self) -> Vec<String> {
        let trace = Trace::of(self.sandbox.facts());
        if timeout(PATIENCE, self.sandbox.stop()).await.is_err() {
            return vec!["the sandbox does not end".to_owned()];
        }
        drop(self.sandbox);
        until_none(|| trace.left()).await
    }

    fn execution(
        &self,
        work: Work,
        files: Vec<(String, Vec<u8>)>,
        limits: Limits,
        artifacts: bool,
    ) -> Result<ExecutionSpec, Problem> {
        Ok(ExecutionSpec {
            id: host::execution_id()?,
            token: 1,
            work,
            env: self.env.clone(),
            cwd: None,
            user: self.user,
            stdin: Stdin::Empty,
            merge_stderr: false,
            mask: Mask::default(),
            limits,
            files,
            artifacts,
        })
    }

    async fn place(&mut self) -> Result<(), Problem> {
        let argv = ["chmod", "755", PLACE].map(str::to_owned).to_vec();
        let files = vec![(PLACE.to_owned(), BINARY.to_vec())];
        let spec = self.execution(Work::Command { argv }, files, self.limits, false)?;
        let placed = timeout(PATIENCE, follow(self.sandbox.as_ref(), &spec, &mut Heard::new("-"))).await;
        let ended = placed.map_err(|error| out::failed("the programs cannot be placed", &error))??;
        if conclude(&ended.facts).state != ExecutionState::Succeeded {
            return Err(out::failed("the programs cannot be placed", &format!("{:?}", ended.facts)));
        }
        self.has_binary = true;
        Ok(())
    }

    /// How `true` ended, if not well, and whether it does so again.
    async fn next_execution(&self) -> Result<Option<String>, Problem> {
        let Some(first) = self.run_true().await? else { return Ok(None) };
        tokio::time::sleep(Duration::from_millis(500)).await;
        let second = self.run_true().await?.unwrap_or_else(|| "well".to_owned());
        Ok(Some(format!("{first}; half a second later it ended: {second}")))
    }

    async fn run_true(&self) -> Result<Option<String>, Problem> {
        let work = Work::Command { argv: vec!["true".to_owned()] };
        let spec = self.execution(work, Vec::new(), self.limits, false)?;
        let ended = follow(self.sandbox.as_ref(), &spec, &mut Heard::new("-")).await?;
        let end = conclude(&ended.facts);
        let why = || format!("{} {:?} {:?} {:?}", end.state, end.limit, end.exit, ended.not_runnable);
        Ok((end.state != ExecutionState::Succeeded).then(why))
    }

    /// Everything below the supervisor but the agent and the interpreter that it keeps warm, once what was killed had time to
    /// go.
    async fn processes_left(&self) -> Vec<String> {
        let facts = self.sandbox.facts();
        let left = || -> Vec<String> {
            let all = remains::below(&remains::processes(), facts.supervisor_pid);
            let mut left: Vec<_> = all.into_iter().filter(|process| process.pid != facts.agent_pid).collect();
            let warm = left.iter().position(|process| remains::is_interpreter(process, facts));
            warm.map(|at| left.remove(at));
            let left = left.into_iter();
            left.map(|process| format!("process {} outlived its execution", process.name)).collect()
        };
        until_none(left).await
    }

    async fn heart_beats(&self) -> bool {
        let beat = || self.sandbox.read_file("/workspace/heartbeat", 1 << 10);
        // Often: a file that is being written anew is empty most of the time.
        let mut seen = None;
        for _ in 0..60 {
            let Ok(now) = beat().await else { return false };
            if !now.is_empty() && *seen.get_or_insert_with(|| now.clone()) != now {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    async fn artifacts_hold(&self, artifacts: &[Artifact], secret: &str) -> bool {
        let small = artifacts.iter().filter(|artifact| artifact.size_bytes <= READ_ARTIFACT_BYTES);
        for artifact in small.take(READ_ARTIFACTS) {
            let path = format!("/workspace/{}", artifact.path);
            let read = timeout(PATIENCE, self.sandbox.read_file(&path, READ_ARTIFACT_BYTES)).await;
            if read.is_ok_and(|bytes| bytes.is_ok_and(|bytes| holds(&bytes, secret.as_bytes()))) {
                return true;
            }
        }
        false
    }
}

fn work(program: &Program) -> Work {
    let inline = |ending: &str, text: &str| CodeSource::Inline {
        name: format!("{}.{ending}", program.name),
        code: text.as_bytes().to_vec(),
    };
    let script = |language, code| Work::Script { language, code, args: Vec::new() };
    match program.form {
        Form::Python(text) => script(Language::Python, inline("py", text)),
        Form::Bash(text) => script(Language::Bash, inline("sh", text)),
        Form::PythonHandler(text) => {
            let event = Json::from(serde_json::json!({ "attack": program.name }));
            Work::Handler { language: Language::Python, code: inline("py", text), event }
        }
        Form::Compiled => {
            Work::Command { argv: vec![format!("/workspace/{PLACE}"), program.name.to_owned()] }
        }
    }
}

/// What no list of artifacts may have, whatever lies in the workspace.
fn fault_of(artifacts: &[Artifact]) -> Option<String> {
    let mut paths: Vec<&str> = artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
    let leads_out =
        |path: &&str| path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if let Some(path) = paths.iter().find(|path| leads_out(path)) {
        return Some(format!("the artifact {path:?} leads out of the workspace"));
    }
    let (count, bytes) = (paths.len(), artifacts.iter().map(|artifact| artifact.size_bytes).sum::<u64>());
    paths.sort_unstable();
    paths.dedup();
    if paths.len() < count {
        return Some("an artifact is listed twice".to_owned());
    }
    let over = count > defaults::ARTIFACTS_MAX || bytes > defaults::ARTIFACTS_BYTES_MAX.bytes();
    over.then(|| format!("{count} artifacts of {bytes} bytes are listed"))
}

async fn follow(
    sandbox: &dyn Sandbox,
    spec: &ExecutionSpec,
    heard: &mut Heard<'_>,
) -> Result<Box<Ended>, Problem> {
    let mut running = sandbox.start(spec).await?;
    loop {
        match running.next().await? {
            Some(Event::Ended(ended)) => return Ok(ended),
            Some(Event::Output { stream, bytes, .. }) => heard.output(stream, &bytes),
            Some(Event::Started | Event::Gap { .. }) => {}
            None => return Err(out::failed("an execution", &"its end was not told")),
        }
    }
}

/// Looks every 20 ms until nothing is found or patience ends; what was found last.
async fn until_none(look: impl Fn() -> Vec<String>) -> Vec<String> {
    let deadline = Instant::now() + BURIAL;
    loop {
        let found = look();
        if found.is_empty() || Instant::now() >= deadline {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Output as it comes: its end, and whether the secret was in it.
#[derive(Debug)]
struct Heard<'a> {
    tails: [Vec<u8>; 2],
    secret: &'a [u8],
    saw_secret: bool,
}

impl<'a> Heard<'a> {
    fn new(secret: &'a str) -> Self {
        Self { tails: [Vec::new(), Vec::new()], secret: secret.as_bytes(), saw_secret: false }
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        let tail = match stream {
            Stream::Stdout => &mut self.tails[0],
            Stream::Stderr => &mut self.tails[1],
        };
        // A secret that is cut by the border of two pieces counts, too.
        let searched = tail.len().saturating_sub(self.secret.len());
        tail.extend_from_slice(bytes);
        self.saw_secret = self.saw_secret || holds(&tail[searched..], self.secret);
        tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
    }

    fn last_lines(&self) -> [String; 2] {
        self.tails.each_ref().map(|tail| {
            let text = String::from_utf8_lossy(tail);
            text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
        })
    }
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some(first) = wanted.first() else { return false };
    let starts = bytes.iter().enumerate().filter(|(_, byte)| *byte == first);
    starts.into_iter().any(|(at, _)| bytes[at..].starts_with(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_core::sandbox::Profile;
    use sandkeep_runtime::local::Local;

    #[test]
    fn the_last_line_is_what_counts() {
        let check = |pieces: &[&str], expect: &str| {
            let mut heard = Heard::new("-");
            for piece in pieces {
                heard.output(Stream::Stdout, piece.as_bytes());
            }
            assert_eq!(heard.last_lines(), [expect, ""]);
        };
        check(&[], "");
        check(&["ESCAPED no\n", "BLOC", "KED yes\n"], "BLOCKED yes");
        check(&["BLOCKED yes\n\n \n"], "BLOCKED yes");
        check(&[&"x".repeat(50_000), "\nBLOCKED yes"], "BLOCKED yes");
    }

    #[test]
    fn a_secret_is_seen_also_across_pieces() {
        let check = |pieces: &[&str], expect| {
            let mut heard = Heard::new("secret");
            for piece in pieces {
                heard.output(Stream::Stderr, piece.as_bytes());
            }
            assert_eq!(heard.saw_secret, expect, "{pieces:?}");
        };
        check(&["a secret here"], true);
        check(&["a sec", "r", "et"], true);
        check(&["sec", &"x".repeat(40_000), "ret"], false);
        check(&["secre secre", " t"], false);
    }

    /// A cell for tests, or nothing where no sandbox can be made.
    async fn cell() -> Option<(Local, Cell)> {
        let driver = host::driver(None).unwrap();
        let terms = Terms { profile: Profile::Strict, user: User::User, env: BTreeMap::new() };
        match Cell::open(&driver, &terms, &LimitsRequest::default()).await {
            Ok(cell) => Some((driver, cell)),
            Err(problem) => {
                println!("SKIPPED: no sandbox can be made: {problem}");
                None
            }
        }
    }

    #[tokio::test]
    async fn what_stays_in_a_live_sandbox_is_found() {
        let Some((_driver, cell)) = cell().await else { return };
        assert_eq!(cell.look_after().await.faults, Vec::<String>::new());
        let beat = "while :; do echo $SECONDS$RANDOM > /workspace/heartbeat; done";
        let mut running = cell.start(&["bash", "-c", beat], Vec::new(), cell.limits()).await.unwrap();
        assert_eq!(running.next().await.unwrap(), Some(Event::Started));
        let aftermath = cell.look_after().await;
        assert!(aftermath.ended.is_none());
        assert!(
            aftermath.faults.iter().any(|fault| fault.contains("outlived its execution")),
            "{aftermath:?}"
        );
        assert!(aftermath.faults.iter().any(|fault| fault.contains("heartbeat")), "{aftermath:?}");
        drop(running);
        assert_eq!(cell.close().await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_sandbox_that_ended_is_known_by_its_reason() {
        let Some((_driver, cell)) = cell().await else { return };
        cell.sandbox().stop().await;
        assert!(cell.look_after().await.ended.is_some());
        assert_eq!(cell.close().await, Vec::<String>::new());
    }
}
