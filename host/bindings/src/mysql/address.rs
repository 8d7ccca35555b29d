//! Turns a guest's URL into sqlx's connection options. None of its parameters can name a file of the host.

use super::CACHED_STATEMENTS;
use crate::outbound::ServerUrl;
use sqlx::ConnectOptions as _;
use sqlx_mysql::{MySqlConnectOptions, MySqlSslMode};

/// A server, and how to log in there.
pub(super) struct Address {
    pub url: ServerUrl,
    pub options: MySqlConnectOptions,
    /// Whether the TLS mode checks the name in the server's certificate, so that the host must connect by name.
    pub is_named: bool,
}

impl Address {
    /// Reads `mysql://USER:PASSWORD@HOST:PORT/DATABASE?ssl-mode=MODE`.
    ///
    /// # Errors
    /// What is wrong with the address, without repeating any of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url = ServerUrl::parse(text, &[("mysql", 3306)]);
        let url = url.ok_or("the address is not `mysql://USER:PASSWORD@HOST:PORT/DATABASE`")?;
        let mut mode = MySqlSslMode::Preferred;
        for (name, value) in &url.parameters {
            if !matches!(name.as_str(), "ssl-mode" | "sslmode") {
                return Err("the address has a parameter other than `ssl-mode`".to_owned());
            }
            mode = match value.to_ascii_lowercase().replace('_', "-").as_str() {
                "disabled" => MySqlSslMode::Disabled,
                "preferred" => MySqlSslMode::Preferred,
                "required" => MySqlSslMode::Required,
                "verify-ca" => MySqlSslMode::VerifyCa,
                "verify-identity" => MySqlSslMode::VerifyIdentity,
                _ => {
                    return Err(
                        "`ssl-mode` is not one of disabled, preferred, required, verify-ca, verify-identity".into()
                    );
                }
            };
        }
        // sqlx's other settings would change the meaning of statements, and Spin sets none of them.
        let options = MySqlConnectOptions::new()
            .host(&url.host)
            .port(url.port)
            .username(&url.user)
            .ssl_mode(mode)
            .statement_cache_capacity(CACHED_STATEMENTS)
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .disable_statement_logging();
        let options = if url.password.is_empty() { options } else { options.password(&url.password) };
        let options = if url.path.is_empty() { options } else { options.database(&url.path) };
        Ok(Address { url, options, is_named: matches!(mode, MySqlSslMode::VerifyIdentity) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_parameter_that_names_a_file_is_refused_and_none_is_repeated() {
        for text in [
            "mysql://u:geheim@db.test/x?ssl-ca=/etc/passwd",
            "mysql://u:geheim@db.test/x?socket=/run/mysqld.sock",
            "mysql://u:geheim@db.test/x?ssl-mode=geheim",
            "postgres://u:geheim@db.test/x",
            "geheim",
        ] {
            let error = Address::parse(text).err().unwrap();
            assert!(!error.contains("geheim"), "{error}");
        }
        let address = Address::parse("mysql://u:p@db.test/x?ssl-mode=VERIFY_IDENTITY").unwrap();
        assert!(address.is_named);
        assert_eq!(address.url.server().to_string(), "mysql://db.test");
    }
}
