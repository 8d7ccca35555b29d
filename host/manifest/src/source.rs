//! Where a component's code comes from: a file beside the manifest, a URL with the digest of the file, or a version of a
//! package in a registry ([`super::release`]).
//!
//! A URL must be https, or http to this machine. The digest makes the transport trustworthy, but TLS keeps private what
//! is downloaded. A URL must not contain a user name: a manifest is shared, so a password in it would be known to
//! everyone.

use super::download_url::{check_download_url, is_loopback};
use super::release::{self, Release};
use super::table::{At, Table};
use http::Uri;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::DeValue;

/// A component's code on another machine.
#[derive(Clone, PartialEq, Eq)]
pub enum Download {
    /// A file.
    File {
        /// Where it is; https, or http to this machine.
        url: Uri,
        /// The SHA-256 of the file, as 64 lower-case hexadecimal digits.
        digest: String,
    },
    /// A version of a package.
    Release {
        /// Which.
        release: Release,
        /// The SHA-256 of its component, where the manifest says it: Spin's has no place for it.
        digest: Option<String>,
    },
}

impl Download {
    /// Whether it comes from a server on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Download::File { url, .. } => url.host().is_some_and(is_loopback),
            Download::Release { release, .. } => release.is_local(),
        }
    }

    /// The SHA-256 of the component, as 64 lower-case hexadecimal digits, if the manifest names it.
    pub fn digest(&self) -> Option<&str> {
        match self {
            Download::File { digest, .. } => Some(digest),
            Download::Release { digest, .. } => digest.as_deref(),
        }
    }
}

/// Where it comes from.
impl fmt::Display for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Download::File { url, .. } => url.fmt(f),
            Download::Release { release, .. } => release.fmt(f),
        }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} (sha256:{})", self.digest().unwrap_or("any"))
    }
}

/// A component's code, as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Code {
    /// A file; it need not exist yet.
    File(PathBuf),
    /// A file on another machine.
    Download(Download),
}

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
            let download = match release::is_named(&mut entry) {
                true => released(&mut entry, None),
                false => download(&mut entry),
            };
            entry.finish();
            download.map(Code::Download)
        }
        other => {
            table.mismatch("source", line, "a string", other);
            None
        }
    }
}

/// Reads a version in a registry. `package` applies if the table has no key `package`.
pub(super) fn released(table: &mut Table<'_, '_>, package: Option<&str>) -> Option<Download> {
    release::read(table, package).map(|release| Download::Release { release, digest: None })
}

/// Reads `digest` of `tool.souk`: the digest of a `source` from a registry.
pub(super) fn read_digest(souk: &mut Table<'_, '_>, download: &mut Option<Download>) {
    let Some(given) = souk.string("digest") else { return };
    match download {
        Some(Download::Release { digest, .. }) => *digest = hex(souk, &given),
        _ => {
            let fix = "remove it; the digest of a `url` stands beside it";
            souk.error(given.line, "`digest` is for a `source` from a registry", fix);
        }
    }
}
/// Reads `url` and `digest` of `table`.
pub(super) fn download(table: &mut Table<'_, '_>) -> Option<Download> {
    let url = table.required_string("url", "write `{ url = \"https://...\", digest = \"sha256:...\" }`");
    let digest = table.required_string("digest", DIGEST_FIX);
    let (url, digest) = (url.and_then(|url| checked(table, &url))?, digest?);
    let digest = hex(table, &digest)?;
    Some(Download::File { url, digest })
}

/// How to write a digest.
pub(super) const DIGEST_FIX: &str = "write `digest = \"sha256:...\"`, with what `sha256sum FILE` prints";

/// The digits of a digest.
fn hex(table: &Table<'_, '_>, digest: &At<String>) -> Option<String> {
    let hex = digest.value.strip_prefix("sha256:").map(str::to_ascii_lowercase);
    let hex = hex.filter(|hex| hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
    if hex.is_none() {
        table.error(digest.line, "`digest` is not `sha256:` and 64 hexadecimal digits", DIGEST_FIX);
    }
    hex
}

fn checked(table: &Table<'_, '_>, url: &At<String>) -> Option<Uri> {
    const FIX: &str = "write `url = \"https://HOST/PATH\"`";
    let parsed = Uri::try_from(&url.value).map_err(|_| "is no URL");
    match parsed.and_then(|parsed| check_download_url(&parsed).map(|()| parsed)) {
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
            assert_eq!(check_download_url(&url.parse().unwrap()).is_ok(), allowed, "{url}");
        }
    }
}
