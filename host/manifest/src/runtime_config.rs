//! runtime-config.toml: where stores and databases are kept, the sources of variables' values, and the NATS servers.
//!
//! Databases (`type = "spin"`) and the values of variables (`static` and `env`) are on this machine; key-value stores
//! may also be on servers. Other types of Spin (Azure, libSQL, Vault, ...) are refused by name. Relative paths start at
//! the file's folder.

use super::declared::PREFIX;
use super::error::{Report, Source};
use super::key_value::{self, KeyValuePlace};
use super::names::check_label;
use super::nats::{self, NatsTable};
use super::readers::Origin;
use super::table::{At, File, Table};
use super::variables::{Provider, read_dotenv};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The content of the file; empty if there is none.
#[derive(Default)]
pub(super) struct RuntimeConfig {
    pub key_value_places: BTreeMap<String, KeyValuePlace>,
    pub sqlite_paths: BTreeMap<String, PathBuf>,
    pub providers: Vec<Provider>,
    pub state_dir: Option<PathBuf>,
    pub nats: NatsTable,
    pub admin_hosts: Vec<String>,
    /// Labels with the table and line that define them, to check that a component uses them.
    pub labels: Vec<(&'static str, At<String>)>,
}

impl RuntimeConfig {
    /// The secrets in the file itself, besides values of variables.
    pub(super) fn secrets(&self) -> Vec<String> {
        let nats = self.nats.config.as_ref();
        let mut secrets = Vec::new();
        if nats.is_some_and(|nats| nats.cluster_secret.is_some()) {
            secrets.push("`cluster_secret` of [nats]".to_owned());
        }
        if nats.is_some_and(|nats| nats.servers.iter().any(|server| server.login().is_some())) {
            secrets.push("`servers` of [nats]".to_owned());
        }
        let with_login = self.key_value_places.iter().filter(|(_, place)| place.has_login());
        secrets.extend(with_login.map(|(label, _)| format!("`url` of [key_value_store.{label}]")));
        secrets
    }
}

/// Reads the file at `path`; messages name it `shown`.
pub(super) fn read(path: &Path, shown: &Path, report: &Report) -> (RuntimeConfig, Source) {
    let mut config = RuntimeConfig::default();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let source = Source::new(shown, "");
            let message = format!("cannot be read: {}", error.kind());
            let file = File { source: &source, report };
            report.error(file.diagnostic(None, None, message, "name a file that exists, or leave the option out"));
            return (config, source);
        }
    };
    let source = Source::new(shown, &text);
    let file = File { source: &source, report };
    let Some(root) = file.parse(&text) else { return (config, source) };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut root = Table::new(file, "runtime-config.toml", 1, root.get_ref());

    if let Some(stores) = root.table("key_value_store") {
        let place =
            |entry: &mut Table<'_, '_>, label: &str, kind: &At<String>| key_value::read(entry, label, kind, folder);
        config.key_value_places = places("key_value_store", &stores, place, &mut config.labels);
    }
    if let Some(databases) = root.table("sqlite_database") {
        let path = |entry: &mut Table<'_, '_>, _: &str, kind: &At<String>| database(entry, kind, folder);
        config.sqlite_paths = places("sqlite_database", &databases, path, &mut config.labels);
    }
    for provider in root.tables("variables_provider") {
        config.providers.extend(read_provider(provider, path, shown));
    }
    if let Some(table) = root.table("nats") {
        config.nats = nats::read(table, folder);
    }
    // An empty string means "not set", as in Spin.
    let state_dir = root.string("state_dir").filter(|dir| !dir.value.is_empty());
    config.state_dir = state_dir.map(|dir| folder.join(dir.value));

    config.admin_hosts = read_admin_hosts(&mut root);

    root.refuse("config_provider", "`config_provider` is the old name of a key", "write `variables_provider`");
    let fix = "remove it; the host writes its log to its standard error";
    root.refuse("log_dir", "`log_dir` is not supported", fix);
    root.refuse("llm_compute", "`llm_compute` is not supported: Souk runs no AI models", "remove the table");
    for key in ["client_tls", "outbound_networking", "outbound_http", "outbound_pg", "blob_store"] {
        root.refuse(key, &format!("`{key}` is not supported"), "remove the table");
    }
    root.finish();
    (config, source)
}

/// Reads the host names that requests to the administration listener may use, besides its address.
fn read_admin_hosts(root: &mut Table<'_, '_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for host in root.strings("admin_hosts") {
        let name = host.value.to_ascii_lowercase();
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if is_name {
            hosts.push(name);
        } else {
            let message = format!("`{}` in `admin_hosts` is not a host's name", host.value.escape_debug());
            root.error(host.line, message, "write the name alone: `admin.example`, without a scheme, a port or a `*`");
        }
    }
    hosts
}

/// Reads the tables `[KEY.LABEL]`: `key` is `key_value_store` or `sqlite_database`. `place` reads one table; its arguments
/// are the table, its label and its `type`.
fn places<T>(
    key: &'static str,
    table: &Table<'_, '_>,
    place: impl Fn(&mut Table<'_, '_>, &str, &At<String>) -> Option<T>,
    labels: &mut Vec<(&'static str, At<String>)>,
) -> BTreeMap<String, T> {
    let mut places = BTreeMap::new();
    for (label, value) in table.entries() {
        if let Err(error) = check_label(label.value) {
            let message = format!("`{}` cannot be a label: {error}", label.value);
            table.error(label.line, message, "name it like `my-data` or `my_data`");
            continue;
        }
        labels.push((key, At { value: label.value.to_owned(), line: label.line }));
        let Some(mut entry) = table.entry(&label, value) else { continue };
        let Some(kind) = entry.required_string("type", "write `type = \"spin\"`") else { continue };
        // The other keys of a table of an unknown type cannot be checked.
        if let Some(place) = place(&mut entry, label.value, &kind) {
            places.insert(label.value.to_owned(), place);
            entry.finish();
        }
    }
    places
}

/// The file of a database with the `type` `kind`.
fn database(entry: &mut Table<'_, '_>, kind: &At<String>, folder: &Path) -> Option<PathBuf> {
    if kind.value != "spin" {
        let why = if kind.value == "libsql" { "not supported" } else { "unknown" };
        let message = format!("`type = \"{}\"` is {why}", kind.value);
        entry.error(kind.line, message, "write `type = \"spin\"`: data on this machine");
        return None;
    }
    Some(folder.join(entry.required_string("path", key_value::MISSING_PATH)?.value))
}

fn read_provider(mut table: Table<'_, '_>, path: &Path, shown: &Path) -> Option<Provider> {
    let kind = table.required_string("type", "write `type = \"static\"` or `type = \"env\"`")?;
    let provider = match kind.value.as_str() {
        "static" => {
            let values = table.table("values");
            let values = values.map(|values| values.string_entries()).unwrap_or_default();
            let values = values.into_iter().map(|(name, value)| (name.value.to_owned(), value)).collect();
            Provider::Static { values, file: Origin { path: path.to_owned(), shown: shown.to_owned() } }
        }
        "env" => {
            let prefix = table.string("prefix").map_or_else(|| PREFIX.to_owned(), |prefix| prefix.value);
            let (mut file, mut dotenv) = (Origin::default(), BTreeMap::new());
            if let Some(named) = table.string("dotenv_path") {
                file = Origin { path: path.with_file_name(&named.value), shown: shown.with_file_name(&named.value) };
                dotenv = read_dotenv(&file.path, &file.shown, true, table.file.report);
            }
            Provider::Environment { prefix, dotenv, file }
        }
        other => {
            let known = ["vault", "open_bao", "azure_key_vault"];
            let why = if known.contains(&other) { "not supported" } else { "unknown" };
            let fix = "write `type = \"static\"` or `type = \"env\"`";
            table.error(kind.line, format!("a variables provider of `type = \"{other}\"` is {why}"), fix);
            return None;
        }
    };
    table.finish();
    Some(provider)
}
