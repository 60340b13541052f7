//! `sandkeep logs`: what an execution of a server wrote, to our standard output and standard error.

use sandkeep_client::Client;
use sandkeep_client::api::executions::Output;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::ExecutionId;

use crate::out::{self, Stop};
use crate::remote::Server;
use crate::remote::follow::{self, Follow};
use crate::remote::show::{self, Format};

/// Show the output of an execution of a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the execution.
    #[arg(value_name = "ID")]
    id: ExecutionId,

    /// Wait for what it still writes, until it ends. A server that starts again in between loses nothing.
    #[arg(short, long)]
    follow: bool,

    /// The first position wanted, in bytes of standard output and standard error together.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    after: u64,

    #[command(flatten)]
    server: Server,
}

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        self.server.wants_json()
    }
}

pub(crate) async fn execute(args: Args) -> Result<u8, Stop> {
    if args.follow && args.server.output != Format::Table {
        let what = "--output: what is followed is bytes";
        return Err(Problem::new(ErrorCode::InvalidValue, what)
            .expecting("no --output, or no --follow")
            .into());
    }
    let client = args.server.client()?;
    if args.follow {
        Follow::new(&client, &args.id, args.after).until_end().await?;
        return Ok(0);
    }
    stored(&client, &args).await
}

/// All that is kept now, page by page.
async fn stored(client: &Client, args: &Args) -> Result<u8, Stop> {
    let id = args.id.to_string();
    let mut after = args.after;
    loop {
        let answer = client.get(&["executions", &id, "output"], &[("after", after.to_string())]).await;
        let answer = answer.map_err(Stop::Server)?;
        if args.server.output != Format::Table {
            return show::answer(&answer, args.server.output, &[]);
        }
        let page: Output = serde_json::from_value(answer.value).map_err(|error| {
            Stop::Server(Problem::new(
                ErrorCode::ProtocolError,
                format!("the output cannot be understood: {error}"),
            ))
        })?;
        page.chunks.iter().try_for_each(follow::write)?;
        if let Some(gap) = page.gap {
            out::note(&format!("{} bytes were not kept, from position {}", gap.to - gap.from, gap.from));
        }
        if page.complete || page.after == after {
            return Ok(0);
        }
        after = page.after;
    }
}
