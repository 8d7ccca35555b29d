//! The listener: accepts connections, survives what accepting can fail with, and drains when told to stop.

use super::connection;
use super::edge::Edge;
use super::tls::Tls;
use crate::limits::millis;
use http::uri::Scheme;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest pause after an accept that failed.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The server could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}\n  fix: free the port, or choose another with --listen")]
pub struct ServerError {
    address: String,
    source: std::io::Error,
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
        let slots = Arc::new(Semaphore::new(connections));
        let builder = Arc::new(connection::builder(&edge));
        let tasks = TaskTracker::new();
        let mut backoff = Duration::ZERO;
        loop {
            // A slot first: connections over the bound wait in the kernel's queue.
            let slot = tokio::select! {
                () = shutdown.cancelled() => break,
                slot = slots.clone().acquire_owned() => slot,
            };
            let Ok(slot) = slot else { break };
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => {
                    backoff = Duration::ZERO;
                    accepted
                }
                Err(error) => {
                    // One client's failed handshake, or the process is out of descriptors: neither ends the server.
                    tracing::warn!("accept failed: {error}");
                    backoff = (backoff * 2).clamp(Duration::from_millis(5), MAX_BACKOFF);
                    tokio::time::sleep(backoff).await;
                    continue;
                }
            };
            let (edge, tls, builder, shutdown) = (edge.clone(), tls.clone(), builder.clone(), shutdown.clone());
            tasks.spawn(async move {
                let _slot = slot;
                // Small responses must not wait for the acknowledgement of the last ones.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, "TCP_NODELAY: {error}");
                }
                match tls {
                    None => connection::serve(stream, peer, Scheme::HTTP, edge, &builder, shutdown).await,
                    Some(tls) => {
                        let stream = tokio::select! {
                            stream = handshake(&tls, stream, peer, &edge) => stream,
                            () = shutdown.cancelled() => None,
                        };
                        if let Some(stream) = stream {
                            connection::serve(stream, peer, Scheme::HTTPS, edge, &builder, shutdown).await;
                        }
                    }
                }
            });
        }
        drop(self.listener);
        tasks.close();
        tokio::time::timeout(millis(limits.drain), tasks.wait()).await.is_ok()
    }
}

async fn handshake(
    tls: &Tls,
    stream: TcpStream,
    peer: SocketAddr,
    edge: &Edge,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    match tokio::time::timeout(millis(edge.limits().handshake_timeout), tls.0.accept(stream)).await {
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
