//! The digest of each package version when it was first fetched: `components/versions.json` in the state folder.
//!
//! An unreadable file is an error and not an empty list: a damaged file must not let another component start.

use super::client::Refused;
use souk_manifest::Download;
use souk_manifest::state;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

souk_manifest::fixed_limits! {
    /// The fixed limits of the list of digests.
    pub(super) const FIXED_LIMITS = "downloads of components";

    /// The largest list of the digests of package versions.
    const MAX_LIST_BYTES: u64 = 4 << 20, bytes;
}

/// The digests of the versions that were fetched.
#[derive(Debug, Default)]
pub(super) struct Digests(BTreeMap<String, String>);

/// The path of the list.
pub(super) fn list(state: &Path) -> PathBuf {
    state::components_folder(state).join("versions.json")
}

/// The name of a version with its registry in lower case, as the manifest is read. Names were once kept as they were
/// written there; one in lower case comes after the others, and counts.
fn plain(name: String) -> String {
    match name.split_once('/') {
        Some((registry, rest)) => format!("{}/{rest}", registry.to_ascii_lowercase()),
        None => name,
    }
}

impl Digests {
    /// Reads the list; an empty one if there is no file.
    pub(super) fn read(state: &Path) -> Result<Self, Refused> {
        let path = list(state);
        let mut text = Vec::new();
        match fs::File::open(&path).and_then(|file| file.take(MAX_LIST_BYTES).read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Digests::default()),
            Err(error) => return Err(Refused::Disk(error)),
        }
        let read: Result<BTreeMap<String, String>, _> = serde_json::from_slice(&text);
        let digests =
            read.map(|noted| Digests(noted.into_iter().map(|(name, digest)| (plain(name), digest)).collect()));
        digests.map_err(|error| Refused::Package {
            why: format!("{}: {error}", path.display()),
            fix: "delete the file, and compare the digest that `souk build` prints with the author's".to_owned(),
        })
    }

    /// The digest of a component: the manifest's, otherwise the recorded one.
    pub(super) fn of<'a>(&'a self, download: &'a Download) -> Option<&'a str> {
        // It becomes part of a path.
        let is_digest = |text: &&str| text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let noted = || self.0.get(&download.to_string()).map(String::as_str).filter(is_digest);
        download.digest().or_else(noted)
    }

    /// Records the digest of a package version.
    pub(super) fn note(&self, download: &Download, digest: &str, state: &Path) -> Result<(), Refused> {
        let version = download.to_string();
        if matches!(download, Download::File { .. }) || self.0.get(&version).map(String::as_str) == Some(digest) {
            return Ok(());
        }
        let mut noted = self.0.clone();
        noted.insert(version, digest.to_owned());
        let write = || {
            let file = tempfile::NamedTempFile::new_in(state::components_folder(state))?;
            serde_json::to_writer_pretty(file.as_file(), &noted)?;
            file.as_file().sync_all()?;
            file.persist(list(state)).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(Refused::Disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_that_was_recorded_under_the_registrys_name_in_other_letters_counts() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir_all(state::components_folder(state.path())).unwrap();
        let noted = r#"{"R.test/n:p@1.2.0-A": "a", "B.test/n:p@1.0.0": "b", "b.test/n:p@1.0.0": "c"}"#;
        fs::write(list(state.path()), noted).unwrap();
        let digests = Digests::read(state.path()).unwrap().0;
        let digest = |name: &str| digests.get(name).map(String::as_str);
        assert_eq!((digest("r.test/n:p@1.2.0-A"), digest("b.test/n:p@1.0.0")), (Some("a"), Some("c")));
    }
}
