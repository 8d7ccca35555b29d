//! Components that the manifest names by a URL: fetched before anything is served, kept in the state folder under their
//! digest, and compared with it at every start before anything reads them.
//!
//! A download goes to a file of its own and takes its place only when it is what the manifest says, so that no half of
//! one is ever found. Redirects are followed to https alone; nothing that could log somebody in is sent anywhere.

mod client;
mod connect;

pub(crate) use client::MAX_COMPONENT_BYTES;
pub(crate) use client::cause;
use client::{Client, Refused};
pub(crate) use connect::{Connector, connector};
use sha2::{Digest as _, Sha256};
use souk_manifest::limits::FixedLimit;
use souk_manifest::state::{self, StateError};
use souk_manifest::{Application, Download};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    client::FIXED_LIMITS.to_vec()
}

/// A component cannot be fetched. Names it, and the fix.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The folder for components cannot be made.
    #[error(transparent)]
    State(#[from] StateError),
    /// The component's server did not give it.
    #[error("{manifest}:{line}: component `{component}`: {url}: {why}\n  fix: {fix}")]
    Refused {
        /// The manifest.
        manifest: String,
        /// The line of the component.
        line: usize,
        /// The component.
        component: String,
        /// Where it was looked for.
        url: String,
        /// Why it was not got.
        why: String,
        /// What would fix it.
        fix: &'static str,
    },
}

/// Where the component of `download` is kept, in the state folder `state`.
fn place(state: &Path, download: &Download) -> PathBuf {
    state::components_folder(state).join(format!("{}.wasm", download.digest()))
}

/// Sets the files of the components that are downloaded, whether or not they are there.
pub fn locate(application: &mut Application, state: &Path) {
    for component in application.components.values_mut() {
        if let Some(download) = &component.download {
            component.source = place(state, download);
        }
    }
}

/// One component to fetch.
pub struct Wanted {
    /// Its name.
    pub component: String,
    /// Its line in the manifest.
    pub line: usize,
    /// What to fetch.
    pub download: Download,
}

/// Fetches what is not in the state folder yet, or not as its digest says; `note` is told of each.
///
/// # Errors
/// When a component cannot be fetched, is too large, or is not what its digest says.
pub async fn fetch(wanted: Vec<Wanted>, manifest: &Path, state: &Path, note: impl Fn(&str)) -> Result<(), FetchError> {
    fetch_at_most(MAX_COMPONENT_BYTES, wanted, manifest, state, note).await
}

/// As [`fetch`], of components that have at most `most` bytes.
async fn fetch_at_most(
    most: u64,
    wanted: Vec<Wanted>,
    manifest: &Path,
    state: &Path,
    note: impl Fn(&str),
) -> Result<(), FetchError> {
    let mut client = None;
    for Wanted { component, line, download } in wanted {
        let folder = state::make_components_folder(state)?;
        let path = place(state, &download);
        if is_there(&path, &download).await {
            continue;
        }
        let start = Instant::now();
        let got = async {
            let client = match &client {
                Some(client) => client,
                None => client.insert(Client::new(most)?),
            };
            get(client, &download, &folder, &path).await
        };
        let bytes = got.await.map_err(|refused| FetchError::Refused {
            manifest: manifest.display().to_string(),
            line,
            component: component.clone(),
            url: download.url().to_string(),
            fix: refused.fix(),
            why: refused.to_string(),
        })?;
        note(&format!("  fetched {component}: {} KiB in {:.1} s", bytes >> 10, start.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// Whether the file is there, and what its digest says. One that is not is fetched again.
async fn is_there(path: &Path, download: &Download) -> bool {
    let (path, digest) = (path.to_owned(), download.digest().to_owned());
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

/// Downloads to a file of its own in `folder`, which becomes `path` when it is right; its size.
async fn get(client: &Client, download: &Download, folder: &Path, path: &Path) -> Result<u64, Refused> {
    let file = tempfile::NamedTempFile::new_in(folder).map_err(Refused::Disk)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
    let mut body = client.get(download.url()).await?;
    while let Some(chunk) = body.next().await? {
        hash.update(&chunk);
        bytes += chunk.len() as u64;
        io::Write::write_all(&mut file.as_file(), &chunk).map_err(Refused::Disk)?;
    }
    let found = hex(&hash.finalize());
    if found != download.digest() {
        return Err(Refused::Digest { expected: download.digest().to_owned(), found });
    }
    file.as_file().sync_all().map_err(Refused::Disk)?;
    file.persist(path).map_err(|error| Refused::Disk(error.error))?;
    Ok(bytes)
}

fn hex(digest: &[u8]) -> String {
    hex::encode(digest)
}

#[cfg(test)]
mod tests;
