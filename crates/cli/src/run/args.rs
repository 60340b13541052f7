//! The words of `sandkeep run`.

use std::path::PathBuf;

use sandkeep_core::cpu::CpuMillis;
use sandkeep_core::duration::Span;
use sandkeep_core::execution::{Kind, Language};
use sandkeep_core::limits::LimitsRequest;
use sandkeep_core::sandbox::Profile;
use sandkeep_core::size::ByteSize;

use crate::images::{OfflineArg, RegistryArgs, StoreArgs};

use super::words::{CopyArg, EventArg, MountArg, Source, UserArg, Variable};

/// Run code or a command in a fresh sandbox.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The code: a file, or - for standard input.
    pub(super) file: Option<PathBuf>,

    /// Arguments for a script; the program and its arguments for a command.
    #[arg(last = true, value_name = "ARGS")]
    pub(super) args: Vec<String>,

    /// Language: python, javascript or bash [default: by the file's ending, else its first line; - is python].
    #[arg(long, value_name = "LANGUAGE")]
    pub(super) lang: Option<Language>,

    /// script runs the file, handler calls its `handler(event, context)`, command runs ARGS
    /// [default: script, or command without a file].
    #[arg(long, value_name = "KIND")]
    pub(super) kind: Option<Kind>,

    /// The event of a handler: JSON, @FILE, or - for standard input [default: null].
    #[arg(long, value_name = "JSON", allow_negative_numbers = true)]
    pub(super) event: Option<EventArg>,

    #[command(flatten)]
    pub(super) limits: LimitArgs,

    /// Start although a limit that was asked for cannot be enforced here.
    #[arg(long, help_heading = "Limits", conflicts_with = "require_limits")]
    pub(super) allow_unenforced: bool,

    /// Start only if the kernel keeps every limit.
    #[arg(long, help_heading = "Limits")]
    pub(super) require_limits: bool,

    /// Set a variable; may be repeated. Nothing of your own environment enters the sandbox.
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Input")]
    pub(super) env: Vec<Variable>,

    /// Set the variables of a file, one NAME=VALUE per line; --env comes on top.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(super) env_file: Vec<PathBuf>,

    /// Standard input of the code: a file, or - to pass ours [default: nothing].
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(super) stdin: Option<Source>,

    /// Copy a file into /workspace; may be repeated (16 MiB together; --mount shows more).
    #[arg(long = "file", value_name = "SRC[:DEST]", help_heading = "Input")]
    pub(super) copies: Vec<CopyArg>,

    /// Show a file or directory of the host inside, read-only unless :rw; may be repeated.
    #[arg(long = "mount", value_name = "SRC:DEST[:rw]", help_heading = "Sandbox")]
    pub(super) mounts: Vec<MountArg>,

    /// Start from the root file system in a directory instead of the host's own programs.
    #[arg(long, value_name = "DIR", help_heading = "Sandbox")]
    pub(super) root_dir: Option<PathBuf>,

    /// Start from a container image: an OCI layout (directory or tar), an archive of docker save, one that
    /// `sandkeep image list` shows, or else one of a registry. Without code or command, what the image runs is run.
    #[arg(long, value_name = "IMAGE", help_heading = "Sandbox", conflicts_with = "root_dir")]
    pub(super) image: Option<String>,

    #[command(flatten)]
    pub(super) store: StoreArgs,

    #[command(flatten)]
    pub(super) offline: OfflineArg,

    #[command(flatten)]
    pub(super) registry: RegistryArgs,

    /// strict: one user, read-only programs; dev: writable programs, inside-root, sudo.
    #[arg(
        long,
        value_name = "PROFILE",
        env = "SANDKEEP_PROFILE",
        hide_env_values = true,
        help_heading = "Sandbox"
    )]
    pub(super) profile: Option<Profile>,

    /// Who the code is inside: user, or root with --profile dev.
    #[arg(long, value_name = "USER", default_value = "user", help_heading = "Sandbox")]
    pub(super) user: UserArg,

    /// Our own directory on this host.
    #[arg(long, value_name = "DIR", env = "SANDKEEP_STATE_DIR", hide = true)]
    pub(super) state_dir: Option<PathBuf>,

    /// Copy new and changed files of /workspace into a directory.
    #[arg(long, value_name = "DIR", help_heading = "Output", conflicts_with = "no_artifacts")]
    pub(super) out: Option<PathBuf>,

    /// Do not look for new and changed files.
    #[arg(long, help_heading = "Output")]
    pub(super) no_artifacts: bool,

    /// Send standard error to standard output, in the exact order in which it was written.
    #[arg(long, help_heading = "Output")]
    pub(super) merge_stderr: bool,

    /// Print the result as one JSON object instead of the output as it comes.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// The limits that can be asked for; `sandkeep config show` shows what they amount to.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Wall time until all of it is killed, like 30s, 500ms, 1m30s [default: 1m].
    #[arg(long, value_name = "TIME", env = "SANDKEEP_TIMEOUT", hide_env_values = true)]
    pub(crate) timeout: Option<Span>,

    /// Memory of all its processes together, like 512Mi, 1.5Gi [default: 512 MiB].
    #[arg(long, value_name = "SIZE", env = "SANDKEEP_MEMORY", hide_env_values = true)]
    pub(crate) memory: Option<ByteSize>,

    /// Processors, like 1, 0.5, 500m [default: 1].
    #[arg(long, value_name = "COUNT", env = "SANDKEEP_CPU", hide_env_values = true)]
    pub(crate) cpu: Option<CpuMillis>,

    /// Processes and threads at once [default: 256].
    #[arg(long, value_name = "COUNT", env = "SANDKEEP_PIDS", hide_env_values = true)]
    pub(crate) pids: Option<u32>,

    /// Bytes it may write to files [default: 1 GiB or half the memory, whichever is less].
    #[arg(long, value_name = "SIZE", env = "SANDKEEP_DISK", hide_env_values = true)]
    pub(crate) disk: Option<ByteSize>,

    /// Output that is kept; the rest is drained and counted [default: 10 MiB].
    #[arg(long, value_name = "SIZE", env = "SANDKEEP_OUTPUT", hide_env_values = true)]
    pub(crate) output: Option<ByteSize>,

    /// Output after which it is killed [default: off].
    #[arg(long, value_name = "SIZE", env = "SANDKEEP_OUTPUT_KILL", hide_env_values = true)]
    pub(crate) output_kill: Option<ByteSize>,
}

impl LimitArgs {
    /// In core's words.
    pub(crate) fn request(&self) -> LimitsRequest {
        LimitsRequest {
            memory: self.memory,
            cpu: self.cpu,
            processes: self.pids,
            disk: self.disk,
            inodes: None,
            timeout: self.timeout,
            output: self.output,
            output_kill: self.output_kill,
            open_files: None,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  echo 'print(6*7)' | sandkeep run -
  sandkeep run --timeout 5s --memory 256Mi script.py -- --verbose input.txt
  sandkeep run --kind handler --event '{\"name\": \"Ada\"}' greet.mjs
  sandkeep run --mount ./data:/data --out results report.sh
  sandkeep run -- ls -l /
  sandkeep run --image python:3.12-slim script.py
  sandkeep run --image python.tar script.py
  tar c . | sandkeep run --stdin - -- tar t

Output:
  Standard output and standard error are those of the code, byte for byte and as they come.
  What a handler returns follows its own output on standard output, as JSON on one line of
  its own; what it raises is on standard error. When standard error is a terminal, a summary
  follows there. With --json, one object on standard output has all of it, and nothing is
  shown before the end; when nothing could be run, it is
  {\"error\": {\"code\", \"message\", \"value\", \"expected\"}}.

Exit status:
  the code's own; 128+n for signal n; 124 timeout; 137 memory or another limit;
  126 not runnable; 127 not found; 125 refused, or an error of ours;
  130 cancelled: Ctrl-C once asks the code to end, twice kills it;
  141 the reader of standard output went away, and the code was killed for it.";
