//! What is set about registries: mirrors, certificates, plain text, times.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::reference::{Reference, is_registry};

/// How long registries are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Until a connection is there.
    pub connect: Duration,
    /// Without a byte.
    pub silence: Duration,
    /// For a whole answer that is small.
    pub document: Duration,
    /// Over how long a blob has to come at [`Times::SLOWEST_BYTES_PER_S`] at least.
    pub window: Duration,
    /// Before the first repetition; doubled for each further one.
    pub backoff: Duration,
}

impl Times {
    /// What the command uses.
    pub const DEFAULT: Self = Self {
        connect: Duration::from_secs(10),
        silence: Duration::from_secs(30),
        document: Duration::from_secs(60),
        window: Duration::from_secs(60),
        backoff: Duration::from_millis(500),
    };
    /// A tenth of a bad mobile connection; slower is somebody who wants us to wait.
    pub const SLOWEST_BYTES_PER_S: u64 = 8 * 1024;
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Settings {
    registries: BTreeMap<String, Registry>,
    /// Certificates that are trusted besides the host's, for every registry.
    ca: Option<PathBuf>,
    /// Plain text for every registry.
    plain_http: bool,
    /// Where credentials are looked for.
    pub(crate) auth: crate::auth::Places,
    pub(crate) times: Times,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    registries: BTreeMap<String, Registry>,
}

/// What is set about one registry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registry {
    /// Other registries with the same content, asked first.
    #[serde(default)]
    mirrors: Vec<String>,
    /// Whether mirrors are also asked what a tag means, which needs trust.
    #[serde(default)]
    mirrors_resolve: bool,
    ca: Option<PathBuf>,
    plain_http: Option<bool>,
}

/// Most mirrors of one registry.
const MIRRORS: usize = 16;

impl Settings {
    /// As the environment and the file `sandkeep/registries.toml` of the user's configuration say. `ca` and `plain_http`
    /// come from the command line and go for every registry.
    ///
    /// # Errors
    /// `config_invalid`: the file cannot be read, or says what it cannot mean.
    pub fn find(
        variable: impl Fn(&str) -> Option<String>,
        ca: Option<PathBuf>,
        plain_http: bool,
    ) -> Result<Self, Problem> {
        let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config =
            absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
        let registries = match config.map(|config| config.join("sandkeep/registries.toml")) {
            Some(path) => read(&path).map_err(|problem| problem.within(&path.display().to_string()))?,
            None => BTreeMap::new(),
        };
        let auth = crate::auth::Places::find(&variable);
        Ok(Self { registries, ca, plain_http, auth, times: Times::DEFAULT })
    }

    /// With other times.
    #[must_use]
    pub fn with_times(self, times: Times) -> Self {
        Self { times, ..self }
    }

    /// Who is asked what a tag means, in order.
    pub(crate) fn resolvers(&self, reference: &Reference) -> Vec<Endpoint> {
        let resolve =
            self.registries.get(reference.registry()).is_some_and(|registry| registry.mirrors_resolve);
        if resolve { self.sources(reference) } else { vec![self.endpoint(reference.registry())] }
    }

    /// Who is asked for what has a digest, in order: mirrors, then the registry itself.
    pub(crate) fn sources(&self, reference: &Reference) -> Vec<Endpoint> {
        let origin = reference.registry();
        let mirrors = self.registries.get(origin).into_iter().flat_map(|registry| &registry.mirrors);
        mirrors.map(String::as_str).chain([origin]).map(|name| self.endpoint(name)).collect()
    }

    fn endpoint(&self, name: &str) -> Endpoint {
        let said = self.registries.get(name);
        let own_ca = said.and_then(|registry| registry.ca.clone());
        let ca: Vec<PathBuf> = self.ca.iter().cloned().chain(own_ca).collect();
        let said_plain = said.and_then(|registry| registry.plain_http);
        // Whoever gives certificates means TLS.
        let plain =
            said_plain.unwrap_or_else(|| self.plain_http || (Endpoint::is_loopback(name) && ca.is_empty()));
        Endpoint { name: name.to_owned(), plain, ca }
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Registry>, Problem> {
    let wrong = |what: String| {
        Problem::new(ErrorCode::ConfigInvalid, what)
            .expecting("[registries.\"HOST\"] with mirrors, mirrors_resolve, ca, plain_http")
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(wrong(format!("it cannot be read: {error}"))),
    };
    let file: File = toml::from_str(&text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        wrong(format!("line {line}: {}", error.message().lines().next().unwrap_or_default()))
    })?;
    for (name, registry) in &file.registries {
        if let Some(other) = [name].into_iter().chain(&registry.mirrors).find(|name| !is_registry(name)) {
            return Err(wrong(format!("`{other}` is not HOST or HOST:PORT")));
        }
        if registry.mirrors.len() > MIRRORS {
            return Err(wrong(format!("{name} has {} mirrors, at most {MIRRORS}", registry.mirrors.len())));
        }
        if registry.ca.as_ref().is_some_and(|ca| !ca.is_absolute()) {
            return Err(wrong(format!("the ca of {name} is not an absolute path")));
        }
    }
    Ok(file.registries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, ca: Option<&str>, plain: bool) -> Result<Settings, Problem> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".config/sandkeep")).unwrap();
        std::fs::write(home.path().join(".config/sandkeep/registries.toml"), text).unwrap();
        let home = home.path().display().to_string();
        Settings::find(|name| (name == "HOME").then(|| home.clone()), ca.map(PathBuf::from), plain)
    }

    fn asked(settings: &Settings, text: &str) -> Vec<(String, bool)> {
        let sources = settings.sources(&Reference::parse(text).unwrap());
        sources.into_iter().map(|endpoint| (endpoint.name, endpoint.plain)).collect()
    }

    #[test]
    fn mirrors_come_before_their_registry() {
        let settings = found(
            "[registries.\"docker.io\"]\nmirrors = [\"m.example:5000\", \"127.0.0.1:5001\"]\n[registries.\"m.example:5000\"]\nplain_http = true\n",
            None,
            false,
        )
        .unwrap();
        let expected = [("m.example:5000", true), ("127.0.0.1:5001", true), ("docker.io", false)]
            .map(|(n, p)| (n.to_owned(), p));
        assert_eq!(asked(&settings, "python"), expected);
        let reference = Reference::parse("python").unwrap();
        assert_eq!(settings.resolvers(&reference).len(), 1, "what a tag means is the registry's word");
        assert_eq!(asked(&settings, "ghcr.io/a/b"), [("ghcr.io".to_owned(), false)]);
        let resolving =
            found("[registries.\"docker.io\"]\nmirrors = [\"m\"]\nmirrors_resolve = true", None, false);
        assert_eq!(resolving.unwrap().resolvers(&reference).len(), 2);
    }

    #[test]
    fn plain_text_is_for_loopback_or_when_said() {
        let plain = |text: &str, ca, said, name: &str| asked(&found(text, ca, said).unwrap(), name)[0].1;
        for name in ["localhost:5000/a", "127.0.0.1/a", "[::1]:5000/a"] {
            assert!(plain("", None, false, name), "{name}");
        }
        for name in ["10.0.0.1:5000/a", "localhost.example/a", "a"] {
            assert!(!plain("", None, false, name), "{name}");
        }
        assert!(!plain("", Some("/ca.pem"), false, "localhost:5000/a"), "who gives certificates means TLS");
        assert!(plain("", None, true, "10.0.0.1/a"));
        assert!(!plain("[registries.\"localhost:1\"]\nplain_http = false", None, false, "localhost:1/a"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let bad = [
            "x",
            "[registries.\"a\"]\nmirror = [\"b\"]",
            "[registries.\"https://a\"]",
            "[registries.\"a\"]\nmirrors = [\"http://b\"]",
            "[registries.\"a\"]\nca = \"ca.pem\"",
            "[registry.\"a\"]",
            "[registries.\"a\"]\nplain_http = \"yes\"",
        ];
        for text in bad {
            assert_eq!(found(text, None, false).unwrap_err().code, ErrorCode::ConfigInvalid, "{text}");
        }
    }
}
