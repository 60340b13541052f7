//! What all commands have in common that talk to a server: which one ([`find`]), how answers are shown ([`show`]), and how
//! an execution is followed ([`follow`]).

pub(crate) mod find;
pub(crate) mod follow;
mod listener;
pub(crate) mod show;

use sandkeep_client::api::sandboxes::SandboxStatus;
use sandkeep_client::{Address, Client};
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::SandboxId;

use crate::out::Stop;
use show::Format;

/// Which server is meant, and how its answer is shown.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server", after_help = WHERE)]
pub(crate) struct Server {
    /// Address of the server.
    #[arg(long, value_name = "URL", conflicts_with = "profile_name")]
    url: Option<Address>,

    /// A profile of ~/.config/sandkeep/client.toml.
    #[arg(long, value_name = "NAME")]
    profile_name: Option<String>,

    /// Where a server on this machine keeps its key.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<std::path::PathBuf>,

    /// How the answer is shown; JSON is the server's own.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, hide_default_value = false)]
    pub(crate) output: Format,
}

/// Where the server and the key come from.
const WHERE: &str = "\
The server is the first of these that is given:
  1. --url, with the key in SANDKEEP_API_KEY
  2. --profile-name: a profile of client.toml, with the key that stands there
  3. SANDKEEP_URL, with the key in SANDKEEP_API_KEY
  4. SANDKEEP_CLIENT_PROFILE: a profile, likewise
  5. http://127.0.0.1:8000, with the key in SANDKEEP_API_KEY
Where 1, 3 or 5 have no key and the server is on this machine, the key is that of its data directory
(--data-dir, SANDKEEP_DATA_DIR or where `sandkeep serve` has it): admin.key.
client.toml is ~/.config/sandkeep/client.toml; only you may be able to read it:
  [profiles.work]
  url = \"https://sandkeep.example.org\"
  api_key = \"…\"";

impl Server {
    /// Whether errors are wanted as JSON.
    pub(crate) fn wants_json(&self) -> bool {
        self.output == Format::Json
    }

    /// # Errors
    /// What is wrong with what was said about the server.
    pub(crate) fn client(&self) -> Result<Client, Problem> {
        let found = self.find()?;
        Client::new(found.address, found.key.as_deref())
    }

    /// # Errors
    /// As [`Server::client`].
    pub(crate) fn find(&self) -> Result<find::Found, Problem> {
        let said = find::Said {
            url: self.url.clone(),
            profile_name: self.profile_name.clone(),
            data_dir: self.data_dir.clone(),
        };
        find::find(said, |name| std::env::var(name).ok().filter(|text| !text.is_empty()))
    }
}

/// Which sandbox is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Id or name of the sandbox.
    #[arg(value_name = "ID|NAME")]
    pub(crate) sandbox: String,

    /// Id or name of the project in which the name is looked for.
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
}

impl Which {
    /// Its id. A name is that of a sandbox that has not ended.
    ///
    /// # Errors
    /// `not_found`, or what the server says.
    pub(crate) async fn id(&self, client: &Client) -> Result<SandboxId, Stop> {
        if let Ok(id) = self.sandbox.parse() {
            return Ok(id);
        }
        let mut query = vec![("name", self.sandbox.clone()), ("limit", "1".to_owned())];
        query.extend(self.project.clone().map(|project| ("project", project)));
        let answer = client.get(&["sandboxes"], &query).await.map_err(Stop::Server)?;
        let id = answer.value["items"][0]["id"].as_str().and_then(|id| id.parse().ok());
        id.ok_or_else(|| {
            let (why, expected) = ("is no sandbox that is there", "an id or name of `sandkeep sandbox list`");
            Stop::Server(Problem::refused(ErrorCode::NotFound, &self.sandbox, why, expected))
        })
    }
}

/// Reads the name of a state of a sandbox.
///
/// # Errors
/// `invalid_value`.
pub(crate) fn status(text: &str) -> Result<SandboxStatus, Problem> {
    serde_json::from_value(text.into()).map_err(|_| {
        let expected = "creating, starting, running, updating, stopping, error, terminating or terminated";
        Problem::refused(ErrorCode::InvalidValue, text, "is not a state of a sandbox", expected)
    })
}

/// Reads `name=value`.
///
/// # Errors
/// `invalid_value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), Problem> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Problem::refused(ErrorCode::InvalidValue, text, "is not a pair", "name=value")),
    }
}

/// The part of a list that is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct PageArgs {
    /// Most items, 1 to 1000 [default: 100].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: Option<u32>,

    /// `next_cursor` of the page before.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl PageArgs {
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| ("limit", limit.to_string()));
        limit.into_iter().chain(self.cursor.clone().map(|cursor| ("cursor", cursor))).collect()
    }
}
