//! How processes get into groups, and who may put them there.

use std::os::fd::AsFd as _;

use sandkeep_sandbox::cgroup::{GroupLimits, Layout, PARENT, Pool, enter};

use super::machine::*;

#[test]
fn a_child_without_privileges_enters_through_open_files() {
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 9, GroupLimits::default());
        let domain = claimed.group().domain(0, None).unwrap();
        // SAFETY: the child makes system calls only and leaves by _exit.
        let pid = unsafe { enter::fork_into(None, 0) }.unwrap();
        if pid == 0 {
            // SAFETY: as above.
            unsafe {
                let dropped = become_user(65533);
                let unified = domain.unified_procs_fd();
                let entered = unified.is_none_or(|fd| enter::enter(&[fd]).is_ok())
                    && enter::enter(domain.procs_fds()).is_ok();
                if !(dropped && entered) {
                    libc::_exit(1);
                }
                libc::_exit(sleep_forever());
            }
        }
        eventually("the entry", || domain.pids().unwrap() == [pid]);
        let groups = || std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        eventually("the entry in every tree", || {
            groups().matches("/e0").count() >= domain.procs_fds().len().saturating_sub(1)
        });
        domain.kill_and_wait().unwrap();
        assert!(killed(wait(pid)));
    });
}

#[test]
fn an_admitted_agent_clones_into_domains() {
    const AGENT: u32 = 1_900_000_533;
    each_layout(|pool| {
        let mut claimed = Claimed::new(pool, 10, GroupLimits::default());
        claimed.group.as_mut().unwrap().admit(AGENT).unwrap();
        let domain = claimed.group().domain(0, None).unwrap();
        let Some(leaf) = claimed.group().agent_leaf() else { return };
        // SAFETY: the children make system calls only and leave by _exit.
        let agent = unsafe { enter::fork_into(Some(leaf), 0) }.unwrap();
        if agent == 0 {
            // SAFETY: as above.
            unsafe {
                if !become_user(AGENT) {
                    libc::_exit(1);
                }
                match enter::fork_into(domain.clone_into(), 0) {
                    Ok(0) => {
                        let code = if enter::enter(domain.procs_fds()).is_ok() { sleep_forever() } else { 3 };
                        libc::_exit(code)
                    }
                    Ok(_) => libc::_exit(0),
                    Err(e) => libc::_exit(e.raw_os_error().unwrap_or(4)),
                }
            }
        }
        assert_eq!(wait(agent), 0);
        eventually("the grandchild in the domain", || domain.pids().unwrap().len() == 1);
        claimed.group().empty().unwrap();
        assert!(claimed.group().is_empty().unwrap());
    });
}

/// On a tree mounted as systemd does (`nsdelegate`), nothing is cloned out of a cgroup namespace. A namespace made
/// together with the agent would have the supervisor's group as its root, which is elsewhere. So the agent has none,
/// and each execution makes its own when it is where it belongs.
#[test]
fn a_cgroup_namespace_is_made_by_the_execution_itself() {
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 18, GroupLimits::default());
        let Some(leaf) = claimed.group().agent_leaf() else { return };
        let domain = claimed.group().domain(0, None).unwrap();
        // SAFETY: the children make system calls only and leave by _exit.
        let agent = unsafe { enter::fork_into(Some(leaf), 0) }.unwrap();
        if agent == 0 {
            // SAFETY: as above.
            unsafe {
                match enter::fork_into(domain.clone_into(), 0) {
                    Ok(0) => {
                        let entered = enter::enter(domain.procs_fds()).is_ok();
                        let shut_in =
                            entered && libc::unshare(libc::CLONE_NEWCGROUP) == 0 && sees_only_roots();
                        libc::_exit(i32::from(!shut_in))
                    }
                    Ok(execution) => {
                        let mut status = 0;
                        libc::waitpid(execution, &raw mut status, 0);
                        libc::_exit(libc::WEXITSTATUS(status))
                    }
                    Err(e) => libc::_exit(e.raw_os_error().unwrap_or(4)),
                }
            }
        }
        assert_eq!(wait(agent), 0);
    });
}

/// The reason for the test above: the namespace is made with the agent, by a supervisor in a login session.
#[test]
fn a_cgroup_namespace_made_with_the_agent_shuts_it_in() {
    const CLONE_NEWCGROUP: u64 = 0x0200_0000;
    let Layout::V2(v2) = Layout::detect() else {
        println!("SKIPPED: a wall of version 2; tests/v2/run has such a machine");
        return;
    };
    let delegates = std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains("nsdelegate");
    if v2.base != v2.mount || !delegates {
        println!("SKIPPED: needs root and a tree mounted with nsdelegate");
        return;
    }
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 19, GroupLimits::default());
        let domain = claimed.group().domain(0, None).unwrap();
        let session = v2.mount.join("sandkeep-test-session");
        std::fs::create_dir_all(&session).unwrap();
        let place = std::fs::File::open(&session).unwrap();
        // SAFETY: the children make system calls only and leave by _exit.
        let supervisor = unsafe { enter::fork_into(Some(place.as_fd()), 0) }.unwrap();
        if supervisor == 0 {
            // SAFETY: as above.
            unsafe {
                let agent = enter::fork_into(claimed.group().agent_leaf(), CLONE_NEWCGROUP).unwrap_or(-1);
                if agent == 0 {
                    let refused =
                        enter::fork_into(domain.clone_into(), 0).err().and_then(|e| e.raw_os_error());
                    libc::_exit(refused.unwrap_or(0));
                }
                let mut status = 0;
                libc::waitpid(agent, &raw mut status, 0);
                libc::_exit(libc::WEXITSTATUS(status))
            }
        }
        assert_eq!(libc::WEXITSTATUS(wait(supervisor)), libc::ENOENT);
        std::fs::remove_dir(&session).unwrap();
    });
}

/// Whether no tree in which sandboxes have groups shows this process where its group is. No allocation.
fn sees_only_roots() -> bool {
    let flags = rustix::fs::OFlags::RDONLY;
    let Ok(file) = rustix::fs::open(c"/proc/self/cgroup", flags, rustix::fs::Mode::empty()) else {
        return false;
    };
    let mut buffer = [0u8; 4096];
    let length = rustix::io::read(&file, &mut buffer).unwrap_or(0);
    let text = &buffer[..length];
    length > 0
        && !text.windows(8).any(|part| part == b"sandkeep")
        && !text.windows(2).any(|part| part == b"..")
}

/// What a program started by `systemd-run --user --scope -p Delegate=yes` finds: a group of its own with
/// itself in it. Re-runs this program as an ordinary user in such a group.
#[test]
fn an_ordinary_user_with_a_delegated_group_gets_everything() {
    const USER: u32 = 1000;
    let Layout::V2(v2) = Layout::detect() else {
        println!("SKIPPED: delegation is a matter of version 2; tests/v2/run has such a machine");
        return;
    };
    if v2.base != v2.mount {
        println!("SKIPPED: only root can delegate");
        return;
    }
    let group = v2.mount.join("sandkeep-test-user");
    std::fs::create_dir_all(&group).unwrap();
    for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        std::os::unix::fs::chown(group.join(file), Some(USER), Some(USER)).unwrap();
    }
    let procs = [std::fs::OpenOptions::new().write(true).open(group.join("cgroup.procs")).unwrap()];
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "entering::inside_a_delegated_group", "--nocapture"]);
    // SAFETY: the closure makes one system call.
    unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, move || enter::enter(&procs)) };
    std::os::unix::process::CommandExt::uid(&mut command, USER);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    eventually("the removal of the group", || {
        for leaf in ["sandkeep-outside", "sandkeep", ""] {
            std::fs::remove_dir(group.join(leaf)).ok();
        }
        !group.exists()
    });
}

#[test]
#[ignore = "run by an_ordinary_user_with_a_delegated_group_gets_everything"]
fn inside_a_delegated_group() {
    assert!(!rustix::process::geteuid().is_root());
    let before = Layout::detect();
    assert!(matches!(&before, Layout::V2(v2) if v2.evacuate), "{before:?}");
    Pool::open(&before, PARENT, Some(128 * MIB)).unwrap();
    let after = Layout::detect();
    assert!(matches!(&after, Layout::V2(v2) if !v2.evacuate && v2.controllers.memory), "{after:?}");
    let pool = Pool::open(&after, PARENT, Some(128 * MIB)).unwrap();
    let claimed = Claimed::new(
        &pool,
        17,
        GroupLimits { memory: Some(32 * MIB), cpu_millis: Some(500), processes: Some(9) },
    );
    let domain = claimed.group().domain(0, None).unwrap();
    assert!(killed(wait(spawn(&domain, || touch(100 << 20, false)))));
    assert!(domain.oom_kills().unwrap() >= 1);
}
