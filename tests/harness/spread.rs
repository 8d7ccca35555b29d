//! An application on three hosts: what runs where, and the servers that they share.
//!
//! With `SOUK_HOSTS=3` in the environment every scenario runs on three processes instead of one, each with its own state
//! folder and loopback address: a cluster of three NATS servers between them, one PostgreSQL server below the store. The
//! scenarios do not know; they talk to the first host, and to `souk` on its state folder, as they always do. One that is
//! about a single host takes [`App::alone`](super::App::alone) or [`App::store_alone`](super::App::store_alone), and says
//! why.

use super::nats::Nats;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The addresses of the hosts. The first is the one that scenarios talk to.
pub(crate) const ADDRESSES: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];

/// What each host runs: the first one a part of the routes at least, the last one what takes durable messages. A file is
/// of one host, so `rogue` and `calm`, which share a database, are on one.
const PARTS: [(&str, [&str; 3]); 6] = [
    ("store", ["gateway,auth,passwords", "products", "orders,payments,webhook,stripe-sandbox"]),
    ("edge", ["front", "second,inner", "rogue"]),
    ("rogue", ["front,front-fresh,other", "rogue,calm", "fresh,hasty"]),
    ("durable", ["front", "sender", "rogue"]),
    ("probe", ["front", "rogue", ""]),
    ("framing", ["relay", "unruly", ""]),
];

/// Where an application's hosts meet.
#[derive(Clone)]
pub(crate) struct Spread {
    /// The servers of NATS, with commas between them.
    pub nats: String,
    /// The same for the last host, which takes the durable messages, where it is to reach them in another way.
    pub door: Option<String>,
    /// The application's name in its manifest.
    pub application: &'static str,
    /// The name that it is given, which no other has: the hosts of one name are one application.
    pub name: String,
    /// The port of the first host, which browsers and the payment provider are told; 0 where nobody is.
    pub port: u16,
    /// What each host runs.
    pub parts: [BTreeSet<&'static str>; 3],
    /// Components that no host runs.
    pub down: BTreeSet<String>,
}

/// Whether scenarios run on three hosts.
pub(crate) fn wanted() -> bool {
    match std::env::var("SOUK_HOSTS").as_deref() {
        Err(_) | Ok("1") => false,
        Ok("3") => true,
        Ok(other) => panic!("SOUK_HOSTS is {other:?}, and must be 1 or 3"),
    }
}

impl Spread {
    /// A place for the application of this name on the servers that all tests of the process share.
    pub(crate) fn new(application: &str) -> Spread {
        static SERVERS: OnceLock<Nats> = OnceLock::new();
        Spread::over(application, SERVERS.get_or_init(Nats::cluster).url())
    }

    /// A place for the application of this name on these servers.
    pub(crate) fn over(application: &str, nats: String) -> Spread {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let (application, parts) = PARTS.iter().find(|(name, _)| *name == application).expect("parts of it");
        let port = match *application {
            "store" => free_port(),
            _ => 0,
        };
        let name = format!("{application}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let parts = parts.map(|part| part.split(',').filter(|component| !component.is_empty()).collect());
        Spread { nats, door: None, application, name, port, parts, down: BTreeSet::new() }
    }

    /// What host number `host` runs, as `--only` takes it; nothing, where it has nothing to run.
    pub(crate) fn only(&self, host: usize) -> String {
        let runs = self.parts[host].iter().copied().filter(|component| !self.down.contains(*component));
        runs.collect::<Vec<_>>().join(",")
    }
}

/// A port on which a host can be started again and again: below those that the system gives to whoever asks for any one,
/// as it would give this one away while the host is down.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Tests that run at one time, in processes of their own, begin at different places.
    let first = std::process::id() % 10_000 * 97;
    let ports = std::iter::repeat_with(|| 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000);
    let mut ports = ports.map(|port| u16::try_from(port).unwrap());
    ports.find(|port| TcpListener::bind((ADDRESSES[0], *port)).is_ok()).unwrap()
}
