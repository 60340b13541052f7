//! Large and odd things, byte for byte.

use sandkeep_core::base64;
use sha2::{Digest as _, Sha256};

use crate::support::{directory, run};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_event_of_5_mb_goes_in_and_comes_back() {
    let directory = directory();
    let text: String = "aé🦀\\\"\n".chars().cycle().take(2_400_000).collect();
    let event = serde_json::json!({ "text": text }).to_string();
    assert!(event.len() > 5_000_000, "{}", event.len());
    let path = directory.path().join("event.json");
    std::fs::write(&path, &event).unwrap();
    let at = format!("@{}", path.display());
    let code = "def handler(event, context):\n    return event\n";
    let (status, result) =
        run(&["--kind", "handler", "--lang", "python", "--event", &at, "-"]).stdin(code).json();
    assert_eq!(status, 0, "{:.2000}", result["error"]);
    assert!(result["return_value"]["text"].as_str().unwrap() == text);
    let script = directory.path().join("h.mjs");
    std::fs::write(&script, "export const handler = (event) => event.text.length").unwrap();
    let (_, result) =
        run(&["--kind", "handler", "--event", "-", &script.to_string_lossy()]).stdin(event).json();
    assert_eq!(result["return_value"], text.encode_utf16().count(), "{:.2000}", result["error"]);
}

#[test]
fn code_of_2_mb_runs_in_every_language() {
    let filler = "é🦀 filler ".repeat(2_000_000 / 14);
    let cases = [
        ("python", format!("x = '''{filler}'''\nprint(len(x.encode()))\n")),
        ("javascript", format!("const x = `{filler}`;\nconsole.log(Buffer.byteLength(x));\n")),
        ("bash", format!("x='{filler}'\nLC_ALL=C; echo ${{#x}}\n")),
    ];
    for (language, code) in cases {
        assert!(code.len() > 1_990_000);
        let done = run(&["--lang", language, "-"]).stdin(code).done();
        assert_eq!(done.assert_status(0).out(), format!("{}\n", filler.len()), "{language}");
    }
}

/// Writes 10 MB of every byte to standard output, and their digest to standard error.
const TEN_MB: &str = "
import hashlib, random, sys
data = random.Random(7).randbytes(10_000_000)
for at in range(0, len(data), 77_777):
    sys.stdout.buffer.write(data[at:at + 77_777])
sys.stdout.buffer.flush()
sys.stderr.write(hashlib.sha256(data).hexdigest())
";

#[test]
fn output_of_10_mb_comes_as_it_is() {
    let done = run(&["-"]).stdin(TEN_MB).done();
    done.assert_status(0);
    assert_eq!(done.stdout.len(), 10_000_000);
    assert_eq!(sha256(&done.stdout), done.err());
}

#[test]
fn output_of_10_mb_comes_in_the_result() {
    let (status, result) = run(&["-"]).stdin(TEN_MB).json();
    assert_eq!((status, &result["stdout_encoding"]), (0, &"base64".into()));
    let stdout = base64::decode(result["stdout"].as_str().unwrap()).unwrap();
    assert_eq!(stdout.len(), 10_000_000);
    assert_eq!(sha256(&stdout), result["stderr"].as_str().unwrap());
    assert_eq!(
        (&result["stdout_missing_bytes"], &result["output_gap"]),
        (&0.into(), &serde_json::Value::Null)
    );
}

#[test]
fn every_byte_passes_both_ways() {
    let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    let done = run(&["--stdin", "-", "--", "tee", "/dev/stderr"]).stdin(all.clone()).done();
    done.assert_status(0);
    assert!(done.stdout == all && done.stderr == all, "{done:?}");
}

#[test]
fn text_stays_text() {
    let text = "naïve 日本語 🦀 👩‍👩‍👧 e\u{301} \u{feff} \u{202e}x\u{0}y \u{10ffff}";
    for end in ["", "\n", "\r\n", "\n\n", " "] {
        let wanted = format!("{text}{end}");
        let (_, result) = run(&["--stdin", "-", "--", "cat"]).stdin(wanted.as_str()).json();
        assert_eq!(
            (&result["stdout"], &result["stdout_encoding"]),
            (&wanted.clone().into(), &"utf-8".into())
        );
        let done = run(&["--stdin", "-", "--", "cat"]).stdin(wanted.as_str()).done();
        assert_eq!(done.out(), wanted, "nothing is added to output without a newline");
    }
    let (_, result) = run(&["--stdin", "-", "--", "cat"]).stdin(&b"caf\xe9"[..]).json();
    assert_eq!((&result["stdout"], &result["stdout_encoding"]), (&"Y2Fm6Q==".into(), &"base64".into()));
}

#[test]
fn characters_survive_in_code_arguments_and_environment() {
    let code = "import os, sys\nprint('🦀', sys.argv[1], os.environ['É'] if 'É' in os.environ else os.environ['E'])\n";
    let done = run(&["--env", "E=日本 🎉", "-", "--", "a b\n👩‍👩‍👧"]).stdin(code).done();
    assert_eq!(done.assert_status(0).out(), "🦀 a b\n👩‍👩‍👧 日本 🎉\n");
}

#[test]
fn what_is_too_large_is_refused_before_anything_starts() {
    let big = "#".repeat((8 << 20) + 1);
    let (status, told) = run(&["-"]).stdin(big.as_str()).json();
    assert_eq!((status, &told["error"]["code"]), (125, &"code_too_large".into()));
    let event = format!("\"{}\"", "x".repeat(8 << 20));
    let directory = directory();
    let path = directory.path().join("h.py");
    std::fs::write(&path, "def handler(event, context):\n    return 1\n").unwrap();
    let (status, told) =
        run(&["--kind", "handler", "--event", "-", &path.to_string_lossy()]).stdin(event).json();
    assert_eq!((status, &told["error"]["code"]), (125, &"event_too_large".into()));
}
