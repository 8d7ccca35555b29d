//! The allow-list of one component, `allowed_outbound_hosts`, asked about one target.
//!
//! Two questions are asked of it. May the component send to this scheme, host and port? And, once a name is resolved,
//! may it reach this address, if the address is not on the public internet? What an entry means is the manifest's to
//! say; here stands how a URI is read, so that what was checked is what is connected to.

use souk_manifest::AllowedHost;
use std::net::IpAddr;

/// The names of the application's own components.
pub(super) const INTERNAL: &str = ".spin.internal";

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

    /// Whether the port is the scheme's own.
    pub(super) fn has_usual_port(&self) -> bool {
        matches!((self.scheme.as_str(), self.port), ("http", 80) | ("https", 443))
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
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts(Vec<AllowedHost>);

impl From<Vec<AllowedHost>> for AllowedHosts {
    fn from(entries: Vec<AllowedHost>) -> Self {
        AllowedHosts(entries)
    }
}

impl AllowedHosts {
    /// Whether the component may send to `target`.
    pub(super) fn allows(&self, target: &Target) -> bool {
        self.0.iter().any(|entry| entry.allows(&target.scheme, &target.host, target.port))
    }

    /// Whether the component may reach `address` for `target` although it is not on the public internet.
    pub(super) fn grants_address(&self, target: &Target, address: IpAddr) -> bool {
        self.0.iter().any(|entry| entry.grants_address(&target.scheme, address, target.port))
    }

    /// Whether the component may send requests to the component `name` of the same application.
    pub(super) fn allows_internal(&self, scheme: &str, name: &str) -> bool {
        self.0.iter().any(|entry| entry.allows_internal(scheme, name))
    }

    /// Whether the component may send requests to the application's own public routes.
    pub(super) fn allows_self(&self) -> bool {
        self.0.iter().any(AllowedHost::allows_self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::tests::allow;

    fn target(uri: &str) -> Target {
        Target::of(&uri.parse().unwrap()).unwrap_or_else(|| panic!("{uri} has no target"))
    }

    #[test]
    fn a_request_is_allowed_by_scheme_host_and_port_together() {
        let hosts = allow(&[
            "https://api.example.com",
            "*://*.example.org:8000..9000",
            "http://10.1.0.0/16:*",
            "http://[::1]:80",
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
        assert!(allow(&["*://*:*"]).allows(&target("http://anything.test:1")));
        assert!(!AllowedHosts::default().allows(&target("http://anything.test")));
    }

    #[test]
    fn only_an_address_a_network_or_localhost_grants_a_special_address() {
        let local = allow(&["http://localhost:3000"]);
        let public_name = allow(&["http://db.example.com:*"]);
        let any = allow(&["*://*:*"]);
        let below = allow(&["*://*.localhost:*"]);
        let network = allow(&["http://10.0.0.0/8:5432"]);
        for (hosts, uri, address, granted) in [
            (&local, "http://localhost:3000", "127.0.0.1", true),
            (&local, "http://localhost:3000", "::1", true),
            (&local, "http://localhost:3000", "10.0.0.1", false),
            (&local, "http://localhost:3001", "127.0.0.1", false),
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
    fn a_component_is_reached_by_its_own_entry_or_a_wildcard() {
        for (entry, allowed) in [
            ("http://web.spin.internal", true),
            ("http://*.spin.internal", true),
            ("http://other.spin.internal", false),
            ("https://web.spin.internal", false),
            ("http://*.internal", false),
            ("http://10.0.0.0/8", false),
        ] {
            assert_eq!(allow(&[entry]).allows_internal("http", "web"), allowed, "{entry}");
        }
        assert!(!AllowedHosts::default().allows_internal("http", "web"));
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
