//! Why code did not start: which step failed and what the kernel said, in words that help.

use super::end::Exit;
use crate::code::{ErrorCode, Problem};

/// Errors of Linux that mean more than their text says (errno(3)); the same on every machine we run on.
mod errno {
    pub(super) const NOENT: i32 = 2;
    pub(super) const TOO_BIG: i32 = 7;
    pub(super) const AGAIN: i32 = 11;
    pub(super) const NO_MEMORY: i32 = 12;
    pub(super) const TABLE_FULL: i32 = 23;
    pub(super) const TOO_MANY_FILES: i32 = 24;
    pub(super) const NO_SPACE: i32 = 28;
}

/// A start that failed before any foreign code ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRunnable {
    /// What the kernel said.
    pub errno: i32,
    /// Which step of the start: `exec` for the program itself.
    pub stage: String,
}

impl NotRunnable {
    /// How the execution ended by it.
    pub fn exit(&self) -> Exit {
        if self.stage == "exec" && self.errno == errno::NOENT { Exit::NotFound } else { Exit::NotRunnable }
    }

    /// What is told of it; `program` is a name as it was asked for.
    pub fn problem(&self, program: &str) -> Problem {
        let reason = std::io::Error::from_raw_os_error(self.errno);
        if let Some(what) = self.shortage() {
            let why = format!("could not be started: {what} ({}: {reason})", self.stage);
            let expected = "fewer executions at once, or higher limits";
            return Problem::refused(ErrorCode::NotRunnable, program, &why, expected);
        }
        match (self.stage.as_str(), self.errno) {
            ("exec", errno::NOENT) => {
                let expected = "a program of the sandbox, or its absolute path there";
                Problem::refused(ErrorCode::NotFound, program, "is not in the sandbox", expected)
            }
            ("exec", errno::TOO_BIG) => {
                let why = format!("has too many or too long arguments and variables ({reason})");
                let expected =
                    "less than 128 KiB in each and about 2 MiB in all; files and standard input take more";
                Problem::refused(ErrorCode::NotRunnable, program, &why, expected)
            }
            ("exec", _) => {
                let why = format!("cannot be run ({reason})");
                Problem::refused(ErrorCode::NotRunnable, program, &why, "an executable file for this machine")
            }
            ("cwd", _) => {
                let text = format!("the working directory cannot be entered ({reason})");
                Problem::new(ErrorCode::NotRunnable, text).expecting("a directory of the sandbox")
            }
            ("files", errno::NO_SPACE) => {
                let text = format!("the files that were given do not fit ({reason})");
                Problem::new(ErrorCode::MountRefused, text).expecting("smaller files, or a larger --disk")
            }
            ("files", _) => {
                let text = format!("a file that was given cannot be put into its place ({reason})");
                Problem::new(ErrorCode::MountRefused, text)
                    .expecting("names that nothing stands in the way of")
            }
            // The steps by which code is shut in: it never runs without one.
            (stage, _) => Problem::new(
                ErrorCode::SandboxFailed,
                format!("a step of the start failed: {stage}: {reason}"),
            ),
        }
    }

    /// What there was too little of, whatever step noticed.
    fn shortage(&self) -> Option<&'static str> {
        match self.errno {
            errno::AGAIN => Some("there may be no more processes"),
            errno::NO_MEMORY => Some("there is no memory for it"),
            errno::TABLE_FULL | errno::TOO_MANY_FILES => Some("there may be no more open files"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_code_and_its_words() {
        use ErrorCode::{MountRefused, NotFound, NotRunnable as Cannot, SandboxFailed};
        let cases = [
            ("exec", 2, NotFound, "`prog` is not in the sandbox"),
            ("exec", 7, Cannot, "too long arguments"),
            ("exec", 8, Cannot, "`prog` cannot be run (Exec format error"),
            ("exec", 11, Cannot, "no more processes"),
            ("exec", 13, Cannot, "`prog` cannot be run (Permission denied"),
            ("descriptors", 24, Cannot, "no more open files"),
            ("namespace", 12, Cannot, "no memory"),
            ("cwd", 2, Cannot, "the working directory cannot be entered"),
            ("files", 28, MountRefused, "larger --disk"),
            ("files", 20, MountRefused, "Not a directory"),
            ("seccomp", 1, SandboxFailed, "seccomp: Operation not permitted"),
            ("a step to come", 22, SandboxFailed, "a step to come"),
        ];
        for (stage, errno, code, text) in cases {
            let why = NotRunnable { errno, stage: stage.to_owned() };
            let problem = why.problem("prog");
            assert_eq!(problem.code, code, "{problem}");
            assert!(problem.to_string().contains(text), "{problem}");
            assert_eq!(why.exit() == Exit::NotFound, code == NotFound, "{problem}");
        }
    }
}
