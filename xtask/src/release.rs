//! `cargo xtask release`: everything a release has, in one directory that a web server can show.
//!
//! ```text
//! OUT/LATEST, install.sh
//! OUT/VERSION/sandkeep-VERSION-MACHINE-linux.tar.gz, .requires, .cdx.json
//!            sandkeep_VERSION_ARCH.deb, SHA256SUMS
//! ```
//!
//! The same commit and binary give the same bytes: names are sorted, owners are root, times are that of the commit
//! (or `SOURCE_DATE_EPOCH`). Archives are written by tar, gzip and dpkg-deb, which can do that better than we.

mod deb;
mod elf;
mod sbom;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is asked for.
#[derive(Debug)]
struct Options {
    out: PathBuf,
    /// Taken as it is, instead of being built.
    binary: Option<PathBuf>,
    /// One that runs here, to ask for completions and pages, when the one of the release is for another machine.
    pages: Option<PathBuf>,
    target: String,
}

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = parse(words)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(&options.target)?,
    };
    let about = elf::about(&binary)?;
    let epoch = epoch()?;
    let place = options.out.join(VERSION);
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("remove {}", place.display()))?;
    }
    fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
    let work = Scratch::make(&place)?;
    let tree = tree::make(&work.0, &binary, options.pages.as_deref().unwrap_or(&binary))?;
    let name = format!("sandkeep-{VERSION}-{}-linux", about.machine);
    tree::archive(&tree, &name, &place.join(format!("{name}.tar.gz")), epoch)?;
    write(&place.join(format!("{name}.requires")), &format!("glibc {}\n", about.glibc))?;
    write(&place.join(format!("{name}.cdx.json")), &sbom::document(&options.target, epoch)?)?;
    deb::make(&work.0, &tree, &about, &place, epoch)?;
    drop(work);
    sums(&place)?;
    fs::copy(root().join("packaging/install.sh"), options.out.join("install.sh"))
        .context("copy install.sh")?;
    // Last: who reads it finds all of the version.
    write(&options.out.join("LATEST"), &format!("{VERSION}\n"))?;
    tell(&format!("{}: needs glibc {}\n", place.display(), about.glibc));
    Ok(())
}

fn parse(words: &[&str]) -> Result<Options> {
    let mut options = Options {
        out: root().join("target/dist"),
        binary: None,
        pages: None,
        target: "x86_64-unknown-linux-gnu".to_owned(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} lacks its value"))?;
        match *word {
            "--out" => options.out = std::path::absolute(value)?,
            "--binary" => options.binary = Some(std::path::absolute(value)?),
            "--pages" => options.pages = Some(std::path::absolute(value)?),
            "--target" => options.target = (*value).to_owned(),
            _ => bail!("release has no option {word}"),
        }
    }
    Ok(options)
}

/// Builds it as `./dev build` does, into the target directory that Cargo uses.
fn build(target: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args([
        "build",
        "--release",
        "--locked",
        "--package",
        "sandkeep",
        "--target",
        target,
    ]);
    let status = command.status().context("run cargo")?;
    ensure!(status.success(), "sandkeep was not built for {target}");
    let targets = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(targets.join(target).join("release/sandkeep"))
}

/// The time that everything in the release has: seconds since 1970.
fn epoch() -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => output(Command::new("git").current_dir(root()).args(["log", "-1", "--format=%ct"]))
            .context("outside of a git checkout SOURCE_DATE_EPOCH has to be set")?,
    };
    text.trim().parse().with_context(|| format!("{text:?} is not a number of seconds"))
}

/// `SHA256SUMS` over all the rest.
fn sums(place: &Path) -> Result<()> {
    let mut names: Vec<_> = fs::read_dir(place)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    let text = output(Command::new("sha256sum").current_dir(place).arg("--").args(&names))?;
    write(&place.join("SHA256SUMS"), &text)
}

/// A directory for what is not kept; gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make(place: &Path) -> Result<Self> {
        let path = place.join("work");
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays of a failed attempt is removed by the next.
        let _kept = fs::remove_dir_all(&self.0);
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Standard output of a command that has to succeed.
fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("run {}", command.get_program().display()))?;
    let error = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{} failed: {error}", command.get_program().display());
    String::from_utf8(done.stdout)
        .with_context(|| format!("{} wrote no text", command.get_program().display()))
}

#[expect(clippy::print_stdout, reason = "this is what the command says")]
fn tell(text: &str) {
    print!("{text}");
}
