//! Certificates, read again when their files change.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sandkeep_core::code::{ErrorCode, Problem};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;
use crate::state::App;

/// How often the files are looked at. They change every few weeks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The certificate in force.
pub(crate) struct Certificates {
    files: Tls,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

/// What the files hold, byte for byte: comparing that sees every change, also one that keeps size and time.
#[derive(PartialEq, Eq)]
struct Pem {
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// What handshakes get.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// `tls_unusable`.
    pub(crate) fn read(files: &Tls) -> Result<Self, Problem> {
        let provider = Arc::new(ring::default_provider());
        let pem = read(files)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified(files, &pem, &provider)?))));
        let versions =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = versions.map_err(|error| unusable(&files.cert_file, &error))?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(&current) as Arc<_>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Certificates { files: files.clone(), provider, current, acceptor })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Looks at the files until the app is stopping. What cannot be used is told once, and the pair in force stays.
    pub(crate) async fn watch(self: Arc<Self>, app: App) {
        let mut seen = read(&self.files).ok();
        let mut tick = tokio::time::interval(LOOK_EVERY);
        while app.stopping.run_until_cancelled(tick.tick()).await.is_some() {
            let now = read(&self.files);
            if now.as_ref().ok() == seen.as_ref() {
                continue;
            }
            let taken = now.as_ref().map_err(Problem::clone).and_then(|pem| self.take(pem));
            match taken {
                Ok(()) => tracing::info!("the certificate changed, and the new one is in force"),
                Err(problem) => {
                    app.metrics.certificate_reloads_failed.inc();
                    tracing::error!(error.code = %problem.code, "the certificate changed, and the old one stays in force: {}", problem.message);
                }
            }
            seen = now.ok();
        }
    }

    fn take(&self, pem: &Pem) -> Result<(), Problem> {
        let new = Arc::new(certified(&self.files, pem, &self.provider)?);
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

fn read(files: &Tls) -> Result<Pem, Problem> {
    let bytes = |path: &Path| std::fs::read(path).map_err(|error| unusable(path, &error));
    Ok(Pem { chain: bytes(&files.cert_file)?, key: bytes(&files.key_file)? })
}

fn certified(files: &Tls, pem: &Pem, provider: &CryptoProvider) -> Result<CertifiedKey, Problem> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.chain).collect();
    let chain = chain.map_err(|error| unusable(&files.cert_file, &error))?;
    if chain.is_empty() {
        return Err(unusable(&files.cert_file, &"it holds no certificate in PEM"));
    }
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| unusable(&files.key_file, &error))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| unusable(&files.key_file, &error))
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Problem {
    let message = format!("{} cannot be used: {why}", path.display());
    Problem::new(ErrorCode::TlsUnusable, message)
        .expecting("a certificate and the key that belongs to it, in PEM")
}
