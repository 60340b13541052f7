//! `sandkeep sandbox`: the sandboxes of a server.

use std::collections::BTreeMap;

use clap::Subcommand;
use sandkeep_client::api::sandboxes::{CreateSandbox, Lifetime, SandboxLimits, SandboxStatus, UpdateSandbox};
use sandkeep_client::api::share::Share;
use sandkeep_client::{Client, IdempotencyKey};
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::cpu::CpuMillis;
use sandkeep_core::limits::{LimitsRequest, Names};
use sandkeep_core::sandbox::Profile;
use sandkeep_core::size::ByteSize;
use sandkeep_core::time::Timestamp;

use crate::out::Stop;
use crate::remote::{PageArgs, Server, Which, pair, show, status};

/// Make, list, show, change and end sandboxes of a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Box<Create>),
    List(List),
    Get(One),
    Update(Update),
    Rm(One),
}

/// Make a sandbox, and wait until code can run in it.
#[derive(Debug, clap::Args)]
struct Create {
    /// What to call it.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Id or name of its project.
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,

    /// What it starts from.
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<String>,

    /// A word to find it by; may be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,

    /// A variable of all that runs in it; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,

    /// Security profile.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Profile>,

    /// Memory of all its processes together, like 512Mi.
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,

    /// Processors, like 1, 0.5, 500m.
    #[arg(long, value_name = "COUNT")]
    cpu: Option<CpuMillis>,

    /// Processes and threads at once.
    #[arg(long, value_name = "COUNT")]
    pids: Option<u32>,

    /// Bytes it may write to files.
    #[arg(long, value_name = "SIZE")]
    disk: Option<ByteSize>,

    /// Output that is kept of each execution.
    #[arg(long, value_name = "SIZE")]
    keep_output: Option<ByteSize>,

    /// Do not wait until it runs.
    #[arg(long)]
    no_wait: bool,

    #[command(flatten)]
    server: Server,
}

/// List sandboxes, newest first: those that have not ended, unless --status says otherwise.
#[derive(Debug, clap::Args)]
struct List {
    /// Id or name of the project.
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,

    /// Only those in this state.
    #[arg(long, value_name = "STATE", value_parser = status)]
    status: Option<SandboxStatus>,

    /// Only those of this template.
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<String>,

    /// Only the one of this name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Only those with this label; may be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,

    /// Only those made after this time, like 2026-11-26T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    created_after: Option<Timestamp>,

    /// Only those made before this time.
    #[arg(long, value_name = "TIME")]
    created_before: Option<Timestamp>,

    #[command(flatten)]
    page: PageArgs,

    #[command(flatten)]
    server: Server,
}

/// Show or end one.
#[derive(Debug, clap::Args)]
struct One {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    server: Server,
}

/// Change name and labels.
#[derive(Debug, clap::Args)]
struct Update {
    #[command(flatten)]
    which: Which,

    /// Another name.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["labels", "unlabel"])]
    name: Option<String>,

    /// A label to set; may be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,

    /// A label to remove; may be repeated.
    #[arg(long, value_name = "NAME")]
    unlabel: Vec<String>,

    #[command(flatten)]
    server: Server,
}

const COLUMNS: [show::Column; 6] = [
    ("ID", "id"),
    ("NAME", "name"),
    ("STATUS", "status"),
    ("TEMPLATE", "template"),
    ("LABELS", "labels"),
    ("CREATED", "created_at"),
];

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        let server = match &self.action {
            Action::Create(args) => &args.server,
            Action::List(args) => &args.server,
            Action::Get(args) | Action::Rm(args) => &args.server,
            Action::Update(args) => &args.server,
        };
        server.wants_json()
    }
}

pub(crate) async fn execute(args: Args) -> Result<u8, Stop> {
    match args.action {
        Action::Create(args) => create(*args).await,
        Action::List(args) => list(args).await,
        Action::Get(args) => {
            let client = args.server.client()?;
            let id = args.which.id(&client).await?.to_string();
            let answer = client.get(&["sandboxes", &id], &[]).await.map_err(Stop::Server)?;
            show::answer(&answer, args.server.output, &COLUMNS)
        }
        Action::Update(args) => update(args).await,
        Action::Rm(args) => {
            let client = args.server.client()?;
            let id = args.which.id(&client).await?.to_string();
            let answer = client.delete(&["sandboxes", &id]).await.map_err(Stop::Server)?;
            show::answer(&answer, args.server.output, &COLUMNS)
        }
    }
}

async fn create(args: Create) -> Result<u8, Stop> {
    let client = args.server.client()?;
    let limits = SandboxLimits {
        memory_bytes: args.memory,
        cpu: args.cpu.map(Share),
        pids: args.pids,
        disk_bytes: args.disk,
        output_bytes: args.keep_output,
    };
    // The server would refuse it too, by the names of its own.
    let names = Names { output: "--keep-output", ..Names::OPTIONS };
    LimitsRequest::from(limits).of_ephemeral(&names)?;
    let wanted = CreateSandbox {
        project: args.project,
        template: args.template,
        lifetime: Some(Lifetime::Ephemeral),
        name: args.name,
        labels: args.labels.into_iter().collect(),
        env: args.env.into_iter().collect(),
        limits,
        profile: args.profile,
    };
    let query = if args.no_wait { Vec::new() } else { wait_for_running() };
    let answer = client.create(&["sandboxes"], &query, &wanted, &IdempotencyKey::fresh()?).await;
    let answer = answer.map_err(Stop::Server)?;
    show::answer(&answer, args.server.output, &COLUMNS)?;
    let status = answer.value["status"].as_str().unwrap_or_default();
    if args.no_wait || status == "running" {
        return Ok(0);
    }
    let why = answer.value["failure"]["reason"].as_str().unwrap_or("it takes longer than it is waited for");
    let problem = Problem::new(ErrorCode::SandboxFailed, format!("the sandbox is {status}: {why}"));
    Err(Stop::Server(problem.expecting("`sandkeep sandbox get` to see what becomes of it")))
}

fn wait_for_running() -> Vec<(&'static str, String)> {
    vec![("wait", "running".to_owned()), ("timeout_ms", Client::LONGEST_WAIT_MS.to_string())]
}

async fn list(args: List) -> Result<u8, Stop> {
    let client = args.server.client()?;
    let labels: Vec<String> = args.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let filters = [
        ("project", args.project),
        ("status", args.status.map(|status| status.as_str().to_owned())),
        ("template", args.template),
        ("name", args.name),
        ("labels", (!labels.is_empty()).then(|| labels.join(","))),
        ("created_after", args.created_after.map(|at| at.to_string())),
        ("created_before", args.created_before.map(|at| at.to_string())),
    ];
    let mut query = args.page.query();
    query.extend(filters.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let answer = client.get(&["sandboxes"], &query).await.map_err(Stop::Server)?;
    show::answer(&answer, args.server.output, &COLUMNS)
}

async fn update(args: Update) -> Result<u8, Stop> {
    let client = args.server.client()?;
    let id = args.which.id(&client).await?.to_string();
    let mut labels: BTreeMap<String, Option<String>> = BTreeMap::new();
    labels.extend(args.labels.into_iter().map(|(name, value)| (name, Some(value))));
    labels.extend(args.unlabel.into_iter().map(|name| (name, None)));
    let change = UpdateSandbox { name: args.name, labels };
    let answer = client.patch(&["sandboxes", &id], &change).await.map_err(Stop::Server)?;
    show::answer(&answer, args.server.output, &COLUMNS)
}
