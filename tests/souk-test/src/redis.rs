//! Redis servers for tests: on a free loopback port, with their data in a temporary folder that is deleted after the
//! test.

use crate::{debian, ports};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to be ready.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);
/// How many databases a server has; each test takes one.
const DATABASES: u32 = 1000;

/// Runs the server, and kills it when a line comes on standard input. When standard input ends without a line, because
/// the test was killed, it also deletes the server's folder.
const KEEPER: &str = r#""$@" </dev/null & server=$!
read -r _; told=$?
kill -KILL $server 2>/dev/null; wait $server
[ $told = 0 ] || rm -rf "$PWD""#;

/// One server.
pub struct Redis {
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    keeper: Option<Child>,
    databases: AtomicU32,
}

impl Redis {
    /// A server that all tests of the process share; each takes a [`database`](Self::database) of its own.
    pub fn shared() -> &'static Redis {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(|| Redis::start(&[]))
    }

    /// A server for one test, which may kill it, with further settings, such as `["--requirepass", "p"]`.
    pub fn start(settings: &[&str]) -> Redis {
        let folder = tempfile::Builder::new().prefix("souk-redis-").tempdir().unwrap();
        let port = ports::free();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut redis = Redis { folder, port, settings, keeper: None, databases: AtomicU32::new(0) };
        redis.resume();
        redis
    }

    /// The port of 127.0.0.1 that the server listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a new and empty database.
    pub fn database(&self) -> String {
        let database = self.databases.fetch_add(1, Ordering::Relaxed);
        assert!(database < DATABASES, "all {DATABASES} databases are taken");
        format!("redis://127.0.0.1:{}/{database}", self.port)
    }

    /// Ends the server at once, as `kill -9` does; what it has acknowledged stays.
    pub fn kill(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            keeper.stdin.take().unwrap().write_all(b"\n").unwrap();
            keeper.wait().unwrap();
        }
    }

    /// Starts the server again, on the same port and data.
    pub fn resume(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "redis"])
            .arg(debian::found_or_installed(&["redis-server"], "redis-server"))
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--databases", &DATABASES.to_string()])
            .args(["--dir", ".", "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
            .args(&self.settings)
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.keeper = Some(keeper);
        let start = Instant::now();
        while !answers(self.port) {
            assert!(start.elapsed() < WAIT_TIMEOUT, "redis-server is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The folder that the server runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether the server has loaded its data: until then it answers `-LOADING`. With a password it answers `-NOAUTH`.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"PING\r\nQUIT\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("+PONG") || answer.starts_with("-NOAUTH"))
}
