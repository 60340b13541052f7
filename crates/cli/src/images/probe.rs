//! Which interpreters an image has, and of which versions.
//!
//! Where they are is seen from the image's files. What they say of themselves is hostile code's word: they are run in
//! one sandbox of that image, each for a short time, and of their output only numbers and dots are taken.

use sandkeep_core::code::Problem;
use sandkeep_core::defaults;
use sandkeep_core::duration::Span;
use sandkeep_core::execution::{Language, Work};
use sandkeep_core::limits::{Limits, LimitsRequest};
use sandkeep_core::output::Mask;
use sandkeep_core::size::ByteSize;
use sandkeep_image::{Held, Runtime};
use sandkeep_runtime::driver::{Event, ExecutionSpec, Layer, Root, SandboxSpec, Stdin, User};
use sandkeep_runtime::local::{Local, SEARCH_PATH, names};
use sandkeep_runtime::{Driver as _, Sandbox};

use crate::host;
use crate::out;
use crate::run::request;

/// Others than those of [`Language`], which are told of.
const OTHERS: [&str; 4] = ["sh", "perl", "ruby", "php"];
/// Shells of that name have no version that all of them would tell.
const MUTE: &str = "sh";
/// For one of them to say its version. Node under load takes half a second.
const EACH: Span = Span::from_secs(5);
const OUTPUT: ByteSize = ByteSize::from_kib(4);
/// Longest version that is believed.
const VERSION_BYTES: usize = 24;

/// Looks once, and writes down what was found. That it cannot be looked is nobody's fault who wants to run something
/// else: the next one looks again.
pub(crate) async fn probe(held: &Held, driver: &Local) {
    if held.runtimes().is_some() {
        return;
    }
    if let Ok(found) = look(held, driver).await {
        let _next_time = held.note_runtimes(&found);
    }
}

async fn look(held: &Held, driver: &Local) -> Result<Vec<Runtime>, Problem> {
    let mut found = present(held);
    if found.iter().all(|runtime| runtime.language == MUTE) {
        return Ok(found);
    }
    let sandbox = driver.create(&spec(held)?).await?;
    let asked = versions(&mut found, sandbox.as_ref(), held).await;
    sandbox.stop().await;
    asked.map(|()| found)
}

/// What there is, as the runtime would find it.
fn present(held: &Held) -> Vec<Runtime> {
    let languages = Language::ALL.iter().map(|language| (language.to_string(), names(*language)[0]));
    let all = languages.chain(OTHERS.map(|name| (name.to_owned(), name)));
    let runtime =
        |(language, name)| Some(Runtime { language, path: held.program(name, SEARCH_PATH)?, version: None });
    all.filter_map(runtime).collect()
}

async fn versions(found: &mut [Runtime], sandbox: &dyn Sandbox, held: &Held) -> Result<(), Problem> {
    for runtime in found.iter_mut().filter(|runtime| runtime.language != MUTE) {
        let said = said(sandbox, held, &runtime.path).await?;
        runtime.version = version(&String::from_utf8_lossy(&said));
    }
    Ok(())
}

/// What a program writes when it is asked for its version; whether it then succeeds does not matter.
async fn said(sandbox: &dyn Sandbox, held: &Held, path: &str) -> Result<Vec<u8>, Problem> {
    let execution = ExecutionSpec {
        id: host::execution_id()?,
        token: 1,
        work: Work::Command { argv: vec![path.to_owned(), "--version".to_owned()] },
        env: held.config.env.clone(),
        cwd: None,
        user: User::User,
        stdin: Stdin::Empty,
        merge_stderr: true,
        mask: Mask::default(),
        limits: limits()?,
        files: Vec::new(),
        artifacts: false,
    };
    execution.check()?;
    let mut running = sandbox.start(&execution).await?;
    let mut output = Vec::new();
    loop {
        match running.next().await? {
            Some(Event::Output { bytes, .. }) => output.extend(bytes),
            Some(Event::Started | Event::Gap { .. }) => {}
            Some(Event::Ended(_)) | None => return Ok(output),
        }
    }
}

fn spec(held: &Held) -> Result<SandboxSpec, Problem> {
    let root = held.root.to_str().ok_or_else(|| out::failed("an image", &"its path is not UTF-8"))?;
    Ok(SandboxSpec {
        id: host::sandbox_id()?,
        incarnation: 1,
        token: 1,
        profile: defaults::PROFILE,
        root: Root::Directory(root.to_owned()),
        mounts: Vec::new(),
        layer: Layer::Ephemeral,
        limits: limits()?,
    })
}

fn limits() -> Result<Limits, Problem> {
    let asked = LimitsRequest { timeout: Some(EACH), output: Some(OUTPUT), ..LimitsRequest::default() };
    Ok(request::limits(&asked, host::processors())?.0)
}

/// The first number with a dot in it that a word of `text` begins with.
fn version(text: &str) -> Option<String> {
    let numbers = |word: &str| {
        let word = word.trim_start_matches(['(', 'v']);
        let end = word.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(word.len());
        word[..end].trim_end_matches('.').to_owned()
    };
    let plausible = |number: &String| {
        number.contains('.')
            && number.starts_with(|char: char| char.is_ascii_digit())
            && number.len() <= VERSION_BYTES
    };
    text.split_whitespace().map(numbers).find(plausible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(version(text).as_deref(), expected, "{text:?}");
        };
        check("Python 3.12.1\n", Some("3.12.1"));
        check("v18.19.0\n", Some("18.19.0"));
        check("GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)\n", Some("5.2.15"));
        check("\nThis is perl 5, version 36, subversion 0 (v5.36.0) built", Some("5.36.0"));
        check("ruby 3.1.2p20 (2022-04-12 revision)", Some("3.1.2"));
        for none in ["", "sh: 0: Illegal option --", "\x1b[2J1\x1b.2", "....", &"1.".repeat(100)] {
            check(none, None);
        }
    }
}
