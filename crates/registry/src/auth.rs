//! Credentials for registries, from where `docker login` and `podman login` leave them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandkeep_core::code::{ErrorCode, Problem};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// Who asks.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Name and password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// A token from which the registry's token service makes others.
    Identity(SecretString),
}

/// Files in which credentials may be, the first that is there counts.
#[derive(Debug, Clone, Default)]
pub struct Places(Vec<PathBuf>);

/// A configuration of Docker, as far as it is about credentials; it has much else.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<SecretString>,
    identitytoken: Option<SecretString>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: SecretString,
}

/// How Docker names its own registry there.
const DOCKER: &str = "https://index.docker.io/v1/";
/// For a helper, which may ask a keyring but not a person.
const HELPER_TIME: Duration = Duration::from_secs(10);
/// Largest file, and largest answer of a helper.
const BYTES: u64 = 1 << 20;

impl Places {
    /// As the environment says.
    pub fn find(variable: &impl Fn(&str) -> Option<String>) -> Self {
        let said = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = said("REGISTRY_AUTH_FILE") {
            return Self(vec![path]);
        }
        let docker = said("DOCKER_CONFIG").or_else(|| said("HOME").map(|home| home.join(".docker")));
        let podman = said("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json"));
        Self(docker.map(|directory| directory.join("config.json")).into_iter().chain(podman).collect())
    }

    /// What is there for a registry; `None` when nothing is.
    ///
    /// # Errors
    /// `credentials_unusable`: a file or a helper's answer cannot be read.
    pub async fn credentials(&self, registry: &str) -> Result<Option<Credentials>, Problem> {
        for path in &self.0 {
            let Some(text) = read(path)? else { continue };
            let file = parse(&text).map_err(|why| unusable(path, why))?;
            if let Some(helper) = file.helper_for(registry) {
                return helped(helper, registry).await;
            }
            if let Some(entry) = file.entry_for(registry) {
                return entry.credentials().map_err(|why| unusable(path, why));
            }
        }
        Ok(None)
    }
}

fn unusable(path: &Path, why: &str) -> Problem {
    Problem::new(ErrorCode::CredentialsUnusable, why).within(&path.display().to_string())
}

fn read(path: &Path) -> Result<Option<String>, Problem> {
    let failed = |error: std::io::Error| unusable(path, &format!("it cannot be read: {error}"));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(about) if !about.is_file() || about.len() > BYTES => {
            return Err(unusable(path, "it is no such file"));
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(failed)
}

/// The text is never repeated: it holds passwords.
fn parse(text: &str) -> Result<File, &'static str> {
    serde_json::from_str(text).map_err(|_| "it is not a configuration of Docker's (config.json)")
}

/// Credentials for a registry that stand in a file's text.
pub(crate) fn entry(text: &str, registry: &str) -> Result<Option<Credentials>, &'static str> {
    parse(text)?.entry_for(registry).map_or(Ok(None), Entry::credentials)
}

impl File {
    fn helper_for(&self, registry: &str) -> Option<&str> {
        let own = self.cred_helpers.iter().find(|(key, _)| names(key, registry)).map(|(_, helper)| helper);
        own.or(self.creds_store.as_ref()).map(String::as_str).filter(|helper| !helper.is_empty())
    }

    fn entry_for(&self, registry: &str) -> Option<&Entry> {
        self.auths.iter().find(|(key, _)| names(key, registry)).map(|(_, entry)| entry)
    }
}

/// Whether a key, which may be an address, means this registry.
fn names(key: &str, registry: &str) -> bool {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = key.split('/').next().unwrap_or_default();
    let docker = matches!(host, "index.docker.io" | "registry-1.docker.io");
    host == registry || (docker && registry == "docker.io")
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>, &'static str> {
        use secrecy::ExposeSecret as _;
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.expose_secret().is_empty()) {
            return Ok(Some(Credentials::Identity(token.clone())));
        }
        let Some(auth) = self.auth.as_ref().filter(|auth| !auth.expose_secret().is_empty()) else {
            return Ok(None);
        };
        let wrong = "an `auth` in it is not NAME:PASSWORD in base64";
        let plain = STANDARD.decode(auth.expose_secret().trim()).map_err(|_| wrong)?;
        let plain = SecretString::from(String::from_utf8(plain).map_err(|_| wrong)?);
        let (user, password) = plain.expose_secret().split_once(':').ok_or(wrong)?;
        Ok(Some(Credentials::Password {
            user: user.to_owned(),
            password: password.trim_end_matches('\0').to_owned().into(),
        }))
    }
}

/// Asks a helper, the program `docker-credential-NAME`, as Docker does.
async fn helped(name: &str, registry: &str) -> Result<Option<Credentials>, Problem> {
    let refused =
        |why: &str| Problem::new(ErrorCode::CredentialsUnusable, format!("docker-credential-{name} {why}"));
    // It becomes part of a program's name, which must not be a path.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(Problem::refused(
            ErrorCode::CredentialsUnusable,
            name,
            "is not the name of a helper",
            "a name",
        ));
    }
    let asked = tokio::time::timeout(HELPER_TIME, ask(name, registry)).await;
    let (succeeded, text) = match asked {
        Err(_) => return Err(refused("did not answer within 10 s")),
        Ok(Err(error)) => return Err(refused(&format!("cannot be run: {error}"))),
        Ok(Ok(answer)) => answer,
    };
    if !succeeded {
        // The words that helpers of Docker's have for it.
        return match String::from_utf8_lossy(&text).contains("credentials not found") {
            true => Ok(None),
            false => Err(refused("failed")),
        };
    }
    let answer: Answer = serde_json::from_slice(&text).map_err(|_| refused("gave no credentials"))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::Identity(answer.secret),
        _ => Credentials::Password { user: answer.username, password: answer.secret },
    }))
}

/// Whether it succeeded, and what it said.
async fn ask(name: &str, registry: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut helper = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let server = if registry == "docker.io" { DOCKER } else { registry };
    if let Some(mut stdin) = helper.stdin.take() {
        // One that does not read is judged by what it answers.
        let _unread = stdin.write_all(server.as_bytes()).await;
    }
    let mut text = Vec::new();
    if let Some(stdout) = helper.stdout.take() {
        stdout.take(BYTES).read_to_end(&mut text).await?;
    }
    Ok((helper.wait().await?.success(), text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    fn shown(credentials: Option<Credentials>) -> String {
        match credentials {
            None => "nobody".to_owned(),
            Some(Credentials::Identity(token)) => format!("token {}", token.expose_secret()),
            Some(Credentials::Password { user, password }) => format!("{user}:{}", password.expose_secret()),
        }
    }

    fn shown_entry(text: &str, registry: &str) -> Result<String, &'static str> {
        entry(text, registry).map(shown)
    }

    #[test]
    fn credentials_are_those_of_their_registry() {
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0"},
            "r.example:5000": {"auth": "eW91OmE6Yg=="},
            "http://old.example/v2/": {"auth": "", "identitytoken": "t"},
            "empty.example": {}
        }, "HttpHeaders": {"X": "y"}}"#;
        let cases = [
            ("docker.io", "me:secret"),
            ("r.example:5000", "you:a:b"),
            ("old.example", "token t"),
            ("empty.example", "nobody"),
            ("r.example", "nobody"),
            ("xr.example:5000", "nobody"),
        ];
        for (registry, expected) in cases {
            assert_eq!(shown_entry(text, registry).unwrap(), expected, "{registry}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_its_secrets() {
        for text in [
            "",
            "[]",
            r#"{"auths": 7}"#,
            r#"{"auths":{"a":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"a":{"auth":"aHVudGVyMg=="}}}"#,
        ] {
            let why = shown_entry(text, "a").unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
        let text = r#"{"auths":{"a":{"auth":"bWU6c2VjcmV0"}}}"#;
        let debug = format!("{:?}", parse(text).unwrap().entry_for("a").unwrap().credentials().unwrap());
        assert!(!debug.contains("secret"), "{debug}");
    }

    #[test]
    fn places_are_those_of_docker_and_podman() {
        let places = |variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            Places::find(&variable)
                .0
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(places(&[]), "");
        assert_eq!(places(&[("HOME", "/h")]), "/h/.docker/config.json");
        let all = [
            ("HOME", "/h"),
            ("XDG_RUNTIME_DIR", "/r"),
            ("DOCKER_CONFIG", "/d"),
            ("REGISTRY_AUTH_FILE", "/f"),
        ];
        assert_eq!(places(&all), "/f");
        assert_eq!(places(&all[..3]), "/d/config.json /r/containers/auth.json");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"(\{"auths":\{"a":\{"auth":"[a-zA-Z0-9=+/]{0,20}"\}\}\})|.{0,60}"#) {
            let _read = shown_entry(&text, "a");
        }
    }
}
