//! TLS for a listener: a certificate chain and its key, read at start and again after a change.

use parking_lot::RwLock;
use souk_manifest::readers;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error, ServerConfig};
use tokio_rustls::server::TlsStream;

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
pub struct Tls {
    /// The acceptor with the certificate for new connections.
    acceptor: Arc<RwLock<TlsAcceptor>>,
    /// When the certificate file that was read last had been changed.
    read: Arc<RwLock<Option<SystemTime>>>,
    certificate: PathBuf,
    key: PathBuf,
    /// For listeners that only speak HTTP/1.1.
    only_http1: bool,
}

impl Tls {
    /// The same for a listener that only speaks HTTP/1.1.
    pub fn http1_only(self) -> Self {
        // Each listener reads the files for itself.
        let (acceptor, read) = (only_http1(&self.acceptor.read()), *self.read.read());
        let (acceptor, read) = (Arc::new(RwLock::new(acceptor)), Arc::new(RwLock::new(read)));
        Tls { acceptor, read, only_http1: true, ..self }
    }

    /// Reads certificate and key again, for new connections.
    ///
    /// # Errors
    /// As [`Tls::load`]; then the previous certificate stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let changed = changed(&self.certificate);
        let acceptor = Tls::read(&self.certificate, &self.key)?;
        *self.acceptor.write() = if self.only_http1 { only_http1(&acceptor) } else { acceptor };
        *self.read.write() = changed;
        Ok(())
    }

    /// Whether the certificate file was changed since it was read.
    pub fn is_outdated(&self) -> bool {
        changed(&self.certificate) != *self.read.read()
    }

    /// Accepts a TLS connection on `stream`.
    ///
    /// # Errors
    /// When the client's handshake fails.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        let acceptor = self.acceptor.read().clone();
        acceptor.accept(stream).await
    }

    /// Reads a PEM certificate chain, the server's own first, and its PEM private key.
    ///
    /// # Errors
    /// When a file cannot be read, or the two do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        // Before it is read: a change meanwhile is one.
        let read = Arc::new(RwLock::new(changed(certificate)));
        let acceptor = Arc::new(RwLock::new(Tls::read(certificate, key)?));
        Ok(Tls { acceptor, read, certificate: certificate.to_path_buf(), key: key.to_path_buf(), only_http1: false })
    }

    fn read(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
        const CHAIN: &str = "give --tls-cert the PEM file with the certificate chain, the server's own first";
        const KEY: &str = "give --tls-key the PEM file with the certificate's private key";
        let error = |file: &Path, message: String, fix| TlsError { file: file.into(), message, fix };
        let read = |file: &Path, fix| std::fs::read(file).map_err(|e| error(file, format!("cannot be read: {e}"), fix));
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificate, CHAIN)?)
            .collect::<Result<_, _>>()
            .map_err(|e| error(certificate, format!("is not a PEM file: {e}"), CHAIN))?;
        if chain.is_empty() {
            return Err(error(certificate, "contains no certificate".into(), CHAIN));
        }
        let text = read(key, KEY)?;
        if let Some(warning) = readers::warning(key, key, "the private key of a certificate") {
            tracing::warn!("{warning}");
        }
        if is_encrypted(&text) {
            let fix = "decrypt it, say with `openssl pkey -in KEY -out PLAIN`, and keep the result to the host's user";
            return Err(error(key, "the private key is encrypted, and the host asks for no password".into(), fix));
        }
        let private = PrivateKeyDer::from_pem_slice(&text).map_err(|e| match e {
            pem::Error::NoItemsFound => error(key, "contains no private key".into(), KEY),
            other => error(key, format!("is not a PEM file: {other}"), KEY),
        })?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|e| match e {
                Error::InvalidCertificate(_) => error(certificate, format!("cannot be used: {e}"), CHAIN),
                Error::InconsistentKeys(_) => {
                    let fix = "name a certificate and the key that belongs to it";
                    error(certificate, format!("does not belong to the key {}", key.display()), fix)
                }
                other => error(key, format!("cannot be used: {other}"), KEY),
            })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// When a file was last changed.
fn changed(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).ok()?.modified().ok()
}

/// The same certificate, for HTTP/1.1 only.
fn only_http1(acceptor: &TlsAcceptor) -> TlsAcceptor {
    let mut config = ServerConfig::clone(acceptor.config());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Whether a PEM file holds a key encrypted with a password: in PKCS #8, or in OpenSSL's older format.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_changed_certificate_is_read_again_and_a_broken_one_leaves_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let write = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            std::fs::write(&certificate, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        };
        write("one.test");
        let tls = Tls::load(&certificate, &key).unwrap();
        let config = || Arc::as_ptr(tls.acceptor.read().config());
        let first = config();
        write("two.test");
        tls.reload().unwrap();
        let second = config();
        assert_ne!(first, second);
        std::fs::write(&certificate, "no certificate").unwrap();
        assert!(tls.reload().unwrap_err().to_string().contains("cert.pem"));
        assert_eq!(config(), second);
    }

    #[test]
    fn a_certificate_is_outdated_when_its_file_was_changed_after_it_was_read_whenever_that_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let made = rcgen::generate_simple_self_signed(vec!["one.test".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let change = |seconds| {
            let file = std::fs::File::options().write(true).open(&certificate).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        let tls = Tls::load(&certificate, &key).unwrap();
        let other = tls.clone().http1_only();
        assert!(!tls.is_outdated() && !other.is_outdated());
        change(1);
        assert!(tls.is_outdated() && other.is_outdated());
        tls.reload().unwrap();
        assert!(!tls.is_outdated() && other.is_outdated(), "the other listener has not read it");
        std::fs::write(&key, "no key").unwrap();
        change(2);
        assert!(tls.reload().is_err() && tls.is_outdated(), "it is tried again when the key has followed");
    }

    #[test]
    fn each_mistake_names_the_file_and_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (own, other) = (made("a.test"), made("b.test"));
        let certificate = file("cert.pem", &own.cert.pem());
        let key = file("key.pem", &own.signing_key.serialize_pem());
        let other_key = file("other.pem", &other.signing_key.serialize_pem());
        let junk = file("junk.pem", "junk");
        let bad = file("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let cut = file("cut.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n");
        let sealed =
            file("sealed.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----");
        let none = folder.path().join("none.pem");
        assert!(Tls::load(&certificate, &key).is_ok());
        for (certificate, key, named, message, fix) in [
            (&none, &key, "none.pem", "cannot be read", "--tls-cert"),
            (&junk, &key, "junk.pem", "contains no certificate", "--tls-cert"),
            (&bad, &key, "bad.pem", "cannot be used", "--tls-cert"),
            (&certificate, &none, "none.pem", "cannot be read", "--tls-key"),
            (&certificate, &junk, "junk.pem", "contains no private key", "--tls-key"),
            (&certificate, &cut, "cut.pem", "not a PEM file", "--tls-key"),
            (&certificate, &sealed, "sealed.pem", "encrypted", "openssl pkey"),
            (&certificate, &other_key, "cert.pem", "does not belong to the key", "belongs to it"),
        ] {
            let error = Tls::load(certificate, key).map(|_| ()).unwrap_err().to_string();
            let (first, last) = error.split_once("\n  fix: ").unwrap();
            assert!(first.contains(named) && first.contains(message) && last.contains(fix), "{error}");
        }
    }
}
