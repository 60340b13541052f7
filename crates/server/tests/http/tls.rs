//! TLS, with certificates that the tests make.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sandkeep_core::code::ErrorCode;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bed::Bed;
use crate::http::{PATIENCE, exchange, raw, request};

/// A certificate for `localhost`, and its key.
fn made() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new(certificate: &str, key: &str) -> Self {
        let files = Files { directory: tempfile::tempdir().unwrap() };
        files.put(certificate, key);
        files
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Renamed into place, as certificate tools do it.
    fn put(&self, certificate: &str, key: &str) {
        for (name, text) in [("cert.pem", certificate), ("key.pem", key)] {
            let new = self.directory.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, Path::new(&self.path(name))).unwrap();
        }
    }

    async fn serve(&self, flags: &[(&'static str, &str)]) -> Bed {
        Bed::start(
            &[&[("tls.cert_file", &*self.path("cert.pem")), ("tls.key_file", &*self.path("key.pem"))], flags]
                .concat(),
        )
        .await
    }
}

/// Connects to whoever proves to be `certificate`.
async fn connect(
    bed: &Bed,
    certificate: &str,
    protocol: Option<&str>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocol.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(bed.address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn a_certificate_is_shown_and_a_changed_one_is_taken() {
    let (certificate, key) = made();
    let files = Files::new(&certificate, &key);
    let bed = files.serve(&[]).await;
    assert!(bed.url.starts_with("https://"), "{}", bed.url);
    let live = request("GET", "/live", &[], b"");
    let stream = connect(&bed, &certificate, None).await.unwrap();
    assert_eq!(exchange(stream, &live).await.status, 204);

    // Half of a pair is not taken, and told; the pair in force stays.
    let (other, other_key) = made();
    files.put(&other, &key);
    let failed = "sandkeep_http_certificate_reloads_failed_total 1";
    wait(async || {
        let stream = connect(&bed, &certificate, None).await.unwrap();
        exchange(stream, &request("GET", "/metrics", &[], b"")).await.text().contains(failed)
    })
    .await;
    files.put(&other, &other_key);
    wait(async || connect(&bed, &other, None).await.is_ok()).await;
    assert!(connect(&bed, &certificate, None).await.is_err(), "the old one is gone");
    bed.stop().await;
}

async fn wait(mut holds: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "it never came true");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn whoever_speaks_plainly_or_not_at_all_is_let_go() {
    let (certificate, key) = made();
    let files = Files::new(&certificate, &key);
    let bed = files.serve(&[("limits.header_timeout", "2s")]).await;
    let plain = raw(TcpStream::connect(bed.address).await.unwrap(), &request("GET", "/live", &[], b"")).await;
    assert!(!plain.starts_with(b"HTTP"), "{plain:?}");
    assert!(raw(TcpStream::connect(bed.address).await.unwrap(), b"").await.is_empty(), "no handshake");
    // HTTP/2 agreed on, and then silence: the server ends it.
    let stream = connect(&bed, &certificate, Some("h2")).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    raw(stream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    bed.stop().await;
}

#[tokio::test]
async fn a_pair_that_is_none_is_refused_at_the_start() {
    let (certificate, key) = made();
    let (_, other_key) = made();
    for (certificate, key, says) in [
        (&*certificate, &*other_key, "key.pem"),
        (&*certificate, "", "key.pem"),
        ("", &*key, "no certificate"),
        ("-----BEGIN CERTIFICATE-----\nx\n", &*key, "cert.pem"),
    ] {
        let files = Files::new(certificate, key);
        let flags = [("tls.cert_file", &*files.path("cert.pem")), ("tls.key_file", &*files.path("key.pem"))];
        let problem = Bed::try_start(&flags).await.map(drop).unwrap_err();
        assert_eq!(problem.code, ErrorCode::TlsUnusable, "{problem}");
        assert!(problem.message.contains(says), "{problem}");
    }
    let missing = [("tls.cert_file", "/no/such"), ("tls.key_file", "/no/such")];
    let problem = Bed::try_start(&missing).await.map(drop).unwrap_err();
    assert!(problem.message.contains("/no/such cannot be used"), "{problem}");
}
