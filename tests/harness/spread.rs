//! An application on three hosts: what runs where, and the servers that they share.
//!
//! With `SOUK_HOSTS=3` in the environment every scenario runs on three hosts instead of one, each a process with its
//! own state folder and loopback address. A cluster of three NATS servers connects them, and the store uses one
//! PostgreSQL server. The scenarios do not change: they send requests to the first host, and run `souk` on its state
//! folder. A scenario about a single host uses [`App::alone`](super::App::alone) or
//! [`App::store_alone`](super::App::store_alone), and says why.

use super::nats::Nats;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The addresses of the hosts. The first is the one that scenarios talk to.
pub(crate) const ADDRESSES: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];

/// Which components each host runs: the first host runs at least some of the routes, and the last one the components
/// that receive durable messages. Only one host can use a database file, so `rogue` and `calm`, which share one, run on
/// the same host.
const PARTS: [(&str, [&str; 3]); 6] = [
    ("store", ["gateway,auth,passwords", "products", "orders,payments,webhook,stripe-sandbox"]),
    ("edge", ["front", "second,inner", "rogue"]),
    ("rogue", ["front,front-fresh,other", "rogue,calm", "fresh,hasty"]),
    ("durable", ["front", "sender", "rogue"]),
    ("probe", ["front", "rogue", ""]),
    ("framing", ["relay", "unruly", ""]),
];

/// An application on several hosts: its name, what each host runs, and the NATS servers that connect them.
#[derive(Clone)]
pub(crate) struct Spread {
    /// The URLs of the NATS servers, separated by commas.
    pub nats: String,
    /// Other URLs of the same servers for the last host, which receives the durable messages: those of proxies.
    pub last_host_nats: Option<String>,
    /// The application's name in its manifest.
    pub application: &'static str,
    /// The unique name that the scenario gives it: hosts with the same name belong to one application.
    pub name: String,
    /// The port of the first host, where the application's public URL contains it; otherwise 0, any free port.
    pub port: u16,
    /// What each host runs.
    pub parts: [BTreeSet<&'static str>; 3],
    /// Components that no host runs.
    pub down: BTreeSet<String>,
}

/// Whether scenarios run on three hosts.
pub(crate) fn enabled() -> bool {
    match std::env::var("SOUK_HOSTS").as_deref() {
        Err(_) | Ok("1") => false,
        Ok("3") => true,
        Ok(other) => panic!("SOUK_HOSTS is {other:?}, and must be 1 or 3"),
    }
}

impl Spread {
    /// The application of this name, on the NATS servers that all tests of the process share.
    pub(crate) fn new(application: &str) -> Spread {
        static SERVERS: OnceLock<Nats> = OnceLock::new();
        Spread::over(application, SERVERS.get_or_init(Nats::cluster).url())
    }

    /// The application of this name, on these NATS servers.
    pub(crate) fn over(application: &str, nats: String) -> Spread {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let (application, parts) =
            PARTS.iter().find(|(name, _)| *name == application).expect("an application in `PARTS`");
        let port = match *application {
            "store" => free_port(),
            _ => 0,
        };
        let name = format!("{application}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let parts = parts.map(|part| part.split(',').filter(|component| !component.is_empty()).collect());
        Spread { nats, last_host_nats: None, application, name, port, parts, down: BTreeSet::new() }
    }

    /// The components of host number `host`, in the form of `--only`; empty if the host runs none.
    pub(crate) fn only(&self, host: usize) -> String {
        let runs = self.parts[host].iter().copied().filter(|component| !self.down.contains(*component));
        runs.collect::<Vec<_>>().join(",")
    }
}

/// A port on which a host can restart. It lies below the range from which the system hands out free ports: otherwise
/// another process could get the port while the host is down.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run at the same time start at different ports.
    let first = std::process::id() % 10_000 * 97;
    let ports = std::iter::repeat_with(|| 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000);
    let mut ports = ports.map(|port| u16::try_from(port).unwrap());
    ports.find(|port| TcpListener::bind((ADDRESSES[0], *port)).is_ok()).unwrap()
}
