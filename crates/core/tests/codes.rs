//! Every error code has a page, and every page a code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sandkeep_core::code::{ErrorCode, Problem, explain};

#[test]
fn every_code_has_a_page_that_helps() {
    for code in ErrorCode::all() {
        let page = explain(code.as_str()).expect("a code explains itself");
        let title = page.lines().next().unwrap();
        assert!(title.starts_with(&format!("# {code}: ")), "title of {code}: {title}");
        let (means, todo) = page
            .split_once("\n## What it means\n")
            .and_then(|(_, rest)| rest.split_once("\n## What to do\n"))
            .unwrap_or_else(|| panic!("{code} has both sections"));
        for (section, text) in [("What it means", means), ("What to do", todo)] {
            assert!(text.trim().len() > 40, "{code}: {section} says something");
        }
        assert!(page.lines().all(|line| line.chars().count() <= 120), "{code} fits a terminal");
    }
}

#[test]
fn every_page_has_a_code() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    let pages: BTreeSet<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let codes: BTreeSet<String> = ErrorCode::all().map(|code| format!("{code}.md")).collect();
    assert_eq!(pages, codes);
}

#[test]
fn codes_are_stable_texts() {
    for code in ErrorCode::all() {
        let text = code.as_str();
        assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{text}");
        assert_eq!(text.parse(), Ok(code));
        assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{text}\""));
    }
    let texts: BTreeSet<_> = ErrorCode::all().map(ErrorCode::as_str).collect();
    assert_eq!(texts.len(), ErrorCode::ALL.len());
    assert_eq!(explain("no_such_code"), None);
    assert_eq!("no_such_code".parse::<ErrorCode>().unwrap_err().code, ErrorCode::UnknownCode);
}

#[test]
fn a_problem_tells_value_and_remedy() {
    let problem =
        Problem::refused(ErrorCode::InvalidValue, "x", "is not a choice", "a or b").within("--user");
    assert_eq!(problem.to_string(), "invalid_value: --user: `x` is not a choice; write a or b");
    assert_eq!(
        serde_json::to_string(&problem).unwrap(),
        "{\"code\":\"invalid_value\",\"message\":\"--user: `x` is not a choice\",\"value\":\"x\",\
         \"expected\":\"a or b\"}"
    );
    assert_eq!(Problem::new(ErrorCode::Internal, "oops").to_string(), "internal: oops");
}

#[test]
fn a_problem_is_read_back_from_its_text() {
    let refused = Problem::refused(ErrorCode::InvalidSize, "12q", "is not a size", "512Mi");
    for problem in
        [refused, Problem::new(ErrorCode::Internal, "oops"), Problem::new(ErrorCode::Internal, "a: b")]
    {
        assert_eq!(Problem::of_text(&problem.to_string()), Some(problem));
    }
    for text in ["", "oops", "no_such_code: x", "missing field `a`"] {
        assert_eq!(Problem::of_text(text), None, "{text}");
    }
}

#[test]
fn a_value_cannot_play_with_the_terminal() {
    let nasty = format!("\u{1b}[31m\n{}", "é".repeat(1_000));
    let problem = Problem::refused(ErrorCode::InvalidValue, &nasty, "is odd", "something else");
    let value = problem.value.unwrap();
    assert!(value.starts_with("\\u{1b}[31m\\n") && value.ends_with("é…"), "{value}");
    assert!(value.chars().count() < 120);
}
