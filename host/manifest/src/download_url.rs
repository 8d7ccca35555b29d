//! From where components may be downloaded: https, or http to this machine, and never a link-local address.

use http::Uri;
use std::net::IpAddr;

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
        && is_local_to_a_link(address)
    {
        return Err("is a link-local address, at which clouds serve credentials");
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

/// Whether downloads from `address` are forbidden: it is a link-local address (a cloud's metadata service), or
/// unspecified.
pub fn is_local_to_a_link(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_unspecified(),
    }
}

/// Whether a host, as written in a URL, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = bare(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
