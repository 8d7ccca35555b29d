//! TLS for the listener: a certificate chain and its key, read once at start-up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificate or key cannot be used. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}\n  fix: {fix}", file.display())]
pub struct TlsError {
    file: PathBuf,
    message: String,
    fix: &'static str,
}

/// Accepts TLS connections.
#[derive(Clone)]
pub struct Tls(pub(super) TlsAcceptor);

impl Tls {
    /// Reads a PEM certificate chain, the server's own first, and its PEM private key.
    ///
    /// # Errors
    /// When a file cannot be read, or the two do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let error = |file: &Path, message: String, fix| TlsError { file: file.into(), message, fix };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|e| error(certificate, e.to_string(), "give --tls-cert a PEM file with the certificate chain"))?;
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|e| error(key, e.to_string(), "give --tls-key the PEM file of the certificate's private key"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|e| error(certificate, e.to_string(), "give a certificate and the key that belongs to it"))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls(TlsAcceptor::from(Arc::new(config))))
    }
}
