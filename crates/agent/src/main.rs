//! `sandkeep-agent`: the small static program that holds sandboxes.
//!
//! One file, a few faces. `supervisor` holds a sandbox from outside and is what gets executed; `agent` is process 1
//! inside, forked from it; `init` is process 1 of one execution where there are no control groups, forked from that (`sandkeep_sandbox::start::init`).
//! Under the name `sudo` it is what code of profile `dev` calls to become root inside.
//! None of them is for people: `sandkeep` starts it with its socket as descriptor 0. A supervisor that outlives its server is
//! told so by a second argument, `detached`.

mod agent;
mod calls;
mod clock;
mod link;
mod sudo;
mod supervisor;

use std::os::fd::{AsFd as _, OwnedFd};

fn main() {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    if name.rsplit('/').next() == Some("sudo") {
        sandkeep_sandbox::process::exit_now(sudo::run(args.collect()));
    }
    let face = args.next();
    if face.as_deref() != Some("supervisor") {
        let text = b"sandkeep-agent is started by sandkeep and does nothing by itself\n";
        let _told = rustix::io::write(std::io::stderr(), text);
        sandkeep_sandbox::process::exit_now(2);
    }
    // Otherwise `ps` shows the number of a descriptor.
    let _named = rustix::thread::set_name(c"sandkeep-super");
    sandkeep_sandbox::process::ignore_own_signals();
    // Each execution takes a dozen descriptors of ours; the code gets a limit of its own.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _as_it_was = rustix::process::setrlimit(rustix::process::Resource::Nofile, most);
    if args.next().as_deref() == Some("detached") {
        // Nothing that ends the server's session is to reach this.
        let _own = rustix::process::setsid();
    }
    let code = match take_socket() {
        Ok(socket) => supervisor::Supervisor::serve(socket),
        Err(_) => 2,
    };
    sandkeep_sandbox::process::exit_now(code);
}

/// The socket that we were born with, and nothing else that whoever started us had open.
fn take_socket() -> rustix::io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin().as_fd(), 3)?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    // Else it would stay open when the socket is closed, and its other end would not hear of that.
    rustix::stdio::dup2_stdin(&null)?;
    std::mem::forget(null);
    sandkeep_sandbox::process::close_all_but(3, &[socket.as_fd()]);
    Ok(socket)
}
