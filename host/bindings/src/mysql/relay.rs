//! A relay between a database driver and its server, which bounds what the driver buffers.
//!
//! sqlx opens its sockets itself, and reads a whole row into memory before it returns it; MySQL sends rows of up to
//! 1 GiB, and nothing would count them. So the driver connects to a socket of this process, in the kernel's abstract
//! namespace, and a task carries the bytes between it and the server, as they are, with TLS inside. Before a binding
//! waits for the next row, it allows as many bytes as one may have; when the server sends more, the task closes the
//! connection.
//!
//! The server is dialed by the address that was checked, also where its certificate must have its name.
//! The relay carries for this process alone: it refuses another process at its socket.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use uuid::Uuid;

souk_manifest::fixed_limits! {
    /// The fixed limits of relays.
    pub(super) const FIXED_LIMITS = "mysql";

    /// The most bytes of a row on its way from the server, which the driver holds until the row is complete. A
    /// little more than a result may have. A larger row ends its statement, and its connection is closed.
    pub(super) const MAX_SENT_ROW_BYTES: usize = 20 << 20, bytes;
    /// How many bytes from a server are passed on at a time.
    const RELAY_BUFFER_BYTES: usize = 16 << 10, bytes;
    /// How long the driver may take to connect to its relay, which is in the same process.
    const RELAY_TIMEOUT: Duration = Duration::from_secs(5);
}

/// A relay to one server.
pub(super) struct Relay {
    socket: String,
    meter: Meter,
}

impl Relay {
    /// Connects to the server at `ip`.
    ///
    /// # Errors
    /// When the server does not accept the connection.
    pub(super) async fn open(ip: IpAddr, port: u16) -> io::Result<Self> {
        let server = TcpStream::connect((ip, port)).await?;
        server.set_nodelay(true)?;
        // The zero byte makes it a name without a file.
        let socket = format!("\0souk-{}", Uuid::new_v4().simple());
        let listener = UnixListener::bind(&socket)?;
        let meter = Meter::default();
        meter.allow_row();
        tokio::spawn(carry(listener, server, meter.clone()));
        Ok(Relay { socket, meter })
    }

    /// The socket that the driver must connect to.
    pub(super) fn socket(&self) -> &str {
        &self.socket
    }

    /// What counts the bytes from the server.
    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }
}

/// Counts the bytes from a server; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    received: AtomicUsize,
    /// How large `received` may become.
    allowed: AtomicUsize,
    is_exceeded: AtomicBool,
}

impl Meter {
    /// Allows the bytes of one row, from now on.
    pub(super) fn allow_row(&self) {
        self.0.allowed.store(self.0.received.load(Ordering::Acquire) + MAX_SENT_ROW_BYTES, Ordering::Release);
    }

    /// Whether the connection was closed because a row was too large.
    pub(super) fn is_exceeded(&self) -> bool {
        self.0.is_exceeded.load(Ordering::Acquire)
    }

    /// Why, for the guest.
    pub(super) fn too_large() -> String {
        format!(
            "a row has more than {} MiB, so its connection was closed; select less of it, for example with substring()",
            MAX_SENT_ROW_BYTES >> 20
        )
    }

    /// Counts bytes; `false` when they are too many.
    fn count(&self, bytes: usize) -> bool {
        let received = self.0.received.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let is_within = received <= self.0.allowed.load(Ordering::Acquire);
        if !is_within {
            self.0.is_exceeded.store(true, Ordering::Release);
        }
        is_within
    }
}

/// Carries what driver and server send, until one of them closes its connection.
async fn carry(listener: UnixListener, server: TcpStream, meter: Meter) {
    let Ok(Ok(driver)) = timeout(RELAY_TIMEOUT, own_connection(&listener)).await else { return };
    drop(listener);
    let (mut from_server, mut to_server) = server.into_split();
    let (mut from_driver, mut to_driver) = driver.into_split();
    tokio::select! {
        biased;
        () = pass_on(&mut from_server, &mut to_driver, &meter) => {}
        _ = copy(&mut from_driver, &mut to_server) => return,
    }
    if !meter.is_exceeded() {
        // The driver can still send its next statement, and so reads why the server has closed the connection.
        let _ = to_driver.shutdown().await;
        let _ = copy(&mut from_driver, &mut sink()).await;
    }
}

/// The connection of the driver.
async fn own_connection(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        let process = stream.peer_cred()?.pid().and_then(|id| u32::try_from(id).ok());
        if process == Some(std::process::id()) {
            return Ok(stream);
        }
    }
}

/// Passes on what the server sends, until its end, or until it is too much.
async fn pass_on(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), meter: &Meter) {
    let mut buffer = vec![0; RELAY_BUFFER_BYTES];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get(..read).unwrap_or_default();
        if !meter.count(read) || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// The driver's end and the server's end of a connection.
    async fn connected() -> (Relay, UnixStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let relay = Relay::open(at.ip(), at.port()).await.unwrap();
        let driver = UnixStream::connect(relay.socket()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (relay, driver, server)
    }

    #[tokio::test]
    async fn bytes_go_both_ways_until_one_end_closes() {
        let (relay, mut driver, mut server) = connected().await;
        let mut four = [0; 4];
        driver.write_all(b"ping").await.unwrap();
        server.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"ping");
        // The server's last words are read, although the driver sends something first.
        server.write_all(b"gone").await.unwrap();
        drop(server);
        driver.write_all(b"ping").await.unwrap();
        driver.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"gone");
        assert_eq!(driver.read(&mut four).await.unwrap(), 0);
        assert!(!relay.meter().is_exceeded());

        let (_relay, driver, mut server) = connected().await;
        drop(driver);
        assert_eq!(server.read(&mut four).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_server_that_sends_more_than_a_row_may_have_is_disconnected() {
        let (relay, mut driver, mut server) = connected().await;
        let meter = relay.meter();
        let half = vec![1; MAX_SENT_ROW_BYTES / 2];
        let mut read = vec![0; MAX_SENT_ROW_BYTES / 2];
        for _ in 0..5 {
            meter.allow_row();
            let (sent, received) = tokio::join!(server.write_all(&half), driver.read_exact(&mut read));
            assert!(sent.is_ok() && received.is_ok() && !meter.is_exceeded());
        }
        let sending = async {
            // Fails when the relay closes the connection.
            while server.write_all(&half).await.is_ok() {}
        };
        let mut received = Vec::new();
        // Its error is that of a connection that was closed early.
        let ((), _) = tokio::join!(sending, driver.read_to_end(&mut received));
        assert!(meter.is_exceeded() && received.len() <= MAX_SENT_ROW_BYTES, "{}", received.len());
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_an_error() {
        let error = Relay::open([127, 0, 0, 1].into(), souk_test::ports::free()).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
