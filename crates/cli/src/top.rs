//! `sandkeep top`: the sandboxes of a server and what runs in them now.

use std::io::IsTerminal as _;
use std::time::Duration;

use sandkeep_client::Client;
use sandkeep_core::code::Problem;
use serde_json::{Value, json};

use crate::out::{self, Stop};
use crate::remote::Server;
use crate::remote::show::{self, Format};

const EVERY: Duration = Duration::from_secs(2);
/// Clears a terminal and goes to its first line (ECMA-48).
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
/// Most sandboxes that are shown: one request each tells what runs in them.
const SHOWN: usize = 50;

/// Show sandboxes of a server and what runs in them: again every two seconds on a terminal, else once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id or name of the project.
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,

    /// Show it once, also on a terminal.
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    server: Server,
}

const SANDBOXES: [show::Column; 5] = [
    ("SANDBOX", "id"),
    ("NAME", "name"),
    ("STATUS", "status"),
    ("RUNNING", "running"),
    ("ACTIVE", "active_at"),
];
const EXECUTIONS: [show::Column; 4] =
    [("EXECUTION", "id"), ("SANDBOX", "sandbox_id"), ("KIND", "kind"), ("STARTED", "started_at")];

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        self.server.wants_json()
    }
}

pub(crate) async fn execute(args: Args) -> Result<u8, Stop> {
    let client = args.server.client()?;
    let format = args.server.output;
    let is_watched = format == Format::Table && !args.once && std::io::stdout().is_terminal();
    loop {
        let now = now(&client, args.project.as_deref()).await.map_err(Stop::Server)?;
        match format {
            Format::Table => {
                out::line(&format!("{}{}", if is_watched { CLEAR } else { "" }, tables(&now)))?;
            }
            Format::Json => out::json(&now)?,
            Format::Yaml => out::bytes(show::yaml(&now)?.as_bytes())?,
        }
        if !is_watched {
            return Ok(0);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// `{"sandboxes", "executions"}`: those that have not ended, and those that run.
async fn now(client: &Client, project: Option<&str>) -> Result<Value, Problem> {
    let mut query = vec![("limit", SHOWN.to_string())];
    query.extend(project.map(|project| ("project", project.to_owned())));
    let listed = client.get(&["sandboxes"], &query).await?;
    let mut sandboxes = listed.value["items"].as_array().cloned().unwrap_or_default();
    let mut executions = Vec::new();
    for sandbox in &mut sandboxes {
        let id = sandbox["id"].as_str().unwrap_or_default().to_owned();
        let running = [("status", "running".to_owned())];
        let found = client.get(&["sandboxes", &id, "executions"], &running).await?;
        let found = found.value["items"].as_array().cloned().unwrap_or_default();
        sandbox["running"] = found.len().into();
        executions.extend(found);
    }
    Ok(json!({ "sandboxes": sandboxes, "executions": executions }))
}

fn tables(now: &Value) -> String {
    let items = |name: &str| now[name].as_array().cloned().unwrap_or_default();
    let sandboxes = show::text(&items("sandboxes"), &SANDBOXES);
    format!("{sandboxes}\n\n{}", show::text(&items("executions"), &EXECUTIONS))
}
