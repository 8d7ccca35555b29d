//! Files with secrets that other users of the machine can read: one rule and one warning for all of them.
//!
//! A file that everyone can read is reported. One that its group can read is reported only if it belongs to the host's
//! own user: a key of another owner (root, a service manager, Kubernetes) is given to the host through its group.

use super::error::{Diagnostic, Report};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Read by the file's group.
const GROUP: u32 = 0o040;
/// Read by everyone.
const EVERYONE: u32 = 0o004;

/// The warning that other users can read the file at `path`, which messages name `shown` and which holds `secrets`; `None`
/// if they cannot. The mode of what is not a regular file (a pipe, for example) does not say who can read it.
pub fn warning(path: &Path, shown: &Path, secrets: &str) -> Option<Diagnostic> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mode = metadata.permissions().mode() & 0o777;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if mode & EVERYONE == 0 && !(own && mode & GROUP != 0) {
        return None;
    }
    Some(Diagnostic {
        file: shown.to_owned(),
        line: None,
        component: None,
        message: format!("other users can read this file (mode {mode:04o}), and it holds secrets: {secrets}"),
        fix: format!("chmod 600 {}", shown.display()),
    })
}

/// A file that may hold secrets; it need not exist.
#[derive(Default, Clone)]
pub(super) struct Origin {
    pub(super) path: PathBuf,
    /// Its name in messages.
    pub(super) shown: PathBuf,
}

/// The files of an application that hold secrets, each with what it holds.
#[derive(Default)]
pub(super) struct SecretFiles(BTreeMap<PathBuf, (PathBuf, Vec<String>)>);

impl SecretFiles {
    /// Adds `secrets`, which are in `file`.
    pub(super) fn add(&mut self, file: &Origin, secrets: impl IntoIterator<Item = String>) {
        let (_, held) = self.0.entry(file.path.clone()).or_insert_with(|| (file.shown.clone(), Vec::new()));
        for secret in secrets {
            if !held.contains(&secret) {
                held.push(secret);
            }
        }
    }

    /// Warns of each file with secrets that other users can read.
    pub(super) fn warn(&self, report: &Report) {
        for (path, (shown, held)) in self.0.iter().filter(|(_, (_, held))| !held.is_empty()) {
            if let Some(warning) = warning(path, shown, &held.join(", ")) {
                report.warning(warning);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    #[test]
    fn a_file_is_reported_when_everyone_or_the_group_of_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        fs::write(&file, "s3cret").unwrap();
        for (mode, reported) in
            [(0o600, false), (0o400, false), (0o620, false), (0o640, true), (0o604, true), (0o644, true)]
        {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let warning = warning(&file, Path::new("key.pem"), "a key").map(|warning| warning.to_string());
            let expected = format!(
                "key.pem: other users can read this file (mode {mode:04o}), and it holds secrets: a key\n  fix: chmod 600 \
                 key.pem"
            );
            assert_eq!(warning, reported.then_some(expected));
        }
        assert_eq!(warning(folder.path(), folder.path(), "a folder"), None);
        assert_eq!(warning(&folder.path().join("none"), folder.path(), "nothing"), None);
    }
}
