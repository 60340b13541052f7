//! `sandkeep executions`: what was run on a server.

use clap::Subcommand;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::execution::ExecutionState;
use sandkeep_core::id::ExecutionId;

use crate::out::Stop;
use crate::remote::{PageArgs, Server, Which, show};

/// List, show and cancel executions of a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    /// Show one. JSON and YAML have its output too; `sandkeep logs` shows it as it was written.
    Get(One),
    /// Cancel one. What it came to is known when it has ended.
    Cancel(One),
}

/// List the executions of a sandbox, newest first.
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    which: Which,

    /// Only those in this state.
    #[arg(long, value_name = "STATE", value_parser = state)]
    status: Option<ExecutionState>,

    #[command(flatten)]
    page: PageArgs,

    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
struct One {
    /// Id of the execution.
    #[arg(value_name = "ID")]
    id: ExecutionId,

    #[command(flatten)]
    server: Server,
}

/// What a table has of an execution.
pub(crate) const COLUMNS: [show::Column; 7] = [
    ("ID", "id"),
    ("SANDBOX", "sandbox_id"),
    ("STATUS", "status"),
    ("KIND", "kind"),
    ("EXIT", "exit_code"),
    ("CREATED", "created_at"),
    ("FINISHED", "finished_at"),
];

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        match &self.action {
            Action::List(args) => args.server.wants_json(),
            Action::Get(args) | Action::Cancel(args) => args.server.wants_json(),
        }
    }
}

pub(crate) async fn execute(args: Args) -> Result<u8, Stop> {
    let (answer, format) = match args.action {
        Action::List(args) => {
            let client = args.server.client()?;
            let id = args.which.id(&client).await?.to_string();
            let mut query = args.page.query();
            query.extend(args.status.map(|status| ("status", status.as_str().to_owned())));
            (client.get(&["sandboxes", &id, "executions"], &query).await, args.server.output)
        }
        Action::Get(args) => {
            let client = args.server.client()?;
            (client.get(&["executions", &args.id.to_string()], &[]).await, args.server.output)
        }
        Action::Cancel(args) => {
            let client = args.server.client()?;
            (client.delete(&["executions", &args.id.to_string()]).await, args.server.output)
        }
    };
    show::answer(&answer.map_err(Stop::Server)?, format, &COLUMNS)
}

fn state(text: &str) -> Result<ExecutionState, Problem> {
    serde_json::from_value(text.into()).map_err(|_| {
        let expected = "queued, starting, running, succeeded, failed, timed_out, cancelled or lost";
        Problem::refused(ErrorCode::InvalidValue, text, "is not a state of an execution", expected)
    })
}
