//! What handlers return and raise.

use serde_json::{Value, json};

use crate::support::run;

/// Runs a handler; its result, which must be of a success.
#[track_caller]
fn returned(language: &str, code: &str, event: &str) -> Value {
    let (status, result) =
        run(&["--kind", "handler", "--lang", language, "--event", event, "-"]).stdin(code).json();
    assert_eq!((status, &result["status"]), (0, &"succeeded".into()), "{code}: {result}");
    assert!(result["error"].is_null(), "{result}");
    result["return_value"].clone()
}

#[test]
fn falsy_values_come_back_from_python() {
    for (text, expected) in [
        ("0", json!(0)),
        ("0.0", json!(0.0)),
        ("False", json!(false)),
        ("''", json!("")),
        ("[]", json!([])),
        ("{}", json!({})),
        ("None", Value::Null),
    ] {
        for keyword in ["def", "async def"] {
            let code = format!("{keyword} handler(event, context):\n    return {text}\n");
            assert_eq!(returned("python", &code, "null"), expected, "{code}");
        }
    }
    assert_eq!(returned("python", "def handler(event, context):\n    pass\n", "null"), Value::Null);
}

#[test]
fn falsy_values_come_back_from_javascript() {
    for (text, expected) in [
        ("0", json!(0)),
        ("false", json!(false)),
        ("''", json!("")),
        ("[]", json!([])),
        ("{}", json!({})),
        ("null", Value::Null),
        ("undefined", Value::Null),
    ] {
        for keyword in ["function", "async function"] {
            let code = format!("exports.handler = {keyword} (event, context) {{ return {text}; }};");
            assert_eq!(returned("javascript", &code, "null"), expected, "{code}");
        }
    }
    let module = "export async function handler(event) { return (await Promise.resolve(event)) + 1; }";
    assert_eq!(returned("javascript", module, "0"), json!(1));
}

#[test]
fn any_json_goes_in_and_comes_back() {
    let events = [
        json!(null),
        json!(false),
        json!(0),
        json!(""),
        json!([]),
        json!({}),
        json!("naïve 日本 🦀 \u{0} \u{1f469}\u{200d}\u{1f467}"),
        json!([1, 2.5, -3e-7, "\u{7f}", {"a": {"": null}}]),
        json!(9_007_199_254_740_991_i64),
    ];
    for event in events {
        let text = event.to_string();
        let python = returned("python", "def handler(event, context):\n    return event\n", &text);
        assert_eq!(python, event);
        let javascript = returned("javascript", "exports.handler = (event) => event", &text);
        assert_eq!(javascript, event);
    }
}

#[test]
fn large_integers_of_python_keep_their_digits() {
    let code = "def handler(event, context):\n    return [event + 1, 2 ** 100]\n";
    let (_, result) = run(&["--kind", "handler", "--lang", "python", "--event", "18446744073709551615", "-"])
        .stdin(code)
        .json();
    // serde_json reads what is beyond 64 bits as a float; the text must still have been exact.
    let done = run(&["--kind", "handler", "--lang", "python", "--event", "18446744073709551615", "-"])
        .stdin(code)
        .done();
    assert_eq!(
        done.assert_status(0).out().trim(),
        "[18446744073709551616,1267650600228229401496703205376]",
        "{result}"
    );
}

#[test]
fn what_a_handler_raises_is_told() {
    let python = "class Wrong(Exception):\n    pass\n\nasync def handler(event, context):\n    raise Wrong('höher ' + event)\n";
    let javascript = "class Wrong extends Error { get name() { return 'Wrong'; } }\nexports.handler = async (event) => { throw new Wrong('höher ' + event); };";
    for (language, code, frame) in [("python", python, "line 5"), ("javascript", javascript, "main.js:2")] {
        let (status, result) =
            run(&["--kind", "handler", "--lang", language, "--event", "\"🦀\"", "-"]).stdin(code).json();
        assert_eq!((status, &result["status"]), (1, &"failed".into()), "{result}");
        assert_eq!(result["error"]["name"], "Wrong");
        assert_eq!(result["error"]["message"], "höher 🦀");
        let stack = result["error"]["stack"].as_str().unwrap();
        assert!(stack.contains(frame) && stack.contains("höher"), "{stack}");
        assert!(result["stderr"].as_str().unwrap().contains("höher 🦀"), "a person sees it too: {result}");
        assert!(result["return_value"].is_null(), "{result}");
    }
}

#[test]
fn what_is_no_result_is_an_error() {
    let cases = [
        ("python", "x = 1\n", "NameError"),
        ("python", "handler = 3\n", "NameError"),
        ("javascript", "exports.other = 1", "ReferenceError"),
        ("python", "def handler(event, context):\n    return {1, 2}\n", "return_value_invalid"),
        ("python", "def handler(event, context):\n    return float('nan')\n", "return_value_invalid"),
        ("javascript", "exports.handler = () => 10n", "return_value_invalid"),
        (
            "javascript",
            "exports.handler = () => { const a = {}; a.a = a; return a; }",
            "return_value_invalid",
        ),
        (
            "python",
            "import os\ndef handler(event, context):\n    os.write(3, b'nonsense'); os._exit(0)\n",
            "return_value_invalid",
        ),
        ("python", "import os\ndef handler(event, context):\n    os._exit(0)\n", "return_value_invalid"),
        ("python", "def handler(event, context):\n    return 'x' * (9 << 20)\n", "return_value_invalid"),
    ];
    for (language, code, name) in cases {
        let (status, result) = run(&["--kind", "handler", "--lang", language, "-"]).stdin(code).json();
        assert_eq!(status, 1, "{code}: {result:.2000}");
        assert_eq!((&result["error"]["name"], &result["status"]), (&name.into(), &"failed".into()), "{code}");
        assert!(result["return_value"].is_null());
    }
}

#[test]
fn a_handler_that_exits_says_so_with_its_code() {
    let code = "import sys\ndef handler(event, context):\n    sys.exit(7)\n";
    let (status, result) = run(&["--kind", "handler", "--lang", "python", "-"]).stdin(code).json();
    assert_eq!((status, &result["exit_code"]), (7, &7.into()), "{result}");
}

#[test]
fn a_handler_knows_its_context() {
    let python = "def handler(event, context):\n    context.logger.info('hello')\n    return [context.execution_id, context.memory_limit_bytes, context.remaining_time_ms(), context.deadline_ms]\n";
    let javascript = "exports.handler = (event, context) => { context.logger.info('hello'); return [context.executionId, context.memoryLimitBytes, context.remainingTimeMs(), context.deadlineMs]; }";
    for (language, code) in [("python", python), ("javascript", javascript)] {
        let (_, result) =
            run(&["--kind", "handler", "--lang", language, "--timeout", "20s", "-"]).stdin(code).json();
        let value = &result["return_value"];
        assert_eq!(value[0], result["id"], "{result}");
        assert_eq!(value[1], 512 << 20);
        assert!((1..=20_000).contains(&value[2].as_u64().unwrap()), "{value}");
        assert!(value[3].as_u64().unwrap() > 1_700_000_000_000, "{value}");
        assert!(result["stderr"].as_str().unwrap().contains("hello"), "{result}");
    }
}

#[test]
fn the_value_follows_the_output_on_a_line_of_its_own() {
    let code = "import sys\ndef handler(event, context):\n    sys.stdout.write('no newline')\n    return {'a': [1, 'ü']}\n";
    let done = run(&["--kind", "handler", "--lang", "python", "-"]).stdin(code).done();
    assert_eq!(done.assert_status(0).out(), "no newline\n{\"a\":[1,\"ü\"]}\n");
}

#[test]
fn what_cannot_be_handed_back_is_told_as_that() {
    let cases = [
        ("python", "def handler(e, c): return float('nan')", "return_value_invalid", "not JSON compliant"),
        ("python", "def handler(e, c): return {1}", "return_value_invalid", "set is not JSON"),
        ("python", "def handler(e, c): return 'x' * (9 << 20)", "return_value_invalid", "more than 8 MiB"),
        (
            "python",
            "def handler(e, c):\n  x = []\n  for i in range(300): x = [x]\n  return x",
            "return_value_invalid",
            "more than 100 levels",
        ),
        (
            "python",
            "import os\nos.write(3, b'{\"value\":' + b'[' * 200000 + b']' * 200000 + b'}')\nos._exit(0)",
            "return_value_invalid",
            "more than 100 levels",
        ),
        ("python", "def handler(e, c): raise ValueError('\\ud800')", "ValueError", "\\ud800"),
        ("javascript", "exports.handler = () => { throw new Error('\\ud800') }", "Error", "\u{fffd}"),
        ("python", "def handler(e, c): raise ValueError('x' * (9 << 20))", "ValueError", "xxx"),
        (
            "python",
            "class Odd(Exception):\n  def __str__(self): raise RuntimeError\ndef handler(e, c): raise Odd",
            "Odd",
            "cannot be shown",
        ),
        ("javascript", "exports.handler = () => () => 1", "return_value_invalid", "a function has no JSON"),
        ("javascript", "exports.handler = () => Symbol()", "return_value_invalid", "a symbol has no JSON"),
        ("javascript", "exports.handler = () => 10n", "return_value_invalid", "BigInt"),
        (
            "javascript",
            "exports.handler = () => { throw { get message() { throw 1 }, toString() { throw 2 } } }",
            "Error",
            "cannot be shown",
        ),
        ("javascript", "exports.handler = () => { throw new Error('x'.repeat(9 << 20)) }", "Error", "xxx"),
    ];
    for (language, code, name, message) in cases {
        let (status, result) = run(&["--kind", "handler", "--lang", language, "-"]).stdin(code).json();
        let error = &result["error"];
        assert_eq!((status, result["status"].as_str()), (1, Some("failed")), "{code}: {error}");
        assert_eq!(error["name"], name, "{code}: {error:.300}");
        assert!(error["message"].as_str().unwrap().contains(message), "{code}: {error:.300}");
        assert_eq!(result["return_value"], Value::Null, "{code}");
    }
}

#[test]
fn half_a_character_comes_back_as_its_escape() {
    for (language, code) in [
        ("python", "def handler(e, c): return '\\ud800'"),
        ("javascript", "exports.handler = () => '\\ud800'"),
    ] {
        let done = run(&["--kind", "handler", "--lang", language, "-"]).stdin(code).done();
        assert_eq!(done.assert_status(0).out(), "\"\\ud800\"\n", "{language}: {}", done.err());
    }
}
