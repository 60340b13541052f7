//! What is in the binary, as a `CycloneDX` document.
//!
//! Cargo itself says what it links (`cargo tree`); the lock file has the digests. The tools for that list what `cargo
//! metadata` has, so also what only builds or tests use, and not what is in the embedded agent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{VERSION, output, root};

/// Built into others, but what it holds ends up in the binary: the JavaScript of `/docs`.
const EMBEDDED: &str = "utoipa-swagger-ui-vendored";

/// The document, with a line for each value, so that two can be compared.
pub(super) fn document(target: &str, epoch: u64) -> Result<String> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("read Cargo.lock")?;
    let digests = digests(&lock);
    let mut crates = BTreeSet::new();
    for package in ["sandkeep", "sandkeep-agent"] {
        crates.extend(linked(package, target, "normal,no-proc-macro")?);
    }
    crates.extend(
        linked("sandkeep", target, "normal,build")?.into_iter().filter(|found| found.name == EMBEDDED),
    );
    let components: Vec<Value> = crates
        .iter()
        .filter(|found| found.name != "sandkeep")
        .map(|found| component(found, &digests))
        .collect();
    let seconds = i64::try_from(epoch).context("a time to come")?;
    let time = output(Command::new("date").args([
        "--utc",
        "--date",
        &format!("@{seconds}"),
        "+%Y-%m-%dT%H:%M:%SZ",
    ]))?;
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time.trim(),
            "component": {
                "type": "application", "bom-ref": format!("sandkeep@{VERSION}"), "name": "sandkeep", "version": VERSION,
                "licenses": [{ "expression": "Apache-2.0" }],
            },
        },
        "components": components,
    });
    Ok(format!("{document:#}\n"))
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    licence: String,
}

/// The crates of `package` along such edges, itself included.
fn linked(package: &str, target: &str, edges: &str) -> Result<Vec<Crate>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.current_dir(root()).args(["tree", "--locked", "--offline", "--prefix", "none", "--no-dedupe"]);
    tree.args(["--package", package, "--target", target, "--edges", edges, "--format", "{p}|{l}"]);
    Ok(output(&mut tree)?.lines().filter_map(line).collect())
}

/// `serde v1.0.229|MIT OR Apache-2.0`, with a path behind the version where it is one of ours.
fn line(text: &str) -> Option<Crate> {
    let (package, licence) = text.split_once('|')?;
    let (name, rest) = package.split_once(" v")?;
    let version = rest.split(' ').next()?;
    // The old spelling of OR.
    let licence = licence.replace(" / ", " OR ").replace('/', " OR ");
    Some(Crate { name: name.to_owned(), version: version.to_owned(), licence })
}

/// The SHA-256 of each package that came from a registry, by name and version.
fn digests(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let read =
        |package| Some(((field(package, "name")?, field(package, "version")?), field(package, "checksum")?));
    lock.split("[[package]]").filter_map(read).collect()
}

/// `name = "value"`, on a line of its own.
fn field<'a>(package: &'a str, name: &str) -> Option<&'a str> {
    let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
    line.strip_suffix('"')
}

fn component(found: &Crate, digests: &BTreeMap<(&str, &str), &str>) -> Value {
    let Crate { name, version, licence } = found;
    let reference = format!("pkg:cargo/{name}@{version}");
    let mut component = json!({
        "type": "library", "bom-ref": reference, "name": name, "version": version,
        "licenses": [{ "expression": licence }],
    });
    // Ours are in no registry.
    if let Some(digest) = digests.get(&(name.as_str(), version.as_str())) {
        component["purl"] = reference.into();
        component["hashes"] = json!([{ "alg": "SHA-256", "content": digest }]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_prints_is_read() {
        let found = line("libc v0.2.191|MIT/Apache-2.0").unwrap();
        assert_eq!(
            (found.name.as_str(), found.version.as_str(), found.licence.as_str()),
            ("libc", "0.2.191", "MIT OR Apache-2.0")
        );
        assert_eq!(line("sandkeep-core v0.1.0 (/a b/core)|Apache-2.0").unwrap().version, "0.1.0");
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"ff\"\n\n[[package]]\nname = \"b\"\nversion = \"2.0.0\"\n";
        assert_eq!(digests(lock), BTreeMap::from([(("a", "1.0.0"), "ff")]));
    }
}
