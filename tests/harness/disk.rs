//! A small disk for an application's state, which can be full or read-only.
//!
//! The disk is a tmpfs in its own mount namespace, in which the host runs too. No other process sees it, and it
//! disappears with the process that holds the namespace, however the test ends. Where the system allows no such
//! namespace, the tests that need it fail and say so.

use super::App;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The disk; it disappears when the value is dropped.
pub(crate) struct Disk {
    shell: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    state: PathBuf,
}

impl Disk {
    /// Puts the state folder of an application, which must never have started, on a new disk of this size.
    pub(crate) fn under(app: App, mebibytes: usize) -> (Disk, App) {
        // First try as root of a user namespace, which needs no privilege; then as real root.
        let mut refusals = Vec::new();
        for user in [&["--user", "--map-root-user"][..], &[]] {
            let mut shell = Command::new("unshare");
            shell.args(user).args(["--mount", "sh"]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut shell = shell.stderr(Stdio::piped()).spawn().expect("unshare (Debian: util-linux) is installed");
            let (commands, answers) = (shell.stdin.take().unwrap(), BufReader::new(shell.stdout.take().unwrap()));
            let mut disk = Disk { shell, commands, answers, state: app.state() };
            // The cache of compiled code, which all applications share, stays on the machine's disk.
            let mount = format!(
                "cache=$(readlink cache) && cd / && mount -t tmpfs -o size={mebibytes}m,mode=700 souk \"$S\" && \
                 cd \"$S\" && ln -s \"$cache\" cache"
            );
            match disk.run(&mount) {
                Ok(()) => {
                    let mut enter = vec!["nsenter".to_owned(), format!("--target={}", disk.shell.id())];
                    if !user.is_empty() {
                        enter.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
                    }
                    enter.extend(["--mount".to_owned(), "--".to_owned()]);
                    return (disk, app.inside(enter));
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        panic!(
            "NOT TESTED: a disk that is full or read-only needs a mount namespace, which this system refuses: \
             {refusals:?}. Run the tests where `unshare --user --map-root-user --mount` works, or as root"
        );
    }

    /// Fills the disk.
    pub(crate) fn fill(&mut self) {
        // `dd` fails when the disk is full, as intended.
        self.run("{ dd if=/dev/zero of=ballast bs=4096 conv=notrunc oflag=append 2>&1; true; }").unwrap();
    }

    /// Frees the space that [`fill`](Self::fill) took.
    pub(crate) fn make_room(&mut self) {
        self.run("rm ballast").unwrap();
    }

    /// Lets no further file fit, whatever its size, or many again.
    pub(crate) fn limit_files(&mut self, yes: bool) {
        let used = "$(($(stat -f -c %c .) - $(stat -f -c %d .)))";
        self.run(&format!("mount -o remount,nr_inodes={} \"$S\"", if yes { used } else { "100000" })).unwrap();
    }

    /// Makes the disk read-only, or writable again. No process may have a file open for writing.
    pub(crate) fn read_only(&mut self, yes: bool) {
        self.run(if yes { "mount -o remount,ro \"$S\"" } else { "mount -o remount,rw \"$S\"" }).unwrap();
    }

    /// Runs a command in the state folder; the error is the command's output.
    fn run(&mut self, command: &str) -> Result<(), String> {
        let state = self.state.display();
        let line = format!("S='{state}'; cd \"$S\" && {{ {command}; }} 2>&1 && echo DONE || echo FAILED\n");
        let mut said = String::new();
        if let Err(e) = self.commands.write_all(line.as_bytes()) {
            return Err(format!("the namespace is not there: {e}"));
        }
        loop {
            let mut line = String::new();
            match self.answers.read_line(&mut line) {
                Ok(0) | Err(_) => return Err(format!("the namespace has ended: {said}")),
                Ok(_) if line.trim() == "DONE" => return Ok(()),
                Ok(_) if line.trim() == "FAILED" => return Err(said),
                Ok(_) => said += &line,
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
