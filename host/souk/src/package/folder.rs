//! The packages in the state folder: each is unpacked in a folder named after its digest, and a file records the
//! accepted digest of each name.

use super::name::with_plain_registry;
use super::{PackageError, hex_of};
use souk_manifest::state::{self, StateError};
use souk_manifest::temporary;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file with the accepted digest of each name.
const ACCEPTED: &str = "accepted.json";

/// How the name of a folder begins in which a package is made or removed.
pub(super) const TEMPORARY: &str = ".unpacking-";

/// The packages in one state folder.
pub(super) struct PackageFolder {
    state: PathBuf,
}

impl PackageFolder {
    pub(super) fn of(state: &Path) -> Self {
        PackageFolder { state: state.to_owned() }
    }

    /// The folder of all packages, created if missing.
    pub(super) fn make(&self) -> Result<PathBuf, StateError> {
        state::make_packages_folder(&self.state)
    }

    /// The folder of the package with this digest, whether or not it exists.
    pub(super) fn folder(&self, digest: &str) -> PathBuf {
        state::packages_folder(&self.state).join(hex_of(digest).unwrap_or("none"))
    }

    /// The accepted digests of all names. An unreadable file is an error and not an empty list: a damaged file must not
    /// let another package start.
    pub(super) fn accepted(&self) -> Result<BTreeMap<String, String>, PackageError> {
        let path = state::packages_folder(&self.state).join(ACCEPTED);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(PackageError::io(path.display(), &error)),
        };
        let fix = "delete the file, and compare the digests of all packages again with `--accept`";
        let accepted: BTreeMap<String, String> =
            serde_json::from_slice(&text).map_err(|error| PackageError::new(path.display(), error, fix))?;
        // Names were once kept as they were typed. One in lower case comes after the others, and counts.
        Ok(accepted.into_iter().map(|(name, digest)| (with_plain_registry(&name), digest)).collect())
    }

    /// Records that the operator accepted this digest for `name`.
    pub(super) fn accept(&self, name: &str, digest: &str) -> anyhow::Result<()> {
        let folder = self.make()?;
        let mut accepted = self.accepted()?;
        if accepted.insert(name.to_owned(), digest.to_owned()).as_deref() == Some(digest) {
            return Ok(());
        }
        let file = tempfile::NamedTempFile::new_in(&folder)?;
        serde_json::to_writer_pretty(file.as_file(), &accepted)?;
        file.as_file().sync_all()?;
        file.persist(folder.join(ACCEPTED))?;
        Ok(())
    }

    /// Removes the packages that are accepted for no name, except the one in the folder `in_use`. Only for the process
    /// that holds the state folder.
    pub(super) fn remove_superseded(&self, in_use: &Path) -> anyhow::Result<()> {
        let all = state::packages_folder(&self.state);
        let accepted: BTreeSet<PathBuf> = self.accepted()?.values().map(|digest| self.folder(digest)).collect();
        for entry in fs::read_dir(&all)? {
            let path = entry?.path();
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let is_package = hex_of(&format!("sha256:{name}")).is_some();
            if is_package && !accepted.contains(&path) && path.file_name() != in_use.file_name() {
                // Under its own name, a package must not be there with half of its files.
                let removed = temporary::folder(&all, TEMPORARY)?;
                fs::rename(&path, removed.path().join(name))?;
            }
        }
        Ok(())
    }
}
