//! Distinguishes addresses of the public internet from special ones, to which a public name must not resolve.
//!
//! The owner of a name that a component may reach can point that name at the host's own network: at a database, a
//! router, a cloud's metadata service. So everything but global unicast addresses is refused unless it is granted as
//! an address. The tables follow IANA's special-purpose address registries; for IPv6 only 2000::/3 is allocated at all,
//! so the rest is refused without a table.

use ipnet::{Ipv4Net, Ipv6Net};
use souk_manifest::as_ipv4;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

const SPECIAL_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "this network (unspecified)"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    // Public by IANA's tables, but each of Azure's machines reaches its own metadata service there.
    (v4(168, 63, 129, 16, 32), "a cloud's metadata service"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relays"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);
const SPECIAL_V6: &[(Ipv6Net, &str)] = &[
    (v6(0x2001, 0, 23), "protocol assignments (Teredo, benchmarking, ORCHID)"),
    (v6(0x2001, 0xdb8, 32), "documentation"),
    (v6(0x2002, 0, 16), "6to4"),
    (v6(0x3fff, 0, 20), "documentation"),
];

/// The kind of a special address, or `None` for one on the public internet.
pub(crate) fn special(address: IpAddr) -> Option<&'static str> {
    match as_ipv4(address) {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) if !GLOBAL_V6.contains(&address) => Some(match address {
            Ipv6Addr::LOCALHOST => "loopback",
            Ipv6Addr::UNSPECIFIED => "unspecified",
            _ if address.is_multicast() => "multicast",
            _ if address.is_unicast_link_local() => "link-local",
            _ if address.is_unique_local() => "unique local",
            _ => "not global unicast",
        }),
        IpAddr::V6(address) => SPECIAL_V6.iter().find(|(net, _)| net.contains(&address)).map(|(_, kind)| *kind),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    SPECIAL_V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_last_address_of_every_special_range_is_special_and_their_neighbours_are_not() {
        for (first, last, before, after) in [
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
            ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
            ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
            ("168.63.129.16", "168.63.129.16", Some("168.63.129.15"), Some("168.63.129.17")),
            ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
            ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
            ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
            ("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0")),
            ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
            ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
            ("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0")),
            ("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0")),
            ("224.0.0.0", "255.255.255.255", Some("223.255.255.255"), None),
            ("2001::", "2001:1ff:ffff::1", Some("2000:ffff::1"), Some("2001:200::1")),
            ("2001:db8::", "2001:db8:ffff::1", Some("2001:db7::1"), Some("2001:db9::1")),
            ("2002::", "2002:ffff::1", Some("2001:ffff::1"), Some("2003::1")),
            ("3fff::", "3fff:fff:ffff::1", Some("3ffe:ffff::1"), Some("3fff:1000::1")),
            ("64:ff9b::a00:0", "64:ff9b::aff:ffff", Some("64:ff9b::9ff:ffff"), Some("64:ff9b::b00:0")),
        ] {
            for address in [first, last] {
                assert!(special(address.parse().unwrap()).is_some(), "{address} passes for public");
                if let Ok(address) = address.parse::<Ipv4Addr>() {
                    assert!(special(address.to_ipv6_mapped().into()).is_some(), "mapped {address} passes for public");
                }
            }
            for address in [before, after].into_iter().flatten() {
                assert_eq!(special(address.parse().unwrap()), None, "{address}");
                if let Ok(address) = address.parse::<Ipv4Addr>() {
                    assert_eq!(special(address.to_ipv6_mapped().into()), None, "mapped {address}");
                }
            }
        }
        // Addresses outside 2000::/3, which have no public neighbours.
        for address in ["::", "::1", "::7f00:1", "64:ff9b:1::1", "100::1", "1fff::1", "4000::1", "5f00::1", "fc00::1"]
            .into_iter()
            .chain(["fdff::1", "fe80::1", "fec0::1", "ff02::1", "::ffff:169.254.169.254", "64:ff9b::127.0.0.1"])
        {
            assert!(special(address.parse().unwrap()).is_some(), "{address} passes for public");
        }
    }
}
