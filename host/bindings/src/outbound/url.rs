//! Parses the URL of a server. The caller must refuse parameters that it does not know.

use super::{MAX_ADDRESS_BYTES, Server};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

/// The parts of a URL. It has no `Debug`, because it may contain a password.
pub(crate) struct ServerUrl {
    pub scheme: &'static str,
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    /// The path, without its first slash.
    pub path: String,
    /// The parameters by name, in lower case.
    pub parameters: BTreeMap<String, String>,
}

impl ServerUrl {
    /// Reads `text`, whose scheme is one of `schemes`, each with its port.
    pub(crate) fn parse(text: &str, schemes: &[(&'static str, u16)]) -> Option<Self> {
        let url = url::Url::parse(text).ok().filter(|_| text.len() <= MAX_ADDRESS_BYTES)?;
        let (scheme, port) = *schemes.iter().find(|(scheme, _)| *scheme == url.scheme())?;
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let decode = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
        let parameters = url.query_pairs().map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned()));
        Some(ServerUrl {
            scheme,
            host: decode(host)?.to_ascii_lowercase(),
            port: url.port().unwrap_or(port),
            user: decode(url.username())?,
            password: decode(url.password().unwrap_or_default())?,
            path: decode(url.path().strip_prefix('/').unwrap_or_default())?,
            parameters: parameters.collect(),
        })
    }

    /// The form in which `allowed_outbound_hosts` checks it.
    pub(crate) fn server(&self) -> Server<'_> {
        Server { scheme: self.scheme, host: &self.host, port: self.port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_what_is_none_is_refused() {
        let schemes = [("mysql", 3306), ("mqtts", 8883)];
        let url = ServerUrl::parse("mysql://us%40er:p%3Aw@DB.test/shop?SSL-Mode=required", &schemes).unwrap();
        assert_eq!(url.server().to_string(), "mysql://db.test");
        assert_eq!((url.user.as_str(), url.password.as_str(), url.path.as_str()), ("us@er", "p:w", "shop"));
        assert_eq!(url.parameters["ssl-mode"], "required");
        let url = ServerUrl::parse("mqtts://[::1]", &schemes).unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("::1", 8883, ""));
        let long = format!("mysql://h/{}", "x".repeat(MAX_ADDRESS_BYTES));
        for wrong in ["", "db.test:3306", "redis://db.test", "mysql://", "mysql:///x", "mysql://h:99999", long.as_str()]
        {
            assert!(ServerUrl::parse(wrong, &schemes).is_none(), "{wrong}");
        }
    }
}
