//! `sandkeep config show`: every setting with its value and where that comes from.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, Subcommand};
use sandkeep_core::defaults;
use sandkeep_core::limits::Limits;
use sandkeep_core::sandbox::Profile;
use serde::Serialize;

use crate::host;
use crate::images::StoreArgs;
use crate::out::{self, Stop};
use crate::remote::show as tables;
use crate::run::{self, LimitArgs};
use crate::serve::{self, FileArg};
use sandkeep_server::Config;

/// Show settings.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(ShowArgs),
}

/// Show what `sandkeep run` would use with the same options, and `sandkeep serve` with the same file and variables:
/// value, where it comes from, and what it is.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    limits: LimitArgs,

    /// Security profile.
    #[arg(long, value_name = "PROFILE", env = "SANDKEEP_PROFILE", hide_env_values = true)]
    profile: Option<Profile>,

    /// Our own directory on this host.
    #[arg(long, value_name = "DIR", env = "SANDKEEP_STATE_DIR", hide = true)]
    state_dir: Option<std::path::PathBuf>,

    #[command(flatten)]
    server: FileArg,

    #[command(flatten)]
    store: StoreArgs,

    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        let Action::Show(show) = &self.action;
        show.json
    }
}

/// One setting.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    key: &'static str,
    value: String,
    source: &'static str,
    what: &'static str,
}

const COLUMNS: &[tables::Column] =
    &[("setting", "key"), ("value", "value"), ("source", "source"), ("what it is", "what")];

pub(crate) fn execute(args: &Args) -> Result<u8, Stop> {
    let Action::Show(show) = &args.action;
    // The words were understood once already; only now is it asked where each came from.
    let matches = crate::Cli::command().get_matches();
    let matches = matches.subcommand().and_then(|(_, config)| config.subcommand()).map(|(_, show)| show);
    let (limits, _) = run::request::limits(&show.limits.request(), host::processors())?;
    let mut rows =
        rows(show, &limits, |argument| matches.map_or("default", |matches| source(matches, argument)));
    let values = serve::values(&show.server, Vec::new())?;
    // What does not go together is refused here too.
    Config::of(&values)?;
    rows.extend(values.shown().map(|(setting, value, origin)| Row {
        key: setting.key,
        value: value.to_owned(),
        source: origin.as_str(),
        what: setting.what,
    }));
    if show.json {
        out::json(&rows)?;
        return Ok(0);
    }
    let rows: Vec<_> = rows.iter().map(|row| serde_json::json!(row)).collect();
    out::line(&tables::text(&rows, COLUMNS))?;
    Ok(0)
}

fn source(matches: &ArgMatches, argument: &str) -> &'static str {
    match matches.value_source(argument) {
        Some(ValueSource::CommandLine) => "flag",
        Some(ValueSource::EnvVariable) => "env",
        Some(_) | None => "default",
    }
}

/// The settings that options change have the same order and key as the rest; nothing here is secret.
fn rows(show: &ShowArgs, limits: &Limits, source: impl Fn(&str) -> &'static str) -> Vec<Row> {
    let mut rows: Vec<Row> = defaults::table()
        .into_iter()
        .map(|row| {
            let (value, argument) = effective(row.key, show, limits).unwrap_or((row.value, ""));
            let source = if argument.is_empty() { "default" } else { source(argument) };
            Row { key: row.key, value, source, what: row.what }
        })
        .collect();
    let state = show.state_dir.clone().unwrap_or_else(sandkeep_runtime::local::StateDirectory::default_path);
    rows.push(Row {
        key: "state_directory",
        value: state.display().to_string(),
        source: source("state_dir"),
        what: "locks of sandboxes, and a place to build them on",
    });
    rows.push(Row {
        key: "image_directory",
        value: show.store.path().map_or_else(|_| "none".to_owned(), |path| path.display().to_string()),
        source: source("image_dir"),
        what: "images, unpacked",
    });
    rows
}

/// The value in force of a setting that an option changes, and the name of that option.
fn effective(key: &str, show: &ShowArgs, limits: &Limits) -> Option<(String, &'static str)> {
    Some(match key {
        "timeout" => (limits.timeout.to_string(), "timeout"),
        "memory" => (limits.memory.to_string(), "memory"),
        "cpu" => (limits.cpu.to_string(), "cpu"),
        "processes" => (limits.processes.to_string(), "pids"),
        "disk" => (limits.disk.to_string(), "disk"),
        "inodes" => (limits.inodes.to_string(), "disk"),
        "output" => (limits.output.to_string(), "output"),
        "output_kill" => {
            (limits.output_kill.map_or_else(|| "off".to_owned(), |size| size.to_string()), "output_kill")
        }
        "profile" => (show.profile.unwrap_or(defaults::PROFILE).to_string(), "profile"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn shown(args: &[&str]) -> Vec<Row> {
        let all = ["sandkeep", "config", "show"].iter().chain(args);
        let matches = crate::Cli::command().try_get_matches_from(all.clone()).unwrap();
        let cli = crate::Cli::try_parse_from(all).unwrap();
        let crate::Command::Here(crate::Here::Config(Args { action: Action::Show(show) })) = cli.command
        else {
            panic!()
        };
        let (limits, _) = run::request::limits(&show.limits.request(), 4).unwrap();
        let matches = matches.subcommand().unwrap().1.subcommand().unwrap().1.clone();
        rows(&show, &limits, |argument| source(&matches, argument))
    }

    #[test]
    fn every_default_is_shown_and_flags_are_named() {
        let rows = shown(&["--memory", "64Mi", "--pids", "7"]);
        let row =
            |key: &str| rows.iter().find(|row| row.key == key).map(|row| (row.value.as_str(), row.source));
        assert_eq!(rows.len(), defaults::table().len() + 2);
        assert_eq!(row("memory"), Some(("64 MiB", "flag")));
        assert_eq!(row("processes"), Some(("7", "flag")));
        assert_eq!(row("disk"), Some(("32 MiB", "default")));
        assert_eq!(row("timeout"), Some(("1m", "default")));
    }

    #[test]
    fn every_option_of_the_limits_is_a_setting() {
        let rows = shown(&[
            "--timeout=1s",
            "--memory=1Gi",
            "--cpu=0.5",
            "--pids=9",
            "--disk=2Mi",
            "--output=1Ki",
            "--output-kill=1Mi",
            "--profile=dev",
            "--state-dir=/x",
            "--image-dir=/x",
        ]);
        let flags: Vec<_> = rows.iter().filter(|row| row.source == "flag").map(|row| row.key).collect();
        let all = [
            "timeout",
            "memory",
            "cpu",
            "processes",
            "disk",
            "inodes",
            "output",
            "output_kill",
            "profile",
            "state_directory",
            "image_directory",
        ];
        assert_eq!(flags, all);
    }
}
