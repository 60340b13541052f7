//! `sandkeep project`: projects of a server.

use clap::Subcommand;
use sandkeep_client::IdempotencyKey;
use sandkeep_client::api::projects::NameProject;
use sandkeep_core::identity::Name;

use crate::out::Stop;
use crate::remote::{PageArgs, Server, show};

/// Make, list and rename projects of a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a project.
    Create(Create),
    /// List the projects that your key has a role in, by name.
    List(List),
    /// Give a project another name.
    Rename(Rename),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What to call it.
    #[arg(value_name = "NAME")]
    name: Name,

    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    page: PageArgs,

    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
struct Rename {
    /// Id of the project.
    #[arg(value_name = "ID")]
    id: sandkeep_core::id::ProjectId,

    /// Its new name.
    #[arg(value_name = "NAME")]
    name: Name,

    #[command(flatten)]
    server: Server,
}

const COLUMNS: [show::Column; 3] = [("ID", "id"), ("NAME", "name"), ("CREATED", "created_at")];

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        match &self.action {
            Action::Create(args) => args.server.wants_json(),
            Action::List(args) => args.server.wants_json(),
            Action::Rename(args) => args.server.wants_json(),
        }
    }
}

pub(crate) async fn execute(args: Args) -> Result<u8, Stop> {
    let (answer, format) = match args.action {
        Action::Create(args) => {
            let client = args.server.client()?;
            let wanted = NameProject { name: args.name };
            let answer = client.create(&["projects"], &[], &wanted, &IdempotencyKey::fresh()?).await;
            (answer, args.server.output)
        }
        Action::List(args) => {
            let client = args.server.client()?;
            (client.get(&["projects"], &args.page.query()).await, args.server.output)
        }
        Action::Rename(args) => {
            let client = args.server.client()?;
            let wanted = NameProject { name: args.name };
            (client.patch(&["projects", &args.id.to_string()], &wanted).await, args.server.output)
        }
    };
    show::answer(&answer.map_err(Stop::Server)?, format, &COLUMNS)
}
