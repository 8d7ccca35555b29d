//! NATS servers with JetStream for tests: one server or a cluster of three, on free loopback ports, with data in a
//! temporary folder that is deleted after the test.

use crate::{archive, debian, ports};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to be ready: a cluster elects a leader first.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs the server until a signal's name comes on standard input, and sends that signal to the server. When standard
/// input ends without one, because the test was killed, it kills the server and deletes its folder.
const SCRIPT: &str = r#""$@" </dev/null & server=$!
read -r signal; told=$?
kill -${signal:-KILL} $server 2>/dev/null; wait $server
[ $told = 0 ] || rm -rf "$PWD""#;

/// One server, or a cluster.
pub struct Nats {
    folder: TempDir,
    nodes: Vec<Node>,
}

struct Node {
    port: u16,
    monitor: u16,
    keeper: Option<Child>,
}

impl Nats {
    /// One server.
    pub fn start() -> Nats {
        Nats::start_nodes(1, "")
    }

    /// One server on the store directory that this archive (`.tar.gz`) contains, as an earlier server left it.
    pub fn start_on(archive: &Path) -> Nats {
        let nats = Nats::prepare(1, "");
        archive::unpack(archive, &nats.store_directory(0));
        nats.run()
    }

    /// One server with more in its configuration file: `authorization { ... }`, `max_payload: ...`.
    pub fn start_with(configuration: &str) -> Nats {
        Nats::start_nodes(1, configuration)
    }

    /// A cluster of three servers with shared streams; its `max_payload` fits a page of a thousand products.
    pub fn cluster() -> Nats {
        Nats::start_nodes(3, "max_payload: 8MB")
    }

    fn start_nodes(count: usize, configuration: &str) -> Nats {
        Nats::prepare(count, configuration).run()
    }

    /// Writes the configuration of servers that do not run yet; their store directories are empty.
    fn prepare(count: usize, configuration: &str) -> Nats {
        let folder = tempfile::Builder::new().prefix("souk-nats-").tempdir().unwrap();
        let ports: Vec<u16> = (0..3 * count).map(|_| ports::free()).collect();
        let (clients, rest) = ports.split_at(count);
        let (monitors, routes) = rest.split_at(count);
        let peers: Vec<_> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let node = |i: usize| Node { port: clients[i], monitor: monitors[i], keeper: None };
        let nats = Nats { folder, nodes: (0..count).map(node).collect() };
        for node in 0..count {
            let store = nats.store_directory(node);
            fs::create_dir_all(&store).unwrap();
            let mut text = format!(
                "server_name: n{node}\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{}\", \
                 max_mem: 64MB, max_file: 1TB }}\n{configuration}\n",
                clients[node],
                monitors[node],
                store.display()
            );
            if count > 1 {
                // No server advertises the others, so a client that connects through a proxy keeps using the proxy.
                text.push_str(&format!(
                    "cluster {{ name: souk, no_advertise: true, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
                    routes[node],
                    peers.join(", ")
                ));
            }
            fs::write(nats.node_folder(node).join("nats.conf"), text).unwrap();
        }
        nats
    }

    /// Starts all servers and waits until they are ready.
    fn run(mut self) -> Nats {
        for node in 0..self.nodes.len() {
            self.spawn(node);
        }
        for node in 0..self.nodes.len() {
            self.wait_until_ready(node);
        }
        self
    }

    /// The folder of server `node`: its configuration, its log, its data.
    fn node_folder(&self, node: usize) -> PathBuf {
        self.folder.path().join(node.to_string())
    }

    /// Where server `node` keeps JetStream's files.
    fn store_directory(&self, node: usize) -> PathBuf {
        self.node_folder(node).join("data")
    }

    /// The URLs of all servers, with commas between them, as `souk up --nats` takes them.
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect();
        urls.join(",")
    }

    /// Where server `node` listens, on 127.0.0.1.
    pub fn port(&self, node: usize) -> u16 {
        self.nodes[node].port
    }

    /// Ends server `node` at once, as `kill -9` does; its data stays.
    pub fn kill(&mut self, node: usize) {
        self.end(node, "KILL");
    }

    /// Stops server `node` with SIGTERM, so that it first writes its state to disk.
    pub fn stop(&mut self, node: usize) {
        self.end(node, "TERM");
    }

    fn end(&mut self, node: usize, signal: &str) {
        if let Some(mut keeper) = self.nodes[node].keeper.take() {
            writeln!(keeper.stdin.take().unwrap(), "{signal}").unwrap();
            keeper.wait().unwrap();
        }
    }

    /// The folder of server `node` with the messages of `stream`.
    pub fn messages_folder(&self, node: usize, stream: &str) -> PathBuf {
        self.store_directory(node).join("jetstream/$G/streams").join(stream).join("msgs")
    }

    /// Replaces `from`, which must be there, in the configuration of server `node`, for its next start.
    pub fn reconfigure(&self, node: usize, from: &str, to: &str) {
        let file = self.node_folder(node).join("nats.conf");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "the configuration has no {from}");
        fs::write(file, text.replace(from, to)).unwrap();
    }

    /// Starts server `node` again, on the same port and data.
    pub fn resume(&mut self, node: usize) {
        self.spawn(node);
        self.wait_until_ready(node);
    }

    fn spawn(&mut self, node: usize) {
        let folder = self.node_folder(node);
        let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let keeper = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "nats"])
            .arg(program())
            .arg("-c")
            .arg(folder.join("nats.conf"))
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.nodes[node].keeper = Some(keeper);
    }

    /// Waits until the server says that it is healthy, JetStream with it.
    fn wait_until_ready(&self, node: usize) {
        let (start, Node { port, monitor, .. }) = (Instant::now(), &self.nodes[node]);
        // It answers the monitor's question before it listens for clients.
        while !healthy(*monitor) || TcpStream::connect(("127.0.0.1", *port)).is_err() {
            if start.elapsed() > WAIT_TIMEOUT {
                panic!("nats-server is not ready:\n{}", self.log(node));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The log of server `node`.
    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(self.node_folder(node).join("log")).unwrap()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
    }
}

fn healthy(monitor: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", monitor))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.0 200") && answer.contains("\"ok\""))
}

fn program() -> PathBuf {
    // Where Debian puts it, which is not on every user's path.
    let program = Path::new("/usr/sbin/nats-server");
    if program.is_file() {
        return program.to_owned();
    }
    // Tests that run at once install it once.
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| debian::found_or_installed(&["nats-server"], "nats-server")).clone()
}
