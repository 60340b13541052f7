//! What the OpenAPI document says is what is served.

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::http::{Reply, get};

/// As it is committed.
const COMMITTED: &str = include_str!("../../../../openapi/openapi.json");

#[test]
fn the_committed_document_is_current() {
    assert!(
        sandkeep_server::openapi_json() == COMMITTED,
        "run `cargo xtask openapi` and commit openapi/openapi.json"
    );
}

/// Checks `reply` against what `document` says of `method` and `path`.
#[track_caller]
pub(crate) fn conforms(document: &Value, method: &str, path: &str, reply: &Reply) {
    let responses = &document["paths"][path][method]["responses"];
    let class = format!("{}XX", reply.status / 100);
    let described = responses.get(reply.status.to_string()).unwrap_or_else(|| &responses[class]);
    assert!(described.is_object(), "{method} {path} does not describe {}: {reply:?}", reply.status);
    let Some(content) = described["content"].as_object() else {
        assert!(reply.body.is_empty(), "{method} {path} describes no body: {reply:?}");
        return;
    };
    let media_type = reply.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let schema =
        &content.get(media_type).unwrap_or_else(|| panic!("{method} {path}: {media_type}"))["schema"];
    if !media_type.ends_with("json") {
        return;
    }
    let whole = json!({ "allOf": [schema], "components": document["components"] });
    let validator = jsonschema::validator_for(&whole).unwrap();
    let body = reply.json();
    let errors: Vec<String> =
        validator.iter_errors(&body).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{method} {path}: {errors:?} in {body}");
}

#[tokio::test]
async fn live_answers_are_as_described() {
    let bed = Bed::start(&[]).await;
    let served = get(bed.address, "/openapi.json").await;
    assert_eq!(served.header("content-type"), Some("application/json"));
    let document = served.json();
    assert_eq!(document, serde_json::from_str::<Value>(COMMITTED).unwrap());
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let validator = jsonschema::validator_for(
        &json!({"$ref": "#/components/schemas/Problem", "components": document["components"]}),
    );
    let validator = validator.unwrap();
    assert!(validator.is_valid(&get(bed.address, "/nothing").await.json()));
    assert!(!validator.is_valid(&json!({"code": 1})));
    for (path, at) in [
        ("/health", "/health"),
        ("/live", "/live"),
        ("/ready", "/ready"),
        ("/errors/{code}", "/errors/internal"),
        ("/errors/{code}", "/errors/nothing"),
    ] {
        conforms(&document, "get", path, &get(bed.address, at).await);
    }
    bed.stop().await;
}
