//! The hostile programs and what their first lines say of them (`crates/cli/attack/README.md` is the contract).

use sandkeep_core::cpu::CpuMillis;
use sandkeep_core::limits::{LimitKind, LimitsRequest};
use sandkeep_core::sandbox::Profile;

use super::As;

/// `area/name.ending` and text of each file, from the build script.
static SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/programs.rs"));
/// All programs in C.
pub(super) static BINARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attack"));

/// One hostile program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) area: &'static str,
    /// One sentence.
    pub(super) about: &'static str,
    pub(super) form: Form,
    pub(super) expect: Expect,
    pub(super) profiles: Vec<Profile>,
    pub(super) users: Vec<As>,
    pub(super) needs: Vec<Need>,
    pub(super) limits: LimitsRequest,
}

/// How it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Python(&'static str),
    PythonHandler(&'static str),
    Bash(&'static str),
    /// Part of [`BINARY`].
    Compiled,
}

/// How it must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Blocked,
    Contained,
    Timeout,
    LimitMemory,
    LimitOutput,
}

/// What the host must offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    X86,
    MemoryByKernel,
    CpuByKernel,
    IdRange,
    /// An interpreter that this sandbox keeps warm.
    Warm,
}

/// All of them, by area and name.
///
/// # Panics
/// When the metadata of a program is wrong, which a test sees first.
pub(super) fn all() -> Vec<Program> {
    let read = |(path, text): &(&'static str, &'static str)| {
        parse(path, text).unwrap_or_else(|why| panic!("{path}: {why}"))
    };
    SOURCES.iter().map(read).collect()
}

fn parse(path: &'static str, text: &'static str) -> Result<Program, String> {
    let (area, file) = path.split_once('/').ok_or("has no area")?;
    let (name, ending) = file.split_once('.').ok_or("has no ending")?;
    let prefix = if ending == "c" { "// " } else { "# " };
    let mut pairs = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        let pair = line.strip_prefix(prefix).and_then(|line| line.split_once(": "));
        pairs.push(pair.ok_or_else(|| format!("`{line}` is not `key: value`"))?);
    }
    let value = |key: &str| pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
    let must = |key: &str| value(key).ok_or_else(|| format!("has no {key}"));
    if (must("name")?, must("area")?) != (name, area) {
        return Err("is not where its name and area say".to_owned());
    }
    known_keys(&pairs)?;
    Ok(Program {
        name,
        area,
        about: must("about")?,
        form: form(ending, value("kind").unwrap_or("script"), text)?,
        expect: expect(must("expect")?)?,
        profiles: list(value("profiles").unwrap_or("strict,dev"), ',', |word| word.parse().ok())?,
        users: list(value("users").unwrap_or("user,root"), ',', As::of)?,
        needs: list(value("needs").unwrap_or(""), ' ', need)?,
        limits: limits(value("limits").unwrap_or(""))?,
    })
}

const KEYS: [&str; 11] =
    ["name", "area", "about", "expect", "kind", "profiles", "users", "needs", "canary", "limits", "control"];

fn known_keys(pairs: &[(&str, &str)]) -> Result<(), String> {
    match pairs.iter().find(|(key, _)| !KEYS.contains(key)) {
        Some((key, _)) => Err(format!("has an unknown key {key}")),
        None => Ok(()),
    }
}

fn form(ending: &str, kind: &str, text: &'static str) -> Result<Form, String> {
    match (ending, kind) {
        ("py", "script") => Ok(Form::Python(text)),
        ("py", "handler") => Ok(Form::PythonHandler(text)),
        ("sh", "script") => Ok(Form::Bash(text)),
        ("c", "script") => Ok(Form::Compiled),
        _ => Err(format!("cannot be run as {kind}")),
    }
}

fn expect(text: &str) -> Result<Expect, String> {
    match text {
        "blocked" => Ok(Expect::Blocked),
        "contained" => Ok(Expect::Contained),
        "timeout" => Ok(Expect::Timeout),
        "limit memory" => Ok(Expect::LimitMemory),
        "limit output" => Ok(Expect::LimitOutput),
        _ => Err(format!("expects `{text}`, which nobody can judge")),
    }
}

fn need(word: &str) -> Option<Need> {
    match word {
        "x86-64" => Some(Need::X86),
        "memory=kernel" => Some(Need::MemoryByKernel),
        "cpu=kernel" => Some(Need::CpuByKernel),
        "id-range" => Some(Need::IdRange),
        "warm" => Some(Need::Warm),
        _ => None,
    }
}

fn list<T>(text: &str, between: char, read: fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let words = text.split(between).filter(|word| !word.is_empty());
    words.map(|word| read(word).ok_or_else(|| format!("`{word}` means nothing here"))).collect()
}

fn limits(text: &str) -> Result<LimitsRequest, String> {
    let mut request = LimitsRequest::default();
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is no limit"))?;
        let wrong = |error: &dyn std::fmt::Display| format!("limit {word}: {error}");
        match key {
            "timeout" => request.timeout = Some(value.parse().map_err(|error| wrong(&error))?),
            "memory" => request.memory = Some(value.parse().map_err(|error| wrong(&error))?),
            "cpu" => request.cpu = Some(value.parse::<CpuMillis>().map_err(|error| wrong(&error))?),
            "pids" => request.processes = Some(value.parse().map_err(|error| wrong(&error))?),
            "disk" => request.disk = Some(value.parse().map_err(|error| wrong(&error))?),
            "inodes" => request.inodes = Some(value.parse().map_err(|error| wrong(&error))?),
            "output-kill" => request.output_kill = Some(value.parse().map_err(|error| wrong(&error))?),
            _ => return Err(format!("`{key}` is no limit")),
        }
    }
    Ok(request)
}

impl Program {
    /// Whether it may share its sandbox with others of its kind: it leaves nothing behind and needs no limits of its own.
    pub(super) fn shares(&self) -> bool {
        let asked = LimitsRequest { timeout: None, ..self.limits };
        self.expect == Expect::Blocked && asked == LimitsRequest::default()
    }

    /// The limits it runs into; without them it shows nothing.
    pub(super) fn rests_on(&self) -> Vec<LimitKind> {
        let explicit = self.limits.explicit();
        let mut kinds: Vec<_> = LimitKind::ALL.into_iter().filter(|kind| explicit.contains(*kind)).collect();
        if self.expect == Expect::LimitMemory && !kinds.contains(&LimitKind::Memory) {
            kinds.push(LimitKind::Memory);
        }
        kinds
    }

    /// As `expect` says it.
    pub(super) fn expectation(&self) -> &'static str {
        match self.expect {
            Expect::Blocked => "blocked",
            Expect::Contained => "contained",
            Expect::Timeout => "timeout",
            Expect::LimitMemory => "limit memory",
            Expect::LimitOutput => "limit output",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_core::duration::Span;
    use sandkeep_core::size::ByteSize;

    #[test]
    fn every_program_says_what_it_is() {
        let programs = all();
        assert!(programs.len() >= 60, "{} programs", programs.len());
        let mut names: Vec<_> = programs.iter().map(|program| program.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), programs.len(), "two have the same name");
        for program in &programs {
            assert!(program.about.ends_with('.') && !program.profiles.is_empty(), "{}", program.name);
            assert!(!program.users.is_empty(), "{}", program.name);
        }
    }

    #[test]
    fn every_language_has_some() {
        let programs = all();
        let count = |is: fn(&Form) -> bool| programs.iter().filter(|program| is(&program.form)).count();
        assert!(count(|form| matches!(form, Form::Python(_))) > 20);
        assert!(count(|form| matches!(form, Form::Bash(_))) > 5);
        assert!(count(|form| matches!(form, Form::Compiled)) > 20);
    }

    #[test]
    fn compiled_programs_are_in_the_binary() {
        let holds = |name: &str| BINARY.windows(name.len()).any(|window| window == name.as_bytes());
        assert!(BINARY.starts_with(b"\x7fELF"));
        for program in all().iter().filter(|program| program.form == Form::Compiled) {
            assert!(holds(&program.name.replace('-', "_")), "{}", program.name);
        }
    }

    #[test]
    fn metadata_is_read() {
        let text = "# name: bomb\n# area: x\n# about: Bursts.\n# expect: limit memory\n# profiles: dev\n# users: root\n\
                    # needs: cpu=kernel id-range\n# limits: memory=64Mi timeout=2s pids=7\n\nname: no\n";
        let program = parse("x/bomb.sh", text).unwrap();
        assert_eq!(program.form, Form::Bash(text));
        assert_eq!((program.expect, program.profiles), (Expect::LimitMemory, vec![Profile::Dev]));
        assert_eq!((program.users, program.needs), (vec![As::Root], vec![Need::CpuByKernel, Need::IdRange]));
        assert_eq!(program.limits.memory, Some(ByteSize::from_mib(64)));
        assert_eq!((program.limits.timeout, program.limits.processes), (Some(Span::from_secs(2)), Some(7)));
    }

    #[test]
    fn wrong_metadata_is_refused() {
        let head = "# name: a\n# area: x\n# about: A.\n";
        let texts = [
            format!("{head}\n# expect: blocked\n"),
            format!("{head}# expect: maybe\n"),
            format!("{head}# expect: blocked\n# colour: red\n"),
            format!("{head}# expect: blocked\n# needs: luck\n"),
            format!("{head}# expect: blocked\n# limits: memory=much\n"),
            format!("{head}# expect: blocked\nimport os\n\n"),
            "# name: b\n# area: x\n# about: A.\n# expect: blocked\n".to_owned(),
        ];
        for text in texts {
            assert!(parse("x/a.py", text.clone().leak()).is_err(), "{text}");
        }
    }
}
