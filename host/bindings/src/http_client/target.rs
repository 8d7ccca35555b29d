//! The target of a request, read from its URI once, so that the host connects to exactly what `allowed_outbound_hosts`
//! was checked for.

use crate::outbound::Server;

/// The suffix of the host names of the application's own components.
pub(super) const INTERNAL: &str = ".spin.internal";

/// The target of a request.
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
            // For an empty or overlong port, the crate `http` says that there is no port.
            None if authority.as_str().len() != authority.host().len() => return None,
            None if scheme == "https" => 443,
            None => 80,
        };
        (!host.is_empty() && port != 0).then(|| Target { scheme, host: host.to_ascii_lowercase(), port })
    }

    /// Whether the port is the scheme's own.
    pub(super) fn has_usual_port(&self) -> bool {
        matches!((self.scheme.as_str(), self.port), ("http", 80) | ("https", 443))
    }

    /// The form in which `allowed_outbound_hosts` checks it.
    pub(super) fn server(&self) -> Server<'_> {
        Server { scheme: &self.scheme, host: &self.host, port: self.port }
    }

    /// `scheme://host:port` as an entry of `allowed_outbound_hosts`, without the port where it is the scheme's own.
    pub(super) fn entry(&self) -> String {
        self.server().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::AllowedHosts;
    use crate::outbound::tests::allow;

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
            assert_eq!(hosts.allows(&target(uri).server()), allowed, "{uri}");
        }
        assert!(allow(&["*://*:*"]).allows(&target("http://anything.test:1").server()));
        assert!(!AllowedHosts::default().allows(&target("http://anything.test").server()));
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
