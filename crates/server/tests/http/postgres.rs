//! The same server on PostgreSQL, and what it says when that goes away.

#[path = "../../../store/tests/support/postgres.rs"]
pub(crate) mod support;

use sqlx::Connection as _;

use crate::bed::Bed;
use crate::http::get;

#[tokio::test]
async fn a_server_on_postgres_is_ready_until_its_database_is_gone() {
    let Some(url) = support::fresh_database("server_on_postgres").await else { return };
    let bed = Bed::start(&[("database_url", &url)]).await;
    assert_eq!(get(bed.address, "/ready").await.status, 200);
    assert!(!bed.directory.path().join("data/sandkeep.db").exists());

    let (server, name) = url
        .split_once("postgres:///")
        .and_then(|(_, rest)| rest.split_once('?'))
        .map(|(name, rest)| (rest, name))
        .unwrap();
    let mut other = sqlx::PgConnection::connect(&format!("postgres:///postgres?{server}")).await.unwrap();
    let gone = sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
    sqlx::raw_sql(gone).execute(&mut other).await.unwrap();

    // What was found within the last second is told again.
    let begun = std::time::Instant::now();
    let reply = loop {
        let reply = get(bed.address, "/ready").await;
        if reply.status != 200 {
            break reply;
        }
        assert!(begun.elapsed() < crate::http::PATIENCE, "still ready");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let ready = reply.json();
    assert_eq!((reply.status, &ready["status"]), (503, &"not_ready".into()));
    let error = &ready["components"]["store_write"]["last_error"];
    assert_eq!(error["code"], "store_unavailable", "{ready}");
    assert_eq!(get(bed.address, "/live").await.status, 204, "it lives, and waits for the database");
    bed.stop().await;
}

#[tokio::test]
async fn a_lost_key_is_replaced_under_a_running_server() {
    let Some(url) = support::fresh_database("reset_key_on_postgres").await else { return };
    let flags = [("database_url", url.as_str())];
    let bed = Bed::start(&flags).await;
    let key =
        || std::fs::read_to_string(bed.directory.path().join("data/admin.key")).unwrap().trim().to_owned();
    let status = async |key: &str| {
        let headers = [("X-API-Key", key)];
        crate::http::ask(bed.address, "GET", "/api/v1/projects", &headers, b"").await.status
    };
    let before = key();
    assert_eq!(status(&before).await, 200);
    sandkeep_server::reset_admin_key(&crate::bed::config(&bed.directory, &flags)).await.unwrap();
    assert_eq!(status(&key()).await, 200);
    // What was found lately is believed for a while.
    let begun = std::time::Instant::now();
    while status(&before).await == 200 {
        assert!(begun.elapsed() < crate::http::PATIENCE, "the earlier key still counts");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    bed.stop().await;
}

#[tokio::test]
async fn a_wrong_url_is_refused_without_repeating_it() {
    for url in ["mysql://u:hunter2@h/d", "postgres://u:hunter2@127.0.0.1:1/d"] {
        let problem = Bed::try_start(&[("database_url", url)]).await.map(drop).unwrap_err();
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
    }
}
