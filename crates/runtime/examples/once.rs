//! Runs one command in a fresh sandbox, timing each step: `cargo run --example once -- N PROGRAM ARGS…`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "an example for developers"
)]

use std::collections::BTreeMap;
use std::time::Instant;

use sandkeep_core::defaults;
use sandkeep_core::execution::Work;
use sandkeep_core::id::{ExecutionId, SandboxId};
use sandkeep_core::output::Mask;
use sandkeep_core::sandbox::Profile;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::{ExecutionSpec, SandboxSpec, Stdin, User};
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};
use sandkeep_runtime::{Driver, Event};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut args = std::env::args().skip(1);
        let n: u64 = args.next().unwrap().parse().unwrap();
        let argv: Vec<String> = args.collect();
        let state = StateDirectory::open(&StateDirectory::default_path()).unwrap();
        let local = Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(16) });
        let profile = if std::env::var_os("DEV").is_some() { Profile::Dev } else { Profile::Strict };
        for round in 0..n {
            let t0 = Instant::now();
            let host = SandboxSpec::of_host(SandboxId::new(round, [0; 10]), defaults::limits());
            let spec = SandboxSpec { profile, ..host };
            let sandbox = match local.create(&spec).await {
                Ok(sandbox) => sandbox,
                Err(problem) => return eprintln!("{problem}"),
            };
            let created = t0.elapsed();
            let execution = ExecutionSpec {
                id: ExecutionId::new(round, [0; 10]),
                token: 1,
                work: Work::Command { argv: argv.clone() },
                env: BTreeMap::new(),
                cwd: None,
                user: if profile == Profile::Dev { User::Root } else { User::User },
                stdin: Stdin::Empty,
                merge_stderr: false,
                mask: Mask::default(),
                limits: defaults::limits(),
                files: vec![],
                artifacts: false,
            };
            let mut running = sandbox.start(&execution).await.unwrap();
            while let Some(event) = running.next().await.unwrap() {
                if round == 0 {
                    match event {
                        Event::Output { stream, bytes, .. } => {
                            println!("{stream:?} {}", String::from_utf8_lossy(&bytes));
                        }
                        other @ (Event::Started | Event::Gap { .. } | Event::Ended(_)) => {
                            println!("{other:?}")
                        }
                    }
                }
            }
            let ran = t0.elapsed();
            if round == 0 {
                println!("{:?} {:?}", sandbox.facts(), sandbox.enforcement());
            }
            sandbox.stop().await;
            println!("created {created:?} ran {ran:?} stopped {:?}", t0.elapsed());
        }
    });
}
