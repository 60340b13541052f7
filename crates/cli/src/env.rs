//! `sandkeep env`: the variables that clients of a server read.

use crate::out::{self, Stop};
use crate::remote::Server;
use crate::remote::show::Format;

/// Print shell variables for clients of a server: eval "$(sandkeep env)". This shows the key.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub(crate) fn wants_json(&self) -> bool {
        self.server.wants_json()
    }
}

pub(crate) fn execute(args: &Args) -> Result<u8, Stop> {
    let found = args.server.find()?;
    let mut variables = vec![("SANDKEEP_URL", found.address.to_string())];
    variables.extend(found.key.map(|key| ("SANDKEEP_API_KEY", key)));
    let object =
        || variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
    match args.server.output {
        Format::Table => {
            for (name, value) in &variables {
                out::line(&format!("export {name}={}", quoted(value)))?;
            }
        }
        Format::Json => out::json(&serde_json::Value::Object(object()))?,
        Format::Yaml => {
            out::bytes(crate::remote::show::yaml(&serde_json::Value::Object(object()))?.as_bytes())?
        }
    }
    Ok(0)
}

/// As one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word() {
        assert_eq!(quoted("a b$c"), "'a b$c'");
        assert_eq!(quoted("a'b"), r"'a'\''b'");
    }
}
