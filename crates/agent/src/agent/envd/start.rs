//! From a client's wish for a process to a request that can be spawned, and from a failure to what the client hears.

use std::collections::BTreeMap;

use rustix::io::Errno;
use sandkeep_protocol::agent as own;
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::process as envd;

use super::caller::Caller;
use crate::agent::{fs, terminal};
use sandkeep_sandbox::start::{Failure, Step};

/// A tag is a name, not a place to keep things: each is held as long as its process is remembered.
const MOST_TAG_BYTES: usize = 256;
/// Bytes of arguments and environment that are kept to be shown in a list.
const MOST_SHOWN_BYTES: usize = 32 * 1024;

/// What is to be started.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) spawn: own::SpawnRequest,
    pub(super) terminal: Option<terminal::Size>,
    /// What lists show of it.
    pub(super) config: envd::ProcessConfig,
    pub(super) tag: Option<String>,
}

/// Puts together what `request` asks for in the room that was made for it.
///
/// # Errors
/// `invalid_argument` for what no process can be started from.
pub(super) fn wish(
    request: envd::StartRequest,
    caller: Caller,
    room: &own::AdmitRequest,
) -> Result<Wish, ConnectError> {
    let invalid = |text: &str| ConnectError::new(Code::InvalidArgument, text);
    let config = request.process.into_option().unwrap_or_default();
    if config.cmd.is_empty() {
        return Err(invalid("cmd is empty"));
    }
    if request.tag.as_ref().is_some_and(|tag| tag.len() > MOST_TAG_BYTES) {
        return Err(invalid("the tag is longer than 256 bytes"));
    }
    let terminal = request.pty.into_option().map(|pty| size(&pty)).transpose()?;
    let cwd = fs::path::expand(config.cwd.as_deref().unwrap_or_default(), caller.home)?;
    let stdin =
        if request.stdin.unwrap_or(true) { own::Stdin::STDIN_OPEN } else { own::Stdin::STDIN_UNSPECIFIED };
    let spawn = own::SpawnRequest {
        execution_id: room.execution_id.clone(),
        argv: std::iter::once(&config.cmd).chain(&config.args).cloned().collect(),
        env: environment(&config.envs, caller, terminal.is_some())?,
        cwd,
        uid: caller.uid,
        gid: caller.uid,
        stdin_mode: stdin.into(),
        rlimits: room.rlimits.clone(),
        clone_into_group: room.clone_into_group,
        own_pid_namespace: room.own_pid_namespace,
        ..Default::default()
    };
    Ok(Wish { spawn, terminal, config: shown(config), tag: request.tag })
}

/// # Errors
/// `invalid_argument` for a size that no terminal has.
pub(super) fn size(pty: &envd::PTY) -> Result<terminal::Size, ConnectError> {
    let size = pty.size.as_option().cloned().unwrap_or_default();
    terminal::Size::of(size.cols, size.rows).ok_or_else(|| {
        ConnectError::new(Code::InvalidArgument, "a terminal has at most 65535 columns and rows")
    })
}

/// The environment: from zero, what programs expect, and over it what the client gives.
fn environment(
    given: &BTreeMap<String, String>,
    caller: Caller,
    on_terminal: bool,
) -> Result<BTreeMap<String, String>, ConnectError> {
    let base = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", caller.home),
        ("USER", caller.name),
        ("LOGNAME", caller.name),
        ("LANG", "C.UTF-8"),
    ];
    if let Some(name) = given.keys().find(|name| name.is_empty() || name.contains('=')) {
        let text = format!("{name:?} is not the name of a variable");
        return Err(ConnectError::new(Code::InvalidArgument, text));
    }
    let base = base.into_iter().chain(on_terminal.then_some(("TERM", terminal::TERM)));
    let base = base.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(base.chain(given.iter().map(|(name, value)| (name.clone(), value.clone()))).collect())
}

/// What is kept of a configuration: lists may show many, and each may be as long as an exec takes.
fn shown(mut config: envd::ProcessConfig) -> envd::ProcessConfig {
    let mut left = MOST_SHOWN_BYTES;
    let mut fits = |bytes: usize| {
        let rest = left.checked_sub(bytes);
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    if !fits(config.cmd.len()) {
        config.cmd.clear();
    }
    config.args.retain(|arg| fits(arg.len() + 1));
    config.envs.retain(|name, value| fits(name.len() + value.len() + 2));
    config
}

/// What a client hears of a process that could not be started.
pub(super) fn refusal(failure: Failure, config: &envd::ProcessConfig) -> ConnectError {
    let (step, errno) = (failure.step, failure.errno);
    let cwd = config.cwd.as_deref().unwrap_or("~");
    let (code, text) = match (step, errno) {
        (Step::Cwd, Errno::NOENT) => (Code::InvalidArgument, format!("cwd '{cwd}' does not exist")),
        (Step::Cwd, Errno::NOTDIR) => (Code::InvalidArgument, format!("cwd '{cwd}' is not a directory")),
        (Step::Cwd, _) => (fs::code(errno), format!("cwd '{cwd}' cannot be entered: {errno}")),
        (Step::Exec, Errno::NOENT | Errno::NOTDIR) => {
            (Code::NotFound, format!("cannot start '{}': there is no such program", config.cmd))
        }
        (_, Errno::AGAIN) => (Code::ResourceExhausted, "cannot start: too many processes".to_owned()),
        _ => (fs::code(errno), format!("cannot start '{}': {}: {errno}", config.cmd, step.name())),
    };
    ConnectError::new(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_show_no_more_than_fits() {
        let big = "x".repeat(MOST_SHOWN_BYTES);
        let config = envd::ProcessConfig {
            cmd: "a".to_owned(),
            args: vec!["b".to_owned(), big.clone(), "c".to_owned()],
            envs: [("K".to_owned(), big)].into_iter().collect(),
            cwd: Some("/".to_owned()),
        };
        let shown = shown(config);
        assert_eq!((shown.cmd.as_str(), shown.args), ("a", vec!["b".to_owned()]));
        assert!(shown.envs.is_empty());
        assert_eq!(shown.cwd.as_deref(), Some("/"));
    }
}
