//! Requests to one registry or mirror: authenticated when it asks for that, repeated when that may help, bounded.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode};
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_image::manifest::ACCEPTED;
use secrecy::{ExposeSecret as _, SecretString};

use crate::auth::{Credentials, Places};
use crate::challenge::Challenge;
use crate::endpoint::Endpoint;
use crate::settings::Times;
use crate::token::{denied, token};

/// How often something is tried.
pub(crate) const TRIES: u32 = 4;
/// The longest that a registry may make us wait before the next try.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// One registry, asked for one repository.
pub(crate) struct Registry<'a> {
    http: Client,
    pub(crate) endpoint: Endpoint,
    repository: &'a str,
    auth: &'a Places,
    pub(crate) times: Times,
    /// What showed who we are the last time.
    shown: Option<SecretString>,
    had_credentials: bool,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(
        endpoint: Endpoint,
        repository: &'a str,
        auth: &'a Places,
        times: Times,
    ) -> Result<Self, Problem> {
        let http = endpoint.connect(&times)?;
        Ok(Self { http, endpoint, repository, auth, times, shown: None, had_credentials: false })
    }

    /// Asks for `part`, like `manifests/latest`, until there is an answer that is not an error.
    ///
    /// # Errors
    /// `image_unknown` (404), `registry_denied`, `registry_unavailable`, `registry_invalid`, `credentials_unusable`.
    pub(crate) async fn ask(&mut self, method: Method, part: &str) -> Result<Response, Problem> {
        let mut tries = 1;
        loop {
            let (problem, wait) = match self.authenticated(&method, part).await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => self.refused(&answer, part)?,
                Err(Failed::Http(error)) if may_pass(&error) => {
                    (unavailable(&self.endpoint.name, &error), None)
                }
                Err(Failed::Http(error)) => return Err(unavailable(&self.endpoint.name, &error)),
                Err(Failed::Ours(problem)) => return Err(problem),
            };
            if tries == TRIES {
                return Err(problem);
            }
            self.pause(tries, wait).await;
            tries += 1;
        }
    }

    /// Waits before the try after `tries`.
    pub(crate) async fn pause(&self, tries: u32, wanted: Option<Duration>) {
        let wait = wanted.unwrap_or_else(|| self.times.backoff.saturating_mul(1 << (tries - 1)));
        tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
    }

    /// An answer that is an error: for good, or what to say if it stays so, and how long the registry wants us to wait.
    fn refused(&self, answer: &Response, part: &str) -> Result<(Problem, Option<Duration>), Problem> {
        let (name, status) = (&self.endpoint.name, answer.status());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(denied(&self.endpoint, self.repository, self.had_credentials))
            }
            StatusCode::NOT_FOUND => {
                let what = part.split_once('/').map_or(part, |(_, what)| what);
                let text = format!("{name} has no {} with {what}", self.repository);
                let expected = "a name and a tag that are there";
                Err(Problem::new(ErrorCode::ImageUnknown, text).expecting(expected))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let text = format!("{name} takes no more requests for now (status 429)");
                Ok((Problem::new(ErrorCode::RegistryUnavailable, text), retry_after(answer.headers())))
            }
            status if status.is_server_error() => {
                let text = format!("{name} answers with status {}", status.as_u16());
                Ok((Problem::new(ErrorCode::RegistryUnavailable, text), retry_after(answer.headers())))
            }
            status => {
                let text = format!("{name} answers with status {}", status.as_u16());
                Err(Problem::new(ErrorCode::RegistryInvalid, text))
            }
        }
    }

    /// Asks, and shows who we are if that is wanted; once anew, since what was shown before may have expired.
    async fn authenticated(&mut self, method: &Method, part: &str) -> Result<Response, Failed> {
        let answer = self.send(method, part).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let headers = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges: Vec<Challenge> =
            headers.filter_map(|header| Challenge::parse(header.to_str().ok()?)).collect();
        let credentials = self.auth.credentials(&self.endpoint.name).await?;
        self.had_credentials = credentials.is_some();
        for challenge in challenges {
            if let Some(shown) = self.answer(&challenge, credentials.as_ref()).await? {
                self.shown = Some(shown);
                return self.send(method, part).await;
            }
        }
        Ok(answer)
    }

    /// What to show; `None` when there is nothing that would do.
    async fn answer(
        &self,
        challenge: &Challenge,
        credentials: Option<&Credentials>,
    ) -> Result<Option<SecretString>, Problem> {
        match (challenge, credentials) {
            (Challenge::Basic, Some(Credentials::Password { user, password })) => {
                use base64::Engine as _;
                let plain = format!("{user}:{}", password.expose_secret());
                let coded = base64::engine::general_purpose::STANDARD.encode(plain);
                Ok(Some(format!("Basic {coded}").into()))
            }
            (Challenge::Basic, Some(Credentials::Identity(_)) | None) => Ok(None),
            (Challenge::Bearer { realm, service }, credentials) => {
                let whose = (realm.as_str(), service.as_deref());
                let given = token(&self.http, &self.endpoint, whose, self.repository, credentials);
                let given = tokio::time::timeout(self.times.document, given).await;
                let given = given.map_err(|_| too_slow(&self.endpoint.name))??;
                Ok(Some(format!("Bearer {}", given.expose_secret()).into()))
            }
        }
    }

    async fn send(&self, method: &Method, part: &str) -> Result<Response, Failed> {
        let url = self.endpoint.url(&format!("{}/{part}", self.repository))?;
        let mut request = self.http.request(method.clone(), url).header(ACCEPT, ACCEPTED);
        if let Some(shown) = &self.shown {
            let value = HeaderValue::from_str(shown.expose_secret());
            let mut value = value.map_err(|_| {
                Problem::new(
                    ErrorCode::RegistryInvalid,
                    format!("{} gives a token that is none", self.endpoint.name),
                )
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        // Until there are headers; what follows has bounds of its own.
        let sent = tokio::time::timeout(self.times.document, request.send()).await;
        Ok(sent.map_err(|_| too_slow(&self.endpoint.name))??)
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Failed {
    Http(reqwest::Error),
    Ours(Problem),
}

impl From<reqwest::Error> for Failed {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error)
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::Ours(problem)
    }
}

/// Whether another try may help. Who does not take connections, or redirects to nowhere, is asked no more.
pub(crate) fn may_pass(error: &reqwest::Error) -> bool {
    !error.is_connect() && !error.is_redirect() && !error.is_timeout() && !error.is_builder()
}

/// Seconds; the other form, a date, is not worth a calendar.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The registry could not be asked.
pub(crate) fn unavailable(name: &str, error: &reqwest::Error) -> Problem {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = if error.is_redirect() {
        return Problem::new(ErrorCode::RegistryInvalid, format!("{name} cannot be followed: {cause}"));
    } else if error.is_connect() {
        format!("{name} cannot be reached: {cause}")
    } else if error.is_timeout() {
        return too_slow(name);
    } else {
        format!("{name} breaks off: {cause}")
    };
    Problem::new(ErrorCode::RegistryUnavailable, text)
        .expecting("a registry that answers; images can also come from files (docker save)")
}

pub(crate) fn too_slow(name: &str) -> Problem {
    Problem::new(ErrorCode::RegistryUnavailable, format!("{name} is too slow"))
}

pub(crate) fn too_much(name: &str, most: u64) -> Problem {
    Problem::new(ErrorCode::RegistryInvalid, format!("{name} sends more than the {most} bytes that it may"))
}

/// A small answer, whole.
///
/// # Errors
/// `registry_invalid`: it is larger than `most` bytes. `registry_unavailable`: it breaks off.
pub(crate) async fn document(mut answer: Response, most: u64, name: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| unavailable(name, &error))? {
        if (bytes.len() + piece.len()) as u64 > most {
            return Err(too_much(name, most));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
