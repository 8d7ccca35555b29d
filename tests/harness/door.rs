//! The way from an application to the queue of its durable messages, which a scenario can shut: what is said to it does
//! not arrive any more, so no message is taken from it, and what it says still does.
//!
//! Of one host it is the write lock of the queue's file. Of several it is a proxy before each server of NATS, which the
//! host that takes the messages is given in its place. While the door is shut it loses what comes from that host, and
//! when it is opened, all connections from before end.

use super::database::WriteLock;
use super::{App, queue};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The door, which is open at first.
pub(crate) struct Door {
    /// How often it was moved: at an odd number it is shut.
    moved: Arc<AtomicUsize>,
    proxies: Vec<JoinHandle<()>>,
    held: Option<WriteLock>,
}

impl Door {
    /// Puts a door before the queue of an application that has not been started.
    pub(crate) async fn before(app: App) -> (Door, App) {
        let mut door = Door { moved: Arc::default(), proxies: Vec::new(), held: None };
        let Some(servers) = app.spread_over().map(|spread| spread.nats.clone()) else { return (door, app) };
        let mut urls = Vec::new();
        for server in servers.split(',') {
            let server = server.trim_start_matches("nats://").to_owned();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("nats://{}", listener.local_addr().unwrap()));
            let moved = Arc::clone(&door.moved);
            door.proxies.push(tokio::spawn(async move {
                loop {
                    let (host, _) = listener.accept().await.unwrap();
                    let (server, moved) = (server.clone(), Arc::clone(&moved));
                    // Whichever side ends it, there is nothing to say about it.
                    tokio::spawn(async move { drop(pass(host, &server, &moved).await) });
                }
            }));
        }
        (door, app.door(urls.join(",")))
    }

    /// Shuts it.
    pub(crate) async fn shut(&mut self, app: &App) {
        self.moved.fetch_add(1, Ordering::SeqCst);
        if self.proxies.is_empty() {
            self.held = Some(WriteLock::file(&queue::file(app).expect("a queue")).await);
        }
    }

    /// Opens it again.
    pub(crate) async fn open(&mut self) {
        self.moved.fetch_add(1, Ordering::SeqCst);
        if let Some(held) = self.held.take() {
            held.release().await;
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.proxies.iter().for_each(JoinHandle::abort);
    }
}

/// Serves one connection to its end. When this returns both sides are closed.
async fn pass(host: TcpStream, server: &str, moved: &AtomicUsize) -> io::Result<()> {
    let begun = moved.load(Ordering::SeqCst);
    let server = TcpStream::connect(server).await?;
    for stream in [&host, &server] {
        stream.set_nodelay(true)?;
    }
    let (mut from_host, mut to_host) = host.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let said = async {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let count = from_host.read(&mut bytes).await?;
            let now = moved.load(Ordering::SeqCst);
            let shut = now % 2 == 1;
            // What was said while it was shut may be read only now.
            if count == 0 || now != begun && !shut {
                return Ok(());
            }
            if !shut {
                to_server.write_all(&bytes[..count]).await?;
            }
        }
    };
    tokio::select! {
        end = said => end,
        end = tokio::io::copy(&mut from_server, &mut to_host) => end.map(drop),
    }
}
