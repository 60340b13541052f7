//! Every route of the API with those who may not use it, and one who may. A route without a case fails.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::contract::conforms;
use crate::http::{Reply, ask, get};

/// Who asks.
#[derive(Debug, Clone, Copy)]
enum Who {
    /// Nobody.
    NoKey,
    /// Somebody with a key that was never given out.
    Unknown,
    /// A viewer of project `a`.
    Viewer,
    /// An owner of project `a` with a token for events alone.
    WrongScope,
    /// The same with a token for projects alone: for the one route that `WrongScope` may use.
    NoScope,
    /// An owner of project `b`.
    OtherProject,
    /// The administrator.
    Admin,
}

struct Case {
    method: &'static str,
    path: &'static str,
    /// Behind the path.
    query: &'static str,
    body: Value,
    /// What each is told.
    told: &'static [(Who, u16)],
}

const NOBODY: [(Who, u16); 2] = [(Who::NoKey, 401), (Who::Unknown, 401)];

fn cases() -> Vec<Case> {
    use Who::{Admin, NoScope, OtherProject, Viewer, WrongScope};
    let case = |method, path, query, body, told| Case { method, path, query, body, told };
    vec![
        case(
            "get",
            "/api/v1/projects",
            "",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 200), (Viewer, 200), (Admin, 200)],
        ),
        case(
            "post",
            "/api/v1/projects",
            "",
            json!({"name": "c"}),
            &[(WrongScope, 404), (OtherProject, 404), (Viewer, 404), (Admin, 201)],
        ),
        case(
            "get",
            "/api/v1/projects/{id}",
            "",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 200), (Admin, 200)],
        ),
        case(
            "patch",
            "/api/v1/projects/{id}",
            "",
            json!({"name": "a"}),
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 403), (Admin, 200)],
        ),
        case(
            "get",
            "/api/v1/tokens",
            "?project=a",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 200), (Admin, 200)],
        ),
        case(
            "post",
            "/api/v1/tokens",
            "",
            json!({"name": "t", "project": "a"}),
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 201), (Admin, 201)],
        ),
        case(
            "get",
            "/api/v1/audit",
            "?project=a",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 403), (Admin, 200)],
        ),
        case(
            "get",
            "/api/v1/sandboxes",
            "?project=a",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 200), (Admin, 200)],
        ),
        case(
            "post",
            "/api/v1/sandboxes",
            "?wait=running",
            json!({"project": "a"}),
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 403), (Admin, 201)],
        ),
        case(
            "get",
            "/api/v1/sandboxes/{id}",
            "",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 200), (Admin, 200)],
        ),
        case(
            "patch",
            "/api/v1/sandboxes/{id}",
            "",
            json!({"labels": {"a": "b"}}),
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 403), (Admin, 200)],
        ),
        case(
            "get",
            "/api/v1/sandboxes/{id}/executions",
            "",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 200), (Admin, 200)],
        ),
        case(
            "post",
            "/api/v1/sandboxes/{id}/executions",
            "?wait=true",
            json!({"command": ["true"]}),
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 403), (Admin, 201)],
        ),
        case(
            "post",
            "/api/v1/executions",
            "?wait=true",
            json!({"project": "a", "command": ["true"]}),
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 403), (Admin, 201)],
        ),
        case(
            "get",
            "/api/v1/executions/{id}",
            "",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 200), (Admin, 200)],
        ),
        case(
            "get",
            "/api/v1/executions/{id}/output",
            "",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 200), (Admin, 200)],
        ),
        case(
            "get",
            "/api/v1/executions/{id}/stream",
            "",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 200), (Admin, 200)],
        ),
        case(
            "delete",
            "/api/v1/executions/{id}",
            "",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 403), (Admin, 200)],
        ),
        case(
            "get",
            "/api/v1/events",
            "?project=a",
            Value::Null,
            &[(NoScope, 403), (WrongScope, 200), (OtherProject, 404), (Viewer, 200), (Admin, 200)],
        ),
        case(
            "delete",
            "/api/v1/sandboxes/{id}",
            "",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Viewer, 403), (Admin, 202)],
        ),
        case(
            "delete",
            "/api/v1/tokens/{id}",
            "",
            Value::Null,
            &[(WrongScope, 403), (OtherProject, 404), (Admin, 204)],
        ),
    ]
}

/// A server with two projects and a key for each of those who ask.
struct Court {
    bed: Bed,
    project_id: String,
    token_id: String,
    sandbox_id: String,
    execution_id: String,
    keys: [String; 5],
}

impl Court {
    async fn open() -> Self {
        let bed = Bed::start(&[]).await;
        let admin =
            std::fs::read_to_string(bed.directory.path().join("data/admin.key")).unwrap().trim().to_owned();
        let make = async |path: &str, body: Value| {
            let reply = with(&bed, "post", path, Some(&admin), &body).await;
            assert_eq!(reply.status, 201, "{reply:?}");
            reply.json()
        };
        let project_id =
            make("/api/v1/projects", json!({"name": "a"})).await["id"].as_str().unwrap().to_owned();
        make("/api/v1/projects", json!({"name": "b"})).await;
        let key =
            async |body: Value| make("/api/v1/tokens", body).await["token"].as_str().unwrap().to_owned();
        let viewer = key(json!({"name": "viewer", "project": "a", "role": "viewer"})).await;
        let narrow = key(json!({"name": "narrow", "project": "a", "scopes": ["events:read"]})).await;
        let other = key(json!({"name": "other", "project": "b", "format": "e2b"})).await;
        let spare = make("/api/v1/tokens", json!({"name": "spare", "project": "a"})).await;
        let token_id = spare["id"].as_str().unwrap().to_owned();
        let elsewhere = key(json!({"name": "elsewhere", "project": "a", "scopes": ["projects:read"]})).await;
        let ran = make("/api/v1/executions?wait=true", json!({"project": "a", "command": ["true"]})).await;
        let execution_id = ran["id"].as_str().unwrap().to_owned();
        let sandbox = make("/api/v1/sandboxes?wait=running", json!({"project": "a"})).await;
        let sandbox_id = sandbox["id"].as_str().unwrap().to_owned();
        let keys = [viewer, narrow, other, admin, elsewhere];
        Court { bed, project_id, token_id, sandbox_id, execution_id, keys }
    }

    fn key(&self, who: Who) -> Option<&str> {
        match who {
            Who::NoKey => None,
            Who::Unknown => Some("e2b_0123456789abcdef0123456789abcdef01234567"),
            Who::Viewer => Some(&self.keys[0]),
            Who::WrongScope => Some(&self.keys[1]),
            Who::OtherProject => Some(&self.keys[2]),
            Who::Admin => Some(&self.keys[3]),
            Who::NoScope => Some(&self.keys[4]),
        }
    }
}

async fn with(bed: &Bed, method: &str, path: &str, key: Option<&str>, body: &Value) -> Reply {
    let bearer = key.map(|key| format!("Bearer {key}"));
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(bearer.iter().map(|bearer| ("Authorization", bearer.as_str())));
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    ask(bed.address, &method.to_uppercase(), path, &headers, &bytes).await
}

#[tokio::test]
async fn every_route_answers_each_as_it_should() {
    let court = Court::open().await;
    let document = get(court.bed.address, "/openapi.json").await.json();
    for case in cases() {
        let id = match case.path.split('/').nth(3) {
            Some("tokens") => &court.token_id,
            Some("sandboxes") => &court.sandbox_id,
            Some("executions") => &court.execution_id,
            _ => &court.project_id,
        };
        let path = format!("{}{}", case.path.replace("{id}", id), case.query);
        for (who, status) in NOBODY.iter().chain(case.told) {
            let reply = with(&court.bed, case.method, &path, court.key(*who), &case.body).await;
            assert_eq!(reply.status, *status, "{who:?}: {} {path}: {}", case.method, reply.text());
            conforms(&document, case.method, case.path, &reply);
        }
    }
    court.bed.stop().await;
}

#[test]
fn every_route_has_a_case() {
    let document: Value = serde_json::from_str(&sandkeep_server::openapi_json()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api/"));
    let routes: BTreeSet<_> = paths
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
        })
        .collect();
    let covered = cases().into_iter().map(|case| (case.method.to_owned(), case.path.to_owned())).collect();
    assert_eq!(routes, covered, "give the route its case");
}

#[tokio::test]
async fn one_sees_only_what_is_ones_own_to_see() {
    let court = Court::open().await;
    let reply = with(&court.bed, "get", "/api/v1/projects", court.key(Who::OtherProject), &Value::Null).await;
    let items = reply.json()["items"].clone();
    let names: Vec<_> = items.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["b"]);
    let reply =
        with(&court.bed, "get", "/api/v1/tokens?project=a", court.key(Who::Admin), &Value::Null).await;
    assert!(reply.text().contains("\"viewer\""), "{}", reply.text());
    for key in &court.keys {
        assert!(!reply.text().contains(key.as_str()), "a list shows no token's text");
    }
    court.bed.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_none_and_a_repeated_request_makes_one_thing() {
    let court = Court::open().await;
    let bed = &court.bed;
    let admin = court.key(Who::Admin).unwrap();
    let bearer = format!("Bearer {admin}");
    let headers = [("X-API-Key", admin), ("Content-Type", "application/json"), ("Idempotency-Key", "k1")];
    let body = br#"{"name":"once"}"#;
    let first = ask(bed.address, "POST", "/api/v1/tokens", &headers, body).await.json();
    let again = ask(bed.address, "POST", "/api/v1/tokens", &headers, body).await.json();
    assert_eq!((&first["id"], &again["token"]), (&again["id"], &Value::Null), "the text is shown once");
    let other = ask(bed.address, "POST", "/api/v1/tokens", &headers, br#"{"name":"twice"}"#).await;
    other.problem(409, "idempotency_key_reused");

    let key = first["token"].as_str().unwrap();
    assert_eq!(with(bed, "get", "/api/v1/tokens", Some(key), &Value::Null).await.status, 200);
    let path = format!("/api/v1/tokens/{}", first["id"].as_str().unwrap());
    assert_eq!(ask(bed.address, "DELETE", &path, &[("Authorization", &bearer)], b"").await.status, 204);
    with(bed, "get", "/api/v1/tokens", Some(key), &Value::Null).await.problem(401, "unauthenticated");
    with(bed, "delete", "/api/v1/tokens/tk1", Some(admin), &Value::Null).await.problem(400, "invalid_id");
    court.bed.stop().await;
}

#[tokio::test]
async fn a_list_is_read_on_from_where_it_ended() {
    let court = Court::open().await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/tokens?project=a&limit=2".to_owned();
    loop {
        let page = with(&court.bed, "get", &path, court.key(Who::Admin), &Value::Null).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/tokens?project=a&limit=2&cursor={cursor}");
    }
    let unique: BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), unique.len()), (4, 4), "each once: {seen:?}");
    let bad = with(&court.bed, "get", "/api/v1/tokens?cursor=x", court.key(Who::Admin), &Value::Null).await;
    bad.problem(400, "invalid_query");
    court.bed.stop().await;
}

#[tokio::test]
async fn without_keys_everybody_is_the_administrator() {
    let bed = Bed::start(&[("insecure_no_auth", "true")]).await;
    let reply = with(&bed, "post", "/api/v1/projects", None, &json!({"name": "a"})).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert!(reply.header("x-sandkeep-warning").is_some());
    bed.stop().await;
}
