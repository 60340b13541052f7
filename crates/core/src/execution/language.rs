//! The languages that code may be in, and how a file says which.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::code::{ErrorCode, Problem};

/// A language with an interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Python 3.
    Python,
    /// JavaScript, run by Node.
    Javascript,
    /// Bash.
    Bash,
}

impl Language {
    /// Every language.
    pub const ALL: [Language; 3] = [Language::Python, Language::Javascript, Language::Bash];

    /// The name used in JSON and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::Javascript => "javascript",
            Language::Bash => "bash",
        }
    }

    /// Whether code in it can be a handler.
    pub const fn has_handlers(self) -> bool {
        match self {
            Language::Python | Language::Javascript => true,
            Language::Bash => false,
        }
    }

    /// What a file of this language is called when it has no name of its own.
    pub const fn file_name(self) -> &'static str {
        match self {
            Language::Python => "main.py",
            Language::Javascript => "main.js",
            Language::Bash => "main.sh",
        }
    }

    /// The language of a file: by the extension of its name, else by its first line.
    pub fn detect(file_name: &str, code: &[u8]) -> Option<Language> {
        Self::of_file_name(file_name).or_else(|| Self::of_shebang(code))
    }

    /// The language that the extension of `file_name` stands for: `.py .js .mjs .cjs .sh .bash`.
    pub fn of_file_name(file_name: &str) -> Option<Language> {
        let name = file_name.rsplit('/').next()?;
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "py" => Some(Language::Python),
            "js" | "mjs" | "cjs" => Some(Language::Javascript),
            "sh" | "bash" => Some(Language::Bash),
            _ => None,
        }
    }

    /// The language that a `#!` line names: `#!/usr/bin/python3.12`, `#!/usr/bin/env -S node --x`.
    pub fn of_shebang(code: &[u8]) -> Option<Language> {
        // The kernel itself reads at most 256 bytes of the line (BINPRM_BUF_SIZE).
        let start = &code[..code.len().min(256)];
        let line = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_ascii_whitespace();
        let program = base_name(words.next()?);
        if program != "env" {
            return Self::of_program(program);
        }
        let is_program = |word: &&str| !word.starts_with('-') && !word.contains('=');
        Self::of_program(base_name(words.find(is_program)?))
    }

    fn of_program(name: &str) -> Option<Language> {
        match name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
            "python" => Some(Language::Python),
            "node" | "nodejs" => Some(Language::Javascript),
            "bash" | "sh" | "dash" => Some(Language::Bash),
            _ => None,
        }
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Language {
    type Err = Problem;

    /// Reads the name, or what people also call it: `py`, `python3`, `js`, `node`, `sh`.
    ///
    /// # Errors
    /// `unknown_language`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        match text.to_ascii_lowercase().as_str() {
            "python" | "python3" | "py" => Ok(Language::Python),
            "javascript" | "js" | "node" => Ok(Language::Javascript),
            "bash" | "sh" | "shell" => Ok(Language::Bash),
            _ => Err(Problem::refused(
                ErrorCode::UnknownLanguage,
                text,
                "is not a language we run",
                "python, javascript or bash",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_tells() {
        let cases = [
            ("a.py", Some(Language::Python)),
            ("/x.js/a.PY", Some(Language::Python)),
            ("a.js", Some(Language::Javascript)),
            ("a.b.mjs", Some(Language::Javascript)),
            ("a.cjs", Some(Language::Javascript)),
            ("a.sh", Some(Language::Bash)),
            ("a.bash", Some(Language::Bash)),
            ("a.rb", None),
            ("py", None),
            ("dir.py/a", None),
            ("a.", None),
            ("", None),
        ];
        for (name, language) in cases {
            assert_eq!(Language::of_file_name(name), language, "{name}");
        }
    }

    #[test]
    fn a_first_line_tells() {
        let cases: [(&[u8], _); 14] = [
            (b"#!/usr/bin/python3", Some(Language::Python)),
            (b"#!/usr/bin/python3.12 -u\nx", Some(Language::Python)),
            (b"#! /usr/bin/env python\r\nx", Some(Language::Python)),
            (b"#!/usr/bin/env -S node --test\n", Some(Language::Javascript)),
            (b"#!/usr/bin/env -S A=1 nodejs\n", Some(Language::Javascript)),
            (b"#!/bin/bash -e\n", Some(Language::Bash)),
            (b"#!/bin/sh", Some(Language::Bash)),
            (b"#!/usr/bin/perl\n", None),
            (b"#!/usr/bin/env\npython", None),
            (b"#!", None),
            (b"#!\npython", None),
            (b"#!/bin/\xff\n", None),
            (b"print(1)", None),
            (b"", None),
        ];
        for (code, language) in cases {
            assert_eq!(Language::of_shebang(code), language, "{}", String::from_utf8_lossy(code));
        }
    }

    #[test]
    fn the_extension_comes_first() {
        assert_eq!(Language::detect("a.py", b"#!/bin/sh"), Some(Language::Python));
        assert_eq!(Language::detect("a", b"#!/bin/sh"), Some(Language::Bash));
        assert_eq!(Language::detect("-", b"print(1)"), None);
    }

    #[test]
    fn names_are_those_of_json() {
        for language in Language::ALL {
            assert_eq!(serde_json::to_value(language).unwrap(), language.as_str());
            assert_eq!(language.as_str().parse(), Ok(language));
            assert_eq!(Language::of_file_name(language.file_name()), Some(language));
        }
        assert_eq!("Py".parse(), Ok(Language::Python));
        assert_eq!("ruby".parse::<Language>().unwrap_err().code, ErrorCode::UnknownLanguage);
    }
}
