//! A version of a package in a registry, as Spin's manifest names one: `registry`, `package` and `version`.
//!
//! The manifest always names the registry: there is no default. The version is exact and not a range, because a range
//! would mean another version tomorrow. Spin's manifest has no digest for it, so the host stores the digest that it finds
//! first, and accepts no other; `tool.souk.digest` sets it in advance.

use super::download_url::{check_download_url, is_loopback};
use super::names::DependencyName;
use super::table::{At, Table};
use http::Uri;
use http::uri::Authority;
use semver::Version;
use std::fmt;

/// How to name a version in a registry.
pub(super) const FIX: &str = "write `{ registry = \"HOST\", package = \"NAMESPACE:NAME\", version = \"1.2.0\" }`; or \
    download the component, and write its path";

/// The keys of a version in a registry.
const KEYS: [&str; 3] = ["version", "registry", "package"];

/// One version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    registry: Authority,
    namespace: String,
    name: String,
    version: Version,
}

impl Release {
    /// The registry's host, with its port.
    pub fn registry(&self) -> &str {
        self.registry.as_str()
    }

    /// Whether the registry runs on this machine, so that the host uses http.
    pub fn is_local(&self) -> bool {
        is_loopback(self.registry.host())
    }

    /// The package's namespace and name.
    pub fn package(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    /// The version.
    pub fn version(&self) -> &Version {
        &self.version
    }
}

/// The name under which the host stores the digest of this release.
impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}@{}", self.registry, self.namespace, self.name, self.version)
    }
}

/// Whether a table names a version in a registry.
pub(super) fn is_named(table: &mut Table<'_, '_>) -> bool {
    // Reads every key, so that none is reported as unknown.
    KEYS.into_iter().filter(|key| table.value(key).is_some()).count() > 0
}

/// Reads a version in a registry. `package` applies if the table has no key `package`.
pub(super) fn read(table: &mut Table<'_, '_>, package: Option<&str>) -> Option<Release> {
    let registry = table.required_string("registry", FIX);
    let named = match (table.string("package"), package) {
        (Some(named), _) => Some(named),
        (None, Some(package)) => Some(At { value: package.to_owned(), line: table.line }),
        (None, None) => table.required_string("package", FIX),
    };
    let version = table.required_string("version", FIX);
    let registry = registry.and_then(|registry| checked_registry(table, &registry));
    let package = named.and_then(|named| checked_package(table, &named));
    let version = version.and_then(|version| checked_version(table, &version));
    let ((namespace, name), registry, version) = (package?, registry?, version?);
    Some(Release { registry, namespace, name, version })
}

fn checked_registry(table: &Table<'_, '_>, text: &At<String>) -> Option<Authority> {
    let checked = || {
        // The digest of a version is recorded under its registry's name, and `R.test` is `r.test`.
        let authority: Authority = text.value.to_ascii_lowercase().parse().map_err(|_| "is not a host")?;
        if !authority.as_str().contains(['.', ':']) && !is_loopback(authority.host()) {
            return Err("is not a host");
        }
        let url = Uri::builder().scheme("https").authority(authority.clone()).path_and_query("/").build();
        check_download_url(&url.map_err(|_| "is not a host")?).map(|()| authority)
    };
    match checked() {
        Ok(authority) => Some(authority),
        Err(wrong) => {
            // Not quoted: it can hold a password.
            table.error(text.line, format!("`registry` {wrong}"), "write `registry = \"registry.example.com\"`");
            None
        }
    }
}

fn checked_package(table: &Table<'_, '_>, text: &At<String>) -> Option<(String, String)> {
    let wrong = match DependencyName::parse(&text.value) {
        Ok(DependencyName { package, interface: None, version: None }) => match package.split_once(':') {
            // A repository's name is in lower case.
            Some(_) if package.chars().any(|c| c.is_ascii_uppercase()) => "it must be in lower case".to_owned(),
            Some((namespace, name)) => return Some((namespace.to_owned(), name.to_owned())),
            None => "it names no package".to_owned(),
        },
        Ok(_) => "it is more than a package's name".to_owned(),
        Err(error) => error,
    };
    table.error(text.line, format!("`package`: {wrong}"), "write `package = \"namespace:name\"`");
    None
}

fn checked_version(table: &Table<'_, '_>, text: &At<String>) -> Option<Version> {
    // In Spin a dependency has a range of versions; `=1.2.0` is the range of a single version.
    let version = Version::parse(text.value.trim_start_matches('=').trim());
    if version.is_err() {
        let message = format!("`version` is not an exact version: `{}`", text.value.escape_debug());
        table.error(text.line, message, "write a version as the registry has it, `version = \"1.2.0\"`");
    }
    version.ok()
}
