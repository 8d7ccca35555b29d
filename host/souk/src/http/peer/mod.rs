//! Who is at the other end: the client of a request, whose share of the host it takes, and the address that is logged.
//!
//! This is decided here and nowhere else. A *peer* is the other end of the TCP connection, unless the manifest trusts that
//! (`trusted_proxies`): then it is the client that the proxy names, by PROXY protocol for the whole connection
//! ([`proxy_protocol`]), or in `forwarded` or `x-forwarded-for` for each request. Of a chain of proxies, the last that is
//! not trusted counts, because each names only the one before it, and the first may name anybody.
//!
//! A header from a peer that is not trusted changes nothing. Where a trusted proxy names nobody that can be read, or names
//! two in the two headers (it makes one of them and passes the other on, as its client made it up), all such requests are
//! of one peer, the proxy: a client gains nothing by confusing it. A proxy's own requests, with neither header, are of a
//! peer without a bound.

mod forwarded;
pub(super) mod proxy_protocol;
#[cfg(test)]
mod tests;

use forwarded::Hop;
use http::{HeaderMap, HeaderName, HeaderValue};
use souk_manifest::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const FORWARDED: HeaderName = http::header::FORWARDED;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whose share of the host something takes: of IPv6 the network's, because one client has all its addresses.
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

    /// That of a trusted proxy itself, which has no bound of one peer.
    fn of_proxy(address: IpAddr) -> Self {
        Share { bounded: false, ..Share::of(address) }
    }

    /// Whether the bounds of one peer hold for it.
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
    /// Its address; the port is 0 where a proxy has not named it.
    pub address: SocketAddr,
    /// Whose share it takes.
    pub share: Share,
    /// Whether this is a trusted proxy, which may name another for each request.
    proxy: bool,
}

impl Peer {
    fn client(address: SocketAddr) -> Self {
        Peer { address, share: Share::of(address.ip()), proxy: false }
    }

    /// Whether the connection is of a trusted proxy, and so of many clients.
    pub fn is_proxy(&self) -> bool {
        self.proxy
    }

    /// The address as the value of a header.
    pub fn header(&self) -> HeaderValue {
        // An address's text is a header value.
        HeaderValue::try_from(self.address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Those of the manifest.
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

    /// Goes from hop to hop, the last first, up to one that is not trusted. `lines` are those of a header, the last first,
    /// each with its hops in order, or `None` where it cannot be read.
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
        // All are trusted: it is the first.
        named
    }
}

/// Whom a header names.
enum Named {
    /// Nobody: it is not there, or empty.
    Nobody,
    /// The client at this address.
    Client(SocketAddr),
    /// Somebody whose address is hidden, or cannot be read.
    Unknown,
}
