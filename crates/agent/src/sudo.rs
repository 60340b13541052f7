//! The face `sudo`: what code of profile `dev` finds at /usr/bin/sudo.
//!
//! Set-uid bits do nothing where new privileges are forbidden, so this asks the agent, which may become anyone inside:
//! it hands over the command with its own standard streams, waits, and ends as the command ended. When it
//! is killed, its connection closes and the agent ends the command.

use std::collections::BTreeMap;
use std::io::{IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};

use buffa::Message as _;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use sandkeep_protocol::agent::SpawnRequest;
use sandkeep_sandbox::process::Status;

use crate::agent::sudo::SOCKET;
use sandkeep_sandbox::start::init;

/// What `sudo` itself exits with when it cannot do what it was asked.
const REFUSED: i32 = 1;

/// Runs the command of `args` (without the program's name) as another user; gives the exit code.
pub(crate) fn run(args: Vec<String>) -> i32 {
    let outcome = parse(args).and_then(|asked| ask(&asked));
    outcome.unwrap_or_else(|text| {
        let _told = writeln!(std::io::stderr(), "sudo: {text}");
        REFUSED
    })
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    root: bool,
    env: Vec<(String, String)>,
    argv: Vec<String>,
}

fn parse(args: Vec<String>) -> Result<Asked, String> {
    let mut asked = Asked { root: true, env: Vec::new(), argv: Vec::new() };
    let mut args = args.into_iter().peekable();
    let mut shell = false;
    while let Some(arg) = args.next_if(|arg| arg.starts_with('-')) {
        match arg.as_str() {
            "--" => break,
            // Nobody is asked for a password, and the environment is kept in any case.
            "-n" | "-E" | "-H" | "-S" | "--non-interactive" | "--preserve-env" | "--set-home" | "--stdin" => {
            }
            "-i" | "-s" | "--login" | "--shell" => shell = true,
            "-u" | "--user" => asked.root = is_root(args.next().as_deref())?,
            _ if arg.starts_with("--user=") => asked.root = is_root(arg.strip_prefix("--user="))?,
            _ => return Err(format!("{arg} is not known here; -u USER, -i, -s, -E, -H, -n and -- are")),
        }
    }
    while let Some(arg) = args.next_if(|arg| arg.split_once('=').is_some_and(|(name, _)| is_name(name))) {
        let (name, value) = arg.split_once('=').expect("just seen");
        asked.env.push((name.to_owned(), value.to_owned()));
    }
    asked.argv = args.collect();
    if shell && asked.argv.is_empty() {
        asked.argv = vec!["/bin/bash".to_owned()];
    } else if shell {
        asked.argv = vec!["/bin/bash".to_owned(), "-c".to_owned(), asked.argv.join(" ")];
    }
    if asked.argv.is_empty() {
        return Err("usage: sudo [-u USER] [NAME=VALUE…] COMMAND [ARGS…]".to_owned());
    }
    Ok(asked)
}

fn is_root(user: Option<&str>) -> Result<bool, String> {
    match user {
        Some("root" | "#0" | "0") => Ok(true),
        Some("user" | "#1000" | "1000") => Ok(false),
        Some(other) => Err(format!("unknown user {other}; there are root and user")),
        None => Err("-u needs a user".to_owned()),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}

fn ask(asked: &Asked) -> Result<i32, String> {
    let socket = connect().map_err(|errno| format!("cannot reach the agent: {errno}"))?;
    let mut env: BTreeMap<String, String> = std::env::vars().collect();
    let (name, home) = if asked.root { ("root", "/root") } else { ("user", "/home/user") };
    for (key, value) in [("USER", name), ("LOGNAME", name), ("HOME", home), ("SUDO_USER", "user")] {
        env.insert(key.to_owned(), value.to_owned());
    }
    env.extend(asked.env.iter().cloned());
    let cwd = std::env::current_dir().map_err(|error| format!("no working directory: {error}"))?;
    let request = SpawnRequest {
        argv: asked.argv.clone(),
        env,
        cwd: cwd.to_string_lossy().into_owned(),
        uid: if asked.root { 0 } else { sandkeep_sandbox::idmap::USER_ID },
        ..Default::default()
    };
    send(&socket, &request.encode_to_vec()).map_err(|errno| format!("the agent does not listen: {errno}"))?;
    wait(&socket)
}

fn connect() -> rustix::io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(SOCKET)?)?;
    Ok(socket)
}

/// Length, then message; the standard streams ride with the first byte.
fn send(socket: &OwnedFd, message: &[u8]) -> rustix::io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| rustix::io::Errno::MSGSIZE)?.to_le_bytes();
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&streams)), "space for three");
    rustix::net::sendmsg(socket, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
    let mut rest = message;
    while !rest.is_empty() {
        let sent = rustix::net::send(socket, rest, SendFlags::NOSIGNAL)?;
        rest = &rest[sent..];
    }
    Ok(())
}

/// The agent answers with a status as an init tells it, or with a line that says why not.
fn wait(socket: &OwnedFd) -> Result<i32, String> {
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        match rustix::io::read(socket, &mut buffer) {
            Ok(0) => break,
            Ok(got) => said.extend_from_slice(&buffer[..got]),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(format!("the agent is gone: {errno}")),
        }
    }
    match init::decode(&said) {
        Some(Status::Exited(code)) => Ok(code),
        Some(Status::Signalled(signal)) => Ok(128 + signal),
        None if said.is_empty() => Err("the agent is gone".to_owned()),
        None => Err(String::from_utf8_lossy(&said).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_that_people_use_are_understood() {
        let check = |line: &str, root: bool, argv: &str| {
            let asked = parse(words(line)).unwrap();
            assert_eq!((asked.root, asked.argv), (root, words(argv)), "{line}");
        };
        check("id -u", true, "id -u");
        check("-n -E apt-get install -y hello", true, "apt-get install -y hello");
        check("-u user -- id", false, "id");
        check("--user=root id", true, "id");
        check("-i", true, "/bin/bash");
        assert_eq!(parse(words("A=1 B=2 env")).unwrap().env.len(), 2);
        for refused in ["", "-u", "-u nobody id", "--frobnicate id"] {
            assert!(parse(words(refused)).is_err(), "{refused}");
        }
    }
}
