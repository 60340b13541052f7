//! A stream of events that goes on where it broke off.

use std::collections::VecDeque;

use reqwest::Response;
use sandkeep_core::code::{ErrorCode, Problem};

use crate::answer::Failure;
use crate::client::{Client, Query, outcome};
use crate::retry::{self, Outcome};
use crate::sse::{Message, Parser};

/// Tries in a row that bring no message: with [`retry::backoff`], about half a minute, in which a server starts again.
const MOST_TRIES: u32 = 12;

/// Server-sent events of one address. Each is given once, however often the connection breaks: the server reads on after the
/// last id that was seen.
#[derive(Debug)]
pub struct Stream {
    client: Client,
    path: Vec<String>,
    query: Vec<(String, String)>,
    connection: Option<(Response, Parser)>,
    read: VecDeque<Message>,
    last_id: String,
    /// Tries since the last message.
    tried: u32,
    /// There was a connection once: what is not there now may come back.
    opened: bool,
}

impl Stream {
    /// A stream of what is at `path`. Nothing is asked before the first [`Stream::next`].
    #[must_use]
    pub fn new(client: &Client, path: &[&str], query: &Query<'_>) -> Self {
        Stream {
            client: client.clone(),
            path: path.iter().map(|&part| part.to_owned()).collect(),
            query: query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            connection: None,
            read: VecDeque::new(),
            last_id: String::new(),
            tried: 0,
            opened: false,
        }
    }

    /// The next message; `None` when the server says that all were seen. Cancel-safe: what was received is kept.
    ///
    /// # Errors
    /// What the server says, or `server_unreachable` after half a minute without a message and without a connection.
    pub async fn next(&mut self) -> Result<Option<Message>, Problem> {
        loop {
            if let Some(message) = self.read.pop_front() {
                if message.event == "error" {
                    // The server could not go on, and has ended the stream: as if it had broken.
                    self.connection = None;
                    self.again(Outcome::Broken, || told(&message)).await?;
                    continue;
                }
                self.tried = 0;
                if !message.id.is_empty() {
                    self.last_id.clone_from(&message.id);
                }
                return Ok(Some(message));
            }
            match self.receive().await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(failure) => {
                    self.connection = None;
                    let outcome = outcome(&failure);
                    let client = self.client.clone();
                    self.again(outcome, || client.problem(failure)).await?;
                }
            }
        }
    }

    /// Takes what comes next from the connection, after making one if there is none. `false`: there is nothing more.
    async fn receive(&mut self) -> Result<bool, Failure> {
        let Some((response, parser)) = &mut self.connection else {
            let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
            let query: Vec<_> =
                self.query.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            let response = self.client.open(&path, &query, &self.last_id).await?;
            self.opened = true;
            self.connection = response.map(|response| (response, Parser::default()));
            return Ok(self.connection.is_some());
        };
        match response.chunk().await? {
            Some(bytes) => {
                let read = parser.feed(&bytes).map_err(|problem| Failure::Refused(problem, None))?;
                self.read.extend(read);
            }
            // The server ended it without having told the end: it stops, and its successor goes on.
            None => return Err(Failure::Ended),
        }
        Ok(true)
    }

    /// Waits until it may be tried again, or says what ends it.
    async fn again(&mut self, outcome: Outcome, problem: impl FnOnce() -> Problem) -> Result<(), Problem> {
        self.tried += 1;
        let wait = match outcome {
            Outcome::Busy { after_s } => std::time::Duration::from_secs(after_s.min(30)),
            Outcome::Broken => retry::backoff(self.tried),
            Outcome::NobodyThere if self.opened => retry::backoff(self.tried),
            Outcome::NobodyThere | Outcome::Final => return Err(problem()),
        };
        if self.tried > MOST_TRIES {
            return Err(problem());
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// The problem of a message `error`.
fn told(message: &Message) -> Problem {
    let value: serde_json::Value = serde_json::from_str(&message.data).unwrap_or_default();
    let code = value["code"].as_str().and_then(|code| code.parse().ok()).unwrap_or(ErrorCode::ProtocolError);
    Problem::new(code, value["detail"].as_str().unwrap_or("the stream broke off"))
}
