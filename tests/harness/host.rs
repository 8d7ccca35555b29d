//! One running `souk up`, or those that run one application together: where it serves, what it says, what it uses, and its
//! end. The process is `souk-test`'s.

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
    /// Its state must outlive it, whether or not the scenario still holds the application.
    folder: Arc<TempDir>,
    /// Those that run the rest of the application, when it has several.
    others: Vec<Host>,
}

impl Host {
    /// Runs `command` and waits until the host says where it serves.
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

    /// Whether it announced `https`.
    pub(crate) fn tls(&self) -> bool {
        self.tls
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The first host of an application that these run the rest of: they live and end with it.
    pub(super) fn with(self, others: Vec<Host>) -> Host {
        let mut first = self;
        first.others = others;
        first
    }

    /// Everything it has printed; of several hosts, what all of them have, in the order in which they did.
    pub(crate) fn log(&self) -> Vec<String> {
        let hosts = std::iter::once(self).chain(&self.others);
        let mut lines: Vec<_> = hosts.flat_map(|host| host.process.lines()).collect();
        lines.sort_by_key(|(when, _)| *when);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// What each host has printed; the first is this one.
    pub(crate) fn logs(&self) -> Vec<Vec<String>> {
        let own = self.process.lines().into_iter().map(|(_, line)| line).collect();
        std::iter::once(own).chain(self.others.iter().flat_map(Host::logs)).collect()
    }

    /// How many of its lines contain `fragment`.
    pub(crate) fn log_count(&self, fragment: &str) -> usize {
        self.log().iter().filter(|line| line.contains(fragment)).count()
    }

    /// Waits until it has printed `fragment`; returns that line.
    pub(crate) async fn wait_for_log(&self, fragment: &str) -> String {
        let what = format!("the host prints {fragment:?}");
        eventually(&what, || async { self.log().into_iter().find(|line| line.contains(fragment)) }).await
    }

    /// Memory that is resident now, in bytes; of several hosts, in all of them.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
        let own = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
        own + self.others.iter().map(Host::rss_bytes).sum::<u64>()
    }

    /// Descriptors that are open now; of several hosts, in all of them.
    pub(crate) fn descriptors(&self) -> usize {
        let own = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count();
        own + self.others.iter().map(Host::descriptors).sum::<usize>()
    }

    /// Processor time used so far, in clock ticks (a hundredth of a second); of several hosts, by all of them.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name in brackets may hold spaces; user and system time are the 12th and 13th field after it.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let own = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        own + self.others.iter().map(Host::cpu_ticks).sum::<u64>()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Lets it hang: it keeps its connections, and does nothing until it is [woken](Self::wake).
    pub(crate) fn hang(&self) {
        self.signal("STOP");
        // The signal is on its way until every thread has stopped.
        let runs = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('T'))
        };
        while std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().any(runs) {
            std::thread::yield_now();
        }
    }

    /// Lets it go on.
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
        // Callers before those that they call.
        let others = std::mem::take(&mut self.others);
        for host in std::iter::once(self).chain(others) {
            host.terminate();
            let status = host.wait().await;
            assert!(status.success(), "the host ended with {status}");
        }
    }
}

/// The address in the line that ends the start: `Serving http://127.0.0.1:PORT (...)`.
fn announced(line: &str) -> Option<(bool, String)> {
    let (_, url) = line.split_once("Serving http")?;
    let tls = url.starts_with('s');
    let (_, rest) = url.split_once("://")?;
    Some((tls, rest.chars().take_while(|c| c.is_ascii_digit() || ['.', ':'].contains(c)).collect()))
}
