//! PostgreSQL servers for tests: on a free loopback port, with their data in a temporary folder that is deleted after
//! the test.
//!
//! PostgreSQL refuses to run as root. If the tests run as root, PostgreSQL runs as `nobody`.

use crate::{debian, ports};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The user of every server.
pub const USER: &str = "souk";
/// The user's password. It must be escaped in a URL (`p%40ss`), and tests check that no log shows it.
pub const PASSWORD: &str = "p@ss";

/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// Runs the server, and ends it when a line comes on standard input. When standard input ends without a line, because
/// the test was killed, it also deletes the server's folder.
const KEEPER: &str = r#""$@" </dev/null & server=$!
read -r _; told=$?
kill -QUIT $server 2>/dev/null; wait $server
[ $told = 0 ] || rm -rf "$PWD""#;

/// One server.
pub struct Postgres {
    folder: TempDir,
    port: u16,
    keeper: Option<Child>,
    databases: AtomicU32,
    setting: &'static str,
}

impl Postgres {
    /// A server that all tests of the process share; each takes [`database`](Self::database)s of its own.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Postgres::start)
    }

    /// A server for one test, which may stop or kill it.
    pub fn start() -> Postgres {
        // A killed process loses no data that the operating system has received, so nothing waits for the disk.
        Postgres::start_with("fsync=off")
    }

    /// A server whose commits survive a power failure, for benchmarks.
    pub fn start_durable() -> Postgres {
        Postgres::start_with("fsync=on")
    }

    fn start_with(setting: &'static str) -> Postgres {
        let folder = tempfile::Builder::new().prefix("souk-pg-").tempdir().unwrap();
        if debian::is_root() {
            std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        let initdb = program("initdb")
            .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--username", USER])
            .arg(format!("--pwfile={}", readable(&password).display()))
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .output()
            .unwrap();
        assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        let port = ports::free();
        let mut server = Postgres { folder, port, keeper: None, databases: AtomicU32::new(0), setting };
        server.resume();
        server
    }

    /// Restarts a server that was stopped or killed, on the same port and data.
    pub fn resume(&mut self) {
        let start = Instant::now();
        // Processes of a server that was killed may hold its data for a moment.
        while let Err(log) = self.try_start() {
            assert!(start.elapsed() < Duration::from_secs(120), "postgres does not start:\n{log}");
        }
    }

    /// Starts the server; the error is the server's log.
    fn try_start(&mut self) -> Result<(), String> {
        self.stop();
        let mut command = as_nobody(Command::new("/bin/sh"));
        let keeper = command
            .args(["-c", KEEPER, "postgres"])
            .arg(binary("postgres"))
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-h", "127.0.0.1", "-k", "", "-p", &self.port.to_string()])
            .args(["-c", self.setting, "-c", "max_connections=200", "-c", "logging_collector=off"])
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, ready) = std::sync::mpsc::channel();
        let keeper = self.keeper.insert(keeper);
        let log = BufReader::new(keeper.stderr.take().unwrap());
        std::thread::spawn(move || {
            // The thread reads until the server ends, so that the server never blocks while it logs.
            for line in log.lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        let (start, mut log) = (Instant::now(), String::new());
        loop {
            match ready.recv_timeout(Duration::from_secs(1)) {
                Ok(line) if line.contains("ready to accept connections") => return Ok(()),
                Ok(line) => {
                    log = format!("{log}{line}\n");
                    // The server also logs FATAL for clients that connect too early.
                    if line.contains("FATAL") && !line.contains("the database system is") {
                        return Err(log);
                    }
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Err(log),
            }
            assert!(start.elapsed() < Duration::from_secs(120), "postgres does not start:\n{log}");
        }
    }

    /// Ends the server at once, as `kill -9` does: it does not close its connections properly.
    pub fn kill(&mut self) {
        let pid = fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap();
        // The server's other processes end by themselves when the main process is gone.
        let killed = Command::new("kill").args(["-9", pid]).status().unwrap();
        assert!(killed.success());
        self.stop_keeper();
    }

    /// Ends the server; connections are cut.
    pub fn stop(&mut self) {
        self.stop_keeper();
    }

    fn stop_keeper(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            // The write fails if the server has ended by itself.
            let _ = keeper.stdin.take().unwrap().write_all(b"\n");
            keeper.wait().unwrap();
        }
    }

    /// The port of 127.0.0.1 that the server listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates an empty database, and returns its URL.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of the database `name`.
    pub fn url(&self, name: &str) -> String {
        self.url_at(self.port, name)
    }

    /// The URL of the database `name` at another port, such as a proxy's.
    pub fn url_at(&self, port: u16, name: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{port}/{name}", PASSWORD.replace('@', "%40"))
    }

    /// Creates a database from this file of `pg_dump`, and returns its URL.
    pub fn database_from(&self, dump: &Path) -> String {
        let url = self.database();
        let mut psql = self.client(name_of(&url));
        // The file comes from standard input, because the user of PostgreSQL's programs may not have the right to read
        // it.
        rows(psql.args(["-f", "-"]).stdin(fs::File::open(dump).unwrap()));
        url
    }

    /// Runs SQL with `psql`, and returns its rows: one line for each row, with `|` between columns.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        rows(self.client(database).args(["-c", sql]))
    }

    /// The command `psql` on this database, which ends at the first error.
    fn client(&self, database: &str) -> Command {
        let mut psql = program("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        psql.args(["-U", USER, "-d", database]).env("PGPASSWORD", PASSWORD);
        psql
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs `psql`, which must succeed, and returns its output.
fn rows(psql: &mut Command) -> String {
    let output = psql.output().unwrap();
    assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The name of the database in a URL.
pub fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

fn readable(file: &Path) -> &Path {
    if debian::is_root() {
        std::os::unix::fs::chown(file, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    file
}

fn as_nobody(mut command: Command) -> Command {
    if debian::is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    // PostgreSQL's programs fail in a folder that the user cannot enter.
    command.current_dir("/");
    command
}

fn program(name: &str) -> Command {
    as_nobody(Command::new(binary(name)))
}

/// A program of PostgreSQL: in Debian's folder of each version, or on the path. Debian's folders come first, because
/// Debian's `psql` on the path is only a script that looks for a client of another package.
fn binary(name: &str) -> PathBuf {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    let found = find(name).unwrap_or_else(|| {
        // Tests that run in parallel install it only once.
        INSTALLED.get_or_init(|| debian::install("postgres", "postgresql"));
        find(name).unwrap_or_else(|| panic!("{name} is missing, although PostgreSQL is installed"))
    });
    // Links are resolved, because the programs look for their other files next to themselves.
    fs::canonicalize(found).unwrap()
}

fn find(name: &str) -> Option<PathBuf> {
    let mut places = Vec::new();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        places.extend(versions.map(|version| version.unwrap().path().join("bin")));
        places.sort();
        places.reverse();
    }
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    places.iter().map(|place| place.join(name)).find(|file| file.is_file())
}
