//! Requests and their answers.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url, header, redirect};
use sandkeep_core::code::{ErrorCode, Problem};
use serde::Serialize;

use crate::address::Address;
use crate::answer::{self, Answer, Failure};
use crate::key::IdempotencyKey;
use crate::retry::{self, Outcome};

/// Until somebody takes the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte, of an answer or of a stream, in which there is a sign of life every 15 s. A server answers within 30 s or
/// says that it could not, and one that is asked to wait does so for at most [`Client::LONGEST_WAIT_MS`].
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Words of a query and their values.
pub type Query<'a> = [(&'a str, String)];

/// One server, spoken to as one caller.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    address: Address,
}

impl Client {
    /// The longest that a server may be asked to wait before it answers.
    pub const LONGEST_WAIT_MS: u64 = 30_000;

    /// A client of the server at `address`, with its key, if it wants one.
    ///
    /// # Errors
    /// `invalid_value`: the key has characters that no key has. `internal`: TLS cannot be set up.
    pub fn new(address: Address, key: Option<&str>) -> Result<Self, Problem> {
        // There is one provider in this program; whoever was first installed the same.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            headers.insert("x-api-key", secret(key)?);
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("sandkeep/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            // A key goes to the server it is for, and no further.
            .redirect(redirect::Policy::none());
        if address.is_loopback() {
            http = http.no_proxy();
        }
        if !address.is_encrypted() {
            // No certificates are needed, and a host may have none.
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|error| {
            Problem::new(ErrorCode::Internal, format!("the client cannot be set up: {}", innermost(&error)))
        })?;
        Ok(Client { http, address })
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Reads something.
    ///
    /// # Errors
    /// What the server says, `server_unreachable`, or `protocol_error`.
    pub async fn get(&self, path: &[&str], query: &Query<'_>) -> Result<Answer, Problem> {
        self.ask(Method::GET, path, query, |request| request).await
    }

    /// Ends something. Twice is once: what is gone stays gone.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete(&self, path: &[&str]) -> Result<Answer, Problem> {
        self.ask(Method::DELETE, path, &[], |request| request).await
    }

    /// Changes something to what `body` says.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn patch(&self, path: &[&str], body: &impl Serialize) -> Result<Answer, Problem> {
        let body = json(body)?;
        self.ask(Method::PATCH, path, &[], |request| with(request, &body)).await
    }

    /// Makes something once, however often the request has to be sent.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn create(
        &self,
        path: &[&str],
        query: &Query<'_>,
        body: &impl Serialize,
        key: &IdempotencyKey,
    ) -> Result<Answer, Problem> {
        let body = json(body)?;
        let named = |request| with(request, &body).header("idempotency-key", key.as_str());
        self.ask(Method::POST, path, query, named).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &Query<'_>,
        fill: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Answer, Problem> {
        let url = self.url(path, query);
        let mut tried = 0;
        loop {
            tried += 1;
            let failure = match fill(self.http.request(method.clone(), url.clone())).send().await {
                Ok(response) => match Answer::read(response).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => failure,
                },
                Err(error) => error.into(),
            };
            let Some(wait) = retry::wait(outcome(&failure), tried) else {
                return Err(self.problem(failure));
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Opens a stream of events; `None` when the server says that there is nothing more.
    pub(crate) async fn open(
        &self,
        path: &[&str],
        query: &Query<'_>,
        last_id: &str,
    ) -> Result<Option<Response>, Failure> {
        let mut request = self.http.get(self.url(path, query)).header(header::ACCEPT, "text/event-stream");
        if !last_id.is_empty() {
            request = request.header("last-event-id", last_id);
        }
        let response = request.send().await?;
        match response.status().as_u16() {
            200 => Ok(Some(response)),
            204 => Ok(None),
            _ => Err(answer::refusal(response).await?),
        }
    }

    pub(crate) fn problem(&self, failure: Failure) -> Problem {
        match failure {
            Failure::Refused(problem, _) => problem,
            Failure::Broken(error) => self.unreachable(&innermost(&error)),
            Failure::Ended => self.unreachable("the stream ends again and again before its end"),
        }
    }

    fn unreachable(&self, why: &str) -> Problem {
        let message = format!("no server answers at {}: {why}", self.address);
        let expected =
            "the address of a running server as --url or SANDKEEP_URL, or start one: sandkeep serve";
        Problem::new(ErrorCode::ServerUnreachable, message).expecting(expected)
    }

    fn url(&self, path: &[&str], query: &Query<'_>) -> Url {
        let mut url = self.address.api(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

pub(crate) fn outcome(failure: &Failure) -> Outcome {
    match failure {
        Failure::Refused(_, Some(after_s)) => Outcome::Busy { after_s: *after_s },
        Failure::Refused(_, None) => Outcome::Final,
        Failure::Broken(error) if error.is_connect() => Outcome::NobodyThere,
        Failure::Broken(error) if error.is_builder() => Outcome::Final,
        Failure::Broken(_) | Failure::Ended => Outcome::Broken,
    }
}

fn secret(key: &str) -> Result<HeaderValue, Problem> {
    let mut value = HeaderValue::from_str(key).map_err(|_| {
        Problem::new(ErrorCode::InvalidValue, "the key has characters that no key has")
            .expecting("the key alone")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(body)
        .map_err(|error| Problem::new(ErrorCode::Internal, format!("the request has no JSON: {error}")))
}

fn with(request: RequestBuilder, body: &[u8]) -> RequestBuilder {
    request.header(header::CONTENT_TYPE, "application/json").body(body.to_vec())
}

/// The innermost cause: what stands around it is the library's own layers.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
