//! Settings: what can be set, where the values come from, and what they mean together.
//!
//! Every setting has one key (`limits.body`), which is a TOML key, the environment variable `SANDKEEP_LIMITS_BODY`, and for
//! some a flag. Values are texts until [`Config::of`] reads them, so that each knows its source until then; that is also
//! why a crate for configuration is not used here: those forget who said what.

mod network;
mod settings;
mod sources;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sandkeep_control::retention::Keep;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::duration::Span;
use sandkeep_core::size::ByteSize;

pub use network::Network;
pub use settings::{SETTINGS, Setting};
pub use sources::{Origin, Sources, Value, Values};

/// The settings of a server, understood.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept that no database has: keys, the lock, output.
    pub data_dir: PathBuf,
    /// PostgreSQL; SQLite in `data_dir` when absent.
    pub database_url: Option<Secret>,
    /// Where requests come in.
    pub listen: SocketAddr,
    /// Whoever reaches it may use it. Only on loopback.
    pub insecure_no_auth: bool,
    /// Certificate and key; plain text when absent.
    pub tls: Option<Tls>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// In front of every path: empty, or `/keep`.
    pub base_path: String,
    /// Origins whose pages may call the API from a browser.
    pub cors_origins: Vec<String>,
    /// A listener of its own for `/metrics`.
    pub metrics_listen: Option<SocketAddr>,
    /// How lines of the log are written.
    pub log_format: LogFormat,
    /// Which lines are: `info`, or `info,sqlx=warn`.
    pub log_level: String,
    /// What bounds a request.
    pub limits: Limits,
    /// How long an ephemeral sandbox lives at most.
    pub sandbox_life: Duration,
    /// How long what is over is kept.
    pub keep: Keep,
    /// How long a shutdown waits for what is open.
    pub drain_timeout: Duration,
    /// How long sandboxes go on while no server is there.
    pub orphan_after: Duration,
    /// What the warm interpreters of Python have imported; `None` without any.
    pub warm_python: Option<Vec<String>>,
    /// Whether a shutdown ends all sandboxes.
    pub end_sandboxes: bool,
}

/// Files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The chain in PEM, the server's own first.
    pub cert_file: PathBuf,
    /// Its key in PEM.
    pub key_file: PathBuf,
}

/// What bounds connections and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of a request.
    pub body: u64,
    /// All bodies that are being read, together.
    pub bodies: u64,
    /// Largest head of a request.
    pub header: usize,
    /// For the head of a request, from when one could come: also how long a connection may be idle.
    pub header_timeout: Duration,
    /// For the body of a request.
    pub body_timeout: Duration,
    /// For a peer to take any byte of an answer.
    pub write_timeout: Duration,
    /// For the head of an answer.
    pub answer_timeout: Duration,
    /// Requests of the API that are being worked on.
    pub requests: usize,
    /// Connections.
    pub connections: usize,
    /// Of one caller, requests that are being worked on; 0 for no bound.
    pub caller_requests: usize,
    /// Of one caller, requests that are not over: waits and streams too; 0 for no bound.
    pub caller_open: usize,
    /// Changes that one caller may ask for in a second; 0 for no bound.
    pub caller_changes: usize,
    /// Wrong keys from one address that are looked at in a second; 0 for no bound.
    pub wrong_keys: usize,
}

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Config {
    /// Reads the values, and refuses those that do not go together.
    ///
    /// # Errors
    /// `config_invalid`, naming the setting.
    pub fn of(values: &Values) -> Result<Self, Problem> {
        let of = Reader(values);
        let config = Config {
            data_dir: PathBuf::from(of.text("data_dir")),
            database_url: of.optional("database_url", |text| Ok(Secret(text.to_owned())))?,
            listen: of.one("listen", address)?,
            insecure_no_auth: of.one("insecure_no_auth", flag)?,
            tls: of.tls()?,
            trusted_proxies: of.list("trusted_proxies", Network::from_str)?,
            base_path: of.one("base_path", base_path)?,
            cors_origins: of.list("cors.origins", origin)?,
            metrics_listen: of.optional("metrics.listen", address)?,
            log_format: of.one("log.format", log_format)?,
            log_level: of.one("log.level", log_level)?,
            limits: of.limits()?,
            sandbox_life: of.age("sandbox_life")?,
            keep: of.keep()?,
            drain_timeout: of.duration("drain_timeout")?,
            orphan_after: of.duration("orphan_after")?,
            warm_python: of.warm_python()?,
            end_sandboxes: of.one("end_sandboxes", flag)?,
        };
        config.check(of.one("insecure_listen", flag)?)?;
        Ok(config)
    }

    fn check(&self, insecure_listen: bool) -> Result<(), Problem> {
        let refused = |key: &str, value: SocketAddr, why: &str, expected: &str| {
            Err(Problem::refused(ErrorCode::ConfigInvalid, &value.to_string(), why, expected).within(key))
        };
        let safe = |address: SocketAddr| address.ip().is_loopback() || insecure_listen;
        if self.tls.is_none() && !safe(self.listen) {
            let expected = "a loopback address, tls.cert_file and tls.key_file, or --insecure-listen";
            return refused(
                "listen",
                self.listen,
                "is reached from elsewhere, and nothing is encrypted",
                expected,
            );
        }
        if let Some(address) = self.metrics_listen.filter(|address| !safe(*address)) {
            let expected = "a loopback address, or --insecure-listen";
            return refused(
                "metrics.listen",
                address,
                "is reached from elsewhere, and is not encrypted",
                expected,
            );
        }
        if self.insecure_no_auth && !self.listen.ip().is_loopback() {
            let expected = "a loopback address, or a server with keys";
            return refused(
                "listen",
                self.listen,
                "is reached from elsewhere, and insecure_no_auth is on",
                expected,
            );
        }
        Ok(())
    }
}

const DAY_S: u64 = 86_400;

/// Reads values by their keys; every error names its key.
struct Reader<'v>(&'v Values);

impl Reader<'_> {
    fn text(&self, key: &str) -> &str {
        self.0.text(key)
    }

    fn one<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, Problem>) -> Result<T, Problem> {
        read(self.text(key)).map_err(|problem| at(key, problem))
    }

    fn optional<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        if self.text(key).is_empty() { Ok(None) } else { self.one(key, read).map(Some) }
    }

    fn list<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, Problem>) -> Result<Vec<T>, Problem> {
        let parts = self.text(key).split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| read(part).map_err(|problem| at(key, problem))).collect()
    }

    fn warm_python(&self) -> Result<Option<Vec<String>>, Problem> {
        // Refused even where it is not used.
        let modules = self.list("python.modules", module_name)?;
        Ok(self.one("python.warm", flag)?.then_some(modules))
    }

    fn size(&self, key: &str) -> Result<u64, Problem> {
        self.one(key, ByteSize::from_str).map(ByteSize::bytes)
    }

    fn duration(&self, key: &str) -> Result<Duration, Problem> {
        self.within(key, Span::from_millis(1)..=Span::from_secs(DAY_S), "1ms to 1d")
    }

    /// How old something may become.
    fn age(&self, key: &str) -> Result<Duration, Problem> {
        self.within(key, Span::from_secs(1)..=Span::from_secs(36_500 * DAY_S), "1s to 36500d")
    }

    fn within(&self, key: &str, range: RangeInclusive<Span>, expected: &str) -> Result<Duration, Problem> {
        let span = self.one(key, Span::from_str)?;
        if range.contains(&span) {
            return Ok(span.to_duration());
        }
        let text = span.to_string();
        Err(Problem::refused(ErrorCode::ConfigInvalid, &text, "is out of range", expected).within(key))
    }

    fn keep(&self) -> Result<Keep, Problem> {
        let keep = Keep {
            // Whoever repeats a request with its key finds what the first one made.
            executions: self.within(
                "keep.executions",
                Span::from_secs(DAY_S)..=Span::from_secs(36_500 * DAY_S),
                "1d to 36500d",
            )?,
            sandboxes: self.age("keep.sandboxes")?,
            events: self.age("keep.events")?,
            audit: self.age("keep.audit")?,
        };
        if keep.sandboxes < keep.executions {
            let (text, why) = (self.text("keep.sandboxes"), "is shorter than keep.executions");
            let expected = "at least as long: executions are found by their sandbox";
            return Err(
                Problem::refused(ErrorCode::ConfigInvalid, text, why, expected).within("keep.sandboxes")
            );
        }
        Ok(keep)
    }

    fn count(&self, key: &str) -> Result<usize, Problem> {
        let refused = |text: &str| {
            let expected = "a whole number from 1 to 1000000";
            Problem::refused(ErrorCode::ConfigInvalid, text, "is not such a number", expected)
        };
        let within = |count: &usize| (1..=1_000_000).contains(count);
        self.one(key, |text| text.parse().ok().filter(within).ok_or_else(|| refused(text)))
    }

    /// A bound that may be lifted.
    fn bound(&self, key: &str) -> Result<usize, Problem> {
        if self.text(key) == "0" { Ok(0) } else { self.count(key) }
    }

    fn tls(&self) -> Result<Option<Tls>, Problem> {
        let files = [self.text("tls.cert_file"), self.text("tls.key_file")];
        match files {
            ["", ""] => Ok(None),
            [cert_file, key_file] if !cert_file.is_empty() && !key_file.is_empty() => {
                Ok(Some(Tls { cert_file: cert_file.into(), key_file: key_file.into() }))
            }
            _ => Err(Problem::new(ErrorCode::ConfigInvalid, "tls: only one of certificate and key is given")
                .expecting("both tls.cert_file and tls.key_file")),
        }
    }

    fn limits(&self) -> Result<Limits, Problem> {
        let header = usize::try_from(self.size("limits.header")?).unwrap_or(usize::MAX);
        if !(8_192..=1 << 20).contains(&header) {
            let problem = Problem::new(ErrorCode::ConfigInvalid, "limits.header: is out of range");
            return Err(problem.expecting("8Ki to 1Mi"));
        }
        Ok(Limits {
            body: self.size("limits.body")?,
            bodies: self.size("limits.bodies")?.max(self.size("limits.body")?),
            header,
            header_timeout: self.duration("limits.header_timeout")?,
            body_timeout: self.duration("limits.body_timeout")?,
            write_timeout: self.duration("limits.write_timeout")?,
            answer_timeout: self.duration("limits.answer_timeout")?,
            requests: self.count("limits.requests")?,
            connections: self.count("limits.connections")?,
            caller_requests: self.bound("limits.caller_requests")?,
            caller_open: self.bound("limits.caller_open")?,
            caller_changes: self.bound("limits.caller_changes")?,
            wrong_keys: self.bound("limits.wrong_keys")?,
        })
    }
}

/// A problem with a value is one of the configuration, whatever kind of value it is.
fn at(key: &str, problem: Problem) -> Problem {
    Problem { code: ErrorCode::ConfigInvalid, ..problem }.within(key)
}

fn refused(text: &str, why: &str, expected: &str) -> Problem {
    Problem::refused(ErrorCode::ConfigInvalid, text, why, expected)
}

fn address(text: &str) -> Result<SocketAddr, Problem> {
    text.parse().map_err(|_| refused(text, "is not an address with a port", "127.0.0.1:8000 or [::1]:8000"))
}

fn flag(text: &str) -> Result<bool, Problem> {
    text.parse().map_err(|_| refused(text, "is neither on nor off", "true or false"))
}

fn log_format(text: &str) -> Result<LogFormat, Problem> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(refused(text, "is not a format", "text or json")),
    }
}

fn log_level(text: &str) -> Result<String, Problem> {
    let read = text.parse::<tracing_subscriber::filter::Targets>();
    let expected = "error, warn, info, debug, trace or a list like info,sqlx=warn";
    read.map(|_| text.to_owned()).map_err(|_| refused(text, "is not a level", expected))
}

/// Clean segments only, so that a path is never read two ways.
fn base_path(text: &str) -> Result<String, Problem> {
    let clean = |segment: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        !segment.is_empty() && !segment.starts_with('.') && segment.bytes().all(allowed)
    };
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    match trimmed.strip_prefix('/') {
        _ if trimmed.is_empty() => Ok(String::new()),
        Some(path) if path.split('/').all(clean) => Ok(trimmed.to_owned()),
        Some(_) | None => Err(refused(text, "is not a path", "a path like /sandkeep")),
    }
}

/// Of a module of Python: what stands after `import`.
fn module_name(text: &str) -> Result<String, Problem> {
    let is_name = |part: &str| {
        let mut letters = part.chars();
        letters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    if text.split('.').all(is_name) {
        return Ok(text.to_owned());
    }
    Err(refused(text, "is not the name of a module", "names like json or urllib.parse"))
}

/// Scheme, host and port, as a browser sends it.
fn origin(text: &str) -> Result<String, Problem> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@*,".contains(&b))
    };
    match host {
        Some(host) if plain(host) => Ok(text.to_owned()),
        Some(_) | None => Err(refused(text, "is not an origin", "https://console.example without a path")),
    }
}

#[cfg(test)]
mod tests;
