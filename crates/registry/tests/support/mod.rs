//! A store, settings and images for pulls, and the registries that they are pulled from.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each user takes its part, and helpers fail like tests"
)]

pub mod debian;
#[path = "../../../image/tests/support/mod.rs"]
pub mod image;
pub mod server;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_image::Store;
use sandkeep_registry::{Pulled, Reference, Settings, Times, pull};

use image::{Image, Tar};

/// Short enough for tests; machines under load are slow.
pub const TIMES: Times = Times {
    connect: Duration::from_secs(5),
    silence: Duration::from_millis(1_500),
    document: Duration::from_secs(3),
    window: Duration::from_millis(700),
    backoff: Duration::from_millis(5),
};

/// Home and store of one test.
pub struct Place {
    directory: tempfile::TempDir,
    pub ca: Option<PathBuf>,
    pub told: Mutex<Vec<String>>,
}

impl Place {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), ca: None, told: Mutex::default() }
    }

    pub fn store(&self) -> Store {
        Store::open(&self.directory.path().join("store")).unwrap()
    }

    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub fn registries(&self, text: &str) {
        self.write(".config/sandkeep/registries.toml", text);
    }

    pub fn login(&self, registry: &str, user: &str, password: &str) {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        self.write(".docker/config.json", &format!(r#"{{"auths": {{"{registry}": {{"auth": "{auth}"}}}}}}"#));
    }

    pub fn pull(&self, reference: &str) -> Result<Pulled, Problem> {
        let home = self.directory.path().display().to_string();
        let settings = Settings::find(|name| (name == "HOME").then(|| home.clone()), self.ca.clone(), false)?;
        let told = |text: &str| self.told.lock().unwrap().push(text.to_owned());
        pull(&Reference::parse(reference)?, &self.store(), &settings.with_times(TIMES), &told)
    }

    /// Pulls and unpacks; layers fetched and known.
    #[track_caller]
    pub fn ready(&self, reference: &str) -> (usize, usize) {
        let pulled = self.pull(reference).unwrap_or_else(|problem| panic!("{reference}: {problem}"));
        let held = self.store().ready(&pulled.source, &pulled.image, || ()).unwrap();
        self.store().name(held.id, &pulled.image.names).unwrap();
        (pulled.fetched, pulled.known)
    }

    /// The pull is refused with this code and these words, and nothing is left of it.
    #[track_caller]
    pub fn refused(&self, reference: &str, code: ErrorCode, words: &str) {
        let problem = self.pull(reference).expect_err(words);
        assert_eq!(problem.code, code, "{problem}");
        assert!(problem.to_string().contains(words), "{problem}: does not say `{words}`");
        assert!(!problem.to_string().chars().any(char::is_control), "{problem:?}: not safe to show");
        self.assert_empty();
    }

    #[track_caller]
    pub fn assert_empty(&self) {
        for part in ["incoming", "layers", "partial", "unpacked"] {
            let left =
                fs::read_dir(self.directory.path().join("store").join(part)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "something is left in {part}");
        }
    }
}

pub fn base() -> Vec<u8> {
    Tar::new().dir("usr").file("usr/base", "of the base\n").end()
}

/// An image of the base and one file.
pub fn derived(name: &str) -> Image {
    Image::of([base(), Tar::new().file(name, name).end()]).compressed(image::gzip)
}
