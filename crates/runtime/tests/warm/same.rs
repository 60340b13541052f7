//! What code does and says in a fork is what it does and says in an interpreter of its own: a table of programs, each run in
//! both.

use sandkeep_core::execution::{CodeSource, Exit, Language, Work};
use sandkeep_runtime::Sandbox;
use sandkeep_runtime::driver::{ExecutionSpec, Stdin};

use crate::support::{block_on_for, execution_spec, fresh, run, shell};
use crate::{is_warm, local, only_where_it_can_be_warm, warm};

const TABLE: &str = include_str!("programs.txt");
/// Fewer mean that the table was not read.
const LEAST_PROGRAMS: usize = 150;

/// A program, and what comes with it.
#[derive(Debug, Default)]
struct Program<'a> {
    name: &'a str,
    code: Vec<u8>,
    env: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
    input: Option<Vec<u8>>,
    /// It shows something that is known not to be the same: docs/guides/python.md says what that is.
    differs: bool,
}

impl<'a> Program<'a> {
    /// From `name KEY=VALUE…`, and the lines below it. A value reaches to the next key.
    fn of(text: &'a str) -> Self {
        let (head, code) = text.split_once('\n').unwrap();
        let (name, options) = head.split_once(' ').unwrap_or((head, ""));
        let mut program = Program { name, code: code.as_bytes().to_vec(), ..Program::default() };
        match options.split_once('=') {
            None => {}
            Some(("input", value)) => program.input = Some(unescaped(value)),
            Some(("env", value)) => {
                let (key, value) = value.split_once('=').unwrap();
                program.env.push((key.to_owned(), value.to_owned()));
            }
            Some(("files", value)) => {
                let files = value.split('|').map(|file| file.split_once(':').unwrap());
                program.files = files.map(|(path, data)| (path.to_owned(), unescaped(data))).collect();
            }
            Some(("file", value)) => program.code.splice(0..0, unescaped(value)).for_each(drop),
            Some(("differs", _)) => program.differs = true,
            Some(("eol", value)) => {
                program.code = code.replace('\n', &String::from_utf8(unescaped(value)).unwrap()).into_bytes();
            }
            Some((other, _)) => panic!("{name}: {other} is no option"),
        }
        program
    }

    fn spec(&self) -> ExecutionSpec {
        let code = CodeSource::Inline { name: "main.py".to_owned(), code: self.code.clone() };
        let mut spec = execution_spec(Work::Script { language: Language::Python, code, args: Vec::new() });
        spec.env.extend(self.env.clone());
        spec.files = self.files.clone();
        if let Some(input) = &self.input {
            spec.stdin = Stdin::Bytes(input.clone());
        }
        spec
    }
}

/// `\r`, `\n` and `\xNN` as in a string of C.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, rest) {
            (b'\\', [b'n', ..]) => bytes.push(b'\n'),
            (b'\\', [b'r', ..]) => bytes.push(b'\r'),
            (b'\\', [b'x', digits @ ..]) => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits[..2]).unwrap(), 16).unwrap());
                rest = &rest[2..];
            }
            _ => {
                bytes.push(*first);
                continue;
            }
        }
        rest = &rest[1..];
    }
    bytes
}

/// What was seen of one run, without what differs between any two.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    exit: Option<Exit>,
    out: String,
    err: String,
}

async fn seen(sandbox: &dyn Sandbox, program: &Program<'_>) -> Seen {
    let spec = program.spec();
    let heard = run(sandbox, &spec).await;
    run(sandbox, &shell("rm -rf /workspace/* /tmp/*")).await.assert_succeeded();
    let plain = |text: String| without_counts(&text.replace(&spec.id.to_string(), "ID"));
    Seen { exit: heard.exit(), out: plain(heard.out()), err: plain(heard.err()) }
}

/// Without addresses, and what the interpreter says of how often an object is referred to.
fn without_counts(text: &str) -> String {
    let without = |text: &str, mark: &str| {
        let mut parts = text.split(mark);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |said, part| said + mark + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
    };
    without(&without(text, "0x"), "refcount : ")
}

#[test]
fn a_fork_is_what_an_interpreter_is() {
    if !only_where_it_can_be_warm() {
        return;
    }
    let programs: Vec<Program<'_>> = TABLE.split("# --- ").skip(1).map(Program::of).collect();
    assert!(programs.len() >= LEAST_PROGRAMS, "{} programs", programs.len());
    block_on_for(std::time::Duration::from_secs(240), async {
        let (plain, warm) = (fresh(&local()).await, warm().await);
        let mut different = Vec::new();
        for program in &programs {
            let (expected, found) = tokio::join!(seen(plain.as_ref(), program), seen(warm.as_ref(), program));
            if (expected == found) == program.differs {
                different.push(format!("{}\n  plain {expected:?}\n  warm  {found:?}", program.name));
            }
        }
        assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
        assert!(is_warm(warm.as_ref()).await, "the interpreter is gone");
        println!("counts: {} programs", programs.len());
        plain.stop().await;
        warm.stop().await;
    });
}
