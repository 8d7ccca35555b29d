//! Components that the manifest names by a URL, or as a version of a package in a registry. They are fetched before
//! anything is served, stored in the state folder under their digest, and verified at every start before they are read.
//!
//! A download goes to a temporary file, which takes its final place only when it matches the manifest, so that a
//! partial file is never found there. Redirects are followed only to https. No credentials are sent to a URL; a
//! registry gets those that the operator's `auth.json` has for it.
//!
//! For a package version, the manifest need not give a digest. The digest is recorded when the component is first
//! fetched. From then on the version always means that component, and a host that has it does not ask the registry.

mod client;
mod connect;
mod digests;
mod local;
#[cfg(feature = "oci")]
mod release;

pub(crate) use client::MAX_COMPONENT_BYTES;
pub(crate) use client::cause;
use client::{Client, Refused};
pub(crate) use connect::{Connector, connector};
use digests::Digests;
use http::Uri;
pub(crate) use local::read_component;
use sha2::{Digest as _, Sha256};
use souk_manifest::limits::FixedLimit;
use souk_manifest::state::{self, StateError};
use souk_manifest::{Application, Diagnostic, Download, ManifestErrors, Release, temporary};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [
        client::FIXED_LIMITS,
        digests::FIXED_LIMITS,
        #[cfg(feature = "oci")]
        release::FIXED_LIMITS,
    ]
    .concat()
}

/// Components cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The folder for components cannot be created.
    #[error(transparent)]
    State(#[from] StateError),
    /// The servers of these components did not provide them.
    #[error(transparent)]
    Refused(#[from] ManifestErrors),
}

/// The path of the component with this digest in the state folder `state`.
fn place(state: &Path, digest: &str) -> PathBuf {
    state::components_folder(state).join(format!("{digest}.wasm"))
}

/// Sets the files of the components that are downloaded, whether or not the files exist.
pub fn locate(application: &mut Application, state: &Path) {
    // An unreadable list is reported by `fetch`, or when a file is missing.
    let noted = Digests::read(state).unwrap_or_default();
    for component in application.components.values_mut() {
        if let Some(download) = &component.download {
            component.source = place(state, noted.of(download).unwrap_or("not-fetched"));
        }
    }
}

/// One component to fetch.
pub struct ComponentDownload {
    /// Its name.
    pub component: String,
    /// Its line in the manifest.
    pub line: usize,
    /// What to fetch.
    pub download: Download,
}

/// Fetches what is missing in the state folder or differs from its digest; calls `note` for each component.
///
/// # Errors
/// When components cannot be fetched, are too large, or differ from their digests: all of them together.
pub async fn fetch(
    wanted: Vec<ComponentDownload>,
    manifest: &Path,
    state: &Path,
    note: impl Fn(&str),
) -> Result<(), FetchError> {
    fetch_at_most(MAX_COMPONENT_BYTES, wanted, manifest, state, note).await
}

/// As [`fetch`], for components of at most `most` bytes.
async fn fetch_at_most(
    most: u64,
    wanted: Vec<ComponentDownload>,
    manifest: &Path,
    state: &Path,
    note: impl Fn(&str),
) -> Result<(), FetchError> {
    let (mut client, mut mistakes) = (None, Vec::new());
    for ComponentDownload { component, line, download } in wanted {
        state::make_components_folder(state)?;
        let start = Instant::now();
        let got = async {
            let noted = Digests::read(state)?;
            let known = noted.of(&download);
            if let Some(digest) = known
                && is_there(&place(state, digest), digest).await
            {
                // From now on the manifest's digest is the version's.
                return noted.note(&download, digest, state).map(|()| None);
            }
            let client = match &client {
                Some(client) => client,
                None => client.insert(Client::new(most)?),
            };
            let (digest, bytes) = match &download {
                Download::File { url, digest } => (digest.clone(), get(client, url, digest, state).await?),
                Download::Release { release, digest } => match from_registry(release, known, most, state).await {
                    Err(Refused::Digest { expected, found }) if digest.is_none() => {
                        return Err(changed(&expected, &found, state));
                    }
                    got => got?,
                },
            };
            noted.note(&download, &digest, state)?;
            Ok(Some((digest, bytes)))
        };
        let got: Result<_, Refused> = got.await;
        let (digest, bytes) = match got {
            Ok(Some(got)) => got,
            Ok(None) => continue,
            Err(refused) => {
                let is_late = matches!(refused, Refused::Late);
                mistakes.push(Diagnostic {
                    file: manifest.to_owned(),
                    line: Some(line),
                    component: Some(component),
                    message: format!("{download}: {refused}"),
                    fix: refused.fix().to_owned(),
                });
                if is_late {
                    // The others may be at the same server, and each would wait as long.
                    break;
                }
                continue;
            }
        };
        // Users who want the same component elsewhere need the digest.
        let named = if download.digest().is_none() { format!(", sha256:{digest}") } else { String::new() };
        let seconds = start.elapsed().as_secs_f64();
        note(&format!("  fetched {component}: {} KiB in {seconds:.1} s{named}", bytes >> 10));
    }
    Ok(ManifestErrors::check(mistakes)?)
}

/// A version of a package has changed.
fn changed(before: &str, now: &str, state: &Path) -> Refused {
    Refused::Package {
        why: format!("the version has the component sha256:{now} now, but had sha256:{before}"),
        fix: format!(
            "ask its author why; only if you trust the new one, remove the version from {}",
            digests::list(state).display()
        ),
    }
}

/// Gets a version of a package from its registry. `known` is the digest that it must have. Returns its digest and size.
#[cfg(feature = "oci")]
async fn from_registry(
    release: &Release,
    known: Option<&str>,
    most: u64,
    state: &Path,
) -> Result<(String, u64), Refused> {
    release::get(release, known, most, state).await
}

#[cfg(not(feature = "oci"))]
async fn from_registry(_: &Release, _: Option<&str>, _: u64, _: &Path) -> Result<(String, u64), Refused> {
    Err(Refused::Package {
        why: "this program is built without registries".to_owned(),
        fix: "build it with `--features oci`; or download the component, and write its path as `source`".to_owned(),
    })
}

/// Whether the file exists and matches its digest. Otherwise it is fetched again.
async fn is_there(path: &Path, digest: &str) -> bool {
    let (path, digest) = (path.to_owned(), digest.to_owned());
    let same = tokio::task::spawn_blocking(move || -> io::Result<bool> {
        let mut file = std::fs::File::open(path)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex(&hash.finalize()) == digest),
                read => hash.update(buffer.get(..read).unwrap_or_default()),
            }
        }
    });
    matches!(same.await, Ok(Ok(true)))
}

/// Downloads to a temporary file, which takes its final place when it is verified; returns its size.
async fn get(client: &Client, url: &Uri, digest: &str, state: &Path) -> Result<u64, Refused> {
    let file = temporary::file(&state::components_folder(state), ".download-").map_err(Refused::Disk)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
    let mut body = client.get(url).await?;
    while let Some(chunk) = body.next().await? {
        hash.update(&chunk);
        bytes += chunk.len() as u64;
        io::Write::write_all(&mut file.as_file(), &chunk).map_err(Refused::Disk)?;
    }
    let found = hex(&hash.finalize());
    if found != digest {
        return Err(Refused::Digest { expected: digest.to_owned(), found });
    }
    keep(file, digest, state)?;
    Ok(bytes)
}

/// Moves a verified component to its place.
fn keep(file: tempfile::NamedTempFile, digest: &str, state: &Path) -> Result<(), Refused> {
    file.as_file().sync_all().map_err(Refused::Disk)?;
    file.persist(place(state, digest)).map_err(|error| Refused::Disk(error.error))?;
    Ok(())
}

fn hex(digest: &[u8]) -> String {
    hex::encode(digest)
}

#[cfg(test)]
mod tests;
