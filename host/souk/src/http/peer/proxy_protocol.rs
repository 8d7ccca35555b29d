//! PROXY protocol, versions 1 and 2: a trusted proxy names the client at the start of the connection.
//!
//! It is optional: if a trusted proxy's connection starts with anything else, that is the request. Untrusted peers
//! never get here; from them a PROXY header is an invalid request.

use bytes::{Bytes, BytesMut};
use ppp::{v1, v2};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt};

souk_manifest::fixed_limits! {
    /// The fixed limits of the PROXY protocol.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The longest PROXY protocol header; a connection with a longer one is closed.
    const MAX_PROXY_HEADER_BYTES: usize = 4 * 1024, bytes;
    /// The longest header of its version 1, as the specification says.
    const MAX_PROXY_LINE_BYTES: usize = 107, bytes;
}

/// The start of a version 1 header.
const TEXT: &[u8] = b"PROXY ";
/// The start of a version 2 header.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// A version 2 header gives its length in the last two of these bytes.
const BINARY_HEAD: usize = 16;

/// Reads the header, if there is one. Returns the client that it names, if any, and what was read after it.
///
/// # Errors
/// When the header is wrong, or the connection ends within it.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Option<SocketAddr>, Bytes)> {
    let mut read = BytesMut::with_capacity(512);
    loop {
        match length(&read)? {
            Length::Known(length) if read.len() >= length => {
                let header = read.split_to(length);
                return Ok((parse(&header)?, read.freeze()));
            }
            Length::Nothing => return Ok((None, read.freeze())),
            _ => {}
        }
        if stream.read_buf(&mut read).await? == 0 {
            // This is not a valid request either; the server will say so.
            return Ok((None, read.freeze()));
        }
    }
}

/// The length of the header at the start of `read`.
enum Length {
    Known(usize),
    /// More bytes are needed.
    Unknown,
    /// There is no header.
    Nothing,
}

fn length(read: &[u8]) -> io::Result<Length> {
    let begins = |with: &[u8]| read.iter().zip(with).all(|(one, other)| one == other);
    let too_long = || io::Error::new(ErrorKind::InvalidData, "the header of PROXY protocol is too long");
    if begins(BINARY) {
        let Some(length) = read.get(BINARY_HEAD - 2..BINARY_HEAD) else { return Ok(Length::Unknown) };
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) + BINARY_HEAD;
        return if length > MAX_PROXY_HEADER_BYTES { Err(too_long()) } else { Ok(Length::Known(length)) };
    }
    if begins(TEXT) {
        return match read.windows(2).position(|end| end == b"\r\n") {
            Some(end) if end + 2 <= MAX_PROXY_LINE_BYTES => Ok(Length::Known(end + 2)),
            None if read.len() < MAX_PROXY_LINE_BYTES => Ok(Length::Unknown),
            _ => Err(too_long()),
        };
    }
    Ok(Length::Nothing)
}

/// The client that a complete header names; `None` when the header stands for the proxy itself or names nobody.
fn parse(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let wrong = |error: &dyn std::fmt::Display| {
        io::Error::new(ErrorKind::InvalidData, format!("the header of PROXY protocol is wrong: {error}"))
    };
    let client = if header.starts_with(TEXT) {
        let header = v1::Header::try_from(header).map_err(|error| wrong(&error))?;
        match header.addresses {
            v1::Addresses::Tcp4(it) => Some(SocketAddr::from((it.source_address, it.source_port))),
            v1::Addresses::Tcp6(it) => Some(SocketAddr::from((it.source_address, it.source_port))),
            v1::Addresses::Unknown => None,
        }
    } else {
        let header = v2::Header::try_from(header).map_err(|error| wrong(&error))?;
        match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(it)) => {
                Some(SocketAddr::from((it.source_address, it.source_port)))
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(it)) => {
                Some(SocketAddr::from((it.source_address, it.source_port)))
            }
            _ => None,
        }
    };
    Ok(client.map(|client| SocketAddr::new(client.ip().to_canonical(), client.port())))
}
