//! Where a component's code comes from: a file beside the manifest, or a URL with the digest of the file.
//!
//! A URL must be https, or http to this machine. The digest makes the transport trustworthy, but TLS keeps private what
//! is downloaded. A URL must not contain a user name: a manifest is shared, so a password in it would be known to
//! everyone. A registry is refused with a message of its own.

use super::table::{At, Table};
use http::Uri;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use toml::de::DeValue;

/// A component's code on another machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Download {
    url: Uri,
    digest: String,
}

impl Download {
    /// Its URL: https, or http to this machine.
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// The SHA-256 of the file, as 64 lower-case hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Checks that a component may be downloaded from `url`, which the manifest names or a server redirects to.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with the URL.
    pub fn check(url: &Uri) -> Result<(), &'static str> {
        let Some(authority) = url.authority() else { return Err("is no absolute URL") };
        if authority.as_str().contains('@') {
            return Err("has a user name or password");
        }
        if let Ok(address) = bare(authority.host()).parse::<IpAddr>()
            && is_local_to_a_link(address)
        {
            return Err("is an address of the local link, where machines keep their credentials");
        }
        match url.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if is_loopback(authority.host()) => Ok(()),
            Some("http") => Err("is http, to another machine"),
            _ => Err("is not https"),
        }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (sha256:{})", self.url, self.digest)
    }
}

/// A host of a URL without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether downloads from `address` are forbidden: it is a link-local address (a cloud's metadata service), or
/// unspecified.
pub fn is_local_to_a_link(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_unspecified(),
    }
}

/// Whether a host, as written in a URL, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = bare(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A component's code, as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Code {
    /// A file; it need not exist yet.
    File(PathBuf),
    /// A file on another machine.
    Download(Download),
}

/// Why a registry is refused, and what to do.
pub(super) const NO_REGISTRY: (&str, &str) = (
    "comes from a registry, which is not supported",
    "download the component (`wkg get`, `oras pull`), and write the path of the file, or its URL with its digest",
);

/// Reads `source` of `table`; reports mistakes.
pub(super) fn read(table: &mut Table<'_, '_>, dir: &Path) -> Option<Code> {
    const FIX: &str = "write `source = \"path/to/component.wasm\"`";
    let Some((line, value)) = table.value("source") else {
        table.error(table.line, format!("{} has no `source`", table.place), FIX);
        return None;
    };
    match value.get_ref() {
        DeValue::String(path) if path.is_empty() => {
            table.error(line, "`source` is empty", FIX);
            None
        }
        DeValue::String(path) => Some(Code::File(dir.join(path.as_ref()))),
        DeValue::Table(_) => {
            let mut entry = table.table("source")?;
            if ["registry", "package", "version"].iter().any(|key| entry.value(key).is_some()) {
                table.error(line, format!("`source` {}", NO_REGISTRY.0), NO_REGISTRY.1);
                return None;
            }
            entry.hide("registry");
            entry.hide("package");
            entry.hide("version");
            let download = download(&mut entry);
            entry.finish();
            download.map(Code::Download)
        }
        other => {
            table.mismatch("source", line, "a string", other);
            None
        }
    }
}

/// Reads `url` and `digest` of `table`.
pub(super) fn download(table: &mut Table<'_, '_>) -> Option<Download> {
    let url = table.required_string("url", "write `{ url = \"https://...\", digest = \"sha256:...\" }`");
    const FIX: &str = "write `digest = \"sha256:...\"`, with what `sha256sum FILE` prints";
    let digest = table.required_string("digest", FIX);
    let (url, digest) = (url.and_then(|url| checked(table, &url))?, digest?);
    let hex = digest.value.strip_prefix("sha256:").map(str::to_ascii_lowercase);
    match hex.filter(|hex| hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit())) {
        Some(hex) => Some(Download { url, digest: hex }),
        None => {
            table.error(digest.line, "`digest` is not `sha256:` and 64 hexadecimal digits", FIX);
            None
        }
    }
}

fn checked(table: &Table<'_, '_>, url: &At<String>) -> Option<Uri> {
    const FIX: &str = "write `url = \"https://HOST/PATH\"`";
    let parsed = Uri::try_from(&url.value).map_err(|_| "is no URL");
    match parsed.and_then(|parsed| Download::check(&parsed).map(|()| parsed)) {
        Ok(parsed) => Some(parsed),
        Err(wrong) => {
            // Not quoted: it may contain a password.
            table.error(url.line, format!("`url` {wrong}"), FIX);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_downloaded_by_https_or_from_this_machine() {
        for (url, allowed) in [
            ("https://example.com/a.wasm", true),
            ("http://example.com/a.wasm", false),
            ("http://127.0.0.1:8000/a.wasm", true),
            ("http://[::1]:8000/a.wasm", true),
            ("http://localhost/a.wasm", true),
            ("http://localhost.evil.test/a.wasm", false),
            ("https://user:s3cret@example.com/a.wasm", false),
            ("ftp://example.com/a.wasm", false),
            ("/a.wasm", false),
            ("https://169.254.169.254/a.wasm", false),
            ("https://[fe80::1]/a.wasm", false),
            ("https://[::ffff:169.254.169.254]/a.wasm", false),
        ] {
            assert_eq!(Download::check(&url.parse().unwrap()).is_ok(), allowed, "{url}");
        }
    }
}
