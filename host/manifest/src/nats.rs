//! The NATS servers, from runtime-config.toml's `[nats]` or the command line, and the components that this host runs.
//!
//! A password or token in a server's URL is accepted only in the file, because every user of a machine can read command
//! lines. It is never shown.

use super::declared::Value;
use super::error::Source;
use super::names::nearest;
use super::table::{At, File, Table};
use super::{Application, LoadOptions};
use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How to reach NATS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NatsConfig {
    /// Servers of one cluster; never empty.
    pub servers: Vec<NatsServer>,
    /// A credentials file, as `nsc` creates it.
    pub credentials: Option<PathBuf>,
    /// On how many servers JetStream keeps each stream; `None` lets the host choose by the cluster.
    pub replicas: Option<usize>,
    /// A secret that only the hosts of the application know. With it a host proves that it belongs to them.
    pub cluster_secret: Option<Value>,
}

/// The URL of one server. Shown without user, password or token.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsServer(ServerAddr);

impl NatsServer {
    /// The address for the client.
    pub fn address(&self) -> &ServerAddr {
        &self.0
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.0.host();
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The login in the URL: a user and a password, or a token if there is no password.
    pub fn login(&self) -> Option<(String, Option<String>)> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some((decoded(self.0.username()?), self.0.password().map(decoded)))
    }
}

impl fmt::Display for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.0.scheme(), self.0.host(), self.0.port())
    }
}

impl fmt::Debug for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NatsServer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `host:4222` alone is NATS's own short form.
        let address = ServerAddr::from_str(text).map_err(|_| "is not the URL of a NATS server")?;
        if !matches!(address.scheme(), "nats" | "tls") {
            return Err("must begin with nats:// or tls://");
        }
        if address.host().is_empty() {
            return Err("names no host");
        }
        Ok(NatsServer(address))
    }
}

/// Reads a server from the command line.
///
/// # Errors
/// When it is not the URL of a NATS server, or contains a secret.
pub fn server_without_secret(text: &str) -> Result<NatsServer, String> {
    let server = NatsServer::from_str(text).map_err(|wrong| format!("it {wrong}; write nats://HOST:4222"))?;
    if server.0.username().is_some() || server.0.password().is_some() {
        return Err(
            "a user, password or token does not belong on a command line; put the URL into `[nats] servers` of \
                    runtime-config.toml, or use `--creds FILE`"
                .to_owned(),
        );
    }
    Ok(server)
}

/// `[nats]` of runtime-config.toml.
#[derive(Default)]
pub(super) struct NatsTable {
    pub config: Option<NatsConfig>,
    pub name: Option<String>,
    pub only: Option<Vec<At<String>>>,
}

crate::fixed_limits! {
    /// The fixed limits of NATS.
    pub(crate) const FIXED_LIMITS = "manifest";

    /// The most servers that may keep a copy of a stream: JetStream's own bound.
    const MAX_REPLICAS: usize = 5, "servers";
    /// The shortest `cluster_secret`: a shorter one could be guessed from what is recorded with it.
    const MIN_CLUSTER_SECRET_BYTES: usize = 16, bytes;
    /// The longest name of an application: it is a part of every subject.
    const MAX_NAME_BYTES: usize = 64, bytes;
}

/// Reads `[nats]`; paths start at `folder`.
pub(super) fn read(mut table: Table<'_, '_>, folder: &Path) -> NatsTable {
    let mut servers = Vec::new();
    for entry in table.strings("servers") {
        match NatsServer::from_str(&entry.value) {
            Ok(server) => servers.push(server),
            // Not quoted: it may contain a password.
            Err(wrong) => table.error(entry.line, format!("an entry of `servers` {wrong}"), "write nats://HOST:4222"),
        }
    }
    let credentials = table.string("credentials").map(|file| folder.join(file.value));
    let replicas = table.value("replicas").and_then(|(line, value)| {
        let number = value.get_ref().as_integer().and_then(|n| usize::from_str_radix(n.as_str(), n.radix()).ok());
        let good = number.filter(|n| (1..=MAX_REPLICAS).contains(n));
        if good.is_none() {
            let message = format!("`replicas` must be a whole number from 1 to {MAX_REPLICAS}");
            table.error(line, message, "write `replicas = 3` for a cluster of three servers or more, 1 for one server");
        }
        good
    });
    let cluster_secret = table.string("cluster_secret").and_then(|secret| {
        let good = secret.value.len() >= MIN_CLUSTER_SECRET_BYTES;
        if !good {
            let message = format!("`cluster_secret` has fewer than {MIN_CLUSTER_SECRET_BYTES} characters");
            table.error(
                secret.line,
                message,
                "write one that nobody guesses, the same for all hosts: `head -c 32 /dev/urandom | base64`",
            );
        }
        good.then(|| Value::new(secret.value, true))
    });
    let name = table.string("name").and_then(|name| match check_name(&name.value) {
        Ok(()) => Some(name.value),
        Err(wrong) => {
            table.error(name.line, format!("`name` {wrong}"), "write a short name: `name = \"store-staging\"`");
            None
        }
    });
    let only = table.strings("only");
    let only = (!only.is_empty()).then_some(only);
    if servers.is_empty() {
        table.error(table.line, "[nats] names no server", "add `servers = [\"nats://HOST:4222\"]`");
    }
    table.finish();
    let config = (!servers.is_empty()).then_some(NatsConfig { servers, credentials, replicas, cluster_secret });
    NatsTable { config, name, only }
}

/// Checks a name for the application; the error is the end of a sentence.
///
/// # Errors
/// When it is empty or too long, or has control characters.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("has more than {MAX_NAME_BYTES} bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err("has control characters".to_owned());
    }
    Ok(())
}

/// Applies the NATS servers and the components of this host to the application: from the command line, otherwise from
/// the runtime configuration, which is `config`.
pub(super) fn apply_nats_config(
    application: &mut Application,
    options: &LoadOptions,
    table: NatsTable,
    config: File<'_>,
) {
    let NatsTable { config: configured, name, only: listed } = table;
    if let Some(name) = options.name.clone().or(name) {
        application.name = name;
    }
    let mut nats = configured;
    if !options.nats.is_empty() {
        nats = Some(NatsConfig { servers: options.nats.clone(), ..nats.unwrap_or_default() });
    }
    match (&mut nats, &options.credentials) {
        (Some(nats), Some(credentials)) => nats.credentials = Some(credentials.clone()),
        (None, Some(_)) => command_line("--creds", config, "is for NATS, and no server is named", "add `--nats URL`"),
        _ => {}
    }
    for (option, names) in [("--component-id", &options.selected), ("--only", &options.only)] {
        let source = Source::new(option, "");
        check(application, names.iter().map(|name| (name.as_str(), None)), File { source: &source, ..config });
    }
    if !options.only.is_empty() {
        application.only = Some(options.only.iter().cloned().collect());
    } else if let Some(listed) = listed {
        check(application, listed.iter().map(|name| (name.value.as_str(), Some(name.line))), config);
        application.only = Some(listed.into_iter().map(|name| name.value).collect());
    }
    application.nats = nats;
    select(application, options);
    add_parts(application);
}

/// Applies `--component-id`: with NATS, other hosts run the remaining components; without, nobody does.
fn select(application: &mut Application, options: &LoadOptions) {
    if options.selected.is_empty() {
        return;
    }
    application.only = Some(options.selected.iter().cloned().collect());
    if application.nats.is_none() {
        let runs = |name: &String| options.selected.contains(name);
        application.routes.retain(|route| runs(&route.component));
    }
}

/// Adds components that must run on this host too: the parts that the manifest names only inside this host's
/// components, and the middleware of every route, because each host answers every route.
fn add_parts(application: &mut Application) {
    let Some(only) = &mut application.only else { return };
    only.extend(application.routes.iter().flat_map(|route| route.middleware.iter().cloned()));
    loop {
        let is_missing = |name: &str, owner: &str| only.contains(owner) && !only.contains(name);
        let parts = application.components.values();
        let missing = parts.filter(|part| part.part_of.as_ref().is_some_and(|owner| is_missing(&part.name, owner)));
        let missing: Vec<String> = missing.map(|part| part.name.clone()).collect();
        if missing.is_empty() {
            return;
        }
        only.extend(missing);
    }
}

/// Reports a mistake in an option of the command line.
fn command_line(option: &str, file: File<'_>, message: &str, fix: &str) {
    let source = Source::new(option, "");
    file.report.error(File { source: &source, ..file }.diagnostic(None, None, message, fix));
}

/// Reports names of components that do not exist.
fn check<'n>(application: &Application, only: impl Iterator<Item = (&'n str, Option<usize>)>, file: File<'_>) {
    let known = || application.components.keys().map(String::as_str);
    for (name, line) in only.filter(|(name, _)| !application.components.contains_key(*name)) {
        let fix = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("name components of the manifest: {}", known().collect::<Vec<_>>().join(", ")),
        };
        file.report.error(file.diagnostic(line, None, format!("component `{name}` does not exist"), fix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_shown_without_its_login() {
        let server: NatsServer = "nats://user:s3cret@nats.example.com:4333".parse().unwrap();
        assert_eq!(server.to_string(), "nats://nats.example.com:4333");
        assert_eq!(format!("{server:?}"), server.to_string());
        let short: NatsServer = "127.0.0.1".parse().unwrap();
        assert_eq!(short.to_string(), "nats://127.0.0.1:4222");
    }

    #[test]
    fn a_command_line_takes_no_secret_and_no_other_scheme() {
        server_without_secret("nats://127.0.0.1:4222").unwrap();
        server_without_secret("tls://nats.example.com").unwrap();
        for wrong in ["nats://user:s3cret@h", "nats://t0ken@h", "http://h", "ws://h", "", "nats://"] {
            let error = server_without_secret(wrong).unwrap_err();
            assert!(!error.contains("s3cret") && !error.contains("t0ken"), "{error}");
        }
    }
}
