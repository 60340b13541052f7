//! What the server measures of itself, listed once. A test finds metrics that nobody sets.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What a request was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Request {
    /// One of HTTP's methods, or `other`.
    pub(crate) method: &'static str,
    /// The route's template, or `none`: never what the client wrote.
    pub(crate) route: String,
    /// The status.
    pub(crate) status: u16,
}

/// Which route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Route {
    pub(crate) route: String,
}

/// Which error.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Code {
    pub(crate) code: &'static str,
}

/// Which part of the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Component {
    pub(crate) component: &'static str,
}

/// Declares the metrics: field, type, name, unit, what it counts, how it is made.
macro_rules! metrics {
    ($($field:ident: $type:ty = $name:literal, $unit:expr, $what:literal, $make:expr;)+) => {
        /// Handles to set them by.
        pub(crate) struct Metrics {
            registry: Registry,
            $(#[doc = $what] pub(crate) $field: $type,)+
        }

        impl Metrics {
            pub(crate) fn new() -> Self {
                let mut registry = Registry::with_prefix("sandkeep_http");
                $(
                    let $field: $type = $make;
                    match $unit {
                        Some(unit) => registry.register_with_unit($name, $what, unit, $field.clone()),
                        None => registry.register($name, $what, $field.clone()),
                    }
                )+
                Metrics { registry, $($field),+ }
            }
        }

        #[cfg(test)]
        const FIELDS: &[&str] = &[$(stringify!($field)),+];
    };
}

/// From a tenth of a millisecond, what a read takes, to the five minutes of a wait.
const DURATIONS: [f64; 14] =
    [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

fn durations() -> Histogram {
    Histogram::new(DURATIONS)
}

/// How a family makes its members.
type Make = fn() -> Histogram;

metrics! {
    requests: Family<Request, Counter> = "requests", None::<Unit>,
        "Requests that were answered", Family::default();
    request_duration: Family<Route, Histogram, Make> = "request_duration", Some(Unit::Seconds),
        "Time from the head of a request to the head of its answer", Family::new_with_constructor(durations as Make);
    errors: Family<Code, Counter> = "errors", None::<Unit>,
        "Answers that were errors, by code", Family::default();
    in_flight: Gauge = "requests_in_flight", None::<Unit>,
        "Requests that wait for the head of their answer", Gauge::default();
    connections: Gauge = "connections", None::<Unit>,
        "Connections that are open", Gauge::default();
    connections_failed: Counter = "connections_failed", None::<Unit>,
        "Connections that ended before their time: handshake, time-out, broken request", Counter::default();
    panics: Counter = "panics", None::<Unit>,
        "Handlers that panicked", Counter::default();
    component_ready: Family<Component, Gauge> = "component_ready", None::<Unit>,
        "Whether a component answered its last probe", Family::default();
    probe_duration: Family<Component, Histogram, Make> = "probe_duration", Some(Unit::Seconds),
        "Time that a probe of a component took", Family::new_with_constructor(durations as Make);
    clock_offset: Gauge<f64, AtomicU64> = "clock_offset", Some(Unit::Seconds),
        "How far the database's clock is ahead of this machine's; its time counts", Gauge::default();
    tasks: Gauge = "tasks", None::<Unit>,
        "Tasks of the whole process that have not ended", Gauge::default();
    certificate_reloads_failed: Counter = "certificate_reloads_failed", None::<Unit>,
        "Changed certificate files that could not be used", Counter::default();
}

impl Metrics {
    /// All of them, as OpenMetrics text.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(directory: &std::path::Path, into: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, into);
            } else if !path.ends_with("src/metrics.rs") {
                into.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_metric_is_set_somewhere() {
        let mut all = String::new();
        sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
        let joined: String = all.split_whitespace().collect();
        for field in FIELDS {
            assert!(joined.contains(&format!("metrics.{field}.")), "nobody sets {field}");
        }
    }

    #[test]
    fn all_are_written_with_their_meaning() {
        let metrics = Metrics::new();
        let request = Request { method: "GET", route: "/live".to_owned(), status: 204 };
        metrics.requests.get_or_create(&request).inc();
        let text = metrics.encode().unwrap();
        let line = "sandkeep_http_requests_total{method=\"GET\",route=\"/live\",status=\"204\"} 1\n";
        assert!(
            text.contains(line) && text.contains("# HELP sandkeep_http_requests Requests that were"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
