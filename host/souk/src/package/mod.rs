//! Applications as OCI packages: making, pushing, pulling, unpacking and starting them.
//!
//! A package is an OCI artifact. Its blobs are the manifest, each component and one archive of all other files, with
//! Spin's media types where Spin has one. In a file it is an OCI layout in a tar; in a registry any registry tool can
//! copy it. The OCI types come from `oci-client`. Its client is not used, because it sends credentials to whatever
//! address a registry names, follows redirects to anywhere, and reads manifests of any size.
//!
//! A pulled package is not trusted. The host refuses: a blob that differs from its digest or exceeds its declared size;
//! paths that leave the folder; links, devices and anything else that is neither file nor folder; a tag whose digest is
//! not the accepted one.

mod archive;
mod component;
mod credentials;
mod folder;
mod layout;
mod make;
mod name;
mod obtain;
mod registry;
mod token;

pub(crate) use component::Component;
pub(crate) use make::make;
pub(crate) use name::{Name, Package};
pub(crate) use obtain::{ObtainOptions, kept, obtain, package_file, remove_superseded};
pub(crate) use registry::{Registry, push};

use oci_client::manifest::{OciDescriptor, OciImageManifest};
use sha2::{Digest as _, Sha256};
use souk_manifest::limits::FixedLimit;
use std::io::{self, Read, Write};

souk_manifest::fixed_limits! {
    /// The fixed limits of packages.
    const LIMITS = "packages";

    /// The largest manifest of a package in a registry or file.
    const MAX_MANIFEST_BYTES: u64 = 4 << 20, bytes;
    /// The largest component, or archive of files, in a package.
    const MAX_BLOB_BYTES: u64 = 256 << 20, bytes;
    /// The most bytes that a package may have in a registry.
    const MAX_PACKAGE_BYTES: u64 = 1 << 30, bytes;
    /// The most components that a package may have.
    const MAX_COMPONENTS: usize = 256, "components";
    /// The most entries that are read of a package in a file: its blobs, and their folders.
    const MAX_ENTRIES: usize = 1024, "entries";
    /// The largest total size of a package's files after unpacking.
    const MAX_UNPACKED_BYTES: u64 = 1 << 30, bytes;
    /// The most files and folders in the archive of a package.
    const MAX_FILES: usize = 20_000, "files";
    /// The largest spin.toml in a package.
    const MAX_SPIN_TOML_BYTES: u64 = 1 << 20, bytes;
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [LIMITS, registry::FIXED_LIMITS].concat()
}

/// The media type of the package, and of its configuration (name and version).
const APPLICATION_TYPE: &str = "application/vnd.souk.application.v1+json";
/// The media type of `spin.toml`.
const SPIN_TOML_TYPE: &str = "application/vnd.souk.manifest.v1+toml";
/// The media type of a component, as in Spin.
const COMPONENT_TYPE: &str = oci_client::manifest::WASM_LAYER_MEDIA_TYPE;
/// The media type of the archive of all other files, as in Spin.
const FILES_TYPE: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";
/// The annotation with a blob's path in the application.
const TITLE: &str = "org.opencontainers.image.title";

/// A package cannot be made, read, pushed or pulled.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}\n  fix: {fix}")]
pub(crate) struct PackageError {
    what: String,
    why: String,
    fix: String,
    /// Whether the registry did not answer, so that a stored copy may be used.
    away: bool,
}

impl PackageError {
    fn new(what: impl ToString, why: impl ToString, fix: impl ToString) -> Self {
        PackageError { what: what.to_string(), why: why.to_string(), fix: fix.to_string(), away: false }
    }

    fn away(self) -> Self {
        PackageError { away: true, ..self }
    }

    /// The error and its fix.
    pub(crate) fn into_parts(self) -> (String, String) {
        (format!("{}: {}", self.what, self.why), self.fix)
    }

    /// A file that cannot be read or written.
    fn io(what: impl ToString, error: &io::Error) -> Self {
        PackageError::new(what, error, "make room for it, and let this user read and write there")
    }

    /// A package that nobody should start.
    fn bad(what: impl ToString, why: impl ToString) -> Self {
        PackageError::new(what, why, "do not use it; ask its author for one that `souk package` has made")
    }
}

/// `sha256:` and the digest in hexadecimal digits.
fn named(hash: Sha256) -> String {
    format!("sha256:{}", hex::encode(hash.finalize()))
}

/// The digest of `bytes`.
fn digest_of(bytes: &[u8]) -> String {
    named(Sha256::new_with_prefix(bytes))
}

/// The hexadecimal digits of a SHA-256 digest, the only kind that is used; they become parts of paths.
fn hex_of(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    (hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))).then_some(hex)
}

/// The size that a descriptor claims.
fn size_of(descriptor: &OciDescriptor) -> u64 {
    u64::try_from(descriptor.size).unwrap_or(u64::MAX)
}

/// Parses and checks the manifest of the package `what`, whose digest was already verified.
fn parse(what: &str, text: &[u8]) -> Result<OciImageManifest, PackageError> {
    let manifest: OciImageManifest = serde_json::from_slice(text)
        .map_err(|error| PackageError::bad(what, format!("is not an OCI artifact: {error}")))?;
    if manifest.config.media_type != APPLICATION_TYPE {
        let why = format!("is of type {}, not {APPLICATION_TYPE}", shown(&manifest.config.media_type));
        let fix = "name a package that `souk push` has pushed; a single component is a `source` in the manifest";
        return Err(PackageError::new(what, why, fix));
    }
    let of = |kind: &str| manifest.layers.iter().filter(|layer| layer.media_type == kind).count();
    let (texts, archives, components) = (of(SPIN_TOML_TYPE), of(FILES_TYPE), of(COMPONENT_TYPE));
    if texts != 1 || archives > 1 || texts + archives + components != manifest.layers.len() {
        let why = "is not one spin.toml, components and at most one archive of files";
        return Err(PackageError::bad(what, why));
    }
    let titles = manifest.layers.iter().filter_map(|layer| layer.annotations.as_ref()?.get(TITLE));
    if titles.map(|title| title.split('/').count()).sum::<usize>() > MAX_FILES {
        return Err(PackageError::bad(what, format!("has more than {MAX_FILES} files and folders")));
    }
    let mut total = 0_u64;
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        let most = if blob.media_type == SPIN_TOML_TYPE { MAX_SPIN_TOML_BYTES } else { MAX_BLOB_BYTES };
        if hex_of(&blob.digest).is_none() {
            return Err(PackageError::bad(what, "has a blob without a SHA-256 digest"));
        }
        if size_of(blob) > most {
            return Err(PackageError::bad(what, format!("has a blob that is larger than {} MiB", most >> 20)));
        }
        total = total.saturating_add(size_of(blob));
    }
    if total > MAX_PACKAGE_BYTES || components > MAX_COMPONENTS {
        let why = format!("has more than {MAX_COMPONENTS} components, or {} MiB", MAX_PACKAGE_BYTES >> 20);
        return Err(PackageError::bad(what, why));
    }
    Ok(manifest)
}

/// Text from a package or registry, made short and printable.
fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

/// Copies exactly `size` bytes, which must have this digest.
fn copy(from: &mut impl Read, to: &mut impl Write, size: u64, digest: &str) -> io::Result<()> {
    let (mut hash, mut buffer, mut left) = (Sha256::new(), vec![0; 1 << 16], size);
    loop {
        let read = from.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        left = left.checked_sub(read as u64).ok_or_else(|| io::Error::other("is larger than its descriptor says"))?;
        hash.update(bytes);
        to.write_all(bytes)?;
    }
    match (left, named(hash)) {
        (0, found) if found == digest => Ok(()),
        (0, found) => Err(io::Error::other(format!("its digest is {found}, not {digest}"))),
        _ => Err(io::Error::other("is smaller than its descriptor says")),
    }
}

#[cfg(test)]
mod registry_tests;
#[cfg(test)]
mod tests;
