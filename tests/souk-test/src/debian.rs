//! Programs that tests need: found on the path, or installed from Debian's packages if the tests run as root.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The first of `programs` on the path. If there is none, installs Debian's `package`, which needs root.
pub fn found_or_installed(programs: &[&str], package: &str) -> PathBuf {
    on_path(programs).unwrap_or_else(|| {
        install(programs[0], package);
        on_path(programs).unwrap_or_else(|| panic!("{package} has no {}", programs[0]))
    })
}

/// Installs Debian's `package`, which has `program`, and says so in the test's output.
///
/// # Panics
/// When the tests do not run as root, or without `apt-get`; the message has the command to run.
pub fn install(program: &str, package: &str) {
    let what = format!("{program} is missing, and tests need it: apt-get install {package}");
    eprintln!("warning: {what}");
    assert!(is_root() && on_path(&["apt-get"]).is_some(), "{what}");
    let mut update = Command::new("apt-get");
    update.args(["update", "-qq"]);
    run(update);
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends", package]);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run(install);
}

/// A program on the path, or the file `inside` of Debian's `package`, which is unpacked below `folder` but not
/// installed: for packages whose installation starts a service.
pub fn found_or_unpacked(program: &str, package: &str, inside: &str, folder: &Path) -> PathBuf {
    if let Some(found) = on_path(&[program]) {
        return found;
    }
    let unpacked = folder.join(package);
    if !unpacked.join(inside).is_file() {
        eprintln!("warning: {program} is missing; Debian's {package} is unpacked in {}", unpacked.display());
        std::fs::create_dir_all(folder).unwrap();
        // The folder gets its final name when it is complete: several tests may unpack it at the same time.
        let temp = tempfile::tempdir_in(folder).unwrap();
        let apt = |arguments: &[&str]| {
            let mut apt = Command::new("apt-get");
            apt.args(arguments).current_dir(temp.path());
            apt
        };
        let downloaded = apt(&["download", "-qq", package]).output().is_ok_and(|output| output.status.success());
        if !downloaded {
            run(apt(&["update", "-qq"]));
            run(apt(&["download", "-qq", package]));
        }
        let archive = std::fs::read_dir(temp.path()).unwrap().next().unwrap().unwrap().path();
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(archive).arg(temp.path().join("unpacked"));
        run(unpack);
        // Another test may have been faster.
        let _ = std::fs::rename(temp.path().join("unpacked"), &unpacked);
    }
    unpacked.join(inside)
}

/// Whether the tests run as root: a process's owner also owns its folder in /proc.
pub fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|process| process.uid() == 0)
}

/// Runs a command, which must succeed.
pub fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{out}\n{err}");
}

fn on_path(programs: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let places = programs.iter().flat_map(|program| folders.iter().map(move |folder| folder.join(program)));
    places.into_iter().find(|place| place.is_file())
}
