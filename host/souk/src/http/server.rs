//! The listener: accepts connections, survives what accepting can fail with, and drains when told to stop.

use super::connection;
use super::edge::Edge;
use super::request::Caller;
use super::tls::Tls;
use http::uri::Scheme;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

souk_manifest::fixed_limits! {
    /// The fixed limits of accepting connections.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The pause after a connection could not be accepted; it doubles each time.
    const MIN_BACKOFF: Duration = Duration::from_millis(5);
    /// The longest pause after a connection could not be accepted.
    const MAX_BACKOFF: Duration = Duration::from_secs(1);
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}\n  fix: {}", fix(address, source.kind()))]
pub struct ServerError {
    address: String,
    source: std::io::Error,
}

/// What the operator writes instead of `address`.
fn fix(address: &str, kind: ErrorKind) -> String {
    let plain = address.split_once("://").map_or(address, |(_, rest)| rest).trim_end_matches('/');
    let host_and_port = match (plain.parse::<IpAddr>(), plain.rsplit_once(':')) {
        (Ok(IpAddr::V6(host)), _) => format!("[{host}]:3000"),
        (Ok(host), _) => format!("{host}:3000"),
        (_, Some(("", port))) => format!("127.0.0.1:{port}"),
        (_, Some(_)) => plain.to_owned(),
        (_, None) if plain.parse::<u16>().is_ok() => format!("127.0.0.1:{plain}"),
        (_, None) => format!("{plain}:3000"),
    };
    match kind {
        _ if host_and_port != address => format!("write host and port: --listen {host_and_port}"),
        ErrorKind::AddrInUse => "free the port, or choose another with --listen; port 0 takes a free one".to_owned(),
        ErrorKind::PermissionDenied => {
            "choose a port from 1024 on with --listen, or let the program have CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => {
            "name an address of this machine and a port with --listen: 127.0.0.1:3000, or 0.0.0.0:3000 for all of its \
              addresses"
                .to_owned()
        }
    }
}

/// A listener that is bound but does not accept yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: &str) -> Result<Self, ServerError> {
        let error = |source| ServerError { address: address.into(), source };
        let listener = TcpListener::bind(address).await.map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        Ok(Server { listener, address })
    }

    /// The address that it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `shutdown` is cancelled; then waits for the requests under way, for the limit `drain` at most.
    /// Returns whether all of them were finished.
    pub async fn run(self, edge: Arc<Edge>, tls: Option<Tls>, shutdown: CancellationToken) -> bool {
        let limits = edge.limits().clone();
        let connections = usize::try_from(limits.connections).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let acceptor = Acceptor {
            slots: Arc::new(Semaphore::new(connections)),
            builder: Arc::new(connection::builder(&edge)),
            tasks: TaskTracker::new(),
            edge,
            tls,
            shutdown: shutdown.clone(),
        };
        // `None` once it is cancelled; what has been accepted then is still served.
        shutdown.run_until_cancelled(acceptor.accept(&self.listener)).await;
        if let Err(error) = acceptor.accept_queued(self.listener) {
            tracing::debug!("the listen queue: {error}");
        }
        acceptor.tasks.close();
        tokio::time::timeout(limits.drain, acceptor.tasks.wait()).await.is_ok()
    }
}

/// What a connection needs to be served.
struct Acceptor {
    edge: Arc<Edge>,
    tls: Option<Tls>,
    builder: Arc<Builder<TokioExecutor>>,
    /// One permit a connection that may be open.
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Acceptor {
    /// Accepts until it is dropped.
    async fn accept(&self, listener: &TcpListener) {
        let mut backoff = Duration::ZERO;
        // A slot first: connections over the bound wait in the kernel's queue.
        while let Ok(slot) = self.slots.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    backoff = Duration::ZERO;
                    self.serve(slot, stream, peer);
                }
                Err(error) => {
                    // One client's failed handshake, or the process is out of descriptors: neither ends the server.
                    tracing::warn!("accept failed: {error}");
                    backoff = (backoff * 2).clamp(MIN_BACKOFF, MAX_BACKOFF);
                    tokio::time::sleep(backoff).await;
                }
            }
        }
    }

    /// Closes `listener`, but accepts first what the kernel has accepted for it: those clients have sent their requests
    /// already, and a reset is all they would see.
    fn accept_queued(&self, listener: TcpListener) -> std::io::Result<()> {
        // The queue itself is asked: tokio may not have heard yet that it holds something. It is not blocking, as before.
        let listener = listener.into_std()?;
        while let Ok(slot) = self.slots.clone().try_acquire_owned() {
            match listener.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true)?;
                    self.serve(slot, TcpStream::from_std(stream)?, peer);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn serve(&self, slot: OwnedSemaphorePermit, stream: TcpStream, peer: SocketAddr) {
        let (edge, tls, builder) = (self.edge.clone(), self.tls.clone(), self.builder.clone());
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let _slot = slot;
            // Small responses must not wait for the acknowledgement of the last ones.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, "TCP_NODELAY: {error}");
            }
            match tls {
                None => {
                    connection::serve(stream, Caller::new(peer, Scheme::HTTP), edge, &builder, shutdown).await;
                }
                Some(tls) => {
                    let stream = tokio::select! {
                        stream = handshake(&tls, stream, peer, &edge) => stream,
                        () = connection::lingered(&shutdown) => None,
                    };
                    if let Some(stream) = stream {
                        connection::serve(stream, Caller::new(peer, Scheme::HTTPS), edge, &builder, shutdown).await;
                    }
                }
            }
        });
    }
}

async fn handshake(
    tls: &Tls,
    stream: TcpStream,
    peer: SocketAddr,
    edge: &Edge,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    match tokio::time::timeout(edge.limits().handshake_timeout, tls.0.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%peer, "TLS handshake failed: {error}");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "TLS handshake took too long");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fix_for_an_address_without_host_or_port_is_one_that_can_be_bound() {
        for (address, expected) in [
            ("4305", "127.0.0.1:4305"),
            (":4305", "127.0.0.1:4305"),
            ("localhost", "localhost:3000"),
            ("127.0.0.1", "127.0.0.1:3000"),
            ("::1", "[::1]:3000"),
            ("http://127.0.0.1:4305/", "127.0.0.1:4305"),
        ] {
            let fix = fix(address, ErrorKind::InvalidInput);
            assert_eq!(fix, format!("write host and port: --listen {expected}"), "{address}");
        }
        for kind in [ErrorKind::AddrInUse, ErrorKind::PermissionDenied, ErrorKind::AddrNotAvailable] {
            assert!(!fix("127.0.0.1:80", kind).starts_with("write host and port"), "{kind}");
        }
    }
}
