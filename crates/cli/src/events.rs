//! `sandkeep events`: what happened on a server.

use sandkeep_client::Stream;
use sandkeep_core::code::{ErrorCode, Problem};

use crate::out::Stop;
use crate::remote::{Server, show};

/// Show what happened on a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Wait for what happens.
    #[arg(short, long, conflicts_with = "limit")]
    follow: bool,

    /// Id or name of the project.
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,

    /// Only of this kind, or of the kinds that begin with it, like execution or sandbox.running.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,

    /// Only what happened to the sandbox or execution of this id.
    #[arg(long, value_name = "ID")]
    subject: Option<String>,

    /// Only those after this position [default: all that are kept].
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(0..))]
    after: Option<i64>,

    /// Most events, 1 to 1000 [default: 100].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: Option<u32>,

    #[command(flatten)]
    server: Server,
}

const COLUMNS: [show::Column; 5] = [
    ("POSITION", "position"),
    ("TIME", "happened_at"),
    ("KIND", "kind"),
    ("SUBJECT", "subject"),
    ("DATA", "data"),
];

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        self.server.wants_json()
    }
}

pub(crate) async fn execute(args: Args) -> Result<u8, Stop> {
    let client = args.server.client()?;
    let words = [
        ("project", args.project),
        ("kind", args.kind),
        ("subject", args.subject),
        ("after", args.after.map(|after| after.to_string())),
        ("limit", args.limit.map(|limit| limit.to_string())),
    ];
    let query: Vec<_> = words.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    if !args.follow {
        let answer = client.get(&["events"], &query).await.map_err(Stop::Server)?;
        return show::answer(&answer, args.server.output, &COLUMNS);
    }
    let mut stream = Stream::new(&client, &["events"], &query);
    while let Some(message) = stream.next().await.map_err(Stop::Server)? {
        let event = serde_json::from_str(&message.data).map_err(|error| {
            Stop::Server(Problem::new(
                ErrorCode::ProtocolError,
                format!("an event cannot be understood: {error}"),
            ))
        })?;
        show::item(&message.data, &event, args.server.output, &COLUMNS)?;
    }
    Ok(0)
}
