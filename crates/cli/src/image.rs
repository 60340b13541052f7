//! `sandkeep image`: the images in the store.

mod show;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use sandkeep_core::code::Problem;
use sandkeep_core::duration::Span;
use sandkeep_image::{Held, Source, Store, Stored};
use sandkeep_registry::Reference;

use crate::host;
use crate::images::{self, RegistryArgs, StoreArgs};
use crate::out::{self, Stop};

/// Keep container images: pull, import, list, remove.
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

    /// Our own directory on this host.
    #[arg(long, value_name = "DIR", env = "SANDKEEP_STATE_DIR", hide = true)]
    state_dir: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
An image comes from a registry, or from a file: docker save -o FILE REF (or podman save, skopeo copy)
makes one. `sandkeep run --image` does both, too; what is pulled or imported here is kept for good:
  sandkeep image pull python:3.12-slim
or
  docker save -o python.tar python:3.12-slim
  sandkeep image import python.tar
  sandkeep run --image python:3.12-slim script.py";

#[derive(Debug, Subcommand)]
enum Action {
    List,
    Show(ShowArgs),
    Pull(PullArgs),
    Import(ImportArgs),
    Rm(RmArgs),
    Prune(PruneArgs),
}

/// Show what is known of images: names, sizes, what they run, interpreters with versions.
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Names, or ids or their first digits.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Fetch images from their registries, also when they are here, and keep them under their names.
#[derive(Debug, clap::Args)]
struct PullArgs {
    /// Like python:3.12-slim, ghcr.io/owner/name:tag, or name@sha256:DIGEST.
    #[arg(required = true, value_name = "REF")]
    references: Vec<String>,

    #[command(flatten)]
    registry: RegistryArgs,
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

pub(crate) async fn execute(args: &Args) -> Result<u8, Stop> {
    match &args.action {
        Action::List => list(args),
        Action::Show(of) => show_each(args, of),
        Action::Pull(pull) => pull_from(args, pull).await,
        Action::Import(import) => import_from(args, import).await,
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

fn show_each(args: &Args, of: &ShowArgs) -> Result<u8, Stop> {
    let store = args.store.open()?;
    let found = of.images.iter().map(|reference| store.find(reference));
    let found: Vec<Stored> = found.collect::<Result<_, _>>().map_err(Problem::from)?;
    if args.json {
        show::json(&found)?
    } else {
        found.iter().try_for_each(show::whole)?
    }
    Ok(0)
}

/// All names are read before any is asked for.
async fn pull_from(args: &Args, pull: &PullArgs) -> Result<u8, Stop> {
    let references = pull.references.iter().map(|text| Reference::parse(text));
    let references: Vec<Reference> = references.collect::<Result<_, _>>()?;
    let store = args.store.open()?;
    let mut pulled = Vec::new();
    for reference in &references {
        let held = pull.registry.pull(reference, &store)?;
        pulled.push(keep(args, &store, &held).await?);
    }
    kept(args, &pulled)
}

/// For good, and what is then known of it.
async fn keep(args: &Args, store: &Store, held: &Held) -> Result<Stored, Problem> {
    store.keep(held)?;
    // An image can be kept where no sandbox can be made.
    if let Ok(driver) = host::driver(args.state_dir.as_ref()) {
        images::probe(held, &driver).await;
    }
    Ok(store.find(&held.id.to_string())?)
}

async fn import_from(args: &Args, import: &ImportArgs) -> Result<u8, Stop> {
    let source = Source::open(&import.path).map_err(Problem::from)?;
    let images = source.images().map_err(Problem::from)?;
    let store = args.store.open()?;
    let mut imported = Vec::new();
    for image in images {
        let held = images::ready(&store, &source, &image)?;
        store.name(image.id, &image.names).map_err(Problem::from)?;
        imported.push(keep(args, &store, &held).await?);
    }
    kept(args, &imported)
}

fn kept(args: &Args, all: &[Stored]) -> Result<u8, Stop> {
    if args.json {
        show::json(all)?;
    } else {
        for stored in all {
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
