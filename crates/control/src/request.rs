//! What was asked for, as it is kept until it runs.

use std::collections::BTreeMap;

use sandkeep_core::base64;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::duration::Span;
use sandkeep_core::execution::{CodeSource, Json, Kind, Language, Work};
use sandkeep_core::id::{ExecutionId, ProjectId, SandboxId};
use sandkeep_core::limits::{LimitKind, Limits, LimitsRequest, Names};
use sandkeep_core::output::Mask;
use sandkeep_core::sandbox::Profile;
use sandkeep_runtime::driver::{ExecutionSpec, Stdin, User};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::seal::{Place, Sealer};

/// How long a sandbox is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// It ends, and its disk with it.
    Ephemeral,
}

/// What a sandbox is: kept with its row for its whole life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// What it starts from.
    pub template: String,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// How much of a system it is.
    pub profile: Profile,
    /// What it may use.
    pub limits: Limits,
    /// Which of these were asked for: a host that cannot hold one of them refuses the start.
    #[serde(default)]
    pub asked: Vec<LimitKind>,
    /// Environment of everything that runs in it, sealed; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_env: Option<Bytes>,
    /// What its owner says of it.
    pub labels: BTreeMap<String, String>,
    /// It was made for one execution and goes with its end.
    pub once: bool,
}

impl SandboxSpec {
    /// Puts `env` in, sealed for the sandbox `id`.
    ///
    /// # Errors
    /// `internal`.
    pub fn seal_env(
        &mut self,
        sealer: &Sealer,
        project_id: ProjectId,
        id: SandboxId,
        env: &BTreeMap<String, String>,
    ) -> Result<(), Problem> {
        let id = id.to_string();
        let place = Place { project_id, id: &id, version: 1 };
        self.sealed_env = if env.is_empty() { None } else { Some(Bytes(sealer.seal_json(place, env)?)) };
        Ok(())
    }

    /// The environment of the sandbox `id`.
    ///
    /// # Errors
    /// `seal_broken`.
    pub fn env(
        &self,
        sealer: &Sealer,
        project_id: ProjectId,
        id: SandboxId,
    ) -> Result<BTreeMap<String, String>, Problem> {
        let id = id.to_string();
        let place = Place { project_id, id: &id, version: 1 };
        self.sealed_env.as_ref().map_or(Ok(BTreeMap::new()), |sealed| sealer.open_json(place, &sealed.0))
    }
}

/// An execution that is asked for.
#[derive(Debug, Clone)]
pub struct NewExecution {
    /// What to run.
    pub work: Work,
    /// On top of the sandbox's environment.
    pub env: BTreeMap<String, String>,
    /// Working directory; `/workspace` without.
    pub cwd: Option<String>,
    /// Standard input.
    pub stdin: Vec<u8>,
    /// Wall time; the sandbox's without.
    pub timeout: Option<Span>,
}

impl NewExecution {
    /// What it comes to in a sandbox with these limits, checked.
    ///
    /// # Errors
    /// As [`ExecutionRequest::check`].
    pub fn within(self, limits: &Limits) -> Result<ExecutionRequest, Problem> {
        let asked = LimitsRequest { timeout: self.timeout, ..LimitsRequest::default() };
        let (limits, _) = asked.resolve(limits, &Names::FIELDS)?;
        let request = ExecutionRequest {
            artifacts: self.work.kind().collects_artifacts(),
            work: self.work.into(),
            env: self.env,
            cwd: self.cwd,
            as_root: false,
            stdin: Some(Bytes(self.stdin)).filter(|stdin| !stdin.0.is_empty()),
            merge_stderr: false,
            limits,
        };
        request.check()?;
        Ok(request)
    }
}

/// An execution as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionRequest {
    /// What to run.
    pub work: WorkRequest,
    /// On top of the sandbox's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory; `/workspace` without.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Whether it runs as inside-root (profile `dev` only).
    #[serde(default)]
    pub as_root: bool,
    /// Standard input; empty without.
    #[serde(default)]
    pub stdin: Option<Bytes>,
    /// One pipe for both output streams.
    #[serde(default)]
    pub merge_stderr: bool,
    /// Time, output and open files, within those of the sandbox.
    pub limits: Limits,
    /// Whether new and changed files are looked for.
    pub artifacts: bool,
}

impl From<Work> for WorkRequest {
    fn from(work: Work) -> Self {
        let bytes = |code: CodeSource| match code {
            CodeSource::Inline { code, .. } => Bytes(code),
            // Only the command line names files inside, and that runs without a server.
            CodeSource::InSandbox { path } => Bytes(path.into_bytes()),
        };
        match work {
            Work::Script { language, code, args } => Self::Script { language, code: bytes(code), args },
            Work::Handler { language, code, event } => Self::Handler { language, code: bytes(code), event },
            Work::Command { argv } => Self::Command { argv },
        }
    }
}

/// What to run. Tagged from outside: a tag inside would have `serde` hold back all fields until it is found, and an event
/// that is carried as it came cannot be held back so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkRequest {
    /// Code, run by the interpreter of its language.
    Script {
        /// Which.
        language: Language,
        /// The code itself.
        code: Bytes,
        /// Arguments.
        #[serde(default)]
        args: Vec<String>,
    },
    /// A function that takes an event and gives a value.
    Handler {
        /// Which.
        language: Language,
        /// The code itself.
        code: Bytes,
        /// What it is called with.
        event: Json,
    },
    /// A program and its arguments.
    Command {
        /// Never empty.
        argv: Vec<String>,
    },
}

/// Bytes, in JSON as base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    // Code and input may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&base64::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        base64::decode(&text).map(Self).ok_or_else(|| serde::de::Error::custom("not base64"))
    }
}

impl WorkRequest {
    /// The same in the words of the runtime.
    #[must_use]
    pub fn work(&self) -> Work {
        let inline = |language: &Language, code: &Bytes| CodeSource::Inline {
            name: language.file_name().to_owned(),
            code: code.0.clone(),
        };
        match self {
            Self::Script { language, code, args } => {
                Work::Script { language: *language, code: inline(language, code), args: args.clone() }
            }
            Self::Handler { language, code, event } => {
                Work::Handler { language: *language, code: inline(language, code), event: event.clone() }
            }
            Self::Command { argv } => Work::Command { argv: argv.clone() },
        }
    }

    /// `script`, `handler`, `command`.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Script { .. } => Kind::Script,
            Self::Handler { .. } => Kind::Handler,
            Self::Command { .. } => Kind::Command,
        }
    }

    /// Of scripts and handlers.
    #[must_use]
    pub fn language(&self) -> Option<Language> {
        match self {
            Self::Script { language, .. } | Self::Handler { language, .. } => Some(*language),
            Self::Command { .. } => None,
        }
    }
}

impl ExecutionRequest {
    /// Refuses what can never run.
    ///
    /// # Errors
    /// As [`Work::check`] and [`Limits::check`]; `env_invalid`.
    pub fn check(&self) -> Result<(), Problem> {
        self.work.work().check()?;
        self.limits.check(&Names::FIELDS)?;
        check_env(&self.env)?;
        match self.cwd.as_deref() {
            Some(cwd) if !cwd.starts_with('/') || cwd.contains('\0') => Err(Problem::refused(
                ErrorCode::InvalidValue,
                cwd,
                "is not a working directory",
                "an absolute path",
            )
            .within("cwd")),
            Some(_) | None => Ok(()),
        }
    }

    /// As it is kept until it runs: code, input and environment may hold secrets.
    ///
    /// # Errors
    /// `internal`.
    pub fn seal(&self, sealer: &Sealer, project_id: ProjectId, id: ExecutionId) -> Result<Vec<u8>, Problem> {
        sealer.seal_json(Place { project_id, id: &id.to_string(), version: 1 }, self)
    }

    /// Reads [`seal`](Self::seal).
    ///
    /// # Errors
    /// `seal_broken`.
    pub fn open(
        sealer: &Sealer,
        project_id: ProjectId,
        id: ExecutionId,
        bytes: &[u8],
    ) -> Result<Self, Problem> {
        sealer.open_json(Place { project_id, id: &id.to_string(), version: 1 }, bytes)
    }

    /// What the driver is told, under the token of the claim of the sandbox, in one with `env`.
    #[must_use]
    pub fn spec(&self, id: ExecutionId, token: u64, env: &BTreeMap<String, String>) -> ExecutionSpec {
        let mut env = env.clone();
        env.extend(self.env.clone());
        ExecutionSpec {
            id,
            token,
            work: self.work.work(),
            env,
            cwd: self.cwd.clone(),
            user: if self.as_root { User::Root } else { User::User },
            stdin: self.stdin.clone().map_or(Stdin::Empty, |bytes| Stdin::Bytes(bytes.0)),
            merge_stderr: self.merge_stderr,
            // Nothing is known yet that would have to be masked: secrets come with jobs.
            mask: Mask::default(),
            limits: self.limits,
            files: Vec::new(),
            artifacts: self.artifacts,
        }
    }
}

/// Names as programs can have them.
pub(crate) fn check_env(env: &BTreeMap<String, String>) -> Result<(), Problem> {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let expected = "a name without `=`, a value without NUL";
            return Err(Problem::refused(
                ErrorCode::EnvInvalid,
                name,
                "is not an environment variable",
                expected,
            )
            .within("env"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let event = Json::parse(br#"{"n": 123456789012345678901234567890}"#).unwrap();
        let code = || CodeSource::Inline { name: "main.py".to_owned(), code: vec![0, 255] };
        for work in [
            Work::Script { language: Language::Python, code: code(), args: vec!["a".to_owned()] },
            Work::Handler { language: Language::Python, code: code(), event },
            Work::Command { argv: vec!["true".to_owned()] },
        ] {
            let new = NewExecution {
                work,
                env: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
                cwd: Some("/tmp".to_owned()),
                stdin: vec![1],
                timeout: None,
            };
            let request = new.within(&sandkeep_core::defaults::limits()).unwrap();
            let kept = serde_json::to_vec(&request).unwrap();
            assert_eq!(serde_json::from_slice::<ExecutionRequest>(&kept).unwrap(), request);
        }
    }
}
