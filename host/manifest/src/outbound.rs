//! `allowed_outbound_hosts`: which network destinations a component may reach. Nothing is reachable by default.
//!
//! An entry is `scheme://host[:port]` as in Spin: `*` for any scheme, host or port, `*.domain` for subdomains, an
//! address or a network in CIDR notation, a port range `A..B` that excludes `B`, `NAME.spin.internal` for a component
//! of the same application, and `self` (or `self.alt`, which means the same) for the application's public routes. Lists
//! of schemes or hosts in `{ }` are refused, as in Spin.

use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The domain of components of the same application.
pub const INTERNAL_DOMAIN: &str = "spin.internal";

/// The names for the application's own public routes, as in Spin: an entry with one of them allows both.
pub const SELF_HOSTS: [&str; 2] = ["self", "self.alt"];

/// One entry. If its text comes from a secret variable, `Display` and `Debug` show the manifest's template instead.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowedHost {
    shown: String,
    scheme: Option<String>,
    host: Host,
    /// From the first to the last port, both allowed.
    ports: (u16, u16),
    /// Whether the host is granted at any address that its name resolves to.
    at_any_address: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Host {
    Any,
    Name(String),
    /// The domain with a leading dot.
    Subdomains(String),
    Network(IpNet),
    /// The application's public routes.
    Itself,
}

/// What is wrong with an entry, and the fix.
#[derive(Debug, PartialEq, Eq)]
pub struct HostError {
    /// What is wrong.
    pub message: &'static str,
    /// What would fix it.
    pub fix: &'static str,
}

fn wrong<T>(message: &'static str, fix: &'static str) -> Result<T, HostError> {
    Err(HostError { message, fix })
}

impl AllowedHost {
    /// Reads an entry; `shown` is the text for `Display`.
    ///
    /// # Errors
    /// When the entry is not a host, or a host that cannot be granted.
    pub fn parse(text: &str, shown: &str) -> Result<Self, HostError> {
        if text == "insecure:allow-all" {
            return wrong(
                "`insecure:allow-all` is no longer supported",
                "write `*://*:*` if every destination is \
                          meant",
            );
        }
        let Some((scheme, rest)) = text.trim().split_once("://") else {
            return wrong("the scheme is missing", "write `https://HOST` or another scheme, `*://HOST:PORT` for any");
        };
        if scheme != "*" && (scheme.is_empty() || !scheme.chars().all(|c| c.is_ascii_alphabetic())) {
            return wrong("the scheme is not a word", "write one scheme, such as `https`, or `*` for any");
        }
        if rest.contains('@') {
            return wrong("it has a user name", "write the host only; credentials belong into a variable");
        }
        let scheme = (scheme != "*").then(|| scheme.to_ascii_lowercase());
        // Two names for the same protocol, as in database URLs.
        let scheme = scheme.map(|scheme| if scheme == "postgresql" { "postgres".to_owned() } else { scheme });
        let (host, port) = split(rest.strip_suffix('/').unwrap_or(rest))?;
        let ports = parse_ports(port, scheme.as_deref())?;
        Ok(AllowedHost { shown: shown.to_owned(), scheme, host: parse_host(host)?, ports, at_any_address: false })
    }

    /// The grant for one PostgreSQL server; `host` is a name, or an address without brackets. The operator has set this
    /// URL for the database, so the grant covers any address that the name resolves to: most database servers are in
    /// private networks.
    pub(super) fn of_postgres(host: &str, port: u16) -> Self {
        let (shown, host) = match host.parse::<IpAddr>() {
            Ok(address) => (SocketAddr::new(address, port).to_string(), Host::Network(address.to_canonical().into())),
            Err(_) => (format!("{host}:{port}"), Host::Name(host.to_ascii_lowercase())),
        };
        let (scheme, shown) = (Some("postgres".to_owned()), format!("postgres://{shown}"));
        AllowedHost { shown, scheme, host, ports: (port, port), at_any_address: true }
    }

    /// Whether `host` is allowed at any address that it may have, including private ones.
    pub fn allows_wherever(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.at_any_address && self.allows(scheme, host, port)
    }

    /// Whether the entry is for `scheme` or for any scheme.
    pub fn is_for(&self, scheme: &str) -> bool {
        self.allows_scheme(scheme)
    }

    /// Whether a connection to `host` at `port` is allowed; `host` is a name or an address, an IPv6 one with or
    /// without brackets.
    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.allows_scheme(scheme) && self.allows_port(port) && self.host.allows(host)
    }

    /// Whether the entry grants the address itself: because it is an address or a network, or `localhost` for a
    /// loopback address. A host name grants no address, because the manifest's author does not control what it resolves
    /// to.
    pub fn grants_address(&self, scheme: &str, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        let host = match &self.host {
            Host::Network(network) => network.contains(&address),
            Host::Name(name) => name == "localhost" && address.is_loopback(),
            Host::Any | Host::Subdomains(_) | Host::Itself => false,
        };
        host && self.allows_scheme(scheme) && self.allows_port(port)
    }

    /// Whether requests to the application's public routes are allowed; only the entry `self` allows them, as in Spin.
    pub fn allows_self(&self) -> bool {
        self.host == Host::Itself
    }

    /// Whether `SCHEME://COMPONENT.spin.internal` is allowed.
    pub fn allows_internal(&self, scheme: &str, component: &str) -> bool {
        let Some(port) = default_port(scheme) else { return false };
        if !self.allows_scheme(scheme) || !self.allows_port(port) {
            return false;
        }
        match &self.host {
            Host::Any => true,
            Host::Subdomains(suffix) => suffix.strip_prefix('.') == Some(INTERNAL_DOMAIN),
            Host::Name(_) => self.internal_component().is_some_and(|name| name.eq_ignore_ascii_case(component)),
            Host::Network(_) | Host::Itself => false,
        }
    }

    /// The component that the entry names as `NAME.spin.internal`.
    pub(super) fn internal_component(&self) -> Option<&str> {
        let Host::Name(name) = &self.host else { return None };
        name.strip_suffix(INTERNAL_DOMAIN)?.strip_suffix('.')
    }

    fn allows_scheme(&self, scheme: &str) -> bool {
        self.scheme.as_ref().is_none_or(|allowed| allowed.eq_ignore_ascii_case(scheme))
    }

    fn allows_port(&self, port: u16) -> bool {
        let (first, last) = self.ports;
        (first..=last).contains(&port)
    }
}

impl Host {
    fn allows(&self, host: &str) -> bool {
        match self {
            Host::Any => true,
            Host::Itself => false,
            Host::Name(name) => name.eq_ignore_ascii_case(host),
            Host::Subdomains(suffix) => {
                // Compared as bytes: `host` is untrusted text and may have no character boundary there.
                let (host, suffix) = (host.as_bytes(), suffix.as_bytes());
                host.len() > suffix.len()
                    && host.get(host.len() - suffix.len()..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
            Host::Network(network) => {
                let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
                host.parse::<IpAddr>().is_ok_and(|address| network.contains(&address.to_canonical()))
            }
        }
    }
}

/// Splits `host[:port]`. An IPv6 address with a port is in brackets; a network may be without.
fn split(rest: &str) -> Result<(&str, &str), HostError> {
    if let Some(opened) = rest.strip_prefix('[') {
        let Some((address, port)) = opened.split_once(']') else {
            return wrong("the `[` of the address is not closed", "write `http://[::1]:8080`");
        };
        return match port.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if port.is_empty() => Ok((address, "")),
            None => wrong("there is text after the address", "write `http://[::1]:8080`"),
        };
    }
    if rest.parse::<IpNet>().is_ok() {
        return Ok((rest, ""));
    }
    Ok(rest.rsplit_once(':').unwrap_or((rest, "")))
}

fn parse_host(host: &str) -> Result<Host, HostError> {
    if let Ok(network) = host.parse::<IpNet>() {
        return Ok(Host::Network(network.trunc()));
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Host::Network(address.to_canonical().into()));
    }
    match host {
        "" => return wrong("the host is empty", "write `scheme://HOST`, with `*` for any host"),
        "*" => return Ok(Host::Any),
        host if SELF_HOSTS.contains(&host) => return Ok(Host::Itself),
        _ => {}
    }
    if host.contains('/') {
        return wrong("it has a path", "write the host only: a grant is for a host, not for a page");
    }
    if host.contains(['{', '}', ',']) {
        return wrong("lists of hosts are not supported", "write one entry for each host");
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    if name.contains('*') {
        return wrong("`*` is inside the host", "write `*` alone, or as the first part: `*.example.com`");
    }
    if name.is_empty() || name.starts_with('.') || name.contains(|c: char| c.is_whitespace() || c == ':') {
        return wrong("the host is not a name or address", "write a name, an address, or a network such as 10.0.0.0/8");
    }
    let name = name.to_ascii_lowercase();
    Ok(if host.starts_with("*.") { Host::Subdomains(format!(".{name}")) } else { Host::Name(name) })
}

fn parse_ports(port: &str, scheme: Option<&str>) -> Result<(u16, u16), HostError> {
    if port == "*" {
        return Ok((0, u16::MAX));
    }
    if port.is_empty() {
        let Some(port) = scheme.and_then(default_port) else {
            return wrong("the port is missing, and the scheme has no usual one", "add `:PORT`, or `:*` for any port");
        };
        return Ok((port, port));
    }
    if port.contains('/') {
        return wrong("it has a path", "write the host only: a grant is for a host, not for a page");
    }
    if let Some((first, end)) = port.split_once("..") {
        // The range excludes its end, as in Spin.
        let range = first.parse::<u16>().ok().zip(end.parse::<u16>().ok()).filter(|(first, end)| first < end);
        return match range {
            Some((first, end)) => Ok((first, end - 1)),
            None => wrong("the port range is not `FIRST..END`", "write, say, `8000..8010` for the ports 8000 to 8009"),
        };
    }
    match port.parse() {
        Ok(port) => Ok((port, port)),
        Err(_) => wrong("the port is not a number", "write a port from 0 to 65535, a range `8000..8010`, or `*`"),
    }
}

/// The default port of a scheme.
pub fn default_port(scheme: &str) -> Option<u16> {
    Some(match scheme {
        "http" => 80,
        "https" => 443,
        "postgres" => 5432,
        "mysql" => 3306,
        "redis" | "rediss" => 6379,
        "mqtt" => 1883,
        "mqtts" => 8883,
        _ => return None,
    })
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowedHost({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(text: &str) -> AllowedHost {
        AllowedHost::parse(text, text).unwrap_or_else(|e| panic!("{text}: {}", e.message))
    }

    #[test]
    fn an_entry_allows_what_it_says_and_nothing_else() {
        for (entry, scheme, target, port, allowed) in [
            ("https://example.com", "https", "example.com", 443, true),
            ("https://example.com/", "https", "EXAMPLE.com", 443, true),
            ("https://example.com", "http", "example.com", 80, false),
            ("https://example.com", "https", "example.com", 8443, false),
            ("https://example.com", "https", "example.com.evil.test", 443, false),
            ("https://example.com", "https", "notexample.com", 443, false),
            ("HTTPS://Example.com", "https", "example.com", 443, true),
            ("*://example.com:7777", "mqtt", "example.com", 7777, true),
            ("https://*", "https", "anything.test", 443, true),
            ("https://*", "https", "anything.test", 444, false),
            ("*://*:*", "ftp", "10.0.0.1", 21, true),
            ("http://*.example.com", "http", "a.example.com", 80, true),
            ("http://*.example.com", "http", "a.b.example.com", 80, true),
            ("http://*.example.com", "http", "example.com", 80, false),
            ("http://*.example.com", "http", "myexample.com", 80, false),
            ("http://*.example.com", "http", ".example.com", 80, false),
            ("http://*.example.com", "http", "äexample.com", 80, false),
            ("http://localhost:8000..8010", "http", "localhost", 8000, true),
            ("http://localhost:8000..8010", "http", "localhost", 8009, true),
            ("http://localhost:8000..8010", "http", "localhost", 8010, false),
            ("postgres://db.test", "postgres", "db.test", 5432, true),
            ("postgresql://db.test", "postgres", "db.test", 5432, true),
            ("postgresql://db.test:6543", "postgres", "db.test", 5432, false),
            ("postgres://*.db.test:*", "postgres", "a.db.test", 6543, true),
            ("https://db.test:5432", "postgres", "db.test", 5432, false),
            ("http://192.168.1.1", "http", "192.168.1.1", 80, true),
            ("http://192.168.1.1", "http", "192.168.1.2", 80, false),
            ("*://10.0.0.7/8:80", "http", "10.1.2.3", 80, true),
            ("*://10.0.0.0/8:80", "http", "11.1.2.3", 80, false),
            ("http://10.0.0.0/8", "http", "::ffff:10.1.2.3", 80, true),
            ("http://[::1]:8001", "http", "[::1]", 8001, true),
            ("http://[::1]:8001", "http", "::1", 8001, true),
            ("http://[::1]", "http", "::1", 80, true),
            ("*://ff00::/8:80", "http", "ff02::1", 80, true),
            ("http://ff00::/8", "http", "ff02::1", 80, true),
        ] {
            assert_eq!(host(entry).allows(scheme, target, port), allowed, "{entry}: {scheme}://{target}:{port}");
        }
    }

    #[test]
    fn only_an_address_a_network_or_localhost_grants_an_address() {
        for (entry, address, granted) in [
            ("http://10.0.0.0/8:*", "10.1.2.3", true),
            ("http://10.0.0.0/8:*", "192.168.0.1", false),
            ("http://127.0.0.1:*", "127.0.0.1", true),
            ("http://127.0.0.1:*", "::ffff:127.0.0.1", true),
            ("http://localhost:*", "127.0.0.1", true),
            ("http://localhost:*", "::1", true),
            ("http://localhost:*", "10.0.0.1", false),
            ("http://*:*", "10.0.0.1", false),
            ("*://*:*", "127.0.0.1", false),
            ("http://intranet.test:*", "10.0.0.1", false),
            ("https://127.0.0.1:*", "127.0.0.1", false),
        ] {
            let granted_now = host(entry).grants_address("http", address.parse().unwrap(), 80);
            assert_eq!(granted_now, granted, "{entry}: {address}");
        }
        assert!(!host("http://127.0.0.1").grants_address("http", "127.0.0.1".parse().unwrap(), 81));
    }

    #[test]
    fn a_database_server_is_granted_at_any_address_and_no_other_host_is() {
        let server = AllowedHost::of_postgres("db.test", 5432);
        assert_eq!(server.to_string(), "postgres://db.test:5432");
        assert!(server.allows_wherever("postgres", "DB.test", 5432));
        for (scheme, host, port) in
            [("postgres", "a.db.test", 5432), ("postgres", "db.test", 5433), ("http", "db.test", 5432)]
        {
            assert!(!server.allows_wherever(scheme, host, port), "{scheme}://{host}:{port}");
        }
        assert!(!server.grants_address("postgres", "10.0.0.1".parse().unwrap(), 5432));
        assert!(!host("postgres://db.test").allows_wherever("postgres", "db.test", 5432));
        let address = AllowedHost::of_postgres("::1", 6543);
        assert_eq!(address.to_string(), "postgres://[::1]:6543");
        assert!(address.grants_address("postgres", "::1".parse().unwrap(), 6543));
    }

    #[test]
    fn components_of_the_application_are_reached_by_name_or_wildcard() {
        for (entry, component, allowed) in [
            ("http://orders.spin.internal", "orders", true),
            ("http://orders.spin.internal", "payments", false),
            ("http://*.spin.internal", "payments", true),
            ("*://*:*", "payments", true),
            ("https://orders.spin.internal", "orders", false),
            ("http://self", "orders", false),
            ("http://*.internal", "orders", false),
        ] {
            assert_eq!(host(entry).allows_internal("http", component), allowed, "{entry}: {component}");
        }
        assert!(host("https://orders.spin.internal").allows_internal("https", "orders"));
        assert!(!host("http://orders.spin.internal").allows_internal("https", "orders"));
        for (entry, allowed) in
            [("http://self", true), ("https://self.alt", true), ("*://*:*", false), ("http://self.test", false)]
        {
            assert_eq!(host(entry).allows_self(), allowed, "{entry}");
            assert!(entry.contains('*') || !host(entry).allows("http", "self", 80), "{entry}");
        }
        assert_eq!(host("http://orders.spin.internal").internal_component(), Some("orders"));
        assert_eq!(host("http://spin.internal").internal_component(), None);
    }

    #[test]
    fn a_wrong_entry_is_refused_with_a_reason() {
        for (entry, reason) in [
            ("example.com", "scheme"),
            ("*", "scheme"),
            ("", "scheme"),
            ("1http://a.test", "scheme"),
            ("{http,https}://a.test", "scheme"),
            ("http://", "empty"),
            ("http://:80", "empty"),
            ("http://a.test/path", "path"),
            ("http://a.test:80/path", "path"),
            ("http://u:p@a.test", "user"),
            ("http://{a,b}.test", "lists"),
            ("http://a.*.test", "`*`"),
            ("http://**", "`*`"),
            ("*://a.test", "port"),
            ("*://127.0.0.0/24", "port"),
            ("http://a.test:http", "port"),
            ("http://a.test:70000", "port"),
            ("http://a.test:20..10", "range"),
            ("http://[::1", "closed"),
            ("http://[::1]x", "after the address"),
            ("http://a b", "name or address"),
            ("insecure:allow-all", "allow-all"),
        ] {
            let error = AllowedHost::parse(entry, entry).map(|_| ()).expect_err(entry);
            assert!(error.message.contains(reason), "{entry}: {}", error.message);
        }
    }

    #[test]
    fn a_secret_host_is_shown_as_its_template() {
        let host = AllowedHost::parse("https://s3cret.test", "https://{{ host }}").unwrap();
        assert!(host.allows("https", "s3cret.test", 443));
        assert!(!format!("{host} {host:?}").contains("s3cret"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(entry in "[a-z*:/.\\[\\]0-9{},äß@-]{0,30}", target in "\\PC{0,20}", port: u16) {
            if let Ok(host) = AllowedHost::parse(&entry, &entry) {
                host.allows("http", &target, port);
            }
        }

        #[test]
        fn an_exact_entry_allows_itself_alone(name in "[a-z]{1,8}\\.test", other in "[a-z]{1,8}\\.test", port in 1..u16::MAX) {
            let entry = host(&format!("http://{name}:{port}"));
            prop_assert!(entry.allows("http", &name, port));
            prop_assert!(!entry.allows("http", &name, port + 1));
            prop_assert_eq!(entry.allows("http", &other, port), name == other);
        }
    }
}
