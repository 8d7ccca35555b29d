//! What runs on an application: its hosts, and the commands of `souk`, each in a clean environment.

use super::{App, state};
use crate::harness::{Host, WAIT_TIMEOUT, build, spread};
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

impl App {
    /// Starts the host, or all of them, and waits until they answer.
    pub(crate) async fn start(&self) -> Host {
        self.seed().await;
        let starts = self.ups().into_iter().map(|souk| Host::start(souk, Arc::clone(&self.folder)));
        let mut hosts = futures::future::join_all(starts).await;
        let first = hosts.remove(0);
        first.with(hosts)
    }

    /// Starts the only host of an application without waiting for it; its output is piped.
    pub(crate) fn spawn(&self) -> tokio::process::Child {
        let mut souk = tokio::process::Command::from(self.ups().remove(0));
        souk.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("souk runs")
    }

    /// Starts one more host of the application, with these arguments and its own state folder, named `state`.
    pub(crate) async fn start_at(&self, listen: &str, state: &str, arguments: &[&str]) -> Host {
        let mut souk = self.up_with_state(listen, &self.folder.path().join(state));
        souk.args(arguments);
        Host::start(souk, Arc::clone(&self.folder)).await
    }

    /// Starts the hosts, of which at least one must refuse to start; returns the standard error of those that refuse.
    ///
    /// A host that refuses must exit by itself and must not announce an address: no host starts halfway. The other
    /// hosts may serve.
    pub(crate) async fn start_fails(&self) -> String {
        let ends = futures::future::join_all(self.ups().into_iter().map(refusal)).await;
        let refusals: Vec<_> = ends.into_iter().flatten().collect();
        assert!(!refusals.is_empty(), "the host started although it must not");
        refusals.concat()
    }

    /// Runs `souk COMMAND` on this application.
    pub(crate) async fn souk(&self, command: &str, arguments: &[&str]) -> Output {
        let mut souk = self.command(command);
        souk.args(arguments);
        run(souk).await
    }

    /// Runs `souk COMMAND` on this application with this standard input.
    pub(crate) async fn souk_with_input(&self, input: &str, command: &str, arguments: &[&str]) -> Output {
        let given = self.path("standard input");
        fs::write(&given, input).unwrap();
        self.souk_with_file(fs::File::open(given).unwrap(), command, arguments).await
    }

    /// Runs `souk COMMAND` on this application with this file as its standard input.
    pub(crate) async fn souk_with_file(&self, input: fs::File, command: &str, arguments: &[&str]) -> Output {
        let mut souk = self.command(command);
        souk.args(arguments).stdin(input);
        run(souk).await
    }

    /// Runs `souk COMMAND` in the folder of this application's manifest, with these arguments only.
    pub(crate) async fn souk_in_folder(&self, command: &str, arguments: &[&str]) -> Output {
        let mut souk = Command::new(build::SOUK);
        souk.arg(command).args(arguments).current_dir(self.path("")).stdin(Stdio::null());
        run(souk).await
    }

    /// Runs `souk COMMAND` on this application with the state folder that [`start_at`](Self::start_at) named `state`.
    pub(crate) async fn souk_at(&self, state: &str, command: &str, arguments: &[&str]) -> Output {
        let mut souk = self.command_with_state(command, &self.folder.path().join(state));
        souk.args(arguments);
        run(souk).await
    }

    /// Runs `souk call COMPONENT FUNCTION [JSON]`. While the application runs, the first host takes the call, whichever
    /// host runs the component. Otherwise `souk` uses the state folder of the host that would run it.
    pub(crate) async fn call(&self, component: &str, function: &str, json: Option<Value>) -> Output {
        let running = UnixStream::connect(self.state().join("run/control.sock")).is_ok();
        let mut souk = self.command_with_state("call", &if running { self.state() } else { self.state_of(component) });
        souk.args([component, function]).args(json.map(|json| json.to_string()));
        run(souk).await
    }

    /// The `souk up` command of the host, or of each of them.
    fn ups(&self) -> Vec<Command> {
        let Some(spread) = &self.spread else { return vec![self.up_with_state("127.0.0.1:0", &self.state())] };
        let up = |(host, address): (usize, &&str)| {
            let only = spread.only(host);
            let port = if host == 0 { spread.port } else { 0 };
            let mut souk = self.up_with_state(&format!("{address}:{port}"), &state(&self.folder, host));
            souk.args(["--only", &only]);
            if let Some(servers) = spread.last_host_nats.as_ref().filter(|_| host + 1 == spread::ADDRESSES.len()) {
                souk.args(["--nats", servers]);
            }
            (!only.is_empty()).then_some(souk)
        };
        spread::ADDRESSES.iter().enumerate().filter_map(up).collect()
    }

    fn up_with_state(&self, listen: &str, state: &Path) -> Command {
        let mut souk = self.command_with_state("up", state);
        souk.args(["--listen", listen]).args(&self.arguments);
        souk
    }

    pub(crate) fn command(&self, command: &str) -> Command {
        self.command_with_state(command, &self.state())
    }

    /// A command in a clean environment, so that the machine's own variables do not change a scenario's outcome.
    pub(super) fn command_with_state(&self, command: &str, state: &Path) -> Command {
        let words: Vec<&str> = self.runner.iter().map(String::as_str).chain([build::SOUK]).collect();
        let mut souk = Command::new(words[0]);
        souk.args(&words[1..]).arg(command).arg("-f").arg(&self.manifest);
        if command != "build" {
            souk.arg("--state-dir").arg(state);
        }
        souk.current_dir(self.folder.path()).env_clear().envs(&self.variables).stdin(Stdio::null());
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"] {
            if let Some(value) = std::env::var_os(name) {
                souk.env(name, value);
            }
        }
        souk
    }
}

/// What a command printed on standard output and on standard error.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The standard error of a host that refuses to start; `None` if the host starts, which is then killed.
async fn refusal(command: Command) -> Option<String> {
    let mut souk = tokio::process::Command::from(command);
    let souk = souk.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut souk = souk.spawn().expect("souk runs");
    let (mut lines, mut stderr) = (BufReader::new(souk.stdout.take().unwrap()).lines(), souk.stderr.take().unwrap());
    let serves = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("Serving") {
                return true;
            }
        }
        false
    };
    let mut err = String::new();
    let end = async {
        tokio::select! {
            true = serves => None,
            (read, status) = async { (stderr.read_to_string(&mut err).await, souk.wait().await) } => {
                read.unwrap();
                Some(status.unwrap())
            }
        }
    };
    let Some(status) = tokio::time::timeout(WAIT_TIMEOUT, end).await.expect("souk neither serves nor ends") else {
        souk.kill().await.unwrap();
        return None;
    };
    assert!(status.code().is_some_and(|code| code != 0), "the host ended with {status}:\n{err}");
    assert!(!err.contains("panicked"), "the host panicked:\n{err}");
    Some(err)
}

/// Runs a command to its end.
pub(super) async fn run(mut command: Command) -> Output {
    let task = tokio::task::spawn_blocking(move || command.output().expect("souk runs"));
    tokio::time::timeout(WAIT_TIMEOUT, task).await.expect("souk did not end").unwrap()
}
