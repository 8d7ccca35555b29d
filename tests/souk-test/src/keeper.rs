//! Runs one program for a test, and ends it with the test.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to be ready.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs the program, and kills it when a line comes on standard input. When standard input ends without a line, because
/// the test was killed, it also deletes the program's folder.
const SCRIPT: &str = r#""$@" </dev/null & server=$!
read -r _; told=$?
kill -KILL $server 2>/dev/null; wait $server
[ $told = 0 ] || rm -rf "$PWD""#;

/// A running program.
pub(crate) struct Keeper(Option<Child>);

impl Keeper {
    /// Starts `program` with `arguments` in `folder`, and waits until it is `ready`. Its output goes to `folder/log`.
    pub(crate) fn start(program: &Path, arguments: &[String], folder: &Path, ready: impl Fn() -> bool) -> Keeper {
        let log = || fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "keeper"])
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while !ready() {
            let said = fs::read_to_string(folder.join("log")).unwrap();
            assert!(start.elapsed() < WAIT_TIMEOUT, "{} is not ready:\n{said}", program.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Keeper(Some(child))
    }

    /// Ends the program at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.stdin.take().unwrap().write_all(b"\n").unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.kill();
    }
}
