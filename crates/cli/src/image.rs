//! `sandkeep image`: the images in the store.

mod show;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use sandkeep_core::code::Problem;
use sandkeep_core::duration::Span;
use sandkeep_image::{Source, Stored};

use crate::images::{self, StoreArgs};
use crate::out::{self, Stop};

/// Keep container images: import, list, remove.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    store: StoreArgs,

    /// As JSON.
    #[arg(long, global = true)]
    json: bool,
}

const AFTER_HELP: &str = "\
An image comes from a file: docker save -o FILE REF (or podman save, skopeo copy) makes one.
`sandkeep run --image FILE` unpacks it too; importing gives it its names besides:
  docker save -o python.tar python:3.12-slim
  sandkeep image import python.tar
  sandkeep run --image python:3.12-slim script.py";

#[derive(Debug, Subcommand)]
enum Action {
    List,
    Import(ImportArgs),
    Rm(RmArgs),
    Prune(PruneArgs),
}

/// Unpack the images in a file or directory and keep them under the names that are in it.
#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// An OCI layout (directory or tar), or an archive of docker save.
    path: PathBuf,
}

/// Remove images that no sandbox uses.
#[derive(Debug, clap::Args)]
struct RmArgs {
    /// Names, or ids or their first digits.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Remove all images that have no name and that no sandbox uses, and what broken attempts left.
#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Those with names too.
    #[arg(long)]
    all: bool,

    /// Only those that no sandbox used for this long, like 30d.
    #[arg(long, value_name = "TIME")]
    unused_for: Option<Span>,
}

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        self.json
    }
}

pub(crate) fn execute(args: &Args) -> Result<u8, Stop> {
    match &args.action {
        Action::List => list(args),
        Action::Import(import) => import_from(args, import),
        Action::Rm(rm) => remove(args, rm),
        Action::Prune(prune) => prune_as(args, prune),
    }
}

fn list(args: &Args) -> Result<u8, Stop> {
    let all = args.store.open()?.list().map_err(Problem::from)?;
    if args.json {
        show::json(&all)?
    } else {
        show::table(&all)?
    }
    Ok(0)
}

fn import_from(args: &Args, import: &ImportArgs) -> Result<u8, Stop> {
    let source = Source::open(&import.path).map_err(Problem::from)?;
    let images = source.images().map_err(Problem::from)?;
    let store = args.store.open()?;
    let mut imported = Vec::new();
    for image in images {
        let held = images::ready(&store, &source, &image)?;
        store.keep(&held).and_then(|()| store.name(image.id, &image.names)).map_err(Problem::from)?;
        drop(held);
        imported.push(store.find(&image.id.to_string()).map_err(Problem::from)?);
    }
    if args.json {
        show::json(&imported)?;
    } else {
        for stored in &imported {
            out::line(&show::line(stored))?;
            show::notes(stored);
        }
    }
    Ok(0)
}

/// All of them are found before any is removed.
fn remove(args: &Args, rm: &RmArgs) -> Result<u8, Stop> {
    let store = args.store.open()?;
    let found = rm.images.iter().map(|reference| store.find(reference));
    let mut found: Vec<Stored> = found.collect::<Result<_, _>>().map_err(Problem::from)?;
    found.sort_by_key(|stored| stored.id);
    found.dedup_by_key(|stored| stored.id);
    for stored in &found {
        store.remove(stored.id).map_err(Problem::from)?;
    }
    removed(args, &found)
}

fn prune_as(args: &Args, prune: &PruneArgs) -> Result<u8, Stop> {
    let idle = prune.unused_for.map_or(Duration::ZERO, Span::to_duration);
    let now = SystemTime::now();
    let wanted = |stored: &Stored| {
        let unused_for = now.duration_since(stored.used_at).unwrap_or_default();
        (prune.all || stored.names.is_empty()) && unused_for >= idle
    };
    let gone = args.store.open()?.prune(wanted).map_err(Problem::from)?;
    removed(args, &gone)
}

fn removed(args: &Args, gone: &[Stored]) -> Result<u8, Stop> {
    if args.json {
        show::json(gone)?;
        return Ok(0);
    }
    for stored in gone {
        out::line(&format!("removed {}", show::line(stored)))?;
    }
    if gone.is_empty() {
        out::line("nothing to remove")?;
    }
    Ok(0)
}
