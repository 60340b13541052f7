//! Starting where something is in the way, readiness, and ending.

use sandkeep_core::code::ErrorCode;
use sandkeep_server::{Drained, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bed::{Bed, config};
use crate::driver::driver;
use crate::http::{PATIENCE, get};

#[tokio::test]
async fn what_is_taken_is_refused_before_anything_changes() {
    let bed = Bed::start(&[]).await;
    let taken = bed.address.to_string();
    let elsewhere = tempfile::tempdir().unwrap();
    let refused = Server::start(config(&elsewhere, &[("listen", &taken)]), driver()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ListenerUnusable, "{refused}");
    assert!(refused.message.contains(&taken) && refused.message.starts_with("listen: "), "{refused}");
    assert!(!elsewhere.path().join("data").exists(), "no store was made");
    let refused =
        Server::start(config(&elsewhere, &[("metrics.listen", &taken)]), driver()).await.unwrap_err();
    assert!(refused.message.starts_with("metrics.listen: "), "{refused}");
    let refused = Server::start(config(&bed.directory, &[]), driver()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::DataDirInUse, "{refused}");
    assert_eq!(get(bed.address, "/live").await.status, 204, "the first goes on");
    bed.stop().await;
}

#[tokio::test]
async fn a_ready_server_says_so_of_each_part() {
    let bed = Bed::start(&[]).await;
    let reply = get(bed.address, "/ready").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let ready = reply.json();
    assert_eq!(ready["status"], "ready");
    for name in ["store_read", "store_write"] {
        let component = &ready["components"][name];
        assert_eq!((&component["ready"], &component["last_error"]), (&true.into(), &serde_json::Value::Null));
        assert!(component["latency_us"].as_u64().unwrap() > 0, "{component}");
    }
    let metrics = get(bed.address, "/metrics").await;
    assert!(
        metrics.text().contains("sandkeep_http_component_ready{component=\"store_write\"} 1"),
        "{}",
        metrics.text()
    );
    bed.stop().await;
}

#[tokio::test]
async fn many_who_ask_are_one_probe() {
    let bed = Bed::start(&[]).await;
    let asked = futures_util::future::join_all((0..20).map(|_| get(bed.address, "/ready"))).await;
    let mut times: Vec<_> = asked
        .iter()
        .map(|reply| reply.json()["components"]["store_write"]["checked_at"].to_string())
        .collect();
    times.dedup();
    assert!(times.len() < 10, "{times:?}");
    bed.stop().await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_a_stop_up() {
    let bed = Bed::start(&[]).await;
    let mut idle = TcpStream::connect(bed.address).await.unwrap();
    idle.write_all(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut some = [0; 12];
    idle.read_exact(&mut some).await.unwrap();
    let address = bed.address;
    assert_eq!(bed.stop().await, Drained::InTime);
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, idle.read_to_end(&mut rest)).await.expect("closed").unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_was_stopped_starts_again_on_the_same_data() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let server = Server::start(config(&directory, &[]), driver()).await.unwrap();
        let (address, stop) = (server.address().unwrap(), tokio_util::sync::CancellationToken::new());
        let running = tokio::spawn(server.run(stop.clone()));
        assert_eq!(get(address, "/ready").await.status, 200);
        stop.cancel();
        assert_eq!(running.await.unwrap(), Drained::InTime);
    }
}
