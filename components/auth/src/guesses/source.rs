//! The source of an attempt: an IPv4 address, or the /64 prefix of an IPv6 address, because one customer usually
//! controls a whole /64.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The source of an address with or without a port. Text that is not an address is returned unchanged, as a source of
/// its own.
pub(crate) fn network(source: &str) -> String {
    let address = source.parse::<SocketAddr>().map(|socket| socket.ip()).or_else(|_| source.parse());
    match address.map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.to_string(),
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_string()
        }
        Err(_) => source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_ignored_and_an_ipv6_address_counts_by_its_64_prefix() {
        assert_eq!(network("192.0.2.7:4711"), "192.0.2.7");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("[::ffff:192.0.2.7]:1"), "192.0.2.7");
        assert_eq!(network("[2001:db8:1:2:3:4:5:6]:80"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:2::1"), "2001:db8:1:2::");
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("unix"), "unix");
    }
}
