//! From what a caller means to what a supervisor is told: interpreters, files, environment, arguments.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::defaults;
use sandkeep_core::execution::{CodeSource, Language, Work};
use sandkeep_core::output::head_of;
use sandkeep_core::sandbox::Profile;
use sandkeep_protocol::supervisor as proto;
use sandkeep_protocol::supervisor::__buffa::oneof::start_execution;
use sandkeep_sandbox::idmap::USER_ID;
use sandkeep_sandbox::root::HOST_TREES;

use crate::driver::{ExecutionSpec, Root, Stdin, User};

const PYTHON_HANDLER: &str = include_str!("../../helpers/handler.py");
const JAVASCRIPT_HANDLER: &str = include_str!("../../helpers/handler.mjs");
/// Where the agent lays the files of an execution.
const FILES: &str = "/run/sandkeep";
/// Where code works unless told otherwise, and where what it makes is looked for.
pub(super) const WORKSPACE: &str = "/workspace";
/// Where programs are looked for unless the environment says otherwise.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An interpreter that sandboxes of the host's programs can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// What it interprets.
    pub language: Language,
    /// The real file inside the exposed trees, or why there is none.
    pub path: Result<PathBuf, String>,
}

/// Every language with its interpreter on this host.
#[must_use]
pub fn interpreters() -> Vec<Interpreter> {
    Language::ALL
        .iter()
        .map(|language| Interpreter { language: *language, path: on_host(*language) })
        .collect()
}

/// What a language's interpreter is called, by preference. In an image it is the first of these.
#[must_use]
pub fn names(language: Language) -> &'static [&'static str] {
    match language {
        Language::Python => &["python3"],
        Language::Javascript => &["node", "nodejs"],
        Language::Bash => &["bash"],
    }
}

/// The first candidate that is a real program inside the exposed trees: a version manager's shim is a script that
/// would not work there, and costs a tenth of a second where it does.
fn on_host(language: Language) -> Result<PathBuf, String> {
    let mut refused = Vec::new();
    for directory in ["/usr/bin", "/usr/local/bin", "/bin"] {
        for name in names(language) {
            let candidate = Path::new(directory).join(name);
            let Ok(real) = candidate.canonicalize() else { continue };
            if !HOST_TREES.iter().any(|tree| real.starts_with(tree)) {
                refused.push(format!("{} leads out of /usr", candidate.display()));
            } else if !is_program(&real) {
                refused.push(format!("{} is not a program but a script", candidate.display()));
            } else {
                return Ok(real);
            }
        }
    }
    if refused.is_empty() {
        return Err(format!("no {} in /usr/bin, /usr/local/bin or /bin", names(language)[0]));
    }
    Err(refused.join("; "))
}

fn is_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// The message that starts `spec`, whose output is known up to `position`.
///
/// # Errors
/// `interpreter_missing`; those of [`ExecutionSpec::check`].
pub(super) fn start(
    spec: &ExecutionSpec,
    root: &Root,
    profile: Profile,
    incarnation: u64,
    position: u64,
) -> Result<proto::StartExecution, Problem> {
    spec.check()?;
    let laid = Laid { directory: format!("{FILES}/{}", spec.id), spec, root };
    let (argv, mut files) = laid.program()?;
    files.extend(spec.files.iter().map(|(path, data)| file(format!("{WORKSPACE}/{path}"), data.clone())));
    let uid = match (profile, spec.user) {
        (Profile::Dev, User::Root) => 0,
        (Profile::Strict | Profile::Dev, User::User) | (Profile::Strict, User::Root) => USER_ID,
    };
    let limits = &spec.limits;
    let execution_limits = proto::ExecutionLimits {
        timeout_ms: limits.timeout.as_millis(),
        output_bytes: limits.output.bytes(),
        output_head_bytes: head_of(limits.output.bytes()),
        output_kill_bytes: limits.output_kill.map_or(0, |size| size.bytes()),
        open_files: limits.open_files,
        ..Default::default()
    };
    let stdin = match &spec.stdin {
        Stdin::Empty => None,
        Stdin::Bytes(bytes) => Some(start_execution::Stdin::StdinBytes(bytes.clone())),
        Stdin::Open => Some(start_execution::Stdin::StdinOpen(true)),
    };
    let roots = if spec.artifacts { vec![WORKSPACE.to_owned()] } else { Vec::new() };
    Ok(proto::StartExecution {
        execution_id: spec.id.to_string(),
        incarnation,
        token: spec.token,
        argv,
        files,
        env: environment(spec, uid),
        cwd: spec.cwd.clone().unwrap_or_else(|| WORKSPACE.to_owned()),
        uid,
        gid: uid,
        merge_stderr: spec.merge_stderr,
        masked: spec.mask.secrets().to_vec(),
        limits: buffa::MessageField::some(execution_limits),
        stdin,
        artifact_roots: roots,
        artifact_max_files: u32::try_from(defaults::ARTIFACTS_MAX).unwrap_or(u32::MAX),
        artifact_max_bytes: defaults::ARTIFACTS_BYTES_MAX.bytes(),
        return_value_max_bytes: if matches!(spec.work, Work::Handler { .. }) {
            defaults::RETURN_VALUE_MAX.bytes()
        } else {
            0
        },
        warm: buffa::MessageField::none(),
        told_to: position,
    })
}

/// Whether `spec` is run by the interpreter that a sandbox may keep warm: the host's Python. An image's own is as foreign as
/// code, and so cannot be what stands outside of the code's walls.
pub(super) fn may_be_warm(spec: &ExecutionSpec, root: &Root) -> bool {
    let is_python = match &spec.work {
        Work::Script { language, .. } | Work::Handler { language, .. } => *language == Language::Python,
        Work::Command { .. } => false,
    };
    is_python && matches!(root, Root::Host)
}

/// One execution's files, as they will lie in the sandbox.
struct Laid<'a> {
    directory: String,
    spec: &'a ExecutionSpec,
    root: &'a Root,
}

impl Laid<'_> {
    fn program(&self) -> Result<(Vec<String>, Vec<proto::File>), Problem> {
        match &self.spec.work {
            Work::Command { argv } => Ok((argv.clone(), Vec::new())),
            Work::Script { language, code, args } => {
                let (path, files) = self.code(*language, code);
                let mut argv = self.interpreter(*language)?;
                argv.push(path);
                argv.extend(args.iter().cloned());
                Ok((argv, files))
            }
            Work::Handler { language, code, event } => {
                let (path, mut files) = self.code(*language, code);
                let (name, helper) = match language {
                    Language::Python => ("handler.py", PYTHON_HANDLER),
                    Language::Javascript => ("handler.mjs", JAVASCRIPT_HANDLER),
                    Language::Bash => {
                        let text = "handlers are written in python or javascript";
                        return Err(Problem::new(ErrorCode::HandlerUnsupported, text));
                    }
                };
                let helper_path = format!("{}/{name}", self.directory);
                let event_path = format!("{}/event.json", self.directory);
                files.push(file(helper_path.clone(), helper.as_bytes().to_vec()));
                files.push(file(event_path.clone(), event.as_str().as_bytes().to_vec()));
                let mut argv = self.interpreter(*language)?;
                argv.extend([helper_path, path, event_path, self.context()]);
                Ok((argv, files))
            }
        }
    }

    /// The code's path inside, and the file that puts it there. In a directory of its own, so that nothing of
    /// ours can be imported by mistake.
    fn code(&self, language: Language, code: &CodeSource) -> (String, Vec<proto::File>) {
        match code {
            CodeSource::InSandbox { path } => (path.clone(), Vec::new()),
            CodeSource::Inline { name, code } => {
                let path = format!("{}/code/{}", self.directory, module_name(language, name, code));
                (path.clone(), vec![file(path, code.clone())])
            }
        }
    }

    fn interpreter(&self, language: Language) -> Result<Vec<String>, Problem> {
        let program = match self.root {
            // An image has its own; its PATH finds it.
            Root::Directory(_) => names(language)[0].to_owned(),
            Root::Host => on_host(language)
                .map_err(|why| {
                    let text = format!("no interpreter for {language} that a sandbox can use: {why}");
                    Problem::new(ErrorCode::InterpreterMissing, text)
                })?
                .to_string_lossy()
                .into_owned(),
        };
        Ok(match language {
            // Unbuffered, so that output is seen when it is written and its order is that of the program.
            Language::Python => vec![program, "-u".to_owned()],
            Language::Javascript | Language::Bash => vec![program],
        })
    }

    fn context(&self) -> String {
        let facts = serde_json::json!({
            "execution_id": self.spec.id.to_string(),
            "memory_limit_bytes": self.spec.limits.memory.bytes(),
            "timeout_ms": self.spec.limits.timeout.as_millis(),
        });
        facts.to_string()
    }
}

/// Node tells module systems apart by the file's ending; code that imports or exports at the start of a line is a module.
fn module_name(language: Language, name: &str, code: &[u8]) -> String {
    let plain_js = language == Language::Javascript && name.ends_with(".js");
    if !plain_js {
        return name.to_owned();
    }
    let text = String::from_utf8_lossy(code);
    let is_module = text.lines().any(|line| {
        ["import ", "import{", "import\"", "import'", "export "].iter().any(|word| line.starts_with(word))
    });
    if is_module { format!("{}.mjs", name.trim_end_matches(".js")) } else { name.to_owned() }
}

fn file(path: String, data: Vec<u8>) -> proto::File {
    proto::File { path, data, ..Default::default() }
}

/// From zero: nothing of the host's environment, what programs need, then what was asked for.
fn environment(spec: &ExecutionSpec, uid: u32) -> BTreeMap<String, String> {
    let (user, home) = if uid == 0 { ("root", "/root") } else { ("user", "/home/user") };
    let own = [
        ("PATH", SEARCH_PATH),
        ("HOME", home),
        ("USER", user),
        ("LOGNAME", user),
        ("LANG", "C.UTF-8"),
        ("TMPDIR", "/tmp"),
        // Modules that lie in the workspace are found; compiled ones are not left there.
        ("PYTHONPATH", WORKSPACE),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("NODE_PATH", "/workspace/node_modules"),
    ];
    let mut env: BTreeMap<String, String> =
        own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    env.extend(spec.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    env
}
