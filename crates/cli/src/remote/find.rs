//! Which server a command talks to, and with which key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sandkeep_client::Address;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::defaults;
use sandkeep_core::nearest::nearest;
use serde::Deserialize;

use super::listener;
use crate::account;

const LOCAL: &str = "http://127.0.0.1:8000";
/// The key that a server makes on its first start, in its data directory.
const KEY_FILE: &str = "admin.key";

/// What the command line says.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) url: Option<Address>,
    pub(crate) profile_name: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
}

/// A server and the key for it.
pub(crate) struct Found {
    pub(crate) address: Address,
    pub(crate) key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    url: String,
    api_key: Option<String>,
}

/// The server, in the order that the help tells. A key goes to no other server than the one that it stands with.
///
/// # Errors
/// `invalid_value` or `config_invalid`.
pub(crate) fn find(said: Said, variable: impl Fn(&str) -> Option<String>) -> Result<Found, Problem> {
    let given = |address: Address| {
        if let Some(key) = variable("SANDKEEP_API_KEY") {
            return Ok(Found { address, key: Some(key) });
        }
        let key = if address.is_loopback() { local_key(&said, &variable) } else { None };
        if key.is_some() {
            nobody_else_listens(&address)?;
        }
        Ok(Found { address, key })
    };
    if let Some(address) = said.url.clone() {
        return given(address);
    }
    if let Some(name) = &said.profile_name {
        return of_profile(name, &variable);
    }
    if let Some(url) = variable("SANDKEEP_URL") {
        return given(url.parse().map_err(|problem: Problem| problem.within("SANDKEEP_URL"))?);
    }
    if let Some(name) = variable("SANDKEEP_CLIENT_PROFILE") {
        return of_profile(&name, &variable);
    }
    given(LOCAL.parse()?)
}

/// The key of a server of this machine; none when there is none, or it is not ours to read.
fn local_key(said: &Said, variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    // No server runs elsewhere; and only on Linux can be seen who listens at its address.
    if !cfg!(target_os = "linux") {
        return None;
    }
    let directory = said.data_dir.clone().or_else(|| variable("SANDKEEP_DATA_DIR").map(PathBuf::from));
    let directory = directory.unwrap_or_else(|| defaults::data_dir(account::is_root(), variable));
    let text = std::fs::read_to_string(directory.join(KEY_FILE)).ok()?;
    Some(text.trim().to_owned())
}

/// Whoever started a program at that address while the server is down would be shown the key.
fn nobody_else_listens(address: &Address) -> Result<(), Problem> {
    let other = account::user().zip(address.port()).and_then(|(us, port)| listener::somebody_elses(port, us));
    other.map_or(Ok(()), |uid| {
        let why =
            format!("a program of user {uid} listens there, and the key of the data directory is not for it");
        Err(Problem::new(ErrorCode::ServerUnreachable, why)
            .expecting("SANDKEEP_API_KEY or a profile, or a server of your own"))
    })
}

fn of_profile(name: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<Found, Problem> {
    let path = profiles_path(variable);
    let file = read(&path).map_err(|problem| problem.within(&path.display().to_string()))?;
    let profile = file.profiles.get(name).ok_or_else(|| {
        let known = file.profiles.keys().map(String::as_str);
        let expected = nearest(name, known).unwrap_or("a profile of that file");
        Problem::refused(ErrorCode::ConfigInvalid, name, "is not a profile", expected)
            .within(&path.display().to_string())
    })?;
    let address =
        profile.url.parse().map_err(|problem: Problem| problem.within(&format!("profiles.{name}.url")))?;
    Ok(Found { address, key: profile.api_key.clone() })
}

fn profiles_path(variable: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").or_else(|| absolute("USERPROFILE")).unwrap_or_default().join(".config");
    absolute("XDG_CONFIG_HOME").unwrap_or_else(home).join("sandkeep/client.toml")
}

fn read(path: &Path) -> Result<File, Problem> {
    let wrong =
        |what: String, expected: &str| Problem::new(ErrorCode::ConfigInvalid, what).expecting(expected);
    let unread = |error: std::io::Error| wrong(format!("it cannot be read: {error}"), "a file with profiles");
    let about = std::fs::metadata(path).map_err(unread)?;
    if let Some(how) = account::shared(&about) {
        let what = format!("it holds keys, and others can read or change it ({how})");
        return Err(wrong(what, "a file of yours with mode 600: chmod 600"));
    }
    let text = std::fs::read_to_string(path).map_err(unread)?;
    // The error's own text repeats the line, which may hold a key.
    toml::from_str(&text).map_err(|error| {
        let what = error.message().lines().next().unwrap_or_default().to_owned();
        let line =
            error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        wrong(format!("line {line}: {what}"), "[profiles.NAME] with url and api_key")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// Address and key that are found with these variables, in a home of its own.
    fn found(
        said: Said,
        variables: &[(&str, &str)],
        home: &Path,
    ) -> Result<(String, Option<String>), Problem> {
        let variable = |name: &str| match name {
            "HOME" => Some(home.display().to_string()),
            "SANDKEEP_DATA_DIR" => Some(home.join("data").display().to_string()),
            _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
        };
        find(said, variable).map(|found| (found.address.to_string(), found.key))
    }

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".config/sandkeep")).unwrap();
        std::fs::create_dir_all(home.path().join("data")).unwrap();
        std::fs::write(home.path().join("data/admin.key"), "local\n").unwrap();
        write(home.path(), "[profiles.work]\nurl = \"https://w.example\"\napi_key = \"worker\"\n", 0o600);
        home
    }

    fn write(home: &Path, text: &str, mode: u32) {
        let path = home.join(".config/sandkeep/client.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn url(text: &str) -> Said {
        Said { url: Some(text.parse().unwrap()), ..Said::default() }
    }

    fn profile(name: &str) -> Said {
        Said { profile_name: Some(name.to_owned()), ..Said::default() }
    }

    #[test]
    fn the_order_is_the_one_of_the_help_and_a_key_stays_with_its_server() {
        let home = home();
        let all = [
            ("SANDKEEP_URL", "http://u.example"),
            ("SANDKEEP_API_KEY", "variable"),
            ("SANDKEEP_CLIENT_PROFILE", "work"),
        ];
        let check = |said, variables: &[(&str, &str)], address: &str, key: Option<&str>| {
            let expected = (address.to_owned(), key.map(str::to_owned));
            assert_eq!(found(said, variables, home.path()).unwrap(), expected);
        };
        check(url("http://x.example"), &all, "http://x.example", Some("variable"));
        check(profile("work"), &all, "https://w.example", Some("worker"));
        check(Said::default(), &all, "http://u.example", Some("variable"));
        check(Said::default(), &all[1..], "https://w.example", Some("worker"));
        check(Said::default(), &all[1..2], LOCAL, Some("variable"));
        check(Said::default(), &[], LOCAL, Some("local"));
        check(url("http://localhost:9"), &[], "http://localhost:9", Some("local"));
        check(url("http://x.example"), &[], "http://x.example", None);
    }

    #[test]
    fn profiles_that_cannot_be_meant_are_refused_without_their_keys() {
        let home = home();
        let refused = |name: &str| found(profile(name), &[], home.path()).unwrap_err().to_string();
        assert!(refused("wrok").ends_with("`wrok` is not a profile; write work"), "{}", refused("wrok"));
        write(home.path(), "[profiles.work]\nurl = \"https://w\"\napi_kye = \"hunter2\"\n", 0o600);
        assert!(refused("work").contains("line 3: unknown field `api_kye`"), "{}", refused("work"));
        assert!(!refused("work").contains("hunter2"));
        write(home.path(), "[profiles.work]\nurl = \"https://w\"\n", 0o640);
        assert!(refused("work").contains("mode 640"), "{}", refused("work"));
        std::fs::remove_file(home.path().join(".config/sandkeep/client.toml")).unwrap();
        assert!(refused("work").starts_with("config_invalid: "), "{}", refused("work"));
    }
}
