//! The log: one line per thing worth knowing, on standard error, for people or as JSON.
//!
//! What a request carries in headers, query and body is never logged, so there is nothing to mask in it; a route stands
//! in the log as its template.

use std::io::IsTerminal as _;

use sandkeep_core::code::{ErrorCode, Problem};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::config::{Config, LogFormat};

/// Sends the log of this whole process to standard error, and panics into it.
///
/// # Errors
/// `internal`: it goes somewhere already.
pub fn install(config: &Config) -> Result<(), Problem> {
    let targets: Targets = config.log_level.parse().unwrap_or_default();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match config.log_format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(targets));
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| Problem::new(ErrorCode::Internal, "the log goes somewhere already"))?;
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(code.location = at, "a task panicked: {message}");
    }));
    Ok(())
}
