//! Where values come from: flags over environment over file over defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::defaults;
use sandkeep_core::nearest::nearest;

use super::settings::{SETTINGS, Setting};

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The configuration file.
    File,
    /// A `SANDKEEP_*` variable.
    Environment,
    /// A flag.
    Flag,
}

impl Origin {
    /// The word that `config show` has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::File => "file",
            Origin::Environment => "env",
            Origin::Flag => "flag",
        }
    }
}

/// A value and who said it.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// The text.
    text: String,
    /// Who said it.
    pub origin: Origin,
}

/// All values by key.
#[derive(Clone)]
pub struct Values(BTreeMap<&'static str, Value>);

/// What values are collected from.
#[derive(Debug, Default)]
pub struct Sources {
    /// The configuration file, if one is given.
    pub file: Option<PathBuf>,
    /// All of the environment.
    pub environment: Vec<(String, String)>,
    /// Variables that begin with `SANDKEEP_` and are not settings of a server.
    pub not_settings: Vec<String>,
    /// Values of flags by key.
    pub flags: Vec<(&'static str, String)>,
    /// Whether root runs the server.
    pub is_root: bool,
}

const PREFIX: &str = "SANDKEEP_";

impl Values {
    /// Collects the values.
    ///
    /// # Errors
    /// `config_invalid`: a key is unknown, a value is no text, number or list of texts, a file cannot be read.
    pub fn collect(sources: &Sources) -> Result<Self, Problem> {
        let mut values = Self::defaults(sources);
        if let Some(path) = &sources.file {
            for (key, text) in in_file(path)? {
                values
                    .set(&key, &text, Origin::File)
                    .map_err(|problem| problem.within(&path.display().to_string()))?;
            }
        }
        for (name, text) in &sources.environment {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            if sources.not_settings.iter().any(|other| other == name) {
                continue;
            }
            values.set(&key_of(rest), text, Origin::Environment).map_err(|problem| problem.within(name))?;
        }
        for (key, text) in &sources.flags {
            values.set(key, text, Origin::Flag)?;
        }
        Ok(values)
    }

    fn defaults(sources: &Sources) -> Self {
        let variable =
            |name: &str| sources.environment.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone());
        let data_dir = defaults::data_dir(sources.is_root, variable).display().to_string();
        let text = |setting: &Setting| match setting.key {
            "data_dir" => data_dir.clone(),
            _ => setting.default.to_owned(),
        };
        let default = |setting: &Setting| Value { text: text(setting), origin: Origin::Default };
        Values(SETTINGS.iter().map(|setting| (setting.key, default(setting))).collect())
    }

    fn set(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), Problem> {
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
            self.0.insert(setting.key, Value { text: text.to_owned(), origin });
            return Ok(());
        }
        let base = key.strip_suffix("_file").unwrap_or_default();
        let Some(setting) = SETTINGS.iter().find(|setting| setting.secret && setting.key == base) else {
            return Err(unknown(key));
        };
        let text = std::fs::read_to_string(text).map_err(|error| unreadable(Path::new(text), &error))?;
        self.0.insert(setting.key, Value { text: text.trim_end_matches(['\r', '\n']).to_owned(), origin });
        Ok(())
    }

    /// The text of a setting; empty when there is none.
    pub(super) fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", |value| &value.text)
    }

    /// Every setting with its value as it may be shown, and who said it.
    pub fn shown(&self) -> impl Iterator<Item = (&'static Setting, &str, Origin)> {
        SETTINGS.iter().filter_map(|setting| {
            let value = self.0.get(setting.key)?;
            let text = match value.text.as_str() {
                "" => "none",
                _ if setting.secret => "(secret)",
                text => text,
            };
            Some((setting, text, value.origin))
        })
    }
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.shown().map(|(setting, text, origin)| (setting.key, (text, origin)));
        f.debug_map().entries(shown).finish()
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without its key it is not known whether the text may be shown.
        f.debug_struct("Value").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// `LIMITS_BODY` is `limits.body`: of the keys, the one that reads so.
fn key_of(rest: &str) -> String {
    let lower = rest.to_ascii_lowercase();
    let base = lower.strip_suffix("_file");
    let reads = |text: &str| SETTINGS.iter().find(|setting| setting.key.replace('.', "_") == text);
    match (reads(&lower), base.and_then(reads)) {
        (Some(setting), _) => setting.key.to_owned(),
        (None, Some(setting)) => format!("{}_file", setting.key),
        (None, None) => lower,
    }
}

fn in_file(path: &Path) -> Result<Vec<(String, String)>, Problem> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let message = format!("{}: is not TOML: {}", path.display(), error.to_string().trim_end());
        Problem::new(ErrorCode::ConfigInvalid, message)
    })?;
    let mut found = Vec::new();
    flatten("", &table, &mut found).map_err(|problem| problem.within(&path.display().to_string()))?;
    Ok(found)
}

fn flatten(prefix: &str, table: &toml::Table, found: &mut Vec<(String, String)>) -> Result<(), Problem> {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(inner) => {
                let section = format!("{key}.");
                if !SETTINGS.iter().any(|setting| setting.key.starts_with(&section)) {
                    return Err(unknown(&key));
                }
                flatten(&section, inner, found)?;
            }
            toml::Value::Array(items) => {
                let texts = items.iter().map(|item| scalar(&key, item)).collect::<Result<Vec<_>, _>>()?;
                found.push((key, texts.join(",")));
            }
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_) => {
                let text = scalar(&key, value)?;
                found.push((key, text));
            }
        }
    }
    Ok(())
}

fn scalar(key: &str, value: &toml::Value) -> Result<String, Problem> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
            Err(Problem::new(ErrorCode::ConfigInvalid, format!("{key}: is a {}", value.type_str()))
                .expecting("a text, a whole number, true or false, or a list of texts"))
        }
    }
}

fn unknown(key: &str) -> Problem {
    let near = nearest(key, SETTINGS.iter().map(|setting| setting.key));
    let expected = near.unwrap_or("a setting that `sandkeep config show` lists");
    Problem::refused(ErrorCode::ConfigInvalid, key, "is not a setting", expected)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(ErrorCode::ConfigInvalid, format!("{} cannot be read: {error}", path.display()))
}
