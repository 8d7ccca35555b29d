//! The listeners of the API: the control socket, and with `--admin` one on TCP.
//!
//! Both speak HTTP/1.1 and have the same bounds: the number of connections, the time for a request to arrive, and the
//! time for the client to read the answer. Strangers may reach the TCP listener, so it makes room as the public one
//! does: a connection that has stood still longest goes for a newcomer, and a peer has a share. Both serve until the
//! host has drained, so that a probe sees the drain; requests that change something are refused as soon as the drain
//! begins.

use super::Admin;
use super::access::Connection;
use super::answer::answer;
use crate::http::{Activity, Connection as Place, Connections, Share, Tls};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of the administration's listeners.
    pub(crate) const FIXED_LIMITS = "administration";

    /// The pause after a connection could not be accepted.
    const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);
    /// The most connections to the control socket, and the most to the listener of `--admin`; others wait while all are
    /// busy.
    const MAX_CONNECTIONS: usize = 64, "connections";
    /// The most connections of one peer to the listener of `--admin`.
    const MAX_PEER_CONNECTIONS: usize = 32, "connections";
    /// How long a connection that makes room for another may still take.
    const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
    /// How long a connection may stay idle between two requests, or inside the head of one.
    const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
    /// How long a client may stop reading an answer.
    const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
    /// How long a TLS handshake may take.
    const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
    /// The longest head of a request.
    const MAX_HEAD_BYTES: usize = 16 << 10, bytes;
}

/// A listener of the API cannot be created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// The control socket.
    #[error("control socket {}: {cause}\n  fix: choose a shorter or a writable folder with --state-dir", path.display())]
    Socket {
        /// The path of the socket.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The address of `--admin` cannot be bound.
    #[error(
        "cannot listen on {address} for the administration: {cause}\n  fix: write a free address of this machine: --admin 127.0.0.1:3001"
    )]
    Bind {
        /// The address.
        address: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Other machines could reach it without TLS.
    #[error(
        "the administration would be served on {0} without TLS, and its tokens could be read on the network\n  fix: \
         serve it on \
         127.0.0.1, give --admin-tls-cert and --admin-tls-key, or use --admin-insecure if something else encrypts"
    )]
    Insecure(SocketAddr),
}

/// Creates the control socket at `path`.
///
/// # Errors
/// When it cannot be created: the folder is not writable, or the path is longer than a socket's may be (107 bytes).
pub(crate) fn bind_socket(path: &Path) -> Result<UnixListener, AdminError> {
    let error = |cause| AdminError::Socket { path: path.into(), cause };
    // This process holds the state folder, so an existing socket was left by a process that is gone.
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(error(e)),
        _ => {}
    }
    // Until the mode is set, the folder's own mode, 0700, keeps others out.
    let listener = UnixListener::bind(path).map_err(error)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(error)?;
    Ok(listener)
}

/// The listener of `--admin`.
pub(crate) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    pub(crate) tls: Option<Tls>,
}

impl Listener {
    /// Binds `address`; port 0 takes a free port. An address that other machines can reach needs TLS, or `insecure`.
    ///
    /// # Errors
    /// When it cannot be bound, or is not safe.
    pub(crate) async fn bind(address: &str, tls: Option<Tls>, insecure: bool) -> Result<Self, AdminError> {
        let error = |cause| AdminError::Bind { address: address.to_owned(), cause };
        let listener = TcpListener::bind(address).await.map_err(error)?;
        let bound = listener.local_addr().map_err(error)?;
        if tls.is_none() && !insecure && !bound.ip().to_canonical().is_loopback() {
            return Err(AdminError::Insecure(bound));
        }
        Ok(Listener { listener, address: bound, tls: tls.map(Tls::http1_only) })
    }

    /// The URL of the listener.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }
}

/// Serves the control socket until `stop`.
pub(crate) async fn serve_socket(admin: Arc<Admin>, listener: UnixListener, stop: CancellationToken) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accept = async {
        loop {
            // The semaphore is never closed.
            let Ok(place) = connections.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = Connection::Socket(stream.peer_cred().ok().map(|peer| peer.uid()));
                    let (admin, stop) = (admin.clone(), stop.clone());
                    tokio::spawn(async move {
                        serve(stream, connection, admin, None, &stop).await;
                        drop(place);
                    });
                }
                Err(error) => failed("control socket", &error).await,
            }
        }
    };
    stop.run_until_cancelled(accept).await;
}

/// Serves the listener of `--admin` until `stop`.
pub(crate) async fn serve_tcp(admin: Arc<Admin>, listener: Listener, stop: CancellationToken) {
    let connections = Connections::new(MAX_CONNECTIONS, MAX_PEER_CONNECTIONS);
    let limits = admin.app.application().limits.clone();
    let Listener { listener, tls, .. } = listener;
    let accept = async {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    failed("administration", &error).await;
                    continue;
                }
            };
            // The client has gone already.
            let Ok(local) = stream.local_addr() else { continue };
            let _ = stream.set_nodelay(true);
            // A peer whose connections are all busy: the new one is closed.
            let place = connections.admitted(Share::of(peer.ip()), Activity::new(&limits)).await;
            let Some(place) = place else { continue };
            let (admin, tls, stop) = (admin.clone(), tls.clone(), stop.clone());
            tokio::spawn(async move {
                let connection = Connection::Tcp { peer, local, secure: tls.is_some() };
                match tls {
                    None => serve(stream, connection, admin, Some(&place), &stop).await,
                    Some(tls) => {
                        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
                        let stream = place.closed().run_until_cancelled(handshake).await;
                        if let Some(Ok(Ok(stream))) = stream {
                            serve(stream, connection, admin, Some(&place), &stop).await;
                        }
                    }
                }
            });
        }
    };
    stop.run_until_cancelled(accept).await;
}

async fn failed(what: &str, error: &std::io::Error) {
    tracing::warn!("{what}: a connection cannot be accepted: {error}");
    tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
}

/// Serves one connection, until it ends or its `place` is needed for another.
async fn serve<S>(stream: S, connection: Connection, admin: Arc<Admin>, place: Option<&Place>, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let shared = Arc::new((admin, connection));
    let activity = place.map(|place| place.activity().clone());
    let service = service_fn({
        let activity = activity.clone();
        move |request| {
            let (shared, under_way) = (shared.clone(), activity.as_ref().map(|activity| activity.request(&request)));
            async move { Ok::<_, Infallible>(answer(&shared.0, &shared.1, request, under_way.as_ref()).await) }
        }
    });
    let in_the_way = async {
        match (place, &activity) {
            (Some(place), Some(activity)) => tokio::select! {
                () = place.closed().cancelled() => {}
                () = activity.ended().cancelled() => {}
            },
            _ => std::future::pending().await,
        }
    };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
        () = in_the_way => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(CLOSE_TIMEOUT, served).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection to the administration ended: {error}");
    }
}
