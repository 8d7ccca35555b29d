//! The host of an application: its start, its port and its end.

use super::{Builder, Process};
use std::path::Path;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

/// How long a stop or a line of the log may take, and a start while its log says nothing new: a host that compiles large
/// components reports that every five seconds.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long to wait before asking again.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Host {
    process: Process,
    port: u16,
}

impl Host {
    pub(super) fn start(setup: &Builder, state: &Path) -> Host {
        let port_file = state.join("port");
        let _ = std::fs::remove_file(&port_file);
        let mut souk = setup.souk();
        souk.args(["up", "--listen", "127.0.0.1:0", "--from"])
            .arg(&setup.manifest)
            .arg("--state-dir")
            .arg(state)
            .arg("--port-file")
            .arg(&port_file)
            .args(&setup.arguments);
        let process = Process::spawn(&mut souk)
            .unwrap_or_else(|e| panic!("`{}` does not start: {e}\n  fix: put souk on the PATH", super::program()));
        let mut host = Host { process, port: 0 };
        host.port = host.wait_for_port(&port_file);
        host
    }

    /// Waits until the host has written its port, and returns it.
    fn wait_for_port(&mut self, port_file: &Path) -> u16 {
        let (mut said, mut since) = (0, Instant::now());
        loop {
            let says = self.process.log().len();
            if says != said {
                (said, since) = (says, Instant::now());
            }
            if let Some(port) = std::fs::read_to_string(port_file).ok().and_then(|text| text.trim().parse().ok()) {
                return port;
            }
            if let Some(status) = self.process.ended() {
                panic!("the application does not start ({status})");
            }
            assert!(since.elapsed() < TIMEOUT, "the application does not answer");
            thread::sleep(POLL_INTERVAL);
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until a line of the log contains `text`, and returns the line.
    pub(super) fn wait_for_log(&self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let mut lines = self.process.lines().into_iter().map(|(_, line)| line);
            match lines.find(|line| line.contains(text)) {
                Some(line) => return line,
                None => assert!(start.elapsed() < TIMEOUT, "no line of the log contains {text:?}"),
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Ends the host as an operator does, and waits for it.
    pub(super) fn stop(mut self) {
        self.process.signal("TERM");
        let start = Instant::now();
        let status: ExitStatus = loop {
            match self.process.ended() {
                Some(status) => break status,
                None => assert!(start.elapsed() < TIMEOUT, "the host does not end"),
            }
            thread::sleep(POLL_INTERVAL);
        };
        assert!(status.success(), "the host stopped with an error ({status})");
    }
}
