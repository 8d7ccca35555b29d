//! Archives with the data that a server or a host starts with.

use crate::debian;
use std::path::Path;
use std::process::Command;

/// Unpacks a `.tar.gz` archive into `folder`, which must exist. The files belong to the user that runs the tests.
pub fn unpack(archive: &Path, folder: &Path) {
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--gzip").arg("--no-same-owner").arg("--file").arg(archive).arg("-C").arg(folder);
    debian::run(tar);
}
