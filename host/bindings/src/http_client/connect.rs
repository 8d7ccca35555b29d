//! How a component's client connects: resolve, check every address, connect to what was checked, speak TLS.
//!
//! The check stands inside the connector, between resolving a name and connecting to what it resolved to, so nothing
//! can change in between. The connector belongs to one component, and so does the pool above it: a connection that one
//! component's grants opened is never handed to another.

use super::address::special;
use super::allow::{AllowedHosts, Target};
use futures::future::BoxFuture;
use http::Uri;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{HttpConnector, dns::Name};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::{self, ClientConfig};
use tower_service::Service;

souk_manifest::fixed_limits! {
    /// The fixed limits of connecting to other services.
    pub(crate) const FIXED_LIMITS = "http client";

    // A connection attempt can outlive its request in the pool, so it has a bound of its own.
    /// How long it may take to resolve a name, connect and finish the TLS handshake, whatever the component asks for.
    pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    /// The most names that one component resolves at a time; others wait.
    const MAX_LOOKUPS: usize = 16, "names";
}

/// Resolves a name; a seam, so that tests can say where a name leads.
pub(crate) type Resolve = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The system's resolver, for one component.
///
/// A look-up blocks a thread and cannot be stopped, so it can outlive the request that wanted it. It keeps its permit
/// until it is over: a component that is granted wildcards cannot fill the blocking pool with names that never answer.
pub(crate) fn system_resolver() -> Resolve {
    let permits = Arc::new(Semaphore::new(MAX_LOOKUPS));
    Arc::new(move |name| {
        let permits = permits.clone();
        Box::pin(async move {
            let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = move || {
                let found = (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect());
                drop(permit);
                found
            };
            tokio::task::spawn_blocking(lookup).await?
        })
    })
}

/// The TLS settings of all outbound connections: certificates are checked against Mozilla's roots, always.
///
/// # Errors
/// When the TLS library does not support its own defaults.
pub fn tls_config() -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_webpki_roots()
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why no connection was attempted.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{host} leads to {address} ({kind}), which is not on the public internet")]
    Prohibited { host: String, address: IpAddr, kind: &'static str },
    #[error("the name cannot be resolved: {0}")]
    Dns(#[source] io::Error),
    #[error("no connection within {CONNECT_TIMEOUT:?}")]
    Timeout,
    #[error("the URI has no host")]
    NoHost,
}

/// The connector of one component.
#[derive(Clone)]
pub(super) struct Connector(Arc<Shared>);

struct Shared {
    allowed: AllowedHosts,
    resolve: Resolve,
    tls: Arc<ClientConfig>,
}

impl Connector {
    pub(super) fn new(allowed: AllowedHosts, resolve: Resolve, tls: Arc<ClientConfig>) -> Self {
        Connector(Arc::new(Shared { allowed, resolve, tls }))
    }
}

impl Shared {
    fn check(&self, target: &Target, address: IpAddr) -> Result<(), ConnectError> {
        match special(address) {
            Some(kind) if !self.allowed.grants_address(target, address) => {
                Err(ConnectError::Prohibited { host: target.host.clone(), address, kind })
            }
            _ => Ok(()),
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            let target = Target::of(&uri).ok_or(ConnectError::NoHost)?;
            // `HttpConnector` asks no resolver about an address, so a literal one is checked here.
            if let Some(address) = target.address() {
                shared.check(&target, address)?;
            }
            let tls = shared.tls.clone();
            let mut http = HttpConnector::new_with_resolver(CheckedResolver { shared, target });
            http.enforce_http(false);
            http.set_nodelay(true);
            let mut https = HttpsConnector::from((http, tls));
            tokio::time::timeout(CONNECT_TIMEOUT, https.call(uri)).await.map_err(|_| ConnectError::Timeout)?
        })
    }
}

/// Resolves the name of one target to those of its addresses that the component may reach.
#[derive(Clone)]
struct CheckedResolver {
    shared: Arc<Shared>,
    target: Target,
}

impl Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let CheckedResolver { shared, target } = self.clone();
        Box::pin(async move {
            let found = (shared.resolve)(name.as_str().to_owned()).await.map_err(ConnectError::Dns)?;
            let mut refused = None;
            let mut addresses = Vec::with_capacity(found.len());
            for address in found {
                match shared.check(&target, address) {
                    // `HttpConnector` puts the URI's port in the place of 0.
                    Ok(()) => addresses.push(SocketAddr::new(address, 0)),
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                Some(error) if addresses.is_empty() => Err(error),
                _ if addresses.is_empty() => Err(ConnectError::Dns(io::Error::other("no addresses"))),
                _ => Ok(addresses.into_iter()),
            }
        })
    }
}
