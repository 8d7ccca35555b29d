//! How a component's client connects: resolve the name, check every address, connect to a checked address, start TLS.
//!
//! The check is inside the connector, between resolving a name and connecting to its address, so that nothing can
//! change in between. The connector belongs to one component, and so does the pool above it: a connection that one
//! component's grants opened is never handed to another.

use super::open::{CountedStream, OpenConnections};
use super::target::Target;
use crate::outbound::{self, AllowedHosts, Resolve, Unreachable};
use futures::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{HttpConnector, dns::Name};
use hyper_util::rt::TokioIo;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::rustls::ClientConfig;
use tower_service::Service;

souk_manifest::fixed_limits! {
    /// The fixed limits of connecting to other services.
    pub(crate) const FIXED_LIMITS = "http client";

    // A connection attempt can outlive its request in the pool, so it has its own time limit.
    /// How long it may take to resolve a name, connect and finish the TLS handshake, whatever the component asks for.
    pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
}

/// The TLS settings of the clients.
///
/// # Errors
/// When the TLS library does not support its own defaults.
pub fn tls_config() -> anyhow::Result<Arc<ClientConfig>> {
    let mut config = outbound::tls_config()?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why no connection was attempted.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
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
    open: OpenConnections,
}

impl Connector {
    pub(super) fn new(allowed: AllowedHosts, resolve: Resolve, tls: Arc<ClientConfig>, open: OpenConnections) -> Self {
        Connector(Arc::new(Shared { allowed, resolve, tls, open }))
    }
}

impl Shared {
    async fn addresses(&self, target: &Target) -> Result<Vec<IpAddr>, ConnectError> {
        Ok(target.server().addresses(&self.allowed, &self.resolve).await?)
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = CountedStream<MaybeHttpsStream<TokioIo<TcpStream>>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            let target = Target::of(&uri).ok_or(ConnectError::NoHost)?;
            // `HttpConnector` does not call the resolver for a literal address, so it is checked here.
            if target.host.parse::<IpAddr>().is_ok() {
                shared.addresses(&target).await?;
            }
            let (tls, open) = (shared.tls.clone(), shared.open.clone());
            let mut http = HttpConnector::new_with_resolver(CheckedResolver { shared, target });
            http.enforce_http(false);
            http.set_nodelay(true);
            let mut https = HttpsConnector::from((http, tls));
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, https.call(uri)).await;
            Ok(open.counted(connected.map_err(|_| ConnectError::Timeout)??))
        })
    }
}

/// Resolves the name of one target, and returns only the addresses that the component may reach.
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

    fn call(&mut self, _: Name) -> Self::Future {
        let CheckedResolver { shared, target } = self.clone();
        Box::pin(async move {
            let addresses = shared.addresses(&target).await?;
            // `HttpConnector` replaces 0 with the URI's port.
            let addresses: Vec<_> = addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(addresses.into_iter())
        })
    }
}
