//! The process of the host.

use super::Builder;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a start may take: the components are compiled, on a machine that has more to do.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long to wait before asking again.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The most that is kept of the log.
const MAX_LOG_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Host {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Host {
    pub(super) fn start(setup: &Builder, state: &Path) -> Host {
        let port_file = state.join("port");
        let _ = std::fs::remove_file(&port_file);
        let mut child = setup
            .souk()
            .args(["up", "--listen", "127.0.0.1:0", "--from"])
            .arg(&setup.manifest)
            .arg("--state-dir")
            .arg(state)
            .arg("--port-file")
            .arg(&port_file)
            .args(&setup.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("`{}` does not start: {e}\n  fix: put souk on the PATH", super::program()));
        let log = Arc::new(Mutex::new(String::new()));
        let streams: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|err| Box::new(err) as _)];
        let readers = streams.into_iter().flatten().map(|stream| keep(stream, log.clone())).collect();
        let mut host = Host { child, port: 0, log, readers };
        host.port = host.wait(&port_file);
        host
    }

    /// Waits until the host answers.
    fn wait(&mut self, port_file: &Path) -> u16 {
        let start = Instant::now();
        loop {
            if let Some(port) = std::fs::read_to_string(port_file).ok().and_then(|text| text.trim().parse().ok()) {
                return port;
            }
            if let Some(status) = self.child.try_wait().expect("the host's status") {
                self.readers.drain(..).for_each(|reader| drop(reader.join()));
                panic!("the application does not start ({status}):\n{}", self.log());
            }
            assert!(start.elapsed() < START_TIMEOUT, "the application does not answer:\n{}", self.log());
            thread::sleep(POLL_INTERVAL);
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Ends the host as an operator does, and waits for it.
    pub(super) fn stop(mut self) {
        // `kill` is the safe way to send SIGTERM.
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.is_ok_and(|status| status.success()), "the host cannot be stopped");
        let status = self.child.wait().expect("the host's end");
        assert!(status.success(), "the host did not stop well ({status}):\n{}", self.log());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the lines of a stream, and prints them where a failing test shows them.
fn keep(stream: impl Read + Send + 'static, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut lines = BufReader::new(stream).split(b'\n');
        while let Some(Ok(line)) = lines.next() {
            let line = String::from_utf8_lossy(&line);
            eprintln!("{line}");
            let mut log = log.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if log.len() + line.len() < MAX_LOG_BYTES {
                log.push_str(&line);
                log.push('\n');
            }
        }
    })
}
