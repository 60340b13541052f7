//! Paths, methods, headers: what every request meets whatever it wants.

use crate::bed::Bed;
use crate::http::{ask, get};

#[tokio::test]
async fn what_is_not_there_is_told_with_what_would_be() {
    let bed = Bed::start(&[]).await;
    let at = |path: &'static str| get(bed.address, path);
    let document = at("/nothing").await.problem(404, "no_such_route");
    assert_eq!(document["expected"], "a path that /docs lists");
    assert_eq!(document["type"], "/errors/no_such_route");
    assert_eq!(at("/api/v1/nothing").await.problem(404, "no_such_route")["value"], "/api/v1/nothing");
    let document = at("/ready/").await.problem(404, "no_such_route");
    assert_eq!(document["expected"], "/ready", "a slash at the end names nothing");
    // Wherever the document says one can read on, one can.
    let page = at("/errors/no_such_route").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/markdown; charset=utf-8")));
    assert!(page.text().starts_with("# no_such_route: "));
    at("/errors/nothing").await.problem(404, "not_found");
    at("/errors/%2e%2e").await.problem(404, "not_found");
    bed.stop().await;
}

#[tokio::test]
async fn methods_are_those_of_the_route() {
    let bed = Bed::start(&[]).await;
    let reply = ask(bed.address, "DELETE", "/live", &[], b"").await;
    reply.problem(405, "method_not_allowed");
    assert_eq!(reply.header("allow"), Some("GET,HEAD"));
    ask(bed.address, "BREW", "/live", &[], b"").await.problem(405, "method_not_allowed");
    // HEAD is GET without the body.
    let (head, whole) =
        (ask(bed.address, "HEAD", "/health", &[], b"").await, get(bed.address, "/health").await);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), whole.header("content-length"));
    let head = ask(bed.address, "HEAD", "/nothing", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (404, 0));
    // What clients invent makes no series of its own.
    let metrics = get(bed.address, "/metrics").await;
    assert!(metrics.text().contains("method=\"other\"") && !metrics.text().contains("BREW"));
    bed.stop().await;
}

#[tokio::test]
async fn every_answer_has_an_id_and_a_good_one_is_kept() {
    let bed = Bed::start(&[]).await;
    let given = ask(bed.address, "GET", "/live", &[("X-Request-Id", "trace-7")], b"").await;
    assert_eq!(given.header("x-request-id"), Some("trace-7"));
    let bad = ask(bed.address, "GET", "/nothing", &[("X-Request-Id", "a b")], b"").await;
    let id = bad.problem(404, "no_such_route")["request_id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("rq"), "{id}");
    let other = get(bed.address, "/live").await;
    assert_ne!(other.header("x-request-id"), Some(id.as_str()));
    assert_eq!(other.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(other.header("cache-control"), Some("no-store"));
    assert_eq!(other.header("x-sandkeep-warning"), None);
    bed.stop().await;
}

#[tokio::test]
async fn a_base_path_is_in_front_of_everything() {
    let bed = Bed::start(&[("base_path", "/keep/a")]).await;
    assert!(bed.url.ends_with("/keep/a"), "{}", bed.url);
    for path in ["/keep/a/live", "/keep/a/ready", "/keep/a/metrics", "/keep/a/openapi.json", "/keep/a/docs/"]
    {
        let reply = get(bed.address, path).await;
        assert!(reply.status < 300, "{path}: {reply:?}");
    }
    let document = get(bed.address, "/live").await.problem(404, "no_such_route");
    assert_eq!(document["expected"], "/keep/a/live");
    assert_eq!(document["type"], "/keep/a/errors/no_such_route");
    assert_eq!(get(bed.address, "/keep/a/errors/no_such_route").await.status, 200);
    assert_eq!(get(bed.address, "/keep/a").await.header("location"), Some("/keep/a/docs/"));
    let reader = get(bed.address, "/keep/a/docs/swagger-initializer.js").await;
    assert!(reader.text().contains("\"/keep/a/openapi.json\""), "{}", reader.text());
    bed.stop().await;
}

#[tokio::test]
async fn the_documentation_needs_no_network() {
    let bed = Bed::start(&[]).await;
    assert_eq!(get(bed.address, "/").await.header("location"), Some("/docs/"));
    let page = get(bed.address, "/docs/").await;
    assert_eq!(page.status, 200);
    // Every address in the page is one of this server's own.
    for attribute in ["src=\"", "href=\""] {
        for rest in page.text().split(attribute).skip(1) {
            let link = rest.split('"').next().unwrap();
            assert!(!link.contains("//"), "{link}");
            let path = format!("/docs/{}", link.trim_start_matches("./"));
            assert_eq!(get(bed.address, &path).await.status, 200, "{path}");
        }
    }
    bed.stop().await;
}

#[tokio::test]
async fn other_origins_are_allowed_by_name_only() {
    let preflight = [
        ("Origin", "https://console.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ];
    let closed = Bed::start(&[]).await;
    let reply = ask(closed.address, "OPTIONS", "/api/v1/executions", &preflight, b"").await;
    assert_eq!(reply.header("access-control-allow-origin"), None, "off by default");
    closed.stop().await;

    let open = Bed::start(&[("cors.origins", "https://console.example")]).await;
    let reply = ask(open.address, "OPTIONS", "/api/v1/executions", &preflight, b"").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://console.example"));
    assert!(reply.header("access-control-allow-headers").unwrap().contains("authorization"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    let other = ask(open.address, "GET", "/live", &[("Origin", "https://evil.example")], b"").await;
    assert_eq!(other.header("access-control-allow-origin"), None);
    // A page may read errors too.
    let error = ask(open.address, "GET", "/nothing", &preflight[..1], b"").await;
    assert_eq!(error.header("access-control-allow-origin"), Some("https://console.example"));
    open.stop().await;
}

#[tokio::test]
async fn without_keys_only_this_machine_is_answered_and_warned() {
    let bed = Bed::start(&[("insecure_no_auth", "true")]).await;
    let reply = get(bed.address, "/health").await;
    let warning = reply.header("x-sandkeep-warning").unwrap();
    assert!(warning.contains("authentication is off"), "{warning}");
    assert_eq!(reply.json()["warnings"][0], warning);
    let rebound = ask(bed.address, "GET", "/health", &[("Host", "evil.example:8000")], b"").await;
    rebound.problem(403, "origin_refused");
    let page = ask(bed.address, "GET", "/health", &[("Origin", "https://evil.example")], b"").await;
    page.problem(403, "origin_refused");
    bed.stop().await;
}

#[tokio::test]
async fn metrics_may_have_a_listener_of_their_own() {
    let bed = Bed::start(&[("metrics.listen", "127.0.0.1:0")]).await;
    get(bed.address, "/metrics").await.problem(404, "no_such_route");
    let own = bed.metrics_address.unwrap();
    let metrics = get(own, "/metrics").await;
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((metrics.status, metrics.header("content-type")), (200, Some(media_type)));
    assert!(
        metrics.text().contains("sandkeep_http_errors_total{code=\"no_such_route\"} 1"),
        "{}",
        metrics.text()
    );
    get(own, "/health").await.problem(404, "no_such_route");
    bed.stop().await;
}
