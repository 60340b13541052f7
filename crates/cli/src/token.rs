//! `sandkeep token`: keys of a server.

use clap::Subcommand;
use sandkeep_client::IdempotencyKey;
use sandkeep_client::api::tokens::CreateToken;
use sandkeep_core::id::TokenId;
use sandkeep_core::identity::token::Format;
use sandkeep_core::identity::{Name, Role, Scope};
use sandkeep_core::time::Timestamp;

use crate::out::Stop;
use crate::remote::{PageArgs, Server, show};

/// Make, list and revoke keys of a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    List(List),
    /// Revoke a token: whoever has its text is refused from then on.
    Revoke(Revoke),
}

/// Make a token, good for at most what your own is. Its text is shown this once.
#[derive(Debug, clap::Args)]
struct Create {
    /// What to call it.
    #[arg(value_name = "NAME")]
    name: Name,

    /// Id or name of the one project that it is good for.
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,

    /// The most of a role that it gives: viewer, operator, editor or owner.
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,

    /// What it is good for, like executions:read; may be repeated [default: all that its role may].
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,

    /// Until when, like 2027-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,

    /// The form of its text: sandkeep or e2b.
    #[arg(long, value_name = "FORM")]
    format: Option<Format>,

    #[command(flatten)]
    server: Server,
}

/// List tokens, newest first, without their texts.
#[derive(Debug, clap::Args)]
struct List {
    /// Those that are bound to this project [default: those that are bound to none].
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,

    #[command(flatten)]
    page: PageArgs,

    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// Id of the token.
    #[arg(value_name = "ID")]
    id: TokenId,

    #[command(flatten)]
    server: Server,
}

const CREATED: [show::Column; 2] = [("ID", "id"), ("TOKEN", "token")];
const COLUMNS: [show::Column; 7] = [
    ("ID", "id"),
    ("NAME", "name"),
    ("PROJECT", "project_id"),
    ("ROLE", "role"),
    ("SCOPES", "scopes"),
    ("EXPIRES", "expires_at"),
    ("USED", "used_at"),
];

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        match &self.action {
            Action::Create(args) => args.server.wants_json(),
            Action::List(args) => args.server.wants_json(),
            Action::Revoke(args) => args.server.wants_json(),
        }
    }
}

pub(crate) async fn execute(args: Args) -> Result<u8, Stop> {
    match args.action {
        Action::Create(args) => {
            let client = args.server.client()?;
            let Create { name, project, role, expires_at, format, .. } = args;
            let scopes = (!args.scopes.is_empty()).then_some(args.scopes);
            let wanted = CreateToken { name, project, role, scopes, expires_at, format };
            let answer = client.create(&["tokens"], &[], &wanted, &IdempotencyKey::fresh()?).await;
            show::answer(&answer.map_err(Stop::Server)?, args.server.output, &CREATED)
        }
        Action::List(args) => {
            let client = args.server.client()?;
            let mut query = args.page.query();
            query.extend(args.project.map(|project| ("project", project)));
            let answer = client.get(&["tokens"], &query).await;
            show::answer(&answer.map_err(Stop::Server)?, args.server.output, &COLUMNS)
        }
        Action::Revoke(args) => {
            let client = args.server.client()?;
            let answer = client.delete(&["tokens", &args.id.to_string()]).await;
            show::answer(&answer.map_err(Stop::Server)?, args.server.output, &[])
        }
    }
}
