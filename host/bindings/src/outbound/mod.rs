//! `allowed_outbound_hosts`: where a component may connect to. Every binding that opens connections checks it.
//!
//! The list answers two questions. May the component connect to this scheme, host and port? And, once a name is
//! resolved to an address outside the public internet, may it reach this address? A name does not grant such an
//! address, except the name in the component's own `database_url`, which the operator wrote for exactly this purpose.
//! The manifest's documentation defines what an entry means.
//!
//! A binding resolves the name itself, with [`Server::addresses`], and connects to a checked address, so nothing can
//! change in between.

mod address;
mod dial;
#[cfg(any(feature = "mysql", feature = "mqtt"))]
mod url;

pub(crate) use address::special;
#[cfg(feature = "mqtt")]
pub(crate) use dial::Stream;
pub(crate) use dial::{ANSWER_TIMEOUT, DialPermit, MAX_ADDRESS_BYTES, Refusal};
pub use dial::{Dialer, Granted, State};
#[cfg(any(feature = "mysql", feature = "mqtt"))]
pub(crate) use url::ServerUrl;

use crate::denials::Denials;
use futures::future::BoxFuture;
use hyper_rustls::ConfigBuilderExt as _;
use souk_manifest::limits::FixedLimit;
use souk_manifest::{AllowedHost, default_port};
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::{self, ClientConfig};

souk_manifest::fixed_limits! {
    /// The fixed limits of connections to other services.
    pub(crate) const FIXED_LIMITS = "outbound";

    /// The most names that one component resolves at the same time; others wait.
    const MAX_LOOKUPS: usize = 16, "names";
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [FIXED_LIMITS, dial::FIXED_LIMITS, crate::denials::FIXED_LIMITS].concat()
}

/// The list of one component; cheap to clone.
#[derive(Clone, Default)]
pub struct AllowedHosts(Arc<List>);

#[derive(Default)]
struct List {
    component: Box<str>,
    entries: Vec<AllowedHost>,
    denials: Denials,
}

impl AllowedHosts {
    /// Identifies the component, where components take turns.
    pub(crate) fn owner(&self) -> usize {
        // No other list has this allocation while a call of the component runs.
        Arc::as_ptr(&self.0).addr()
    }

    /// The list of `component`.
    pub fn new(component: &str, entries: Vec<AllowedHost>) -> Self {
        AllowedHosts(Arc::new(List { component: component.into(), entries, denials: Denials::new(component) }))
    }

    /// Whether the component may connect to `server`.
    pub(crate) fn allows(&self, server: &Server<'_>) -> bool {
        self.0.entries.iter().any(|entry| entry.allows(server.scheme, server.host, server.port))
    }

    /// Why the component may not reach `ip` for `server`: the kind of the IP address. `None` when it may.
    pub(crate) fn refuses(&self, server: &Server<'_>, ip: IpAddr) -> Option<&'static str> {
        let kind = special(ip)?;
        let Server { scheme, host, port } = *server;
        let granted = |entry: &AllowedHost| {
            entry.grants_address(scheme, ip, port) || entry.allows_any_address(scheme, host, port)
        };
        (!self.0.entries.iter().any(granted)).then_some(kind)
    }

    /// Whether the component may send requests to the component `name` of the same application.
    pub(crate) fn allows_internal(&self, scheme: &str, name: &str) -> bool {
        self.0.entries.iter().any(|entry| entry.allows_internal(scheme, name))
    }

    /// Whether the component may send requests to the application's own public routes.
    pub(crate) fn allows_self(&self) -> bool {
        self.0.entries.iter().any(AllowedHost::allows_self)
    }

    /// Logs that the component was refused `what` to `server`, and the entry that would allow it.
    pub(crate) fn denied(&self, what: &str, server: &Server<'_>, trace: &str) {
        let (component, entry) = (&self.0.component, server.to_string());
        let missing = format!("{entry:?} to allowed_outbound_hosts of [component.{component}]");
        self.0.denials.refused(&format!("{what} to {entry}"), &missing, trace);
    }
}

/// A server to which a component wants to connect. `Display` is the entry of `allowed_outbound_hosts` that allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server<'a> {
    /// The scheme of the protocol, which can differ from the one in the guest's URL.
    pub scheme: &'a str,
    /// A name, or an address without brackets.
    pub host: &'a str,
    pub port: u16,
}

impl fmt::Display for Server<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { scheme, host, port } = self;
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{host}{close}")?;
        match default_port(scheme) {
            Some(default) if default == *port => Ok(()),
            _ => write!(f, ":{port}"),
        }
    }
}

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    /// The text contains no address, because the guest must not learn about the host's network.
    #[error("it leads to an address that is not on the public internet, and is not granted")]
    Special,
    /// The name has no address.
    #[error("the name cannot be resolved: {0}")]
    Unresolved(io::Error),
}

impl Server<'_> {
    /// The server's addresses that the component of `allowed` may reach; never empty.
    ///
    /// # Errors
    /// When the name has no address, or none that the component may reach.
    pub(crate) async fn addresses(
        &self,
        allowed: &AllowedHosts,
        resolve: &Resolve,
    ) -> Result<Vec<IpAddr>, Unreachable> {
        let found = match self.host.parse() {
            Ok(ip) => vec![ip],
            Err(_) => resolve(self.host.to_owned()).await.map_err(Unreachable::Unresolved)?,
        };
        let mut refused = None;
        let mut addresses = Vec::with_capacity(found.len());
        for ip in found {
            match allowed.refuses(self, ip) {
                None => addresses.push(ip),
                Some(kind) => refused = Some((ip, kind)),
            }
        }
        match refused {
            _ if !addresses.is_empty() => Ok(addresses),
            None => Err(Unreachable::Unresolved(io::Error::other("it has no address"))),
            Some((ip, kind)) => {
                let granting = Server { host: &ip.to_string(), ..*self }.to_string();
                let component = &allowed.0.component;
                let what = format!("{self}: it leads to {ip} ({kind}), which is not on the public internet");
                let entry = format!("{granting:?} to allowed_outbound_hosts of [component.{component}]");
                allowed.0.denials.refused(&what, &entry, "-");
                Err(Unreachable::Special)
            }
        }
    }
}

/// Resolves a name. Tests replace it to decide where a name leads.
pub(crate) type Resolve = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The system's resolver, for one component or one pool of connections.
///
/// A look-up blocks a thread and cannot be stopped, so it can outlive the request that started it. It keeps its permit
/// until it ends, so a component with a wildcard grant cannot fill the blocking pool with names whose servers never
/// answer.
pub(crate) fn system_resolver() -> Resolve {
    let permits = Arc::new(Semaphore::new(MAX_LOOKUPS));
    Arc::new(move |name| {
        let permits = permits.clone();
        Box::pin(async move {
            let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = move || {
                let found = (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect());
                drop(permit);
                found
            };
            tokio::task::spawn_blocking(lookup).await?
        })
    })
}

/// The TLS settings of all outbound connections: certificates are always checked against Mozilla's roots.
///
/// # Errors
/// When the TLS library does not support its own defaults.
pub fn tls_config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_webpki_roots().with_no_client_auth())
}

#[cfg(test)]
pub(crate) mod tests;
