//! A registry with TLS that leads to plain text, where whoever listens would see and change everything.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sandkeep_core::code::ErrorCode;
use support::server::Server;
use support::{Place, derived};

/// Answers every request with this head, over TLS; its name and certificate.
fn with_tls(head: String) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config =
        Arc::new(config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|got| got == 1) {
                request.push(byte[0]);
            }
            let _gone = stream.write_all(head.as_bytes()).and_then(|()| stream.flush());
            stream.conn.send_close_notify();
            let _gone = stream.flush();
        }
    });
    (name, made.cert.pem())
}

fn place(certificate: &str) -> Place {
    let mut place = Place::new();
    place.ca = Some(place.write("ca.pem", certificate));
    place
}

#[test]
fn a_redirect_to_plain_text_is_not_followed() {
    let plain = Server::of(&derived("one"), |_, _, _| false);
    let head = format!(
        "HTTP/1.1 307 Over there\r\nlocation: http://{}/v2/one/manifests/1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        plain.name
    );
    let (name, certificate) = with_tls(head);
    place(&certificate).refused(
        &format!("{name}/one:1"),
        ErrorCode::RegistryInvalid,
        "from TLS to plain text",
    );
    assert_eq!(plain.asked_for(""), 0);
}

#[test]
fn a_token_service_without_tls_is_not_asked() {
    let plain = Server::of(&derived("one"), |_, _, _| false);
    let head = format!(
        "HTTP/1.1 401 Who\r\nwww-authenticate: Bearer realm=\"http://{}/token\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        plain.name
    );
    let (name, certificate) = with_tls(head);
    let place = place(&certificate);
    place.login(&name, "me", "secret");
    place.refused(&format!("{name}/one:1"), ErrorCode::RegistryInvalid, "a token service without TLS");
    assert_eq!(plain.asked_for(""), 0);
}
