//! `sandkeep-agent`: the small static program that holds sandboxes.
//!
//! One file, a few faces. `supervisor` holds a sandbox from outside and is what gets executed; `agent` is process 1
//! inside, forked from it; `init` is process 1 of one execution where there are no control groups, forked from that.
//! Under the name `sudo` it is what code of profile `dev` calls to become root inside.
//! None of them is for people: `sandkeep` starts it with its socket as descriptor 0.

mod agent;
mod calls;
mod clock;
mod init;
mod link;
mod sudo;
mod supervisor;

use std::os::fd::AsFd as _;

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
    let code = match rustix::io::fcntl_dupfd_cloexec(std::io::stdin().as_fd(), 3) {
        Ok(socket) => supervisor::Supervisor::serve(socket),
        Err(_) => 2,
    };
    sandkeep_sandbox::process::exit_now(code);
}
