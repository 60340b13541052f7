//! `sandkeep audit`: who changed what on a server.

use crate::out::Stop;
use crate::remote::{PageArgs, Server, show};

/// Show who changed what on a server, newest first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What was changed in this project [default: in the whole server].
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,

    #[command(flatten)]
    page: PageArgs,

    #[command(flatten)]
    server: Server,
}

const COLUMNS: [show::Column; 6] = [
    ("TIME", "at"),
    ("WHO", "principal_id"),
    ("ACTION", "action"),
    ("RESOURCE", "resource"),
    ("REQUEST", "request_id"),
    ("DETAIL", "detail"),
];

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        self.server.wants_json()
    }
}

pub(crate) async fn execute(args: Args) -> Result<u8, Stop> {
    let client = args.server.client()?;
    let mut query = args.page.query();
    query.extend(args.project.map(|project| ("project", project)));
    let answer = client.get(&["audit"], &query).await;
    show::answer(&answer.map_err(Stop::Server)?, args.server.output, &COLUMNS)
}
