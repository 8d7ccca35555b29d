//! Servers that speak MongoDB's protocol, of the tests' own: on a free loopback port, with their data in a temp folder.
//!
//! No package registry has MongoDB's own server. FerretDB's is a library in Go, which a program of 25 lines beside this
//! crate serves; it is built once and kept in the user's cache.

use crate::keeper::Keeper;
use crate::{debian, ports};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// The program's sources.
const SOURCES: [(&str, &str); 3] = [
    ("main.go", include_str!("../mongodb/main.go")),
    ("go.mod", include_str!("../mongodb/go.mod")),
    ("go.sum", include_str!("../mongodb/go.sum")),
];

/// One server.
pub struct MongoDb {
    folder: TempDir,
    port: u16,
    keeper: Option<Keeper>,
    databases: AtomicU32,
}

impl MongoDb {
    /// A server that all tests of the process share; each takes a [`database`](Self::database) of its own.
    pub fn shared() -> &'static MongoDb {
        static SHARED: OnceLock<MongoDb> = OnceLock::new();
        SHARED.get_or_init(MongoDb::start)
    }

    /// A server for one test, which may kill it.
    pub fn start() -> MongoDb {
        let folder = tempfile::Builder::new().prefix("souk-mongodb-").tempdir().unwrap();
        let port = ports::free();
        let mut server = MongoDb { folder, port, keeper: None, databases: AtomicU32::new(0) };
        server.resume();
        server
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a new and empty database.
    pub fn database(&self) -> String {
        let database = self.databases.fetch_add(1, Ordering::Relaxed);
        format!("mongodb://127.0.0.1:{}/test_{database}", self.port)
    }

    /// Ends the server at once, as `kill -9` does; what it has acknowledged stays.
    pub fn kill(&mut self) {
        self.keeper = None;
    }

    /// Starts the server again, on the same port and data.
    pub fn resume(&mut self) {
        let data = self.folder.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let arguments = [format!("127.0.0.1:{}", self.port), data.display().to_string()];
        let port = self.port;
        self.keeper = Some(Keeper::start(&program(), &arguments, self.folder.path(), || answers(port)));
    }
}

/// The program, built where it is not yet.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let mut sources = DefaultHasher::new();
    SOURCES.hash(&mut sources);
    let program = cache().join(format!("mongodb-server-{:016x}", sources.finish()));
    if program.is_file() {
        return program;
    }
    std::fs::create_dir_all(cache()).unwrap();
    // Under its name when it is complete: tests that run at once may all do this.
    let temp = tempfile::tempdir_in(cache()).unwrap();
    for (name, text) in SOURCES {
        std::fs::write(temp.path().join(name), text).unwrap();
    }
    let mut build = Command::new(go());
    build.args(["build", "-o", "server", "."]).current_dir(temp.path()).env("CGO_ENABLED", "0");
    debian::run(build);
    std::fs::rename(temp.path().join("server"), &program).unwrap();
    program
}

/// The folder for what tests keep.
fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("souk")
}

/// Go: on the path, where its installer puts it, or where `.ci/run` does.
/// Go, which builds the server, and guests of tests.
pub fn go() -> PathBuf {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&places)
        .map(|folder| folder.join("go"))
        .chain(["/usr/local/go/bin/go".into(), cache().join("go/bin/go")]);
    let found = places.into_iter().find(|go: &PathBuf| go.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "Go is missing, and the tests need it: it builds their server of MongoDB's protocol, and guests. `.ci/run` installs it; \
             so does https://go.dev/doc/install"
        )
    })
}

/// Whether the server accepts connections and says who it is.
fn answers(port: u16) -> bool {
    // OP_QUERY of `isMaster`, which every server of the protocol answers.
    const COMMAND: &[u8] = b"\x13\x00\x00\x00\x10isMaster\x00\x01\x00\x00\x00\x00";
    let ask = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut message = Vec::new();
        message.extend(0_i32.to_le_bytes());
        message.extend(b"admin.$cmd\0");
        message.extend(0_i32.to_le_bytes());
        message.extend((-1_i32).to_le_bytes());
        message.extend(COMMAND);
        let mut head = Vec::new();
        for number in [16 + i32::try_from(message.len()).unwrap(), 1, 0, 2004] {
            head.extend(number.to_le_bytes());
        }
        stream.write_all(&head)?;
        stream.write_all(&message)?;
        stream.read_exact(&mut [0; 16])
    };
    ask().is_ok()
}
