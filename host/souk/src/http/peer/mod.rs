//! Identifies the client of a request, whose share of the host it uses, and the address that is logged.
//!
//! This is the only place that decides it. The *peer* is normally the other end of the TCP connection. If the manifest
//! trusts that end (`trusted_proxies`), the peer is the client that the proxy names: by PROXY protocol for the whole
//! connection ([`proxy_protocol`]), or in `forwarded` or `x-forwarded-for` for each request. In a chain of proxies the
//! last untrusted one counts, because each proxy only knows the one before it, and the first may claim anything.
//!
//! Headers of an untrusted peer change nothing. A trusted proxy may name nobody readable, or two different clients in
//! the two headers (it writes one header and passes the other on, as its client invented it). All such requests belong
//! to one peer, the proxy, so a client gains nothing by confusing it. A proxy's own requests, with neither header,
//! belong to a peer without a limit.

pub(super) mod forwarded;
pub(super) mod proxy_protocol;
#[cfg(test)]
mod tests;

use forwarded::Hop;
use http::{HeaderMap, HeaderName, HeaderValue};
use souk_manifest::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const FORWARDED: HeaderName = http::header::FORWARDED;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Identifies whose share of the host something uses. For IPv6 it is the network, because one client owns all addresses
/// in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Share {
    network: IpAddr,
    bounded: bool,
}

impl Share {
    /// The share of the client at `address`.
    pub fn of(address: IpAddr) -> Self {
        let network = match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        };
        Share { network, bounded: true }
    }

    /// The share of a trusted proxy itself, to which a peer's limits do not apply.
    fn of_proxy(address: IpAddr) -> Self {
        Share { bounded: false, ..Share::of(address) }
    }

    /// Whether a peer's limits apply to it.
    pub fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// The address, or the network.
    pub fn network(&self) -> IpAddr {
        self.network
    }
}

/// The client of a connection or of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address; the port is 0 if a proxy has not given it.
    pub address: SocketAddr,
    /// The share that it uses.
    pub share: Share,
    /// Whether this is a trusted proxy, which may name another client for each request.
    proxy: bool,
}

impl Peer {
    fn client(address: SocketAddr) -> Self {
        Peer { address, share: Share::of(address.ip()), proxy: false }
    }

    /// Whether the connection comes from a trusted proxy, and so carries many clients.
    pub fn is_proxy(&self) -> bool {
        self.proxy
    }

    /// The address as the value of a header.
    pub fn header(&self) -> HeaderValue {
        // An address's text is always a valid header value.
        HeaderValue::try_from(self.address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// The trusted proxies.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// The proxies that the manifest trusts.
    pub fn new(networks: &[IpNet]) -> Self {
        TrustedProxies(networks.to_vec())
    }

    fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The peer of a connection from `address`.
    pub fn peer(&self, address: SocketAddr) -> Peer {
        if self.contain(address.ip()) {
            Peer { address, share: Share::of_proxy(address.ip()), proxy: true }
        } else {
            Peer::client(address)
        }
    }

    /// The client of a request with `headers` on a connection of `peer`.
    pub fn client(&self, peer: &Peer, headers: &HeaderMap) -> Peer {
        if !peer.proxy || !(headers.contains_key(FORWARDED) || headers.contains_key(X_FORWARDED_FOR)) {
            return *peer;
        }
        let lines = |name| headers.get_all(name).iter().rev().map(HeaderValue::as_bytes);
        let forwarded = self.last_untrusted(lines(FORWARDED).map(forwarded::standard));
        let listed = self.last_untrusted(lines(X_FORWARDED_FOR).map(forwarded::list));
        let named = match (forwarded, listed) {
            (Named::Nobody, one) | (one, Named::Nobody) => one,
            (Named::Client(one), Named::Client(other)) if one.ip() == other.ip() => {
                Named::Client(if one.port() == 0 { other } else { one })
            }
            _ => Named::Unknown,
        };
        match named {
            Named::Client(address) => Peer::client(address),
            Named::Nobody | Named::Unknown => Peer { proxy: true, ..Peer::client(peer.address) },
        }
    }

    /// Goes from hop to hop, last to first, to the first that is not trusted. `lines` are a header's lines, last to
    /// first, each with its hops in order, or `None` if it is unreadable.
    fn last_untrusted(&self, lines: impl Iterator<Item = Option<Vec<Hop>>>) -> Named {
        let mut named = Named::Nobody;
        for line in lines {
            let Some(hops) = line else { return Named::Unknown };
            for hop in hops.into_iter().rev() {
                let Hop::Address(address) = hop else { return Named::Unknown };
                named = Named::Client(address);
                if !self.contain(address.ip()) {
                    return named;
                }
            }
        }
        // All hops are trusted: the result is the first hop.
        named
    }
}

/// The client that a header names.
enum Named {
    /// Nobody: the header is missing or empty.
    Nobody,
    /// The client at this address.
    Client(SocketAddr),
    /// A client whose address is hidden or unreadable.
    Unknown,
}
