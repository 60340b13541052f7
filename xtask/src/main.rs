//! `cargo xtask`: the chores of this repository that need more than a shell line.
//!
//! Its dependencies (compilers for .proto files) stay here, so that a normal build never sees them.

mod gen_proto;
mod openapi;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask gen-proto [--check] | openapi

  gen-proto          compile crates/protocol/proto into crates/protocol/src/gen
  gen-proto --check  write nothing; fail when the committed code is not what the .proto files give
  openapi            write openapi/openapi.json; a test of crates/server fails when it is not current";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["gen-proto"] => gen_proto::write(),
        ["gen-proto", "--check"] => gen_proto::check(),
        ["openapi"] => openapi::write(),
        _ => bail!("{USAGE}"),
    }
}
