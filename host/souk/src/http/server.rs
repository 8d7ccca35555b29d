//! The listener: accepts connections, handles the errors of accepting, and drains at shutdown.

use super::activity::Activity;
use super::connection::{self, Builders};
use super::connections::{Admission, Connection, Connections};
use super::edge::Edge;
use super::peer::{Peer, proxy_protocol};
use super::report::Report;
use super::request::Caller;
use super::tls::Tls;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use http::uri::Scheme;
use std::fs::File;
use std::io::{Cursor, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

souk_manifest::fixed_limits! {
    /// The fixed limits of accepting connections.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The pause after a connection could not be accepted; it doubles with each failure.
    const MIN_BACKOFF: Duration = Duration::from_millis(5);
    /// The longest pause after a connection could not be accepted.
    const MAX_BACKOFF: Duration = Duration::from_secs(1);
    /// The descriptors that are held in reserve, so that connections are still accepted when the process has no others:
    /// each serves one connection until others have closed.
    const RESERVED_DESCRIPTORS: usize = 8, "descriptors";
    /// The most connections that wait in the kernel's queue to be accepted, if the system allows that many
    /// (net.core.somaxconn); further ones get no answer.
    const MAX_QUEUED_CONNECTIONS: u32 = 4_096, "connections";
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}\n  fix: {}", fix(address, source.kind()))]
pub struct ServerError {
    address: String,
    source: std::io::Error,
}

/// What the operator should write instead of `address`.
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

/// An address that is taken, but where nobody is served yet. Clients are refused there until [`Server::listen`], so that
/// a load balancer sends them to another host instead of letting them wait for the start of this one.
pub struct Server {
    socket: Bound,
    address: SocketAddr,
}

enum Bound {
    Own(TcpSocket),
    /// Another process also holds the socket, and will hand it to the next host.
    Inherited(TcpListener),
}

/// A listener that accepts no connections yet: they wait in the kernel's queue.
pub struct Listening {
    listener: TcpListener,
    inherited: bool,
}

impl Server {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: &str) -> Result<Self, ServerError> {
        let error = |source| ServerError { address: address.into(), source };
        let socket = bind(address).await.map_err(error)?;
        let address = socket.local_addr().map_err(error)?;
        Ok(Server { socket: Bound::Own(socket), address })
    }

    /// Serves on a socket that another process has bound and keeps.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn inherit(listener: &std::net::TcpListener) -> Result<Self, ServerError> {
        let error = |source| ServerError { address: "the inherited socket".into(), source };
        let listener = listener.try_clone().map_err(error)?;
        listener.set_nonblocking(true).map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        Ok(Server { socket: Bound::Inherited(TcpListener::from_std(listener).map_err(error)?), address })
    }

    /// The address that it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets clients connect. Call it when they can be served.
    ///
    /// # Errors
    /// When another process has begun to listen there in the meantime.
    pub fn listen(self) -> Result<Listening, ServerError> {
        let address = self.address.to_string();
        match self.socket {
            Bound::Own(socket) => {
                let listener = socket.listen(MAX_QUEUED_CONNECTIONS);
                let listener = listener.map_err(|source| ServerError { address, source })?;
                Ok(Listening { listener, inherited: false })
            }
            Bound::Inherited(listener) => Ok(Listening { listener, inherited: true }),
        }
    }
}

impl Listening {
    /// Accepts connections until `shutdown` is cancelled; then waits for the requests in progress, at most for the
    /// limit `drain`. Returns whether all of them finished.
    pub async fn run(self, edge: Arc<Edge>, tls: Option<Tls>, shutdown: CancellationToken) -> bool {
        let limits = edge.limits().clone();
        let acceptor = Acceptor {
            connections: edge.connections().clone(),
            builders: Arc::new(Builders::new(&edge)),
            tasks: TaskTracker::new(),
            edge,
            tls,
            shutdown: shutdown.clone(),
        };
        // `None` after the cancellation; accepted connections are still served.
        shutdown.run_until_cancelled(acceptor.accept(&self.listener)).await;
        // The next host serves the clients that wait in an inherited socket's queue.
        if self.inherited {
            drop(self.listener);
        } else if let Err(error) = acceptor.accept_queued(self.listener) {
            tracing::debug!("the listen queue: {error}");
        }
        acceptor.tasks.close();
        tokio::time::timeout(limits.drain, acceptor.tasks.wait()).await.is_ok()
    }
}

/// Binds the first of the addresses that `address` resolves to that can be bound.
async fn bind(address: &str) -> std::io::Result<TcpSocket> {
    let mut failed = None;
    for address in tokio::net::lookup_host(address).await? {
        let bound = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // Allows binding a port whose last connections are still being closed.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        match bound() {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into()))
}

/// Everything that serving a connection needs.
struct Acceptor {
    edge: Arc<Edge>,
    tls: Option<Tls>,
    builders: Arc<Builders>,
    connections: Arc<Connections>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Acceptor {
    /// Accepts connections until the future is dropped.
    async fn accept(&self, listener: &TcpListener) {
        let pauses =
            ExponentialBuilder::new().with_min_delay(MIN_BACKOFF).with_max_delay(MAX_BACKOFF).without_max_times();
        let mut backoff = pauses.build();
        let mut reserve = Reserve::new();
        let (mut failures, mut refusals) = (Report::default(), Report::default());
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    backoff = pauses.build();
                    reserve.fill();
                    let peer = self.edge.trusted().peer(peer);
                    match self.connections.admitted(peer.share, Activity::new(self.edge.limits())).await {
                        Some(place) => self.serve(place, stream, peer),
                        None => {
                            self.edge.refusals().count("peer-connections");
                            refusals.happened(|more| {
                            tracing::warn!(
                                peer = %peer.address.ip(),
                                "a connection was refused: its peer has reached its limit, each with a request in progress; \
                                 name it in `trusted_proxies` under [application.tool.souk] in the manifest if it is a load \
                                 balancer ({more} more since the last such line)"
                            );
                        });
                        }
                    }
                }
                Err(error) => {
                    // Possibly one client's failed handshake, or the process is out of descriptors: neither ends the
                    // server.
                    failures.happened(|more| {
                        tracing::warn!("accept failed: {error} ({more} more since the last such line)");
                    });
                    if is_out_of_descriptors(&error) {
                        self.connections.close_idlest();
                        if reserve.give() {
                            continue;
                        }
                    }
                    tokio::time::sleep(backoff.next().unwrap_or(MAX_BACKOFF)).await;
                }
            }
        }
    }

    /// Closes `listener`, but first accepts what the kernel has accepted for it: those clients have sent their requests
    /// already, and would only see a reset.
    fn accept_queued(&self, listener: TcpListener) -> std::io::Result<()> {
        // Asks the queue itself, because tokio may not know yet that it has connections. The socket stays non-blocking.
        let listener = listener.into_std()?;
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let activity = Activity::new(self.edge.limits());
                    let peer = self.edge.trusted().peer(peer);
                    let Admission::Admitted(place) = self.connections.admit(peer.share, activity) else { break };
                    stream.set_nonblocking(true)?;
                    self.serve(place, TcpStream::from_std(stream)?, peer);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn serve(&self, place: Connection, stream: TcpStream, peer: Peer) {
        let served = Served {
            edge: self.edge.clone(),
            tls: self.tls.clone(),
            builders: self.builders.clone(),
            place,
            // Its own: each poll of a connection takes the token's locks, which would otherwise be those of all.
            shutdown: self.shutdown.child_token(),
        };
        self.tasks.spawn(async move {
            // A small response must not wait for the acknowledgement of the last one.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(peer = %peer.address, "TCP_NODELAY: {error}");
            }
            if !peer.is_proxy() {
                return served.run(stream, peer).await;
            }
            let (mut read, write) = stream.into_split();
            let named = tokio::select! {
                named = tokio::time::timeout(served.edge.limits().header_read_timeout, proxy_protocol::read(&mut read)) => named,
                () = connection::lingered(&served.shutdown) => return,
                () = served.place.closed().cancelled() => return,
            };
            let (client, first) = match named {
                Ok(Ok(named)) => named,
                Ok(Err(error)) => {
                    tracing::warn!(peer = %peer.address, "a trusted proxy's connection was closed: {error}");
                    return;
                }
                Err(_) => return,
            };
            let peer = client.map_or(peer, |client| served.edge.trusted().peer(client));
            if client.is_some() && !served.place.belongs_to(peer.share) {
                tracing::debug!(peer = %peer.address, "connection closed: its peer has reached its limit");
                return;
            }
            let stream = tokio::io::join(Cursor::new(first).chain(read), write);
            served.run(stream, peer).await;
        });
    }
}

/// A connection that was admitted.
struct Served {
    edge: Arc<Edge>,
    tls: Option<Tls>,
    builders: Arc<Builders>,
    place: Connection,
    shutdown: CancellationToken,
}

impl Served {
    /// Serves `stream` to its end.
    async fn run<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, peer: Peer) {
        let Served { edge, tls, builders, place, shutdown } = self;
        let caller = |scheme| Caller::new(peer, place.number(), scheme);
        match tls {
            None => {
                let builder = builders.agreed(None, place.of_peer());
                connection::serve(stream, &place, caller(Scheme::HTTP), edge, builder, shutdown).await;
            }
            Some(tls) => {
                let stream = tokio::select! {
                    stream = handshake(&tls, stream, peer.address, &edge) => stream,
                    () = connection::lingered(&shutdown) => None,
                    () = place.closed().cancelled() => None,
                };
                if let Some(stream) = stream {
                    let builder = builders.agreed(stream.get_ref().1.alpn_protocol(), place.of_peer());
                    connection::serve(stream, &place, caller(Scheme::HTTPS), edge, builder, shutdown).await;
                }
            }
        }
    }
}

/// Serves `stream`, an existing connection, like one that was accepted from `peer`, until it ends or `shutdown` is
/// cancelled. If there is no room for it, it is closed.
pub async fn serve_connection<S>(edge: Arc<Edge>, stream: S, peer: SocketAddr, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = edge.trusted().peer(peer);
    let activity = Activity::new(edge.limits());
    if let Admission::Admitted(place) = edge.connections().admit(peer.share, activity) {
        let builders = Arc::new(Builders::new(&edge));
        Served { edge, tls: None, builders, place, shutdown }.run(stream, peer).await;
    }
}

/// Descriptors that are held in reserve.
struct Reserve(Vec<File>);

impl Reserve {
    fn new() -> Self {
        let mut reserve = Reserve(Vec::new());
        reserve.fill();
        reserve
    }

    /// Reserves the missing descriptors, as far as the system provides them.
    fn fill(&mut self) {
        while self.0.len() < RESERVED_DESCRIPTORS {
            match File::open("/dev/null") {
                Ok(file) => self.0.push(file),
                Err(_) => return,
            }
        }
    }

    /// Releases one; `false` when none is left.
    fn give(&mut self) -> bool {
        self.0.pop().is_some()
    }
}

fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|errno| [Errno::MFILE, Errno::NFILE].contains(&errno))
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &Tls,
    stream: S,
    peer: SocketAddr,
    edge: &Edge,
) -> Option<tokio_rustls::server::TlsStream<S>> {
    match tokio::time::timeout(edge.limits().handshake_timeout, tls.accept(stream)).await {
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

    #[tokio::test]
    async fn clients_are_refused_until_they_can_be_served() {
        let server = Server::bind("127.0.0.1:0").await.unwrap();
        let address = server.address();
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let listening = server.listen().unwrap();
        TcpStream::connect(address).await.unwrap();
        let taken = Server::bind(&address.to_string()).await.map(|_| ()).unwrap_err();
        assert!(taken.to_string().contains("free the port"), "{taken}");
        drop(listening);
    }

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
