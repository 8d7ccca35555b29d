//! From where components may be downloaded: https, or http to this machine, and never a link-local address or another
//! one at which clouds serve credentials.

use http::Uri;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses beside the link-local ones at which the machines of a cloud get credentials and other secrets: of
/// Azure, Alibaba Cloud, Oracle, Amazon and Google.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];
/// How an address begins that a gateway of an IPv6-only network translates to the IPv4 address in its last 32 bits
/// (RFC 6052).
const NAT64: [u8; 12] = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];

/// Checks that a component may be downloaded from `url`, which the manifest names or a server redirects to.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the URL.
pub fn check_download_url(url: &Uri) -> Result<(), &'static str> {
    let Some(authority) = url.authority() else { return Err("is not an absolute URL") };
    if authority.as_str().contains('@') {
        return Err("has a user name or password");
    }
    if let Ok(address) = bare(authority.host()).parse::<IpAddr>()
        && is_forbidden(address)
    {
        return Err(match METADATA.contains(&as_ipv4(address)) {
            true => "is an address at which clouds serve credentials",
            false => "is a link-local address, at which clouds serve credentials",
        });
    }
    match url.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_loopback(authority.host()) => Ok(()),
        Some("http") => Err("uses http to another machine"),
        _ => Err("is not https"),
    }
}

/// A host of a URL without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether downloads from `address` are forbidden: it is a link-local address or another one of a cloud's metadata
/// service, or unspecified.
pub fn is_forbidden(address: IpAddr) -> bool {
    let address = as_ipv4(address);
    METADATA.contains(&address)
        || match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
            IpAddr::V6(address) => address.is_unicast_link_local() || address.is_unspecified(),
        }
}

/// The IPv4 address that an IPv6 address stands for, otherwise the address itself.
pub fn as_ipv4(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if address.octets().starts_with(&NAT64) => {
            let [.., a, b, c, d] = address.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        address => address,
    }
}

/// Whether a host, as written in a URL, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = bare(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_downloaded_from_where_clouds_serve_credentials() {
        for (address, forbidden) in [
            ("169.254.169.254", true),
            ("168.63.129.16", true),
            ("100.100.100.200", true),
            ("192.0.0.192", true),
            ("[fd00:ec2::254]", true),
            ("[fd20:ce::254]", true),
            ("[fe80::1]", true),
            ("[::ffff:168.63.129.16]", true),
            ("[64:ff9b::a9fe:a9fe]", true),
            ("[64:ff9b::a83f:8110]", true),
            ("0.0.0.0", true),
            ("168.63.129.17", false),
            ("10.0.0.1", false),
            ("[fd00::1]", false),
            ("[64:ff9b::c000:201]", false),
            ("registry.example.com", false),
        ] {
            let checked = check_download_url(&format!("https://{address}/v2/").parse().unwrap());
            assert_eq!(checked.is_err(), forbidden, "{address}: {checked:?}");
            assert!(checked.err().is_none_or(|why| why.contains("clouds serve credentials")), "{address}");
        }
    }
}
