//! The allow-list of one component: `allowed_outbound_hosts`, ready to be asked.
//!
//! Two questions are asked of it. May the component send to this scheme, host and port? And, once a name is resolved,
//! may it reach this address, if the address is not on the public internet? The second is a yes only for an entry that
//! names the address itself (an IP address, a network) or `localhost`; no wildcard grants the host's own network.

use ipnet::IpNet;
use std::net::IpAddr;

/// One entry of `allowed_outbound_hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// The scheme; `None` for `*`.
    pub scheme: Option<String>,
    /// The host.
    pub host: HostPattern,
    /// The first and the last port that it allows.
    pub ports: (u16, u16),
}

/// The host of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// `*`
    Any,
    /// A name in lower case.
    Name(String),
    /// `*.example.com`, here as `.example.com`, in lower case: every name below, and not the name itself.
    Below(String),
    /// An IP address, or a network in CIDR notation.
    Net(IpNet),
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) scheme: String,
    /// In lower case, without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Target {
    /// The target of an absolute URI; `None` when it has no scheme or host, has user information, or port 0.
    pub(super) fn of(uri: &http::Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // `http` accepts an empty or an overlong port here and then calls it no port.
            None if authority.as_str().len() != authority.host().len() => return None,
            None if scheme == "https" => 443,
            None => 80,
        };
        (!host.is_empty() && port != 0).then(|| Target { scheme, host: host.to_ascii_lowercase(), port })
    }

    /// The host as an address, if it is written as one. An IPv4 address in any other than the dotted form is a name,
    /// which the system's resolver may know, and which is checked when it is resolved.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// `scheme://host:port` as an entry of `allowed_outbound_hosts`, without the port where it is the scheme's own.
    pub(super) fn entry(&self) -> String {
        let Target { scheme, host, port } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        match (scheme.as_str(), port) {
            ("http", 80) | ("https", 443) => format!("{scheme}://{host}"),
            _ => format!("{scheme}://{host}:{port}"),
        }
    }
}

/// All entries of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(pub Vec<AllowedHost>);

impl AllowedHosts {
    /// Whether the component may send to `target`.
    pub(super) fn allows(&self, target: &Target) -> bool {
        self.matching(target).any(|entry| match &entry.host {
            HostPattern::Any => true,
            HostPattern::Name(name) => *name == target.host,
            HostPattern::Below(suffix) => is_below(&target.host, suffix),
            HostPattern::Net(net) => target.address().is_some_and(|address| contains(net, address)),
        })
    }

    /// Whether the component may reach `address` for `target` although it is not on the public internet.
    pub(super) fn grants_address(&self, target: &Target, address: IpAddr) -> bool {
        self.matching(target).any(|entry| match &entry.host {
            HostPattern::Net(net) => contains(net, address),
            // RFC 6761: these names are the loopback interface and nothing else.
            HostPattern::Name(name) => {
                *name == target.host
                    && (name == "localhost" || name.ends_with(".localhost"))
                    && address.to_canonical().is_loopback()
            }
            HostPattern::Any | HostPattern::Below(_) => false,
        })
    }

    /// Whether the component may send requests to the component `name` of the same application: by
    /// `http://NAME.spin.internal` or `http://*.spin.internal`.
    pub(super) fn allows_internal(&self, name: &str) -> bool {
        let host = format!("{name}{INTERNAL}");
        self.0.iter().filter(|entry| entry.scheme.as_deref() == Some("http")).any(|entry| match &entry.host {
            HostPattern::Name(name) => *name == host,
            HostPattern::Below(suffix) => suffix == INTERNAL,
            HostPattern::Any | HostPattern::Net(_) => false,
        })
    }

    /// The entries whose scheme and port fit.
    fn matching(&self, target: &Target) -> impl Iterator<Item = &AllowedHost> {
        self.0.iter().filter(|entry| {
            let (first, last) = entry.ports;
            entry.scheme.as_ref().is_none_or(|scheme| *scheme == target.scheme) && (first..=last).contains(&target.port)
        })
    }
}

/// The names of the application's own components.
pub(super) const INTERNAL: &str = ".spin.internal";

fn is_below(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix).is_some_and(|label| !label.is_empty())
}

/// Whether `net` holds `address`, an IPv4 address in IPv6 clothes counting as what it is.
fn contains(net: &IpNet, address: IpAddr) -> bool {
    net.contains(&address.to_canonical()) || net.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(&str, HostPattern, (u16, u16))]) -> AllowedHosts {
        let entry = |(scheme, host, ports): &(&str, HostPattern, (u16, u16))| AllowedHost {
            scheme: (*scheme != "*").then(|| (*scheme).to_owned()),
            host: host.clone(),
            ports: *ports,
        };
        AllowedHosts(entries.iter().map(entry).collect())
    }

    fn name(name: &str) -> HostPattern {
        HostPattern::Name(name.to_owned())
    }

    fn net(net: &str) -> HostPattern {
        HostPattern::Net(net.parse().unwrap())
    }

    fn target(uri: &str) -> Target {
        Target::of(&uri.parse().unwrap()).unwrap_or_else(|| panic!("{uri} has no target"))
    }

    const ALL: (u16, u16) = (1, u16::MAX);

    #[test]
    fn a_request_is_allowed_by_scheme_host_and_port_together() {
        let hosts = list(&[
            ("https", name("api.example.com"), (443, 443)),
            ("*", HostPattern::Below(".example.org".into()), (8000, 8999)),
            ("http", net("10.1.0.0/16"), ALL),
            ("http", net("::1/128"), (80, 80)),
        ]);
        for (uri, allowed) in [
            ("https://api.example.com/x?y", true),
            ("HTTPS://API.EXAMPLE.COM", true),
            ("https://api.example.com:443", true),
            ("https://api.example.com:444", false),
            ("http://api.example.com", false),
            ("https://api.example.com.evil.test", false),
            ("https://xapi.example.com", false),
            ("https://api.example.com.", false),
            ("http://a.example.org:8000", true),
            ("https://a.b.example.org:8999", true),
            ("http://example.org:8000", false),
            ("http://.example.org:8000", false),
            ("http://notexample.org:8000", false),
            ("http://a.example.org:9000", false),
            ("http://10.1.255.255:5000", true),
            ("http://10.2.0.0:5000", false),
            ("http://[::ffff:10.1.2.3]/", true),
            ("http://[::1]/", true),
            ("http://[::1]:81/", false),
        ] {
            assert_eq!(hosts.allows(&target(uri)), allowed, "{uri}");
        }
        assert!(list(&[("*", HostPattern::Any, ALL)]).allows(&target("http://anything.test:1")));
        assert!(!AllowedHosts::default().allows(&target("http://anything.test")));
    }

    #[test]
    fn only_an_address_a_network_or_localhost_grants_a_special_address() {
        let local = list(&[("http", name("localhost"), (3000, 3000))]);
        let public_name = list(&[("http", name("db.example.com"), ALL)]);
        let any = list(&[("*", HostPattern::Any, ALL)]);
        let below = list(&[("*", HostPattern::Below(".localhost".into()), ALL)]);
        let network = list(&[("http", net("10.0.0.0/8"), (5432, 5432))]);
        for (hosts, uri, address, granted) in [
            (&local, "http://localhost:3000", "127.0.0.1", true),
            (&local, "http://localhost:3000", "::1", true),
            (&local, "http://localhost:3000", "10.0.0.1", false),
            (&local, "http://localhost:3001", "127.0.0.1", false),
            (&local, "http://127.0.0.1:3000", "127.0.0.1", false),
            (&public_name, "http://db.example.com", "127.0.0.1", false),
            (&any, "http://localhost", "127.0.0.1", false),
            (&below, "http://a.localhost", "127.0.0.1", false),
            (&network, "http://db.example.com:5432", "10.9.8.7", true),
            (&network, "http://db.example.com:5432", "::ffff:10.9.8.7", true),
            (&network, "http://db.example.com:5433", "10.9.8.7", false),
            (&network, "https://db.example.com:5432", "10.9.8.7", false),
            (&network, "http://db.example.com:5432", "11.0.0.1", false),
        ] {
            assert_eq!(hosts.grants_address(&target(uri), address.parse().unwrap()), granted, "{uri} at {address}");
        }
    }

    #[test]
    fn a_component_is_reached_by_its_own_entry_or_the_internal_wildcard_only() {
        for (hosts, allowed) in [
            (list(&[("http", name("web.spin.internal"), (80, 80))]), true),
            (list(&[("http", HostPattern::Below(".spin.internal".into()), (80, 80))]), true),
            (list(&[("http", name("other.spin.internal"), (80, 80))]), false),
            (list(&[("https", name("web.spin.internal"), (443, 443))]), false),
            (list(&[("*", HostPattern::Any, ALL)]), false),
            (list(&[("http", HostPattern::Below(".internal".into()), (80, 80))]), false),
            (AllowedHosts::default(), false),
        ] {
            assert_eq!(hosts.allows_internal("web"), allowed, "{hosts:?}");
        }
    }

    #[test]
    fn a_uri_that_could_be_read_in_two_ways_has_no_target() {
        for uri in
            ["/relative", "http://user@host/", "http://allowed.test:80@evil.test/", "http://host:0/", "http://host:/"]
        {
            assert_eq!(uri.parse().ok().and_then(|uri| Target::of(&uri)), None, "{uri}");
        }
        assert_eq!(target("https://Host.Test").entry(), "https://host.test");
        assert_eq!(target("http://[::1]:8080/x").entry(), "http://[::1]:8080");
    }
}
