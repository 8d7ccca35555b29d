//! The lines of `forwarded` (RFC 7239) and `x-forwarded-for`, read into hops.
//!
//! Read here and not by a library: the crates for it split at commas within quotes, or take what is no header for one.
//! Both let a client move its proxy's entry: with `host="` it opens a quote that swallows what the proxy adds, or with a
//! host of `a,for=...` it adds an entry after the proxy's. So a line must be as the RFC's grammar has it from end to end,
//! or it names nobody.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// One stop on a request's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hop {
    /// Its address; the port is 0 where it is not named.
    Address(SocketAddr),
    /// `unknown`, a made-up name, or nothing.
    Hidden,
}

/// The hops of a line of `x-forwarded-for`: addresses between commas.
pub(super) fn list(line: &[u8]) -> Option<Vec<Hop>> {
    let line = std::str::from_utf8(line).ok()?;
    Some(line.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(hop).collect())
}

/// The hops of a line of `forwarded`; `None` when it is none.
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

/// Pairs between semicolons, each name at most once.
fn element(rest: &mut Rest<'_>) -> Option<Hop> {
    let mut names: Vec<String> = Vec::new();
    let mut found = Hop::Hidden;
    loop {
        let name = rest.token()?.to_ascii_lowercase();
        rest.take(b'=')?;
        let value = if rest.is_at(b'"') { rest.quoted()? } else { rest.token()?.to_owned() };
        if name == "for" {
            found = hop(&value);
        }
        if names.contains(&name) {
            return None;
        }
        names.push(name);
        if !rest.is_at(b';') {
            return Some(found);
        }
        rest.take(b';')?;
    }
}

/// An address: with or without a port, that of IPv6 in brackets or, without a port, bare.
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

/// A port; one that a proxy hides (`_port`) is 0.
fn number(text: &str) -> Option<u16> {
    if text.starts_with('_') { Some(0) } else { text.parse().ok() }
}

/// What is left of a line.
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

/// RFC 9110, section 5.6.2; and what a bare address of a careless proxy has beside.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&byte)
}
