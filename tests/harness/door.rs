//! The way from an application to the queue of its durable messages, which a scenario can shut: what is said to it does
//! not arrive any more, so no message is taken from it, and what it says still does.
//!
//! Of one host it is the write lock of the queue's file. Of several it is a proxy before each server of NATS, which the
//! host that takes the messages is given in its place. While the door is shut it loses what comes from that host, and a
//! connection that has lost something ends when it is open again.

use super::database::Held;
use super::{App, queue};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The door, which is open at first.
pub struct Door {
    shut: Arc<AtomicBool>,
    proxies: Vec<JoinHandle<()>>,
    held: Option<Held>,
}

impl Door {
    /// Puts a door before the queue of an application that has not been started.
    pub async fn before(app: App) -> (Door, App) {
        let mut door = Door { shut: Arc::default(), proxies: Vec::new(), held: None };
        let Some(servers) = app.spread_over().map(|spread| spread.nats.clone()) else { return (door, app) };
        let mut urls = Vec::new();
        for server in servers.split(',') {
            let server = server.trim_start_matches("nats://").to_owned();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("nats://{}", listener.local_addr().unwrap()));
            let shut = Arc::clone(&door.shut);
            door.proxies.push(tokio::spawn(async move {
                loop {
                    let (host, _) = listener.accept().await.unwrap();
                    let (server, shut) = (server.clone(), Arc::clone(&shut));
                    // Whichever side ends it, there is nothing to say about it.
                    tokio::spawn(async move { drop(pass(host, &server, &shut).await) });
                }
            }));
        }
        (door, app.door(urls.join(",")))
    }

    /// Shuts it.
    pub async fn shut(&mut self, app: &App) {
        self.shut.store(true, Ordering::SeqCst);
        if self.proxies.is_empty() {
            self.held = Some(Held::file(&queue::file(app).expect("a queue")).await);
        }
    }

    /// Opens it again.
    pub async fn open(&mut self) {
        self.shut.store(false, Ordering::SeqCst);
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
async fn pass(host: TcpStream, server: &str, shut: &AtomicBool) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    for stream in [&host, &server] {
        stream.set_nodelay(true)?;
    }
    let (mut from_host, mut to_host) = host.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let said = async {
        let (mut bytes, mut lost) = (vec![0; 1 << 16], false);
        loop {
            let count = from_host.read(&mut bytes).await?;
            let shut = shut.load(Ordering::SeqCst);
            if count == 0 || lost && !shut {
                return Ok(());
            }
            lost |= shut;
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
