//! One running `souk up`, or several that run one application together: address, log, resource use and end. The process
//! itself is [`souk_test::Process`].

use super::{Client, WAIT_TIMEOUT, eventually};
use souk_test::Process;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A host that serves.
pub(crate) struct Host {
    process: Process,
    address: String,
    tls: bool,
    /// The application's folder, which must outlive the host, even if the scenario has dropped the application.
    folder: Arc<TempDir>,
    /// The application's other hosts, if it has several.
    others: Vec<Host>,
}

impl Host {
    /// Runs `command` and waits until the host announces its address.
    pub(super) async fn start(mut command: Command, folder: Arc<TempDir>) -> Host {
        let process = Process::spawn(&mut command).expect("souk starts");
        let mut host = Host { process, address: String::new(), tls: false, folder, others: Vec::new() };
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < WAIT_TIMEOUT, "souk does not say where it serves");
            let ended = host.process.ended();
            if let Some((tls, address)) = host.log().iter().find_map(|line| announced(line)) {
                host.tls = tls;
                host.address = address;
                break;
            }
            if let Some(status) = ended {
                panic!("souk ended with {status}:\n{}", host.log().join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !host.tls {
            let client = host.client();
            eventually("the host is healthy", || async {
                (client.try_get("/.well-known/spin/health").await.ok()?.status == 200).then_some(())
            })
            .await;
        }
        host
    }

    /// A client of this host (HTTP/1.1).
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.address, self.folder.path())
    }

    /// The address that the host serves at, `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether the host announced `https`.
    pub(crate) fn tls(&self) -> bool {
        self.tls
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Makes this the first host of an application, and `others` its other hosts, which end with it.
    pub(super) fn with(self, others: Vec<Host>) -> Host {
        let mut first = self;
        first.others = others;
        first
    }

    /// Every line that the host printed; with several hosts, the lines of all of them, in the order of time.
    pub(crate) fn log(&self) -> Vec<String> {
        let hosts = std::iter::once(self).chain(&self.others);
        let mut lines: Vec<_> = hosts.flat_map(|host| host.process.lines()).collect();
        lines.sort_by_key(|(when, _)| *when);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// The lines that each host printed, this host's first.
    pub(crate) fn logs(&self) -> Vec<Vec<String>> {
        let own = self.process.lines().into_iter().map(|(_, line)| line).collect();
        std::iter::once(own).chain(self.others.iter().flat_map(Host::logs)).collect()
    }

    /// How many lines of the log contain `fragment`.
    pub(crate) fn log_count(&self, fragment: &str) -> usize {
        self.log().iter().filter(|line| line.contains(fragment)).count()
    }

    /// Waits until the host prints `fragment`; returns that line.
    pub(crate) async fn wait_for_log(&self, fragment: &str) -> String {
        let what = format!("the host prints {fragment:?}");
        eventually(&what, || async { self.log().into_iter().find(|line| line.contains(fragment)) }).await
    }

    /// The most resident memory that the process has had, in bytes.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Resident memory now, in bytes; with several hosts, the sum of all of them.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
        let own = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
        own + self.others.iter().map(Host::rss_bytes).sum::<u64>()
    }

    /// Open file descriptors now; with several hosts, the sum of all of them.
    pub(crate) fn descriptors(&self) -> usize {
        let own = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count();
        own + self.others.iter().map(Host::descriptors).sum::<usize>()
    }

    /// CPU time used so far, in clock ticks (1/100 s); with several hosts, the sum of all of them.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The program's name in brackets may contain spaces; user and system time are fields 12 and 13 after it.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let own = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        own + self.others.iter().map(Host::cpu_ticks).sum::<u64>()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Suspends the process: it keeps its connections, and does nothing until [`wake`](Self::wake).
    pub(crate) fn hang(&self) {
        self.signal("STOP");
        // The signal has taken effect when every thread has stopped.
        let runs = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('T'))
        };
        while std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().any(runs) {
            std::thread::yield_now();
        }
    }

    /// Resumes the process after [`hang`](Self::hang).
    pub(crate) fn wake(&self) {
        self.signal("CONT");
    }

    /// Sends the signal `SIG<name>`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits for the end of the process.
    pub(crate) async fn wait(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.ended() {
                return status;
            }
            assert!(start.elapsed() < WAIT_TIMEOUT, "the host did not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the host as an operator would, and waits for it.
    pub(crate) async fn stop(mut self) {
        // Callers stop before the hosts that they call.
        let others = std::mem::take(&mut self.others);
        for host in std::iter::once(self).chain(others) {
            host.terminate();
            let status = host.wait().await;
            assert!(status.success(), "the host ended with {status}");
        }
    }
}

/// The scheme (`true` for `https`) and the address in the last line of a start: `Serving http://127.0.0.1:PORT (...)`.
fn announced(line: &str) -> Option<(bool, String)> {
    let (_, url) = line.split_once("Serving http")?;
    let tls = url.starts_with('s');
    let (_, rest) = url.split_once("://")?;
    Some((tls, rest.chars().take_while(|c| c.is_ascii_digit() || ['.', ':'].contains(c)).collect()))
}
