//! The processes of the servers.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// Clock ticks per second, the unit of a process's CPU time in Linux.
const TICKS: f64 = 100.0;

/// A server's process; dropping the value ends it.
pub(crate) struct Server {
    child: Child,
    pub address: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn manifest(app: &str) -> PathBuf {
    match app {
        "store" => root().join("spin.toml"),
        app => root().join("tests/apps").join(app).join("spin.toml"),
    }
}

/// Builds the measured components; an optimised host gets them as `deploy/build` makes them.
pub(crate) fn build() {
    for app in ["store", "probe"] {
        let mut build = Command::new(env!("CARGO_BIN_EXE_souk"));
        build.arg("build").arg("-f").arg(manifest(app));
        if !cfg!(debug_assertions) {
            build.env("CARGO_PROFILE_DEV_LTO", "fat").env("CARGO_PROFILE_DEV_CODEGEN_UNITS", "1");
        }
        let status = build.status().unwrap();
        assert!(status.success(), "souk build -f {}", manifest(app).display());
    }
}

/// `souk up` for `app`.
pub(crate) fn souk(app: &str, state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_souk"));
    command
        .env("RUST_LOG", "warn")
        .args(["up", "--listen", "127.0.0.1:0", "-f"])
        .arg(manifest(app))
        .arg("--state-dir")
        .arg(state);
    command
}

/// `souk seed` for the same application: with a key for payments, no start adds the example data by itself.
pub(crate) fn seeded(up: Command) -> Command {
    let mut seed = Command::new(up.get_program());
    seed.arg("seed").args(up.get_args().skip(3)).envs(up.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(seed.stdout(Stdio::null()).status().unwrap().success(), "souk seed");
    up
}

impl Server {
    /// Starts the process and waits for the address that it prints.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the server prints its address").unwrap();
            if let Some((_, rest)) = line.split_once("Serving http://") {
                break rest.split_whitespace().next().unwrap().to_string();
            }
        };
        // A thread reads the rest of the output, so that the process never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Server { child, address }
    }

    /// Starts the process; also returns how long the first answer to `path` took.
    pub(crate) fn timed(command: Command, path: &str) -> (Duration, Self) {
        let start = Instant::now();
        let server = Server::start(command);
        crate::load::once(&server, &crate::load::Call::get(path));
        (start.elapsed(), server)
    }

    /// Seconds of CPU that the process has used.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The fields after the name in parentheses; utime and stime are fields 14 and 15 of the whole line.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
    }

    /// Resident memory in MiB.
    pub(crate) fn rss_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
