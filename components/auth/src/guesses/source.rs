//! Where a try comes from: an IPv4 address, or the network /64 of an IPv6 one, which one person has to themselves.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The network of an address, with or without a port. What is no address is one source as it is.
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
    fn a_port_does_not_count_and_of_an_ipv6_address_the_network_does() {
        assert_eq!(network("192.0.2.7:4711"), "192.0.2.7");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("[::ffff:192.0.2.7]:1"), "192.0.2.7");
        assert_eq!(network("[2001:db8:1:2:3:4:5:6]:80"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:2::1"), "2001:db8:1:2::");
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("unix"), "unix");
    }
}
