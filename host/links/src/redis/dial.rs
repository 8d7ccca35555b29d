//! Opens the byte stream to a Redis server: TCP, TLS or a Unix socket.
//!
//! The client's own dialer would put nothing between the socket and its parser, and there messages must be bounded
//! ([`Inflow`](super::inflow::Inflow)).

use redis::{ConnectionAddr, ErrorKind, RedisError};
use souk_bindings::outbound::tls_config;
use souk_manifest::RedisUrl;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// A byte stream in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Connects to `server`; certificates are checked against Mozilla's roots.
///
/// # Errors
/// When the server cannot be reached, or has no certificate for its name.
pub(super) async fn dial(server: &RedisUrl) -> Result<Box<dyn Duplex>, RedisError> {
    match server.connection_info().addr() {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(tcp(host, *port).await?)),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let config = tls_config().map_err(io::Error::other)?;
            let name = ServerName::try_from(bare(host).to_owned()).map_err(io::Error::other)?;
            let stream = tcp(host, *port).await?;
            Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
        }
        ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        _ => Err((ErrorKind::InvalidClientConfig, "an address of this kind is not supported").into()),
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((bare(host), port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}
