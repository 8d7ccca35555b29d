//! The store on three hosts: what runs where, and the servers that they share.
//!
//! With `SOUK_HOSTS=3` in the environment every scenario of the store runs on three processes instead of one, each with
//! its own state folder and loopback address: a cluster of three NATS servers between them, one PostgreSQL server below.
//! The scenarios do not know; they talk to the first host, and to `souk` on its state folder, as they always do.

use super::nats::Nats;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What each host runs, and its address. The first is the one that scenarios talk to.
pub const HOSTS: [(&str, &str); 3] = [
    ("127.0.0.1", "gateway,auth,passwords"),
    ("127.0.0.2", "products"),
    ("127.0.0.3", "orders,payments,webhook,stripe-sandbox"),
];

/// Where an application's hosts meet.
#[derive(Clone)]
pub struct Spread {
    /// The servers of NATS, as `--nats` takes them.
    pub nats: String,
    /// The application's name, which no other has: the hosts of one name are one application.
    pub name: String,
    /// The port of the first host, which browsers and the payment provider are told.
    pub port: u16,
    /// Components that no host runs.
    pub down: BTreeSet<String>,
}

/// Whether scenarios of the store run on three hosts.
pub fn wanted() -> bool {
    match std::env::var("SOUK_HOSTS").as_deref() {
        Err(_) | Ok("1") => false,
        Ok("3") => true,
        Ok(other) => panic!("SOUK_HOSTS is {other:?}, and must be 1 or 3"),
    }
}

impl Spread {
    /// A place on the servers that all tests of the process share.
    pub fn new() -> Spread {
        static SERVERS: OnceLock<Nats> = OnceLock::new();
        Spread::over(SERVERS.get_or_init(Nats::cluster).url())
    }

    /// A place on these servers.
    pub fn over(nats: String) -> Spread {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let name = format!("store-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Spread { nats, name, port, down: BTreeSet::new() }
    }
}
