//! Starting where something is in the way, readiness, and ending.

use sandkeep_core::code::ErrorCode;
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};
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
    for name in ["store_read", "store_write", "output", "sandboxes"] {
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

/// What `/ready` says, once its status is `expected`.
async fn ready(address: std::net::SocketAddr, expected: u16) -> serde_json::Value {
    let asked = async {
        loop {
            let reply = get(address, "/ready").await;
            if reply.status == expected {
                return reply.json();
            }
            // What was found within the last second is told again.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("it comes to be so")
}

#[tokio::test]
async fn a_server_that_cannot_keep_output_or_make_sandboxes_is_not_ready() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let of = Config {
        state: StateDirectory::open(&state).unwrap(),
        id_base: ID_BASE,
        ceiling: sandkeep_core::size::ByteSize::from_gib(4),
    };
    let server = Server::start(config(&directory, &[]), std::sync::Arc::new(Local::new(of))).await.unwrap();
    let (address, stop) = (server.address().unwrap(), tokio_util::sync::CancellationToken::new());
    let running = tokio::spawn(server.run(stop.clone()));
    ready(address, 200).await;
    let output = directory.path().join("data/output");
    for (name, place, code) in
        [("output", &output, "data_dir_unusable"), ("sandboxes", &state, "state_dir_unusable")]
    {
        let away = place.with_extension("away");
        std::fs::rename(place, &away).unwrap();
        std::fs::write(place, "").unwrap();
        let said = ready(address, 503).await;
        assert_eq!(said["status"], "not_ready");
        for (other, component) in said["components"].as_object().unwrap() {
            assert_eq!(component["ready"], other != name, "{name}: {said}");
        }
        assert_eq!(said["components"][name]["last_error"]["code"], code, "{said}");
        let metrics = get(address, "/metrics").await;
        assert!(metrics.text().contains(&format!("component_ready{{component=\"{name}\"}} 0")));
        std::fs::remove_file(place).unwrap();
        std::fs::rename(&away, place).unwrap();
        let said = ready(address, 200).await;
        assert_eq!(said["components"][name]["last_error"]["code"], code, "what was is told: {said}");
    }
    stop.cancel();
    assert_eq!(running.await.unwrap(), Drained::InTime);
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
