//! Compiles the C part of the escape suite into one static program, and lists all programs for `src/attack`.
//!
//! The suite is part of the command, so that it can be run on any host without a compiler there. C is needed because
//! several tricks are single system calls that no interpreter makes, and static because the sandbox's libraries are
//! not the host's.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let attack = manifest.join("attack");
    println!("cargo:rerun-if-changed={}", attack.display());
    println!("cargo:rerun-if-env-changed=CC");
    let programs = programs(&attack);
    fs::write(out.join("programs.rs"), listing(&attack, &programs)).expect("OUT_DIR can be written");
    let mut sources = of_type(&attack, &["c"]);
    sources.extend(programs.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "c")));
    compile(&attack, &sources, &out.join("attack"));
}

/// Every program: the files of each area, in the order of their names.
fn programs(attack: &Path) -> Vec<PathBuf> {
    let mut areas: Vec<PathBuf> = entries(attack).into_iter().filter(|path| path.is_dir()).collect();
    areas.sort();
    areas.iter().flat_map(|area| of_type(area, &["py", "sh", "c"])).collect()
}

fn of_type(directory: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(directory)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)))
        .collect();
    found.sort();
    found
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the programs are part of this crate");
    entries.map(|entry| entry.expect("a directory that was just opened can be read").path()).collect()
}

/// `&[("area/name.py", include_str!("…")), …]`
fn listing(attack: &Path, programs: &[PathBuf]) -> String {
    let mut text = "&[\n".to_owned();
    for path in programs {
        let below = path.strip_prefix(attack).expect("found below it");
        writeln!(text, "    ({below:?}, include_str!({path:?})),").expect("a String takes everything");
    }
    text.push(']');
    text
}

fn compile(attack: &Path, sources: &[PathBuf], program: &Path) {
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(&compiler)
        .args(["-O1", "-static", "-Wall", "-Wextra", "-pthread", "-s", "-I"])
        .arg(attack)
        .arg("-o")
        .arg(program)
        .args(sources)
        .output();
    let hint = "the escape suite needs a C compiler and a static C library; on Debian: apt-get install gcc libc6-dev";
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("{compiler} failed: {hint}\n{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{compiler} cannot be run ({error}): {hint}"),
    }
}
