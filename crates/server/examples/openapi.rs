//! Writes the OpenAPI document to standard output: what `cargo xtask openapi` runs.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(sandkeep_server::openapi_json().as_bytes())
}
