//! A gate between an application and the queue of its durable messages, which a scenario can shut. While the gate is
//! shut, the application's writes do not reach the queue, so the queue keeps every message, but the application can
//! still read.
//!
//! For one host, the gate is the write lock of the queue's file. For several hosts, it is a proxy in front of each NATS
//! server; the host that receives the messages connects to the proxies. While the gate is shut, the proxies drop what
//! that host sends. When it opens, all connections from before end.

use super::database::WriteLock;
use super::{App, queue};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The gate, which is open at first.
pub(crate) struct QueueGate {
    /// How often it was shut or opened: at an odd number it is shut.
    moves: Arc<AtomicUsize>,
    proxies: Vec<JoinHandle<()>>,
    lock: Option<WriteLock>,
}

impl QueueGate {
    /// Puts a gate in front of the queue of an application that has not started yet.
    pub(crate) async fn before(app: App) -> (QueueGate, App) {
        let mut gate = QueueGate { moves: Arc::default(), proxies: Vec::new(), lock: None };
        let Some(servers) = app.spread_over().map(|spread| spread.nats.clone()) else { return (gate, app) };
        let mut urls = Vec::new();
        for server in servers.split(',') {
            let server = server.trim_start_matches("nats://").to_owned();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("nats://{}", listener.local_addr().unwrap()));
            let moves = Arc::clone(&gate.moves);
            gate.proxies.push(tokio::spawn(async move {
                loop {
                    let (host, _) = listener.accept().await.unwrap();
                    let (server, moves) = (server.clone(), Arc::clone(&moves));
                    // An error only means that one side ended the connection.
                    tokio::spawn(async move { drop(pass(host, &server, &moves).await) });
                }
            }));
        }
        (gate, app.last_host_nats(urls.join(",")))
    }

    /// Shuts the gate.
    pub(crate) async fn shut(&mut self, app: &App) {
        self.moves.fetch_add(1, Ordering::SeqCst);
        if self.proxies.is_empty() {
            self.lock = Some(WriteLock::file(&queue::file(app).expect("a queue")).await);
        }
    }

    /// Opens the gate again.
    pub(crate) async fn open(&mut self) {
        self.moves.fetch_add(1, Ordering::SeqCst);
        if let Some(lock) = self.lock.take() {
            lock.release().await;
        }
    }
}

impl Drop for QueueGate {
    fn drop(&mut self) {
        self.proxies.iter().for_each(JoinHandle::abort);
    }
}

/// Serves one connection to its end. When this returns both sides are closed.
async fn pass(host: TcpStream, server: &str, moves: &AtomicUsize) -> io::Result<()> {
    let moves_at_start = moves.load(Ordering::SeqCst);
    let server = TcpStream::connect(server).await?;
    for stream in [&host, &server] {
        stream.set_nodelay(true)?;
    }
    let (mut from_host, mut to_host) = host.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let count = from_host.read(&mut bytes).await?;
            let moves_now = moves.load(Ordering::SeqCst);
            let shut = moves_now % 2 == 1;
            // The connection ends once the gate is open again: these bytes may be from the time when it was shut.
            if count == 0 || moves_now != moves_at_start && !shut {
                return Ok(());
            }
            if !shut {
                to_server.write_all(&bytes[..count]).await?;
            }
        }
    };
    tokio::select! {
        end = requests => end,
        end = tokio::io::copy(&mut from_server, &mut to_host) => end.map(drop),
    }
}
