//! `sandkeep exec`: one command in a sandbox of a server.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::pin::pin;

use sandkeep_client::api::executions::CreateExecution;
use sandkeep_client::{Client, IdempotencyKey};
use sandkeep_core::base64;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::defaults;
use sandkeep_core::duration::Span;
use sandkeep_core::execution::exit;
use sandkeep_core::execution::result::Encoding;
use sandkeep_core::id::ExecutionId;
use sandkeep_core::limits::{LimitsRequest, Names};

use crate::interrupt::Interrupts;
use crate::out::{self, Stop};
use crate::remote::follow::{self, Follow};
use crate::remote::{Server, Which, pair, show};

/// Run a command in a sandbox of a server.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,

    /// The program and its arguments.
    #[arg(value_name = "CMD", last = true, required = true)]
    command: Vec<String>,

    /// Standard input of the command: a file, or - to pass ours, which is read to its end first [default: nothing].
    #[arg(long, value_name = "FILE")]
    stdin: Option<String>,

    /// A variable; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,

    /// Working directory inside the sandbox.
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,

    /// Wall time until all of it is killed, like 30s.
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,

    /// Do not wait: show the execution and let it run.
    #[arg(long)]
    detach: bool,

    #[command(flatten)]
    server: Server,
}

const HELP: &str = "\
Examples:
  sandkeep exec box -- python3 -c 'print(6*7)'
  tar c . | sandkeep exec box --stdin - -- tar x

Exit status: as with `sandkeep run`: the command's own; 128+n for signal n; 124 timeout; 137 memory or
another limit; 126 not runnable; 127 not found; 125 refused, or an error of ours or of the server;
130 cancelled: Ctrl-C once cancels the execution, twice stops waiting for its end;
141 the reader of standard output went away, and the execution was cancelled for it.";

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        self.server.wants_json()
    }
}

pub(crate) async fn execute(args: Args) -> Result<u8, Stop> {
    let client = args.server.client()?;
    let wanted = request(&args)?;
    let id = args.which.id(&client).await?.to_string();
    // From now on: what is interrupted between the request and its answer may have been started.
    let mut interrupts = Interrupts::listen()?;
    let key = IdempotencyKey::fresh()?;
    let path = ["sandboxes", &id, "executions"];
    let mut creating = pin!(client.create(&path, &[], &wanted, &key));
    let mut is_cancelled = false;
    let made = loop {
        tokio::select! {
            made = &mut creating => break made.map_err(Stop::Server)?,
            () = interrupts.next() => {
                if std::mem::replace(&mut is_cancelled, true) {
                    return Ok(exit::CANCELLED);
                }
            }
        }
    };
    let id = made.value["id"].as_str().and_then(|id| id.parse().ok());
    let id =
        id.ok_or_else(|| Stop::Server(Problem::new(ErrorCode::ProtocolError, "the execution has no id")))?;
    if is_cancelled {
        cancel(&client, &id).await?;
    } else if args.detach {
        return show::answer(&made, args.server.output, &crate::executions::COLUMNS);
    }
    follow(&client, id, &mut interrupts, is_cancelled).await
}

async fn follow(
    client: &Client,
    id: ExecutionId,
    interrupts: &mut Interrupts,
    mut is_cancelled: bool,
) -> Result<u8, Stop> {
    let mut output = Follow::new(client, &id, 0);
    loop {
        tokio::select! {
            told = output.next() => match told {
                Ok(None) => {}
                Ok(Some(end)) => return follow::exit_status(client, &end).await,
                Err(stop) => {
                    if follow::reader_is_gone(&stop) {
                        cancel(client, &id).await?;
                    } else {
                        out::note(&format!("the execution may go on: sandkeep logs -f {id}"));
                    }
                    return Err(stop);
                }
            },
            () = interrupts.next() => {
                if std::mem::replace(&mut is_cancelled, true) {
                    return Ok(exit::CANCELLED);
                }
                cancel(client, &id).await?;
            }
        }
    }
}

async fn cancel(client: &Client, id: &ExecutionId) -> Result<(), Stop> {
    client.delete(&["executions", &id.to_string()]).await.map(drop).map_err(Stop::Server)
}

fn request(args: &Args) -> Result<CreateExecution, Problem> {
    let (stdin, stdin_encoding) = text(stdin(args.stdin.as_deref())?);
    let env: BTreeMap<String, String> = args.env.iter().cloned().collect();
    let wanted = CreateExecution {
        command: Some(args.command.clone()),
        stdin,
        stdin_encoding: Some(stdin_encoding),
        env,
        cwd: args.cwd.clone(),
        timeout_ms: args.timeout,
        ..CreateExecution::default()
    };
    // The server would refuse it too; so nothing has been asked of it.
    wanted.work()?;
    let limits = LimitsRequest { timeout: args.timeout, ..LimitsRequest::default() };
    limits.resolve(&defaults::limits(), &Names::OPTIONS)?;
    Ok(wanted)
}

fn stdin(source: Option<&str>) -> Result<Vec<u8>, Problem> {
    match source {
        None => Ok(Vec::new()),
        Some("-") => follow::input(io::stdin().lock()),
        Some(path) => {
            let file = File::open(path).map_err(|error| {
                Problem::new(ErrorCode::FileUnreadable, format!("{path} cannot be read: {error}"))
                    .within("--stdin")
            })?;
            follow::input(file)
        }
    }
}

fn text(bytes: Vec<u8>) -> (String, Encoding) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, Encoding::Utf8),
        Err(error) => (base64::encode(error.as_bytes()), Encoding::Base64),
    }
}
