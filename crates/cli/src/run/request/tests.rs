//! Every option of `run`, right and wrong, as words.

use super::*;
use clap::Parser as _;
use sandkeep_runtime::driver::Root;
use std::fs;
use std::path::PathBuf;

/// Files for one test; `{}` in words stands for their directory.
struct Here(tempfile::TempDir);

impl Here {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files: [(&str, &[u8]); 9] = [
            ("a.py", b"print(1)"),
            ("b.mjs", b"export const handler = () => 1"),
            ("c.sh", b"true"),
            ("plain", b"no one knows"),
            ("shebang", b"#!/usr/bin/env node\n1"),
            ("event.json", b" {\"n\": 1}\n"),
            ("vars.env", b"# comment\n\nA=1\nB=x=y \n"),
            ("bad.env", b"A=1\n2B=1\n"),
            ("co:lon", b"x"),
        ];
        for (name, bytes) in files {
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        fs::create_dir(directory.path().join("dir")).unwrap();
        Here(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().canonicalize().unwrap().join(name).display().to_string()
    }

    fn build(&self, words: &str) -> Result<Request, Problem> {
        let words = words.replace("{}", &self.0.path().display().to_string());
        let words = ["sandkeep", "run"].into_iter().chain(words.split(' ').filter(|word| !word.is_empty()));
        let crate::Command::Here(crate::Here::Run(args)) = crate::Cli::try_parse_from(words).unwrap().command
        else {
            unreachable!("`run` was asked for")
        };
        build(&args)
    }

    #[track_caller]
    fn right(&self, words: &str) -> Request {
        self.build(words).unwrap_or_else(|problem| panic!("{words}: {problem}"))
    }

    #[track_caller]
    fn wrong(&self, words: &str, code: ErrorCode, message: &str) {
        let problem = self.build(words).expect_err(words);
        assert_eq!(problem.code, code, "{words}: {problem}");
        assert!(problem.to_string().contains(message), "{words}: {problem}");
    }
}

fn language_and_name(request: &Request) -> (Language, String) {
    match &request.execution.work {
        Work::Script { language, code: CodeSource::Inline { name, .. }, .. }
        | Work::Handler { language, code: CodeSource::Inline { name, .. }, .. } => (*language, name.clone()),
        work @ (Work::Script { .. } | Work::Handler { .. } | Work::Command { .. }) => panic!("{work:?}"),
    }
}

#[test]
fn nothing_asked_is_the_defaults() {
    let request = Here::new().right("{}/a.py");
    let limits = Limits { disk: ByteSize::from_mib(256), ..defaults::limits() };
    assert_eq!((request.sandbox.limits, request.execution.limits), (limits, limits));
    assert_eq!((request.explicit, request.demand), (Explicit::NONE, Demand::AskedFor));
    assert_eq!((request.sandbox.profile, &request.sandbox.root), (Profile::Strict, &Root::Host));
    assert_eq!((request.execution.user, &request.execution.stdin), (User::User, &Stdin::Empty));
    assert!(request.sandbox.mounts.is_empty() && request.execution.files.is_empty());
    assert!(
        request.execution.env.is_empty() && request.execution.artifacts && !request.execution.merge_stderr
    );
}

#[test]
fn the_language_is_told_or_found() {
    let here = Here::new();
    let cases = [
        ("{}/a.py", Language::Python, "a.py"),
        ("{}/b.mjs", Language::Javascript, "b.mjs"),
        ("{}/c.sh", Language::Bash, "c.sh"),
        ("{}/shebang", Language::Javascript, "shebang"),
        ("--lang bash {}/plain", Language::Bash, "plain"),
        ("--lang js {}/a.py", Language::Javascript, "a.py"),
    ];
    for (words, language, name) in cases {
        assert_eq!(language_and_name(&here.right(words)), (language, name.to_owned()), "{words}");
    }
    here.wrong("{}/plain", ErrorCode::UnknownLanguage, "--lang python, javascript or bash");
}

#[test]
fn kinds_take_what_is_theirs() {
    let here = Here::new();
    let work = |words: &str| here.right(words).execution.work;
    assert!(matches!(work("{}/a.py -- x -y"), Work::Script { args, .. } if args == ["x", "-y"]));
    assert!(matches!(work("-- ls --json"), Work::Command { argv } if argv == ["ls", "--json"]));
    assert!(matches!(work("--kind command -- ls"), Work::Command { argv } if argv == ["ls"]));
    assert!(
        matches!(work("--kind handler {}/a.py"), Work::Handler { event, .. } if event.as_str() == "null")
    );
    let events = [("--event 0", "0"), ("--event -1", "-1"), ("--event @{}/event.json", "{\"n\": 1}")];
    for (words, expected) in events {
        let found = work(&format!("--kind handler {words} {{}}/a.py"));
        assert!(matches!(&found, Work::Handler { event, .. } if event.as_str() == expected), "{found:?}");
    }
    let invalid = ErrorCode::InvalidValue;
    here.wrong("", invalid, "nothing to run");
    here.wrong("--kind script -- x", invalid, "nothing to run");
    here.wrong("--kind command", invalid, "the command is empty");
    here.wrong("--kind command {}/a.py", invalid, "a command has no file");
    here.wrong("--lang python -- ls", invalid, "no language");
    here.wrong("--event 1 {}/a.py", invalid, "--kind handler");
    here.wrong("--kind handler {}/a.py -- x", invalid, "no arguments");
    here.wrong("--kind handler {}/c.sh", ErrorCode::HandlerUnsupported, "bash");
    here.wrong("--kind handler --event {'n':1} {}/a.py", ErrorCode::EventNotJson, "is not JSON");
    here.wrong("--kind handler --event @{}/none {}/a.py", ErrorCode::FileUnreadable, "none");
}

#[test]
fn code_that_cannot_be_read_or_is_too_large_is_refused() {
    let here = Here::new();
    here.wrong("{}/none.py", ErrorCode::FileUnreadable, "No such file");
    here.wrong("{}/dir", ErrorCode::FileUnreadable, "is a directory");
    fs::write(here.path("large.py"), vec![b' '; (8 << 20) + 1]).unwrap();
    here.wrong("{}/large.py", ErrorCode::CodeTooLarge, "at most 8 MiB");
    fs::write(here.path("large.py"), vec![b' '; 8 << 20]).unwrap();
    here.right("{}/large.py");
}

#[test]
fn limits_arrive_and_are_remembered() {
    let words =
        "--timeout 1m30s --memory 64Mi --cpu 500m --pids 7 --disk 2Mi --output 1Ki --output-kill 1Mi {}/a.py";
    let request = Here::new().right(words);
    let limits = request.sandbox.limits;
    assert_eq!(
        (limits.timeout.as_millis(), limits.memory.bytes(), limits.cpu.millis()),
        (90_000, 64 << 20, 500)
    );
    assert_eq!((limits.processes, limits.disk.bytes(), limits.output.bytes()), (7, 2 << 20, 1 << 10));
    assert_eq!(limits.output_kill, Some(ByteSize::from_mib(1)));
    let all = sandkeep_core::limits::LimitKind::ALL.into_iter();
    let asked: Vec<&str> = all
        .filter(|kind| request.explicit.contains(*kind))
        .map(sandkeep_core::limits::LimitKind::as_str)
        .collect();
    assert_eq!(asked, ["timeout", "memory", "cpu", "processes", "disk", "output"]);
}

#[test]
fn limits_out_of_range_are_refused() {
    let here = Here::new();
    let cases = [
        ("--memory 1Mi", "--memory: `1 MiB` is out of range"),
        ("--pids 0", "--pids: `0` is out of range"),
        ("--timeout 0s", "--timeout: `0s` is out of range"),
        ("--timeout 366d", "--timeout: "),
        ("--disk 0", "--disk: "),
        ("--output 10", "--output: `10 B`"),
        ("--output-kill 0", "--output-kill: "),
        ("--disk 1Gi", "--disk: `1 GiB` is more than half of the memory (512 MiB)"),
        ("--disk 1Gi", "write at most 256 MiB, or --memory 2GiB"),
        ("--cpu 1024", "--cpu: `1024` is more than this machine has"),
    ];
    for (words, message) in cases {
        here.wrong(&format!("{words} {{}}/a.py"), ErrorCode::LimitOutOfRange, message);
    }
    here.right("--disk 1Gi --memory 2GiB {}/a.py");
}

#[test]
fn what_is_demanded_of_the_host() {
    let here = Here::new();
    assert_eq!(here.right("--allow-unenforced -- x").demand, Demand::AllowUnenforced);
    assert_eq!(here.right("--require-limits -- x").demand, Demand::RequireKernel);
}

#[test]
fn variables_come_from_files_and_words() {
    let here = Here::new();
    let env = here.right("--env B=2 --env C= --env-file {}/vars.env -- x").execution.env;
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("A", "1"), ("B", "2"), ("C", "")]);
    let env = here.right("--env-file {}/vars.env -- x").execution.env;
    assert_eq!(env.get("B").map(String::as_str), Some("x=y "));
    here.wrong("--env-file {}/bad.env -- x", ErrorCode::EnvInvalid, "line 2: `2B`");
    here.wrong("--env-file {}/none -- x", ErrorCode::FileUnreadable, "--env-file");
}

#[test]
fn copies_land_below_the_workspace() {
    let here = Here::new();
    let cases = [
        ("{}/a.py", "a.py"),
        ("{}/a.py:x.py", "x.py"),
        ("{}/a.py:d/./e//x.py", "d/e/x.py"),
        ("{}/a.py:/workspace/x", "x"),
        ("{}/co:lon", "co:lon"),
        ("{}/co:lon:y", "y"),
    ];
    for (copy, target) in cases {
        let files = here.right(&format!("--file {copy} -- x")).execution.files;
        assert_eq!(files.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), [target], "{copy}");
    }
    for copy in ["{}/a.py:../x", "{}/a.py:/etc/x", "{}/a.py:", "{}/a.py:x/", ":x", "{}/a.py:."] {
        here.wrong(&format!("--file {copy} -- x"), ErrorCode::MountRefused, "--file");
    }
    here.wrong("--file {}/none -- x", ErrorCode::FileUnreadable, "--file");
    here.wrong("--file {}/dir -- x", ErrorCode::FileUnreadable, "--mount shows a directory");
    fs::write(here.path("big"), vec![0; 3 << 20]).unwrap();
    here.wrong("--disk 2Mi --file {}/big -- x", ErrorCode::MountRefused, "at most 2 MiB");
    fs::write(here.path("big"), vec![0; 9 << 20]).unwrap();
    here.wrong(
        "--file {}/big --file {}/big:b -- x",
        ErrorCode::MountRefused,
        "at most 16 MiB together; --mount",
    );
}

#[test]
fn mounts_are_what_is_there() {
    let here = Here::new();
    let mounts = here.right("--mount {}/dir:/data --mount {}/a.py:/x/a.py:rw -- x").sandbox.mounts;
    let mount = |name: &str, target: &str, writable| Mount {
        source: here.path(name),
        target: target.parse().unwrap(),
        writable,
    };
    assert_eq!(mounts, [mount("dir", "/data", false), mount("a.py", "/x/a.py", true)]);
    here.wrong("--mount {}/none:/x -- x", ErrorCode::MountRefused, "No such file");
    here.wrong("--mount /dev/null:/x -- x", ErrorCode::MountRefused, "neither a file nor a directory");
}

#[test]
fn a_root_is_a_directory() {
    let here = Here::new();
    assert_eq!(here.right("--root-dir {}/dir -- x").sandbox.root, Root::Directory(here.path("dir")));
    for directory in ["{}/none", "{}/a.py", "/"] {
        here.wrong(&format!("--root-dir {directory} -- x"), ErrorCode::RootUnusable, "--root-dir");
    }
}

#[test]
fn inside_root_is_for_dev() {
    let here = Here::new();
    let request = here.right("--profile dev --user root -- x");
    assert_eq!((request.sandbox.profile, request.execution.user), (Profile::Dev, User::Root));
    assert_eq!(here.right("--profile dev -- x").execution.user, User::User);
    here.wrong("--user root -- x", ErrorCode::InvalidValue, "--profile dev");
}

#[test]
fn standard_input_has_one_reader() {
    let here = Here::new();
    let request = here.right("--stdin {}/a.py -- cat");
    assert_eq!(request.execution.stdin, Stdin::Open);
    assert_eq!(request.input, Some(Source::File(PathBuf::from(format!("{}/a.py", here.0.path().display())))));
    assert_eq!(here.right("--stdin - -- cat").input, Some(Source::Ours));
    here.wrong("--stdin {}/none -- cat", ErrorCode::FileUnreadable, "--stdin");
    for words in ["--stdin - -", "--kind handler --event - -", "--kind handler --event - --stdin - {}/a.py"] {
        here.wrong(words, ErrorCode::InvalidValue, "standard input");
    }
}

#[test]
fn artifacts_follow_the_kind_and_the_words() {
    let here = Here::new();
    let cases = [
        ("{}/a.py", true),
        ("--no-artifacts {}/a.py", false),
        ("-- x", false),
        ("--out {}/results -- x", true),
        ("--kind handler {}/a.py", true),
    ];
    for (words, artifacts) in cases {
        assert_eq!(here.right(words).execution.artifacts, artifacts, "{words}");
    }
    assert!(here.right("--merge-stderr -- x").execution.merge_stderr);
}
