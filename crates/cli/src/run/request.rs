//! From the words of the command line to what is asked of a driver. Everything that can be refused is refused here,
//! before anything starts: the only effects are reads of the files that were named.

mod base;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::defaults;
use sandkeep_core::enforcement::Demand;
use sandkeep_core::execution::spec::parse_event;
use sandkeep_core::execution::{CodeSource, Json, Kind, Language, Work};
use sandkeep_core::id::{ExecutionId, SandboxId};
use sandkeep_core::limits::{Explicit, Limits, LimitsRequest, Names};
use sandkeep_core::output::Mask;
use sandkeep_core::sandbox::Profile;
use sandkeep_core::sandbox::place::below_workspace;
use sandkeep_core::size::ByteSize;
use sandkeep_core::time::Timestamp;
use sandkeep_image::Config;
use sandkeep_runtime::driver::{ExecutionSpec, Layer, Mount, SandboxSpec, Stdin, User};

use self::base::Base;
use super::args::Args;
use super::words::{CopyArg, EventArg, MountArg, Source, UserArg, Variable};
use crate::host;

/// Copies travel in one message with code and event, which have 8 MiB each; a supervisor takes 40 MiB.
const COPIES_MAX: ByteSize = ByteSize::from_mib(16);

/// What is to happen, all of it checked.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) sandbox: SandboxSpec,
    pub(super) execution: ExecutionSpec,
    pub(super) explicit: Explicit,
    pub(super) demand: Demand,
    /// Where [`Stdin::Open`] comes from.
    pub(super) input: Option<Source>,
    pub(super) created_at: Timestamp,
    /// Has to be made ready before the sandbox is made.
    pub(super) base: Base,
}

/// Reads what the words name and checks all of it.
///
/// # Errors
/// The first thing that is wrong, with its code, its value and what would be right.
pub(super) fn build(args: &Args) -> Result<Request, Problem> {
    one_reader(args)?;
    let (limits, explicit) = limits(&args.limits.request(), host::processors())?;
    let profile = args.profile.unwrap_or(defaults::PROFILE);
    let user = user(args.user, profile)?;
    let mounts = args.mounts.iter().map(mount).collect::<Result<_, _>>()?;
    let files = files(&args.copies, limits.disk)?;
    let input = args.stdin.clone().map(readable).transpose()?;
    // Last of what can be refused without it: an image may have to be pulled.
    let base = Base::find(args)?;
    let config = base.config();
    let env = environment(config, &args.env_file, &args.env)?;
    let work = work(args, config)?;
    // Scripts and handlers stand where their files are; a command is the image's as much as ours.
    let cwd = config.filter(|_| work.kind() == Kind::Command).and_then(|config| config.working_dir.clone());
    let artifacts = args.out.is_some() || (work.kind().collects_artifacts() && !args.no_artifacts);
    let demand = demand(args);
    let root = base.root()?;
    let sandbox = SandboxSpec {
        id: host::sandbox_id()?,
        incarnation: 1,
        token: 1,
        profile,
        root,
        mounts,
        layer: Layer::Ephemeral,
        limits,
    };
    sandbox.check().map_err(|problem| problem.within("--mount"))?;
    let execution = ExecutionSpec {
        id: host::execution_id()?,
        token: 1,
        work,
        env,
        cwd,
        user,
        stdin: if input.is_some() { Stdin::Open } else { Stdin::Empty },
        merge_stderr: args.merge_stderr,
        mask: Mask::default(),
        limits,
        files,
        artifacts,
    };
    execution.check()?;
    Ok(Request { sandbox, execution, explicit, demand, input, created_at: host::now(), base })
}

impl Request {
    pub(super) fn execution_id(&self) -> ExecutionId {
        self.execution.id
    }

    pub(super) fn sandbox_id(&self) -> SandboxId {
        self.sandbox.id
    }
}

fn demand(args: &Args) -> Demand {
    match (args.allow_unenforced, args.require_limits) {
        (true, _) => Demand::AllowUnenforced,
        (false, true) => Demand::RequireKernel,
        (false, false) => Demand::AskedFor,
    }
}

/// Standard input can be read by one of code, event and the program.
fn one_reader(args: &Args) -> Result<(), Problem> {
    let readers = [
        ("FILE", args.file.as_deref() == Some(Path::new("-"))),
        ("--event", args.event == Some(EventArg::From(Source::Ours))),
        ("--stdin", args.stdin == Some(Source::Ours)),
    ];
    let readers: Vec<&str> = readers.iter().filter(|(_, reads)| *reads).map(|(name, _)| *name).collect();
    if readers.len() < 2 {
        return Ok(());
    }
    let text = format!("`-` is standard input, and {} cannot all have it", readers.join(" and "));
    Err(Problem::new(ErrorCode::InvalidValue, text).expecting("`-` for one of them and files for the others"))
}

/// The limits; what was not asked for comes from the defaults, the disk from the memory it lives in.
///
/// # Errors
/// `limit_out_of_range`.
pub(crate) fn limits(request: &LimitsRequest, processors: u32) -> Result<(Limits, Explicit), Problem> {
    let (limits, explicit) = request.of_ephemeral(&Names::OPTIONS)?;
    if limits.cpu.millis() <= processors.saturating_mul(1_000) {
        return Ok((limits, explicit));
    }
    let (value, why) = (limits.cpu.to_string(), format!("is more than this machine has ({processors})"));
    let expected = format!("0.01 to {processors}");
    Err(Problem::refused(ErrorCode::LimitOutOfRange, &value, &why, &expected).within(Names::OPTIONS.cpu))
}

fn user(user: UserArg, profile: Profile) -> Result<User, Problem> {
    match (user, profile) {
        (UserArg::User, Profile::Strict | Profile::Dev) => Ok(User::User),
        (UserArg::Root, Profile::Dev) => Ok(User::Root),
        (UserArg::Root, Profile::Strict) => {
            let why = "is no user of the profile strict";
            let expected = "--user user, or --profile dev";
            Err(Problem::refused(ErrorCode::InvalidValue, "root", why, expected).within("--user"))
        }
    }
}

fn mount(asked: &MountArg) -> Result<Mount, Problem> {
    let shown = asked.source.to_string_lossy();
    let refuse = |why: &str| {
        let expected = "an existing file or directory";
        Problem::refused(ErrorCode::MountRefused, &shown, why, expected).within("--mount")
    };
    let path = asked.source.canonicalize().map_err(|error| refuse(&format!("cannot be used ({error})")))?;
    let meta = path.metadata().map_err(|error| refuse(&format!("cannot be used ({error})")))?;
    if !meta.is_dir() && !meta.is_file() {
        return Err(refuse("is neither a file nor a directory"));
    }
    let source = path.into_os_string().into_string().map_err(|_| refuse("is not UTF-8"))?;
    Ok(Mount { source, target: asked.target.clone(), writable: asked.writable })
}

/// The image's variables, those of files over them, and over all those that were named one by one.
fn environment(
    image: Option<&Config>,
    files: &[std::path::PathBuf],
    variables: &[Variable],
) -> Result<BTreeMap<String, String>, Problem> {
    let mut env = image.map_or_else(BTreeMap::new, |image| image.env.clone());
    for path in files {
        let bytes =
            read(&Source::File(path.clone()), ByteSize::from_mib(1), ErrorCode::EnvInvalid, "--env-file")?;
        let place = |line: usize| format!("{} line {}", path.display(), line + 1);
        let text = String::from_utf8(bytes)
            .map_err(|_| Problem::new(ErrorCode::EnvInvalid, format!("{} is not UTF-8", path.display())))?;
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let variable: Variable =
                line.parse().map_err(|problem: Problem| problem.within(&place(number)))?;
            env.insert(variable.name, variable.value);
        }
    }
    env.extend(variables.iter().map(|variable| (variable.name.clone(), variable.value.clone())));
    Ok(env)
}

fn files(copies: &[CopyArg], disk: ByteSize) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    let most = COPIES_MAX.min(disk);
    let mut room = most;
    let mut files = Vec::new();
    for copy in copies {
        let (source, target) = copy.divide()?;
        let data = read(&Source::File(source.into()), room, ErrorCode::MountRefused, "--file");
        let data = data.map_err(|problem| too_large(problem, most))?;
        room = ByteSize::from_bytes(room.bytes() - data.len() as u64);
        files.push((target, data));
    }
    Ok(files)
}

/// What is larger need not be copied.
fn too_large(problem: Problem, most: ByteSize) -> Problem {
    if problem.code != ErrorCode::MountRefused {
        return problem;
    }
    problem.expecting(format!("files of at most {most} together; --mount shows larger ones without a copy"))
}

impl CopyArg {
    /// Path on the host, and path below the workspace. A colon that is part of an existing name divides nothing.
    fn divide(&self) -> Result<(&str, String), Problem> {
        let text = self.0.as_str();
        let refuse = |why: &str| {
            let expected = "SRC[:DEST], like data.csv or data.csv:in/data.csv";
            Problem::refused(ErrorCode::MountRefused, text, why, expected).within("--file")
        };
        let (source, target) = match text.rsplit_once(':') {
            Some((source, target)) if !Path::new(text).exists() => (source, target),
            Some(_) | None => (text, text.rsplit('/').next().unwrap_or(text)),
        };
        if source.is_empty() {
            return Err(refuse("has no source"));
        }
        if target.is_empty() || target.ends_with('/') {
            return Err(refuse("has no name for the copy"));
        }
        if target.starts_with('/') && !target.starts_with("/workspace/") {
            return Err(refuse("leads out of /workspace"));
        }
        Ok((source, below_workspace(target).map_err(refuse)?))
    }
}

/// The source, opened once to see that it can be.
fn readable(source: Source) -> Result<Source, Problem> {
    if let Source::File(path) = &source {
        open(path, "--stdin")?;
    }
    Ok(source)
}

fn work(args: &Args, image: Option<&Config>) -> Result<Work, Problem> {
    let invalid =
        |text: &str, expected: &str| Err(Problem::new(ErrorCode::InvalidValue, text).expecting(expected));
    let kind = args.kind.unwrap_or_else(|| match args.file {
        None if !args.args.is_empty() || image.is_some() => Kind::Command,
        None | Some(_) => Kind::Script,
    });
    if args.event.is_some() && kind != Kind::Handler {
        return invalid("--event is for handlers", "--kind handler too");
    }
    if kind == Kind::Handler && !args.args.is_empty() {
        return invalid("a handler has an event and no arguments", "--event instead of arguments after --");
    }
    match (kind, args.file.as_deref()) {
        (Kind::Command, Some(_)) => {
            invalid("a command has no file", "the program and its arguments after --")
        }
        (Kind::Command, None) if args.lang.is_some() => {
            invalid("a command has no language", "no --lang, or a file instead of a command")
        }
        (Kind::Command, None) => Ok(Work::Command { argv: argv(args, image)? }),
        (Kind::Script | Kind::Handler, None) => {
            invalid("there is nothing to run", "a file, - for standard input, or -- and a command")
        }
        (Kind::Script, Some(file)) => {
            let (language, code) = code(file, args.lang)?;
            Ok(Work::Script { language, code, args: args.args.clone() })
        }
        (Kind::Handler, Some(file)) => {
            let (language, code) = code(file, args.lang)?;
            Ok(Work::Handler { language, code, event: event(args.event.as_ref())? })
        }
    }
}

/// What was asked for, else what the image runs.
fn argv(args: &Args, image: Option<&Config>) -> Result<Vec<String>, Problem> {
    let Some(image) = image.filter(|_| args.args.is_empty()) else { return Ok(args.args.clone()) };
    let argv = image.argv();
    if argv.is_empty() {
        let problem = Problem::new(ErrorCode::InvalidValue, "the image does not say what it runs");
        return Err(problem.expecting("a file, - for standard input, or -- and a command"));
    }
    Ok(argv)
}

fn code(file: &Path, language: Option<Language>) -> Result<(Language, CodeSource), Problem> {
    let from_stdin = file == Path::new("-");
    let source = if from_stdin { Source::Ours } else { Source::File(file.to_owned()) };
    let code = read(&source, defaults::CODE_MAX, ErrorCode::CodeTooLarge, "the code")?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let detected = language.or_else(|| Language::detect(&name, &code));
    let language = match (detected, from_stdin) {
        (Some(language), _) => language,
        (None, true) => Language::Python,
        (None, false) => {
            let why = "does not tell its language by its ending or first line";
            let expected = "--lang python, javascript or bash";
            return Err(Problem::refused(ErrorCode::UnknownLanguage, &name, why, expected));
        }
    };
    let name = if from_stdin { language.file_name().to_owned() } else { name };
    Ok((language, CodeSource::Inline { name, code }))
}

fn event(event: Option<&EventArg>) -> Result<Json, Problem> {
    match event {
        None => parse_event(b"null"),
        Some(EventArg::Text(text)) => parse_event(text.as_bytes()),
        Some(EventArg::From(source)) => {
            parse_event(&read(source, defaults::EVENT_MAX, ErrorCode::EventTooLarge, "--event")?)
        }
    }
}

/// All of a source, at most `max`.
fn read(source: &Source, max: ByteSize, too_large: ErrorCode, what: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let (got, shown) = match source {
        Source::Ours => {
            (std::io::stdin().lock().take(max.bytes() + 1).read_to_end(&mut bytes), "-".to_owned())
        }
        Source::File(path) => {
            let file = open(path, what)?;
            (file.take(max.bytes() + 1).read_to_end(&mut bytes), path.to_string_lossy().into_owned())
        }
    };
    got.map_err(|error| unreadable(&shown, &error).within(what))?;
    if bytes.len() as u64 > max.bytes() {
        return Err(
            Problem::refused(too_large, &shown, "is too large", &format!("at most {max}")).within(what)
        );
    }
    Ok(bytes)
}

fn open(path: &Path, what: &str) -> Result<File, Problem> {
    let shown = path.to_string_lossy();
    let file = File::open(path).map_err(|error| unreadable(&shown, &error).within(what))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        let hint = "a file; --mount shows a directory";
        return Err(Problem::refused(ErrorCode::FileUnreadable, &shown, "is a directory", hint).within(what));
    }
    Ok(file)
}

fn unreadable(shown: &str, error: &std::io::Error) -> Problem {
    let why = format!("cannot be read ({error})");
    Problem::refused(ErrorCode::FileUnreadable, shown, &why, "a file that you may read")
}

#[cfg(test)]
mod tests;
