//! Turns an address into sqlx's connection options.
//!
//! sqlx takes default options from the host's environment, and from files that it names; a component must not get any
//! of them. So every field is set here: to the address's value or to nothing. Three fields cannot be set to nothing. If
//! the environment contains one of these, connecting fails, so that the host's value is never used.

pub use souk_manifest::{AddressError, PostgresAddress as Address};

use crate::outbound::Server;
use souk_manifest::SslMode;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::sync::LazyLock;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

souk_manifest::fixed_limits! {
    /// The fixed limits of addresses that components open.
    pub(crate) const FIXED_LIMITS = "postgres";

    /// The longest CA root certificate that a component may set.
    pub const MAX_CA_ROOT_BYTES: usize = 64 * 1024, bytes;
}

/// The server in the form in which `allowed_outbound_hosts` checks it. The manifest treats the scheme `postgresql` as
/// the same.
pub(super) fn server(address: &Address) -> Server<'_> {
    Server { scheme: "postgres", host: address.host(), port: address.port() }
}

/// libpq variables that sqlx would read and that a URL cannot override.
const LIBPQ_VARIABLES: [&str; 3] = ["PGOPTIONS", "PGSSLCERT", "PGSSLKEY"];

/// sqlx's options from the environment, read only once, because sqlx also looks for sockets in the file system.
static BASE: LazyLock<PgConnectOptions> = LazyLock::new(PgConnectOptions::new_without_pgpass);

/// The first of [`LIBPQ_VARIABLES`] that the host's environment contains; then connecting fails.
static SET_LIBPQ_VARIABLE: LazyLock<Option<&str>> =
    LazyLock::new(|| LIBPQ_VARIABLES.into_iter().find(|name| std::env::var(name).is_ok()));

/// The options of a connection to this address, without anything from the host's environment or files. They log no
/// statements, because a guest's SQL may contain secrets.
///
/// # Errors
/// When the host's environment has a variable that sqlx would give to every server.
pub(crate) fn connect_options(address: &Address) -> Result<PgConnectOptions, AddressError> {
    if let Some(name) = *SET_LIBPQ_VARIABLE {
        let message = format!("cannot be used: {name} in the host's environment would apply to every component");
        return Err(AddressError { message, fix: "unset it where the host is started" });
    }
    let options = BASE
        .clone()
        .host(&address.host)
        .port(address.port)
        .username(&address.user)
        .password(&address.password)
        .database(&address.database)
        .ssl_mode(ssl_mode(address.ssl_mode))
        .ssl_root_cert_from_pem(address.ca_root.clone())
        .application_name(address.application_name.as_deref().unwrap_or("souk"))
        .disable_statement_logging();
    // This avoids `options([])`, which would send an empty parameter.
    Ok(match address.settings.as_slice() {
        [] => options,
        settings => options.options(settings.iter().map(|(name, value)| (name, value))),
    })
}

/// Also trusts the authorities in `pem`, and requires a check of the server's certificate. As in Spin, the check
/// includes the host's name, except with `verify-ca`.
///
/// # Errors
/// When `pem` has no certificate or one that cannot be read, or the address switches TLS off.
pub(super) fn set_ca_root(address: &mut Address, pem: &str) -> Result<(), AddressError> {
    let wrong = |message: &str, fix| Err(AddressError { message: message.to_owned(), fix });
    if pem.len() > MAX_CA_ROOT_BYTES {
        return wrong("has a CA root that is too long", "give only the root certificates that the server needs");
    }
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let mut roots = tokio_rustls::rustls::RootCertStore::empty();
    if certificates.is_empty() || !certificates.into_iter().all(|c| c.is_ok_and(|c| roots.add(c).is_ok())) {
        return wrong("has a CA root that is not a certificate", "give it as PEM: `-----BEGIN CERTIFICATE-----` ...");
    }
    address.ssl_mode = match address.ssl_mode {
        SslMode::Disable => {
            return wrong("has a CA root and `sslmode=disable`", "write `sslmode=verify-full`, or set no CA root");
        }
        SslMode::VerifyCa => SslMode::VerifyCa,
        _ => SslMode::VerifyFull,
    };
    address.ca_root = pem.as_bytes().to_vec();
    Ok(())
}

fn ssl_mode(mode: SslMode) -> PgSslMode {
    match mode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Allow => PgSslMode::Allow,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "postgres://me:p%40ss@127.0.0.1:6543/shop?sslmode=disable&options=-c%20search_path%3Da%5C%20b";

    #[test]
    fn an_address_becomes_the_options_of_a_connection() {
        let options = connect_options(&Address::parse(URL).unwrap()).unwrap();
        assert_eq!((options.get_host(), options.get_port()), ("127.0.0.1", 6543));
        assert_eq!((options.get_username(), options.get_database()), ("me", Some("shop")));
        assert!(matches!(options.get_ssl_mode(), PgSslMode::Disable));
        assert_eq!(options.get_options(), Some(r"-c search_path=a\ b"));
    }

    /// The test runs itself again, with an environment that sqlx would read.
    #[test]
    fn nothing_of_the_hosts_environment_gets_into_a_connection() {
        const TEST: &str = "postgres::address::tests::nothing_of_the_hosts_environment_gets_into_a_connection";
        const FOREIGN: &str = "foreign-value";
        match std::env::var("SOUK_TEST_ENVIRONMENT").as_deref() {
            Ok("read") => {
                let options = connect_options(&Address::parse("postgres://me@127.0.0.1").unwrap()).unwrap();
                assert_eq!((options.get_host(), options.get_port(), options.get_socket()), ("127.0.0.1", 5432, None));
                assert!(matches!(options.get_ssl_mode(), PgSslMode::Prefer));
                let all = format!("{options:?}");
                assert!(!all.contains(FOREIGN), "{all}");
            }
            Ok(_) => {
                let error = connect_options(&Address::parse("postgres://me@127.0.0.1").unwrap()).unwrap_err();
                assert!(error.message.contains("PGOPTIONS"), "{error}");
            }
            Err(_) => {
                for (mode, name) in [("read", "PGHOST"), ("refuse", "PGOPTIONS")] {
                    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
                    command.args(["--exact", TEST]).env("SOUK_TEST_ENVIRONMENT", mode).env(name, FOREIGN);
                    command.env("PGPORT", "1").env("PGSSLMODE", "verify-full").env("PGHOSTADDR", "192.0.2.1");
                    for name in ["PGUSER", "PGPASSWORD", "PGDATABASE", "PGAPPNAME", "PGSSLROOTCERT", "PGPASSFILE"] {
                        command.env(name, FOREIGN);
                    }
                    let output = command.output().unwrap();
                    let said = String::from_utf8_lossy(&output.stdout);
                    assert!(output.status.success() && said.contains("1 passed"), "{mode}: {said}");
                }
            }
        }
    }

    #[test]
    fn a_ca_root_has_the_certificate_checked() {
        let pem = rcgen::generate_simple_self_signed(["db.test".to_owned()]).unwrap().cert.pem();
        for (mode, then) in [
            ("allow", SslMode::VerifyFull),
            ("prefer", SslMode::VerifyFull),
            ("require", SslMode::VerifyFull),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ] {
            let mut address = Address::parse(&format!("postgres://me@db.test?sslmode={mode}")).unwrap();
            set_ca_root(&mut address, &pem).unwrap();
            assert_eq!(address.ssl_mode, then, "{mode}");
        }
        let mut plain = Address::parse("postgres://me@db.test?sslmode=disable").unwrap();
        assert!(set_ca_root(&mut plain, &pem).unwrap_err().message.contains("sslmode"));
        let mut address = Address::parse("postgres://me@db.test").unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "no certificate", broken, &" ".repeat(MAX_CA_ROOT_BYTES + 1)] {
            assert!(set_ca_root(&mut address, pem).is_err());
        }
        assert_eq!(address, Address::parse("postgres://me@db.test").unwrap());
    }
}
