//! `cargo xtask`: the chores of this repository that need more than a shell line.
//!
//! Its dependencies (compilers for .proto files) stay here, so that a normal build never sees them.

mod gen_proto;
mod openapi;
mod release;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask gen-proto [--check] | openapi | release [OPTIONS]

  gen-proto          compile crates/protocol/proto into crates/protocol/src/gen
  gen-proto --check  write nothing; fail when the committed code is not what the .proto files give
  openapi            write openapi/openapi.json; a test of crates/server fails when it is not current
  release            build and pack a release; docs/decisions/0019-release.md says of what it is made
      --out DIR        where to [default: target/dist]
      --binary FILE    pack this sandkeep instead of building one
      --target TRIPLE  for which machine [default: x86_64-unknown-linux-gnu]
      --pages FILE     a sandkeep that runs here and writes completions and manual, when the packed one does not";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["gen-proto"] => gen_proto::write(),
        ["gen-proto", "--check"] => gen_proto::check(),
        ["openapi"] => openapi::write(),
        ["release", options @ ..] => release::run(options),
        _ => bail!("{USAGE}"),
    }
}
