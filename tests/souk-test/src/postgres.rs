//! PostgreSQL servers of the tests' own: on a free loopback port, with their data in a temp folder, gone with the test.
//!
//! PostgreSQL refuses to run as root; where the tests do, it runs as `nobody`.

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

/// The user of every server, and its password.
pub const USER: &str = "souk";
/// The user's password: in a URL it must be escaped (`p%40ss`), and no log may show it.
pub const PASSWORD: &str = "p@ss";

/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// Runs the server, and ends it when it is told to by a line, or when its standard input ends: a test that is killed
/// leaves nothing behind.
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
        // A process that dies loses nothing that a test could miss, so nothing waits for the disk.
        Postgres::start_with("fsync=off")
    }

    /// A server that keeps what it has promised when the power fails: for benchmarks.
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

    /// Starts a server that was stopped or killed, on the same port and data.
    pub fn resume(&mut self) {
        let start = Instant::now();
        // Processes of a server that was killed may hold its data for a moment.
        while let Err(log) = self.try_start() {
            assert!(start.elapsed() < Duration::from_secs(60), "postgres does not start:\n{log}");
        }
    }

    /// Starts the server; the error has what it said.
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
            // To its end, so that the server never waits for a reader.
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
                    // Clients that come too early are told so by the same word.
                    if line.contains("FATAL") && !line.contains("the database system is") {
                        return Err(log);
                    }
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Err(log),
            }
            assert!(start.elapsed() < Duration::from_secs(60), "postgres does not start:\n{log}");
        }
    }

    /// Ends the server at once, as `kill -9` of all its processes would: nobody says goodbye.
    pub fn kill(&mut self) {
        let pid = fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap();
        // The server's other processes end by themselves when the first one is gone.
        let killed = Command::new("kill").args(["-9", pid]).status().unwrap();
        assert!(killed.success());
        self.wait();
    }

    /// Ends the server; connections are cut.
    pub fn stop(&mut self) {
        self.wait();
    }

    fn wait(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            // It may have ended by itself.
            let _ = keeper.stdin.take().unwrap().write_all(b"\n");
            keeper.wait().unwrap();
        }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new and empty database: its URL.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of the database `name`.
    pub fn url(&self, name: &str) -> String {
        self.url_at(self.port, name)
    }

    /// The same by way of another port, say a proxy's.
    pub fn url_at(&self, port: u16, name: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{port}/{name}", PASSWORD.replace('@', "%40"))
    }

    /// A new database with the content of this file of `pg_dump`: its URL.
    pub fn database_from(&self, dump: &Path) -> String {
        let url = self.database();
        let mut psql = self.client(name_of(&url));
        // By way of standard input: the user that PostgreSQL's programs run as may not be able to read the file.
        rows(psql.args(["-f", "-"]).stdin(fs::File::open(dump).unwrap()));
        url
    }

    /// Runs SQL with `psql`, and gives its rows: a line a row, `|` between columns.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        rows(self.client(database).args(["-c", sql]))
    }

    /// `psql` on this database; it ends at the first error.
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

/// What `psql` prints; it must succeed.
fn rows(psql: &mut Command) -> String {
    let output = psql.output().unwrap();
    assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The name of a URL's database.
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
    // A folder that the user cannot enter would be an error.
    command.current_dir("/");
    command
}

fn program(name: &str) -> Command {
    as_nobody(Command::new(binary(name)))
}

/// A program of PostgreSQL: where Debian puts each version's, or on the path. Debian's own `psql` on the path is a
/// script that looks for a client of another package.
fn binary(name: &str) -> PathBuf {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    let found = find(name).unwrap_or_else(|| {
        // Tests that run at once install it once.
        INSTALLED.get_or_init(|| debian::install("postgres", "postgresql"));
        find(name).unwrap_or_else(|| panic!("{name} is missing, although PostgreSQL is installed"))
    });
    // A link is resolved: the programs look for their own parts beside themselves.
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
