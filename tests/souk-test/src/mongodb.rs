//! Servers for tests that speak MongoDB's protocol: on a free loopback port, with their data in a temporary folder.
//!
//! No package registry has MongoDB's own server. FerretDB is a Go library: a program of 25 lines in this crate's folder
//! serves it.

use crate::go::Program;
use crate::keeper::Keeper;
use crate::ports;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

static PROGRAM: Program = Program::new(
    "mongodb-server",
    [include_str!("../mongodb/main.go"), include_str!("../mongodb/go.mod"), include_str!("../mongodb/go.sum")],
);

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

    /// The port of 127.0.0.1 that the server listens on.
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
        self.keeper = Some(Keeper::start(PROGRAM.path(), &arguments, self.folder.path(), || answers(port)));
    }
}

/// Whether the server accepts connections and answers `isMaster`.
fn answers(port: u16) -> bool {
    // An OP_QUERY with `isMaster`, which every server with this protocol answers.
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
