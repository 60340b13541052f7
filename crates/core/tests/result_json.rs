//! The JSON of a result, field by field: it is a contract.

use sandkeep_core::enforcement::{Enforcement, Level};
use sandkeep_core::execution::{
    Artifact, End, ErrorInfo, ExecutionResult, ExecutionState, Exit, Json, Kind, Language, Metrics,
    MetricsSource,
};
use sandkeep_core::id::{ExecutionId, SandboxId};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::output::{OutputLog, Stream};
use sandkeep_core::time::Timestamp;

const CREATED_MS: u64 = 1_767_225_600_000;

fn queued(kind: Kind, language: Option<Language>, enforcement: Enforcement) -> ExecutionResult {
    let id = ExecutionId::new(CREATED_MS, [0; 10]);
    let sandbox_id = SandboxId::new(CREATED_MS, [0; 10]);
    ExecutionResult::queued(id, sandbox_id, kind, language, enforcement, Timestamp::from_unix_ms(CREATED_MS))
}

fn full() -> ExecutionResult {
    let mut enforcement = Enforcement::full();
    enforcement.lower(LimitKind::Cpu, Level::None, "no control group", "run as root");
    let mut result = queued(Kind::Handler, Some(Language::Python), enforcement);
    let mut log = OutputLog::new(6, 4);
    log.append(Stream::Stdout, "héllo wörld\n".as_bytes());
    log.append(Stream::Stderr, b"\xff");
    result.set_stdout(&log.kept(Stream::Stdout));
    result.set_stderr(&log.kept(Stream::Stderr));
    result.output_gap = log.gap();
    result.set_end(&End {
        state: ExecutionState::Failed,
        limit: Some(LimitKind::Memory),
        exit: Some(Exit::Signal(9)),
    });
    result.return_value = Some(Json::parse(b"false").expect("is JSON"));
    result.error =
        Some(ErrorInfo { name: "ValueError".into(), message: "no".into(), stack: Some("at line 1".into()) });
    result.metrics = Metrics {
        wall_ms: 12,
        cpu_user_ms: Some(3),
        cpu_system_ms: Some(4),
        peak_memory_bytes: Some(8_388_608),
        read_bytes: Some(0),
        write_bytes: None,
        source: MetricsSource::Cgroup,
    };
    result.artifacts = vec![Artifact {
        path: "out/a.csv".into(),
        size_bytes: 5,
        media_type: "text/csv".into(),
        sha256: Some("ab".repeat(32)),
    }];
    result.started_at = Some(Timestamp::from_unix_ms(CREATED_MS + 5));
    result.finished_at = Some(Timestamp::from_unix_ms(CREATED_MS + 17));
    result
}

#[test]
fn has_exactly_these_fields() {
    let expected = concat!(
        r#"{"id":"ex01jdrdla000000000000000000","sandbox_id":"sb01jdrdla000000000000000000","#,
        r#""status":"failed","language":"python","kind":"handler","exit_code":null,"signal":9,"#,
        r#""limit":"memory","stdout":"héllold\n","stderr":"/w==","#,
        r#""stdout_encoding":"utf-8","stderr_encoding":"base64","#,
        r#""stdout_missing_bytes":5,"stderr_missing_bytes":0,"output_gap":{"from":6,"to":11},"#,
        r#""return_value":false,"#,
        r#""error":{"name":"ValueError","message":"no","stack":"at line 1"},"#,
        r#""metrics":{"wall_ms":12,"cpu_user_ms":3,"cpu_system_ms":4,"peak_memory_bytes":8388608,"#,
        r#""read_bytes":0,"write_bytes":null,"source":"cgroup"},"#,
        r#""artifacts":[{"path":"out/a.csv","size_bytes":5,"media_type":"text/csv","sha256":"#,
        r#""abababababababababababababababababababababababababababababababab"}],"#,
        r#""artifacts_truncated":false,"#,
        r#""enforcement":{"memory":"kernel","cpu":"none","processes":"kernel","disk":"kernel","#,
        r#""inodes":"kernel","timeout":"kernel","output":"kernel","causes":[{"limit":"cpu","#,
        r#""level":"none","cause":"no control group","remedy":"run as root"}]},"#,
        r#""created_at":"2026-01-01T00:00:00.000Z","started_at":"2026-01-01T00:00:00.005Z","#,
        r#""finished_at":"2026-01-01T00:00:00.017Z"}"#
    );
    let result = full();
    let json = serde_json::to_string(&result).unwrap();
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<ExecutionResult>(&json).unwrap(), result);
}

#[test]
fn what_does_not_apply_is_null_and_never_absent() {
    let all = serde_json::to_value(full()).unwrap();
    let none = serde_json::to_value(queued(Kind::Command, None, Enforcement::full())).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&none), keys(&all));
    let null = ["language", "exit_code", "signal", "limit", "output_gap", "return_value", "error"];
    for key in null.into_iter().chain(["started_at", "finished_at"]) {
        assert!(none[key].is_null(), "{key}");
    }
    assert_eq!(none["metrics"]["wall_ms"], 0);
    assert_eq!(none["metrics"]["source"], "none");
    assert_eq!(none["artifacts"], serde_json::json!([]));
}

#[test]
fn falsy_return_values_come_back_as_they_are() {
    for text in ["null", "false", "0", "0.0", "\"\"", "[]", "{}", "123456789012345678901234567890"] {
        let mut result = queued(Kind::Handler, Some(Language::Python), Enforcement::full());
        result.return_value = Some(Json::parse(text.as_bytes()).unwrap());
        let json = serde_json::to_string(&result).unwrap();
        assert!(json.contains(&format!("\"return_value\":{text},")), "{json}");
    }
}

#[test]
fn an_exit_code_and_a_signal_exclude_each_other() {
    let cases = [
        (Some(Exit::Code(3)), (Some(3), None)),
        (Some(Exit::Signal(11)), (None, Some(11))),
        (Some(Exit::NotFound), (None, None)),
        (Some(Exit::NotRunnable), (None, None)),
        (None, (None, None)),
    ];
    for (exit, expected) in cases {
        let mut result = queued(Kind::Command, None, Enforcement::full());
        result.set_end(&End { state: ExecutionState::Failed, limit: None, exit });
        assert_eq!((result.exit_code, result.signal), expected, "{exit:?}");
    }
}
