//! The outermost: gives a request its id, writes its line in the log, counts it, and writes errors as documents.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sandkeep_api::Document;
use sandkeep_api::problem::MEDIA_TYPE;
use sandkeep_core::code::{ErrorCode, Problem};
use tracing::Instrument as _;

use super::client::{self, Peer};
use super::request_id::{self, RequestId};
use crate::metrics::{Code, Request as RequestLabels, Route};
use crate::refusal::Refusal;
use crate::state::App;

/// What is known of a request before it is handled, for what is said of it afterwards.
struct Asked {
    id: HeaderValue,
    method: Method,
    path: String,
    route: String,
    begun: Instant,
}

/// See the module.
pub(crate) async fn shape(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let asked = Asked::of(&app, &request);
    let id = asked.id.to_str().unwrap_or_default().to_owned();
    request.extensions_mut().insert(RequestId(id));
    let peer = request.extensions().get::<Peer>().copied();
    let client = peer.map(|peer| client::address(peer, request.headers(), &app.config.trusted_proxies));
    let span = tracing::info_span!(
        "request",
        request.id = asked.id.to_str().unwrap_or_default(),
        client.address = client.map(tracing::field::display),
    );
    let handled = async {
        let flight = InFlight::begin(&app);
        let mut response = next.run(request).await;
        drop(flight);
        let code = asked.write_error(&app, &mut response);
        asked.tell(&app, &response, code);
        asked.add_headers(&app, &mut response);
        response
    };
    handled.instrument(span).await
}

/// Counts a request for as long as it is handled; a client that leaves drops it too.
struct InFlight<'a>(&'a App);

impl<'a> InFlight<'a> {
    fn begin(app: &'a App) -> Self {
        app.metrics.in_flight.inc();
        InFlight(app)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.metrics.in_flight.dec();
    }
}

impl Asked {
    fn of(app: &App, request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>();
        Asked {
            id: request_id::of(request.headers()),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            route: route.map_or("none", MatchedPath::as_str).to_owned(),
            begun: app.session.clock.monotonic(),
        }
    }

    /// Gives an answer that is an error its document. The code, if it is one.
    fn write_error(&self, app: &App, response: &mut Response) -> Option<ErrorCode> {
        let status = response.status();
        let refusal = response.extensions_mut().remove::<Refusal>();
        // An answer with a body of its own has said what it means, also with a status of an error.
        let is_bare = !response.headers().contains_key(header::CONTENT_TYPE);
        let problem = match refusal {
            Some(Refusal(problem)) => problem,
            None if is_bare && (status.is_client_error() || status.is_server_error()) => {
                self.bare(app, status)
            }
            None => return None,
        };
        let id = self.id.to_str().unwrap_or_default();
        let document = Document::of(&problem, status.as_u16(), &app.config.base_path, id);
        let json = serde_json::to_vec(&document).expect("texts and numbers have a JSON form");
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(json.len()));
        *response.body_mut() = Body::from(json);
        Some(problem.code)
    }

    /// What the router said with a status alone.
    fn bare(&self, app: &App, status: StatusCode) -> Problem {
        match status {
            StatusCode::NOT_FOUND => self.no_such_route(&app.config.base_path),
            StatusCode::METHOD_NOT_ALLOWED => {
                let expected = "one of the header Allow";
                let method = self.method.as_str();
                Problem::refused(ErrorCode::MethodNotAllowed, method, "is not taken here", expected)
            }
            status => {
                tracing::error!(http.status = status.as_u16(), "an answer was an error without saying which");
                Refusal::internal().0
            }
        }
    }

    fn no_such_route(&self, base_path: &str) -> Problem {
        let trimmed = self.path.trim_end_matches('/');
        let expected = if !base_path.is_empty() && !self.path.starts_with(base_path) {
            format!("{base_path}{trimmed}")
        } else if trimmed.len() < self.path.len() && trimmed.len() > base_path.len() {
            trimmed.to_owned()
        } else {
            format!("a path that {base_path}/docs lists")
        };
        Problem::refused(ErrorCode::NoSuchRoute, &self.path, "is not a route", &expected)
    }

    fn tell(&self, app: &App, response: &Response, code: Option<ErrorCode>) {
        let status = response.status().as_u16();
        let took = app.session.clock.monotonic().duration_since(self.begun);
        let method = self.method_name();
        let labels = RequestLabels { method, route: self.route.clone(), status };
        app.metrics.requests.get_or_create(&labels).inc();
        let route = Route { route: self.route.clone() };
        app.metrics.request_duration.get_or_create(&route).observe(took.as_secs_f64());
        if let Some(code) = code {
            app.metrics.errors.get_or_create(&Code { code: code.as_str() }).inc();
        }
        let code = code.map(ErrorCode::as_str);
        let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // `event!` wants its level before it runs, so the fields stand here three times.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    http.method = method,
                    http.route = self.route,
                    http.status = status,
                    duration_us,
                    error.code = code,
                    "answered"
                )
            };
        }
        match status {
            500.. => line!(error),
            // Somebody asks for these every few seconds.
            ..300 if !self.route.contains("/api/") => line!(debug),
            _ => line!(info),
        }
    }

    /// A client may invent methods, and each would be a new series.
    fn method_name(&self) -> &'static str {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        known.into_iter().find(|known| *known == self.method.as_str()).unwrap_or("other")
    }

    fn add_headers(&self, app: &App, response: &mut Response) {
        let fixed = HeaderValue::from_static;
        let headers = response.headers_mut();
        headers.insert(request_id::HEADER, self.id.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
        headers.entry(header::CACHE_CONTROL).or_insert_with(|| fixed("no-store"));
        if app.config.insecure_no_auth {
            headers.insert(WARNING, fixed(NO_AUTH_WARNING));
        }
    }
}

const WARNING: HeaderName = HeaderName::from_static("x-sandkeep-warning");

/// What whoever uses a server without keys is told with every answer.
pub(crate) const NO_AUTH_WARNING: &str = "authentication is off: whoever reaches this server may use it";
