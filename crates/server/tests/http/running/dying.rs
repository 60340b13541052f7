//! A sandbox that ends under a live server is noticed, whether something runs in it or not.

use rustix::process::{Pid, Signal, kill_process};

use super::both;
use super::client::Client;

both! { who_loses_its_agent_is_lost who_loses_its_supervisor_is_lost what_is_idle_is_lost_too }

/// Process ids of the agent and the supervisor of the sandbox in which a process with this argument runs.
fn holders(argument: &str) -> [Pid; 2] {
    let has = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    };
    let all = std::fs::read_dir("/proc").unwrap();
    let mut pids = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let mut line = vec![pids.find(has).expect("it runs")];
    // Up to this process, whose child the supervisor is.
    while line[line.len() - 1] != std::process::id() {
        line.push(parent(line[line.len() - 1]));
    }
    [line[line.len() - 3], line[line.len() - 2]].map(|pid| Pid::from_raw(pid.cast_signed()).unwrap())
}

fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A sandbox with something in it that is found by `argument`, begun.
async fn begun(client: &Client, argument: &str) -> (String, String) {
    let sandbox = client.sandbox().await;
    let line = format!("echo here; while ! [ -e go ]; do sleep 0.01; done; : {argument}");
    let asked = serde_json::json!({"command": ["sh", "-c", line, argument]});
    let made = client.made(&format!("/sandboxes/{sandbox}/executions"), &asked).await;
    let execution = format!("/executions/{}", made["id"].as_str().unwrap());
    client.until(&execution, |found| found["stdout"] == "here\n").await;
    (sandbox, execution)
}

async fn is_lost(client: &Client, sandbox: &str) {
    let found = client.until(&format!("/sandboxes/{sandbox}"), |found| found["status"] == "terminated").await;
    assert_eq!(found["reason"], "lost", "{found}");
    let events = client.get(&format!("/events?subject={sandbox}&kind=sandbox.terminated")).await;
    let told = events["items"].as_array().unwrap();
    assert_eq!((told.len(), &told[0]["data"]["reason"]), (1, &"lost".into()), "{events}");
}

mod cases {
    use super::*;

    pub(super) async fn who_loses_its_agent_is_lost(client: &Client) {
        kill(client, 0).await;
    }

    pub(super) async fn who_loses_its_supervisor_is_lost(client: &Client) {
        kill(client, 1).await;
    }

    /// Kills one of the holders under something that runs.
    async fn kill(client: &Client, which: usize) {
        let argument = format!("dying-{which}-{}", client.bed.address.port());
        let (sandbox, execution) = begun(client, &argument).await;
        kill_process(holders(&argument)[which], Signal::KILL).unwrap();
        let ended = client.until(&execution, |found| found["finished_at"].is_string()).await;
        assert_eq!((&ended["status"], &ended["stdout"]), (&"lost".into(), &"here\n".into()), "{ended}");
        is_lost(client, &sandbox).await;
        let told = client.get(&format!("/events?subject={}", ended["id"].as_str().unwrap())).await;
        let told = told["items"].as_array().unwrap();
        let kinds: Vec<_> = told.iter().map(|event| event["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["execution.queued", "execution.ended"], "one end, told by who followed it");
        let more = serde_json::json!({"command": ["true"]});
        let late = client.post(&format!("/sandboxes/{sandbox}/executions"), &more).await;
        late.problem(409, "sandbox_ended");
    }

    pub(super) async fn what_is_idle_is_lost_too(client: &Client) {
        let argument = format!("dying-idle-{}", client.bed.address.port());
        let (sandbox, execution) = begun(client, &argument).await;
        let [agent, _] = holders(&argument);
        client.begin(&sandbox, "touch go").await;
        client.until(&execution, |found| found["status"] == "succeeded").await;
        kill_process(agent, Signal::KILL).unwrap();
        is_lost(client, &sandbox).await;
    }
}
