//! The mirrors of `schema` say what the types of `core` really are: names, values, and which fields may be `null`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use sandkeep_api::{executions, schema};
use sandkeep_core::code::ErrorCode;
use sandkeep_core::enforcement::{Cause, Enforcement, Level};
use sandkeep_core::execution::language::Language;
use sandkeep_core::execution::result::{
    Artifact, Encoding, ErrorInfo, ExecutionResult, Metrics, MetricsSource,
};
use sandkeep_core::execution::spec::Kind;
use sandkeep_core::execution::state::ExecutionState;
use sandkeep_core::id::{ExecutionId, SandboxId};
use sandkeep_core::identity::token::Format;
use sandkeep_core::identity::{Role, Scope};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::output::{Gap, Stream};
use sandkeep_core::sandbox::Profile;
use sandkeep_core::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// The schema of `T` with all that it refers to, in which nothing is allowed that it does not name.
fn strict<T: ToSchema>() -> Value {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    let schemas: serde_json::Map<String, Value> =
        schemas.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap())).collect();
    let reference = format!("#/components/schemas/{}", T::name());
    let mut all = json!({ "$ref": reference, "components": { "schemas": schemas } });
    close(&mut all);
    all
}

fn close(schema: &mut Value) {
    if let Value::Object(object) = schema {
        if object.contains_key("properties") {
            object.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
        object.values_mut().for_each(close);
    }
}

#[track_caller]
fn check<T: ToSchema>(values: impl IntoIterator<Item = impl Serialize>) {
    let validator = jsonschema::validator_for(&strict::<T>()).unwrap();
    for value in values {
        let value = serde_json::to_value(value).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", T::name());
    }
    assert!(!validator.is_valid(&json!("never such a value")), "{} refuses something", T::name());
}

fn enforcement() -> Enforcement {
    let cause = Cause {
        limit: LimitKind::Cpu,
        level: Level::None,
        cause: "none".to_owned(),
        remedy: "some".to_owned(),
    };
    Enforcement {
        memory: Level::Kernel,
        cpu: Level::None,
        processes: Level::Watched,
        disk: Level::Kernel,
        inodes: Level::Kernel,
        timeout: Level::Kernel,
        output: Level::Kernel,
        causes: vec![cause],
    }
}

fn queued() -> ExecutionResult {
    let (id, sandbox) = (ExecutionId::new(1, [1; 10]), SandboxId::new(1, [2; 10]));
    ExecutionResult::queued(id, sandbox, Kind::Command, None, enforcement(), Timestamp::from_unix_ms(1))
}

fn full() -> ExecutionResult {
    let artifact = Artifact {
        path: "a".to_owned(),
        size_bytes: 1,
        media_type: "text/plain".to_owned(),
        sha256: Some("00".to_owned()),
    };
    ExecutionResult {
        language: Some(Language::Python),
        exit_code: Some(255),
        signal: Some(9),
        limit: Some(LimitKind::Memory),
        output_gap: Some(Gap { from: 1, to: 2 }),
        return_value: Some(serde_json::Value::from(0).into()),
        error: Some(ErrorInfo { name: "E".to_owned(), message: "m".to_owned(), stack: Some("s".to_owned()) }),
        metrics: Metrics {
            wall_ms: 1,
            cpu_user_ms: Some(1),
            cpu_system_ms: Some(1),
            peak_memory_bytes: Some(1),
            read_bytes: Some(1),
            write_bytes: Some(1),
            source: MetricsSource::Cgroup,
        },
        artifacts: vec![artifact],
        started_at: Some(Timestamp::from_unix_ms(2)),
        finished_at: Some(Timestamp::from_unix_ms(3)),
        ..queued()
    }
}

#[test]
fn an_execution_is_as_described() {
    check::<schema::Execution>([queued(), full()]);
    check::<executions::Execution>([executions::Execution(full())]);
    // The other direction: what is described is there.
    let described = strict::<schema::Execution>();
    let described = described["components"]["schemas"]["Execution"]["properties"].as_object().unwrap().len();
    assert_eq!(serde_json::to_value(full()).unwrap().as_object().unwrap().len(), described);
}

#[test]
fn limits_and_words_are_as_described() {
    check::<schema::Limits>([sandkeep_core::defaults::limits()]);
    check::<schema::Enforcement>([enforcement()]);
    check::<schema::Language>(Language::ALL);
    check::<schema::Kind>([Kind::Script, Kind::Handler, Kind::Command]);
    check::<schema::Profile>(Profile::ALL);
    check::<schema::Role>(Role::ALL);
    check::<schema::Scope>(Scope::ALL.iter().copied());
    check::<schema::TokenFormat>([Format::Sandkeep, Format::E2b]);
    check::<schema::ExecutionStatus>(ExecutionState::ALL);
    check::<schema::LimitKind>(LimitKind::ALL);
    check::<schema::Level>([Level::None, Level::Watched, Level::Kernel]);
    check::<schema::Encoding>([Encoding::Utf8, Encoding::Base64]);
    check::<schema::Stream>([Stream::Stdout, Stream::Stderr]);
    check::<schema::MetricsSource>([MetricsSource::Cgroup, MetricsSource::Sampled, MetricsSource::None]);
}

#[test]
fn a_problem_is_as_described() {
    let problem = sandkeep_core::code::Problem::refused(ErrorCode::InvalidSize, "1q", "is no size", "1Mi");
    let document = sandkeep_api::Document::of(&problem, 400, "", "rq1");
    check::<sandkeep_api::Document>([document]);
}
