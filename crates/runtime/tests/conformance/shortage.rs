//! When there is too little of what a start needs: it is refused with the reason, and the sandbox goes on.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use sandkeep_core::execution::Language;
use sandkeep_core::sandbox::Profile;
use sandkeep_runtime::driver::Cancel;
use sandkeep_runtime::{Driver, Sandbox};

use crate::support::{
    Heard, all_of, command, eventually, run, sandbox_spec, script, shell, to_end, until_output,
};

/// From hardly more than an agent waits on, up to as many as any start needs. With fewer it could not go on: poll(2) takes no
/// more descriptors than there may be.
const FEW_DESCRIPTORS: std::ops::Range<u64> = 12..48;

pub async fn without_descriptors_a_start_is_refused(driver: &dyn Driver) {
    for profile in Profile::ALL {
        let mut spec = sandbox_spec();
        spec.profile = profile;
        let sandbox = driver.create(&spec).await.unwrap();
        let agent = Pid::from_raw(i32::try_from(sandbox.facts().agent_pid).unwrap());
        let maximum = getrlimit(Resource::Nofile).maximum;
        let allow = |current| {
            let limit = prlimit(agent, Resource::Nofile, Rlimit { current: Some(current), maximum });
            limit.unwrap_or_else(|errno| panic!("the agent's descriptors cannot be limited: {errno}"))
        };
        let (mut refused, mut ran) = (0, 0);
        for few in FEW_DESCRIPTORS {
            allow(few);
            let heard = with_files(sandbox.as_ref()).await;
            match &heard.ended().not_runnable {
                Some(why) => {
                    assert_eq!(why.errno, rustix::io::Errno::MFILE.raw_os_error(), "{few}: {why:?}");
                    refused += 1;
                }
                None => {
                    let ended = heard.assert_succeeded().ended();
                    // The code was lucky, and the search for what it made perhaps not.
                    assert!(ended.artifacts_truncated || ended.artifacts.len() == 1, "{few}: {ended:?}");
                    ran += 1;
                }
            }
        }
        assert!(refused > 0 && ran > 0, "{profile}: {refused} refused, {ran} ran");
        allow(1_024);
        let heard = with_files(sandbox.as_ref()).await;
        assert_eq!(heard.assert_succeeded().ended().artifacts.len(), 1, "{profile}");
        sandbox.stop().await;
    }
}

async fn with_files(sandbox: &dyn Sandbox) -> Heard {
    let mut spec = shell("cat given > made");
    spec.files = vec![("given".to_owned(), b"x".to_vec())];
    spec.artifacts = true;
    run(sandbox, &spec).await
}

/// Forks until it may not, and stays.
const GREEDY: &str = "
import os, signal
try:
    while os.fork():
        pass
except OSError:
    print('full', flush=True)
signal.pause()
";

pub async fn at_the_limit_of_processes_a_start_is_refused_or_runs(driver: &dyn Driver) {
    let mut spec = sandbox_spec();
    spec.limits.processes = 6;
    let sandbox = driver.create(&spec).await.unwrap();
    let mut running = sandbox.start(&script(Language::Python, GREEDY)).await.unwrap();
    let heard = until_output(running.as_mut(), "full").await;
    for _ in 0..3 {
        let other = run(sandbox.as_ref(), &command(&["true"])).await;
        match &other.ended().not_runnable {
            Some(why) => assert_eq!(why.errno, rustix::io::Errno::AGAIN.raw_os_error(), "{why:?}"),
            // Where a group holds the limit, a process may still be put into it.
            None => drop(other.assert_succeeded()),
        }
    }
    assert!(running.control().cancel(Cancel::Now).await.unwrap());
    to_end(running.as_mut(), heard).await;
    run(sandbox.as_ref(), &command(&["true"])).await.assert_succeeded();
}

/// Many executions one after another cost the agent and the supervisor nothing that stays.
pub async fn nothing_stays_of_many_executions(driver: &dyn Driver) {
    let sandbox = driver.create(&sandbox_spec()).await.unwrap();
    let pids = [sandbox.facts().supervisor_pid, sandbox.facts().agent_pid];
    let mut sizes = Vec::new();
    for round in 0..3 {
        // The most that was seen: right after an end a domain is being made ready, and its files are closed.
        let mut most = [None; 2];
        for _ in 0..100 {
            let mut spec = shell("echo out; echo err >&2; sleep 0 & echo made > made");
            spec.files = vec![("given".to_owned(), vec![b'x'; 100_000])];
            spec.artifacts = true;
            let mut running = sandbox.start(&spec).await.unwrap();
            all_of(running.as_mut()).await.assert_succeeded();
            most = [0, 1].map(|process| most[process].max(descriptors(pids[process])));
        }
        sizes.push([0, 1].map(|process| (most[process], resident_kib(pids[process]))));
        println!("after {} executions: (descriptors, KiB) {:?}", (round + 1) * 100, sizes[round]);
    }
    for (process, pid) in pids.into_iter().enumerate() {
        let (first, last) = (sizes[0][process], sizes[2][process]);
        // A domain may just be made ready for the next.
        eventually("as many descriptors are open as before", || descriptors(pid) <= first.0);
        // The supervisor remembers executions (4,096 of them), with a few KiB each; what they were given is 100 KB each.
        assert!(last.1 < first.1 + 4_096, "memory grew: {sizes:?}");
    }
}

/// `None` where we may not look.
fn descriptors(pid: u32) -> Option<usize> {
    Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap()
}
