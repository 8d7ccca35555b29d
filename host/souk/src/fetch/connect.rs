//! How downloads connect: a name that resolves to a link-local address, or another one of a cloud's metadata service,
//! is refused, like the address itself.
//!
//! The check is inside the connector, between resolving a name and connecting to the result.

use futures::future::BoxFuture;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use souk_bindings::http_client::tls_config;
use souk_manifest::is_forbidden;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tower_service::Service;

/// The connector of downloads. Its users must check addresses that are written in a URL, because those do not pass the
/// resolver.
pub(crate) type Connector = HttpsConnector<HttpConnector<CheckedResolver>>;

/// A connector that trusts the same certificate authorities as components' requests.
pub(crate) fn connector() -> anyhow::Result<Connector> {
    let mut tls = (*tls_config()?).clone();
    // The connector sets its own protocols.
    tls.alpn_protocols.clear();
    let mut http = HttpConnector::new_with_resolver(CheckedResolver(GaiResolver::new()));
    http.enforce_http(false);
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    Ok(builder.enable_http1().enable_http2().wrap_connector(http))
}

/// Resolves names to addresses that may be used.
#[derive(Clone)]
pub(crate) struct CheckedResolver(GaiResolver);

impl Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let addresses = self.0.call(name);
        Box::pin(async move { checked(addresses.await?) })
    }
}

fn checked(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let allowed: Vec<_> = addresses.filter(|address| !is_forbidden(address.ip())).collect();
    match allowed.is_empty() {
        true => Err(io::Error::other("its name resolves only to addresses at which clouds serve credentials")),
        false => Ok(allowed.into_iter()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_to_the_local_link_leads_nowhere() {
        let found =
            |texts: &[&str]| checked(texts.iter().map(|text| text.parse().unwrap())).map(Iterator::collect::<Vec<_>>);
        let public: Vec<SocketAddr> = vec!["192.0.2.1:0".parse().unwrap()];
        assert_eq!(found(&["169.254.169.254:0", "192.0.2.1:0", "[fe80::1]:0"]).unwrap(), public);
        assert!(found(&["169.254.169.254:0", "[::ffff:169.254.1.1]:0"]).is_err());
        assert!(found(&["168.63.129.16:0", "[fd00:ec2::254]:0"]).is_err());
    }
}
