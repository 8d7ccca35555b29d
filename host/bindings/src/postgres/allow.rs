//! The allow-list of one component, `allowed_outbound_hosts`, asked about a database server.
//!
//! The rules are those of the HTTP client, which says why: an entry must name the scheme, the host and the port
//! together; and where a name leads to an address that is not on the public internet, an entry must name that address,
//! its network, or `localhost`. A name alone grants no such address, unless it is that of the component's own
//! `database_url`, which was written for nothing else.

use super::Address;
use crate::http_client::special;
use souk_manifest::AllowedHost;
use std::net::IpAddr;

/// The scheme of entries. `postgresql` is another way to write it, which the manifest takes care of.
const SCHEME: &str = "postgres";

/// All entries of one component.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed(pub Vec<AllowedHost>);

impl Allowed {
    /// Whether the component may connect to `address`.
    pub fn allows(&self, address: &Address) -> bool {
        self.0.iter().any(|entry| entry.allows(SCHEME, address.host(), address.port()))
    }

    /// Why the component may not reach `ip` for `address`: the kind of the IP address. `None` when it may.
    pub fn refuses(&self, address: &Address, ip: IpAddr) -> Option<&'static str> {
        let kind = special(ip)?;
        let (host, port) = (address.host(), address.port());
        let granted =
            |entry: &AllowedHost| entry.grants_address(SCHEME, ip, port) || entry.allows_wherever(SCHEME, host, port);
        (!self.0.iter().any(granted)).then_some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(entries: &[&str]) -> Allowed {
        Allowed(entries.iter().map(|entry| AllowedHost::parse(entry, entry).unwrap()).collect())
    }

    #[test]
    fn a_server_is_allowed_by_scheme_host_and_port_together() {
        for (entry, address, allowed) in [
            ("postgres://db.test", "postgres://u:p@db.test/x", true),
            ("postgresql://db.test:5432", "postgres://u:p@db.test/x", true),
            ("postgres://db.test:5432", "postgresql://u:p@DB.test/x", true),
            ("*://db.test:*", "postgres://u@db.test:6000/x", true),
            ("postgres://db.test", "postgres://u@db.test:6000/x", false),
            ("https://db.test:5432", "postgres://u@db.test/x", false),
            ("postgres://*.test", "postgres://u@db.test/x", true),
            ("postgres://*.test", "postgres://u@test/x", false),
            ("postgres://10.0.0.0/8", "postgres://u@10.1.2.3/x", true),
            ("postgres://[::1]:5432", "postgres://u@[::1]/x", true),
        ] {
            assert_eq!(allow(&[entry]).allows(&Address::parse(address).unwrap()), allowed, "{entry} {address}");
        }
        assert!(!Allowed::default().allows(&Address::parse("postgres://u@db.test/x").unwrap()));
    }

    #[test]
    fn only_an_address_a_network_or_localhost_grants_a_special_address() {
        for (entry, host, ip, refused) in [
            ("postgres://db.test", "db.test", "93.184.216.34", false),
            ("postgres://db.test", "db.test", "10.0.0.1", true),
            ("postgres://localhost", "localhost", "127.0.0.1", false),
            ("postgres://localhost", "localhost", "10.0.0.1", true),
            ("postgres://10.0.0.0/8", "db.test", "10.0.0.1", false),
            ("postgresql://10.0.0.1:5432", "10.0.0.1", "10.0.0.1", false),
            ("*://*:*", "db.test", "127.0.0.1", true),
        ] {
            let address = Address::parse(&format!("postgres://u@{host}/x")).unwrap();
            assert_eq!(allow(&[entry]).refuses(&address, ip.parse().unwrap()).is_some(), refused, "{entry} {ip}");
        }
    }
}
