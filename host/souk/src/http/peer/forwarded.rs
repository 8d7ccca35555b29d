//! Parses the headers `forwarded` (RFC 7239) and `x-forwarded-for` into hops.
//!
//! Souk has its own parser, because the available crates split at commas inside quotes or accept invalid headers.
//! Either lets a client manipulate its proxy's entry: `host="` opens a quote that swallows what the proxy adds, and a
//! host of `a,for=...` adds an entry after the proxy's. So a line must follow the RFC's grammar from start to end;
//! otherwise it names nobody.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

souk_manifest::fixed_limits! {
    /// The fixed limits of `forwarded`.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The most parameters of one hop in `forwarded`, of which the standard has four; a line with more names nobody.
    pub(super) const MAX_HOP_PARAMETERS: usize = 16, "parameters";
}

/// One hop on a request's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hop {
    /// Its address; the port is 0 if it is not given.
    Address(SocketAddr),
    /// `unknown`, an obfuscated name, or nothing.
    Hidden,
}

/// The hops of an `x-forwarded-for` line: addresses separated by commas.
pub(super) fn list(line: &[u8]) -> Option<Vec<Hop>> {
    let line = std::str::from_utf8(line).ok()?;
    Some(line.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(hop).collect())
}

/// The hops of a `forwarded` line; `None` when the line is invalid.
pub(super) fn standard(line: &[u8]) -> Option<Vec<Hop>> {
    let mut rest = Rest(line);
    let mut hops = Vec::new();
    loop {
        rest.blanks();
        if !rest.is_at(b',') && !rest.0.is_empty() {
            hops.push(element(&mut rest)?);
            rest.blanks();
        }
        if rest.0.is_empty() {
            return Some(hops);
        }
        rest.take(b',')?;
    }
}

/// Pairs separated by semicolons, each name at most once. A pair may be missing, as after the last semicolon.
fn element(rest: &mut Rest<'_>) -> Option<Hop> {
    let mut names: Vec<String> = Vec::new();
    let mut found = Hop::Hidden;
    loop {
        while rest.is_at(b';') {
            rest.take(b';')?;
        }
        if !rest.0.first().is_some_and(|byte| is_token(*byte)) {
            return Some(found);
        }
        let name = rest.token()?.to_ascii_lowercase();
        rest.take(b'=')?;
        let value = if rest.is_at(b'"') { rest.quoted()? } else { rest.token()?.to_owned() };
        if name == "for" {
            found = hop(&value);
        }
        // Each name is compared with all before it, and a client can write thousands.
        if names.len() == MAX_HOP_PARAMETERS || names.contains(&name) {
            return None;
        }
        names.push(name);
        if !rest.is_at(b';') {
            return Some(found);
        }
    }
}

/// An address with or without a port. An IPv6 address is in brackets, or bare if it has no port.
fn hop(text: &str) -> Hop {
    let in_brackets = || {
        let (address, port) = text.strip_prefix('[')?.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let port = if port.is_empty() { 0 } else { number(port.strip_prefix(':')?)? };
        Some(SocketAddr::new(IpAddr::V6(address), port))
    };
    let with_port = || {
        let (address, port) = text.split_once(':')?;
        Some(SocketAddr::new(IpAddr::V4(address.parse().ok()?), number(port)?))
    };
    let bare = text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 0));
    match bare.or_else(in_brackets).or_else(with_port) {
        Some(address) => Hop::Address(SocketAddr::new(address.ip().to_canonical(), address.port())),
        None => Hop::Hidden,
    }
}

/// A port; a port that a proxy hides (`_port`) becomes 0.
fn number(text: &str) -> Option<u16> {
    if text.starts_with('_') { Some(0) } else { text.parse().ok() }
}

/// The rest of a line.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn is_at(&self, byte: u8) -> bool {
        self.0.first() == Some(&byte)
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| !is_token(*byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at_checked(end).filter(|(token, _)| !token.is_empty())?;
        self.0 = rest;
        std::str::from_utf8(token).ok()
    }

    fn quoted(&mut self) -> Option<String> {
        self.take(b'"')?;
        let mut text = Vec::new();
        loop {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            match byte {
                b'"' => return String::from_utf8(text).ok(),
                b'\\' => {
                    let (escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    text.push(*escaped);
                }
                byte => text.push(*byte),
            }
        }
    }
}

/// A token character of RFC 9110, section 5.6.2, or one that careless proxies write in a bare address.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&byte)
}
