//! A PostgreSQL address as manifests and guests write it: a URL, `postgres://user:password@host:port/database?...`.
//!
//! Only the address decides where a connection goes: no `PG*` variable, `~/.pgpass`, service file or user name of the
//! operating system is added, because guests write addresses too and must not use the host's settings. For the same
//! reason addresses that name files of the host (`sslrootcert`, `passfile`, a unix socket) are refused. Unknown
//! parameters are refused too: one that is silently ignored may be one that protects the connection.
//!
//! An address has one host, so that one grant in `allowed_outbound_hosts` covers it. It is shown without user and
//! password, and errors show nothing of it except the names of libpq's parameters.

use percent_encoding::percent_decode_str;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

crate::fixed_limits! {
    /// The fixed limits of addresses.
    pub(crate) const FIXED_LIMITS = "postgres";

    /// The longest address of a database.
    pub const MAX_ADDRESS_BYTES: usize = 8 * 1024, bytes;
}

/// PostgreSQL's default port.
const DEFAULT_PORT: u16 = 5432;

/// How a connection is protected: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// No TLS: unlike libpq, sqlx does not retry with TLS if the server requires it.
    Allow,
    /// TLS if the server supports it; the certificate is not checked.
    #[default]
    Prefer,
    /// TLS; the certificate is not checked.
    Require,
    /// TLS, with a certificate from a trusted authority.
    VerifyCa,
    /// TLS, with a certificate from a trusted authority for this host.
    VerifyFull,
}

/// A server, a database, and how to log in. Equal addresses make the same connections.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PostgresAddress {
    /// The host name or IP address of the server.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The user who logs in.
    pub user: String,
    /// The password; empty for none.
    pub password: String,
    /// The database.
    pub database: String,
    /// How the connection is protected.
    pub ssl_mode: SslMode,
    /// How long connecting may take; `None` for the default of the binding.
    pub connect_timeout: Option<Duration>,
    /// The `application_name` for the server.
    pub application_name: Option<String>,
    /// The settings of the session in `options`, by name.
    pub settings: Vec<(String, String)>,
    /// Certificates of authorities to trust besides the usual ones, as PEM.
    pub ca_root: Vec<u8>,
}

/// What is wrong with an address, and the fix. It shows no value of the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the PostgreSQL address {message}; {fix}")]
pub struct AddressError {
    /// What is wrong: the rest of a sentence that begins with "the address".
    pub message: String,
    /// What would fix it.
    pub fix: &'static str,
}

pub(crate) fn wrong<T>(message: impl Into<String>, fix: &'static str) -> Result<T, AddressError> {
    Err(AddressError { message: message.into(), fix })
}

/// How an address is written.
const FORM: &str = "write `postgres://USER:PASSWORD@HOST/DATABASE`";

/// Parameters of libpq that are accepted only with the value that changes nothing here.
const NEUTRAL: &[(&str, &[&str])] = &[
    ("channel_binding", &["disable", "prefer"]),
    ("client_encoding", &["auto", "UTF8", "utf8", "UTF-8", "utf-8"]),
    ("gssencmode", &["disable", "prefer"]),
    ("load_balance_hosts", &["disable"]),
    ("sslnegotiation", &["postgres"]),
    ("target_session_attrs", &["any"]),
];

/// Parameters of libpq that name files of the host, or make it read some.
const FILES: &[&str] =
    &["passfile", "service", "servicefile", "sslcert", "sslcrl", "sslcrldir", "sslkey", "sslkeylogfile", "sslrootcert"];

/// All other parameters of libpq, and those of Prisma, so that an error can name them.
const OTHERS: &[&str] = &[
    "connection_limit",
    "gssdelegation",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "pgbouncer",
    "pool_timeout",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "socket_timeout",
    "sslaccept",
    "sslcertmode",
    "sslcompression",
    "sslidentity",
    "sslpassword",
    "sslsni",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "statement_cache_size",
    "tcp_user_timeout",
];

impl PostgresAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is not such a URL, lacks a host or user, or uses something that is not supported.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_ADDRESS_BYTES {
            return wrong(format!("is longer than {MAX_ADDRESS_BYTES} bytes"), "write a shorter one");
        }
        if text.contains('\0') || text.contains("%00") {
            return wrong("has a zero byte", "remove it: no name or password of PostgreSQL can have one");
        }
        match text.split_once("://") {
            Some(("postgres" | "postgresql", rest)) => Self::from_pairs(read_url(rest)?),
            Some((scheme, _)) if !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                wrong("has another scheme", FORM)
            }
            _ => wrong("is not a URL", FORM),
        }
    }

    /// Whether `text` is meant as a PostgreSQL URL, correct or not.
    pub fn looks_like_url(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
    }

    /// The host's name or address; an IPv6 address is without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How long connecting may take, if the address says so.
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// The address in the parameters. As in libpq, a later parameter replaces an earlier one of the same name, and an
    /// empty one is ignored.
    fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, AddressError> {
        let mut address = PostgresAddress {
            host: String::new(),
            port: DEFAULT_PORT,
            user: String::new(),
            password: String::new(),
            database: String::new(),
            ssl_mode: SslMode::default(),
            connect_timeout: None,
            application_name: None,
            settings: Vec::new(),
            ca_root: Vec::new(),
        };
        let (mut host_address, mut schema) = (String::new(), String::new());
        for (key, value) in pairs {
            if let Some((key, neutral)) = NEUTRAL.iter().find(|(name, _)| *name == key) {
                if !value.is_empty() && !neutral.contains(&value.as_str()) {
                    return wrong(format!("has a value of `{key}` that is not supported"), "remove the parameter");
                }
                continue;
            }
            match key.as_str() {
                _ if FILES.contains(&key.as_str()) => {
                    let fix = "remove the parameter; a component sets its own CA root when it opens the connection";
                    return wrong(format!("has `{key}`, which would let the host read its own files"), fix);
                }
                _ if OTHERS.contains(&key.as_str()) => {
                    return wrong(format!("has `{key}`, which is not supported"), "remove the parameter");
                }
                "host" if !value.is_empty() => address.host = read_host(&value)?,
                "hostaddr" if !value.is_empty() => host_address = read_host(&value)?,
                "port" if !value.is_empty() => address.port = read_port(&value)?,
                "user" => address.user = value,
                "password" => address.password = value,
                "dbname" => address.database = value,
                "sslmode" if !value.is_empty() => address.ssl_mode = read_ssl_mode(&value)?,
                "connect_timeout" if !value.is_empty() => address.connect_timeout = read_timeout(&value)?,
                "application_name" if !value.is_empty() => address.application_name = Some(value),
                "fallback_application_name" if address.application_name.is_none() && !value.is_empty() => {
                    address.application_name = Some(value);
                }
                "options" => address.settings = read_settings(&value)?,
                // Prisma's, which is in the URLs of a system that this one replaces.
                "schema" if value.contains(['"', '\\']) => {
                    return wrong("has a value of `schema` that is not supported", "name a schema without quotes");
                }
                "schema" => schema = value,
                "host"
                | "hostaddr"
                | "port"
                | "sslmode"
                | "connect_timeout"
                | "application_name"
                | "fallback_application_name" => {}
                // Not named: it may be a part of a password with an unescaped character.
                _ => {
                    let fix = "remove the parameter, or correct its name; in a password write `%26` for `&` and `%3F` \
                               for `?`";
                    return wrong("has a parameter that is not known", fix);
                }
            }
        }
        // `public` is where a session looks anyway.
        if !["", "public"].contains(&schema.as_str()) {
            address.settings.push(("search_path".to_owned(), format!("\"{schema}\"")));
        }
        match (address.host.is_empty(), host_address.is_empty()) {
            (true, false) => address.host = host_address,
            (false, false) => return wrong("has `host` and `hostaddr`", "write one of the two"),
            (true, true) => return wrong("has no host", FORM),
            (false, true) => {}
        }
        if address.user.is_empty() {
            return wrong("has no user", FORM);
        }
        if address.database.is_empty() {
            // As in PostgreSQL itself.
            address.database.clone_from(&address.user);
        }
        Ok(address)
    }
}

/// The parameters in a URL; `rest` is the part after the scheme.
fn read_url(rest: &str) -> Result<Vec<(String, String)>, AddressError> {
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = before.split_once('/').unwrap_or((before, ""));
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = match place.strip_prefix('[').and_then(|opened| opened.split_once(']')) {
        Some((address, "")) => (address, ""),
        Some((address, rest)) => match rest.strip_prefix(':') {
            Some(port) => (address, port),
            None => return wrong("has text after the host's `]`", "write `[::1]:5432`"),
        },
        None => place.rsplit_once(':').unwrap_or((place, "")),
    };
    let mut pairs = Vec::new();
    for (key, value) in [("user", user), ("password", password), ("host", host), ("port", port), ("dbname", database)] {
        pairs.push((key.to_owned(), decode(value)?));
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let Some((key, value)) = parameter.split_once('=') else {
            return wrong("has a parameter without a value", "write `?name=value`, with `&` between parameters");
        };
        pairs.push((decode(key)?, decode(value)?));
    }
    Ok(pairs)
}

fn decode(text: &str) -> Result<String, AddressError> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => wrong("is not UTF-8 where it is decoded", "write `%25` for `%`"),
    }
}

fn read_host(host: &str) -> Result<String, AddressError> {
    if host.contains(',') {
        return wrong("has several hosts, which is not supported", "write one host");
    }
    if host.starts_with(['/', '@']) {
        return wrong("is a unix socket, which is not supported", "write the name or address of a host");
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(address.to_canonical().to_string());
    }
    if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        return wrong("has a host that is neither a name nor an address", "write a name, 127.0.0.1 or [::1]");
    }
    Ok(host.to_ascii_lowercase())
}

fn read_port(port: &str) -> Result<u16, AddressError> {
    match port.parse() {
        Ok(0) | Err(_) => wrong("has a port that is not a number from 1 to 65535", "write one port, usually 5432"),
        Ok(port) => Ok(port),
    }
}

fn read_ssl_mode(mode: &str) -> Result<SslMode, AddressError> {
    Ok(match mode {
        "disable" => SslMode::Disable,
        "allow" => SslMode::Allow,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            let fix = "write disable, allow, prefer, require, verify-ca or verify-full";
            return wrong("has an `sslmode` that is not known", fix);
        }
    })
}

/// A timeout in seconds. Zero or less means the host's own limit; in libpq it means none.
fn read_timeout(seconds: &str) -> Result<Option<Duration>, AddressError> {
    match seconds.trim().parse::<i32>() {
        Ok(seconds) => Ok(u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)),
        Err(_) => wrong("has a `connect_timeout` that is not a number of seconds", "write, say, `connect_timeout=10`"),
    }
}

/// The settings in `options`, which has the form of PostgreSQL's command line: `-c name=value` or `--name=value`, with
/// a backslash before white space or a backslash in a value.
fn read_settings(options: &str) -> Result<Vec<(String, String)>, AddressError> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            open = false;
            continue;
        }
        if !std::mem::replace(&mut open, true) {
            words.push(String::new());
        }
        let c = if c == '\\' { chars.next() } else { Some(c) };
        if let Some(word) = words.last_mut() {
            word.extend(c);
        }
    }
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") if word == "-c" => words.next(),
            Some(setting) => Some(setting.to_owned()),
            None => None,
        };
        let pair = setting.as_deref().and_then(|setting| setting.split_once('='));
        let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        let Some((name, value)) = pair.filter(|(name, _)| !name.is_empty() && is_name(name)) else {
            return wrong("has `options` that are not settings", "write `-c name=value`, with spaces as `%20`");
        };
        // As the server reads a name on its command line.
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (&self.host, self.port);
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "postgres://{open}{host}{close}:{port}/{}", self.database.escape_debug())
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresAddress({self})")
    }
}

#[cfg(test)]
#[path = "postgres_tests.rs"]
mod tests;
