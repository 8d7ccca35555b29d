//! An application under test.

mod host;
mod http;
mod process;
mod stand_in;

pub use http::Response;
pub use process::Process;
pub use stand_in::{Received, StandIn};

use host::Host;
use serde_json::Value;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Names the manifest, when it is not `spin.toml`; `souk test` sets it.
const MANIFEST: &str = "SOUK_MANIFEST";
/// Names the program, when it is not `souk`; `souk test` sets it.
const PROGRAM: &str = "SOUK_PROGRAM";
/// Is set where the components are built already; `souk test` sets it.
const BUILT: &str = "SOUK_BUILT";

/// A running application. It ends when it is dropped, and its state with it.
#[derive(Debug)]
pub struct App {
    setup: Builder,
    state: TempDir,
    host: Host,
}

/// How to start an application.
#[derive(Debug, Clone)]
pub struct Builder {
    manifest: PathBuf,
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
    /// The servers that answer for components.
    stand_ins: Vec<Arc<StandIn>>,
}

impl App {
    /// Builds and starts the application of the nearest `spin.toml`: in this folder, or in one above it.
    pub fn start() -> App {
        App::builder().start()
    }

    /// The application of the nearest `spin.toml`, to be changed before it starts.
    pub fn builder() -> Builder {
        Builder { manifest: nearest_manifest(), variables: Vec::new(), arguments: Vec::new(), stand_ins: Vec::new() }
    }

    /// Stops it as an operator does, and starts it again on the same state.
    pub fn restart(self) -> App {
        let App { setup, state, host } = self;
        host.stop();
        let host = Host::start(&setup, state.path());
        App { setup, state, host }
    }

    /// Where it answers, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.host.port())
    }

    /// Its state folder.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], None)
    }

    /// `POST path` with this body.
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.send("POST", path, &[], Some(body.as_ref()))
    }

    /// `PUT path` with this body.
    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.send("PUT", path, &[], Some(body.as_ref()))
    }

    /// `DELETE path`.
    pub fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, &[], None)
    }

    /// Sends a request, and reads the whole response. Redirects are not followed.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Response {
        http::send(method, &format!("{}{path}", self.url()), headers, body)
    }

    /// Calls a function of a component, public or not, as `souk call` does: `interface#function`, whose version may be left
    /// out, with its parameters as an object by name or an array by position. The value of a `result` is its ok side.
    ///
    /// # Errors
    /// The err side of the function's `result`.
    pub fn call(&self, component: &str, function: &str, arguments: Value) -> Result<Value, Value> {
        let output = self.souk(&["call", component, function, &arguments.to_string()]);
        if let Ok(value) = output {
            return Ok(serde_json::from_str(&value).unwrap_or_else(|e| panic!("{function} answered {value}: {e}")));
        }
        let said = output.unwrap_err();
        let refused = said.lines().find(|line| line.starts_with("{\"err\":"));
        let refused = refused.and_then(|line| serde_json::from_str::<Value>(line).ok());
        match refused {
            Some(mut refused) => Err(refused["err"].take()),
            None => panic!("{component} {function} was not called: {said}"),
        }
    }

    /// Waits until every call of a durable link was delivered, or is a dead letter.
    pub fn wait_for_deliveries(&self) {
        if let Err(said) = self.souk(&["events", "wait"]) {
            panic!("not everything was delivered: {said}");
        }
    }

    /// Lets the time come for every message that waits for it: the next delivery of one that has failed, and the first of
    /// one that was told to wait.
    pub fn let_time_pass(&self) {
        for event in self.events() {
            let id = event["id"].as_str().unwrap_or_default();
            if event["state"] == "pending" {
                // One that was delivered meanwhile is gone.
                let _ = self.souk(&["events", "retry", id]);
            }
        }
    }

    /// The messages of durable links that are not delivered, dead letters among them, as `souk events list --json`.
    pub fn events(&self) -> Vec<Value> {
        let listed = self.souk(&["events", "list", "--json"]).unwrap_or_else(|said| panic!("no events: {said}"));
        serde_json::from_str(&listed).unwrap_or_else(|e| panic!("not JSON: {listed}: {e}"))
    }

    /// What the host has logged until now, and what components wrote to their standard error.
    pub fn log(&self) -> String {
        self.host.log()
    }

    /// Runs a command of `souk` on this application; what it says on standard output, or on standard error when it fails.
    fn souk(&self, arguments: &[&str]) -> Result<String, String> {
        let mut souk = self.setup.souk();
        let output = souk
            .args(arguments)
            .arg("--from")
            .arg(&self.setup.manifest)
            .arg("--state-dir")
            .arg(self.state.path())
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("`{}` does not start: {e}", program()));
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Builder {
    /// Another manifest.
    pub fn manifest(mut self, path: impl Into<PathBuf>) -> Builder {
        self.manifest = path.into();
        self
    }

    /// Sets a variable of the application.
    pub fn variable(mut self, name: &str, value: impl ToString) -> Builder {
        self.variables.push((format!("SPIN_VARIABLE_{}", name.to_uppercase()), value.to_string()));
        self
    }

    /// Lets `answer` answer the links to `component`, whose own code is not called: the test of its callers alone. It gets
    /// `interface@version#function` and the arguments by name, and returns the result as `souk call` prints it: for a
    /// `result`, `{"ok": value}` or `{"err": error}`. Calls over durable links come to it, too, and are not stored.
    ///
    /// A server of the test's answers, over HTTP, as `souk up --stand-in` has it: the program that runs the application
    /// is the one that runs in production.
    pub fn component(mut self, component: &str, answer: impl Fn(&str, Value) -> Value + Send + 'static) -> Builder {
        let server = StandIn::start(move |request| {
            let function = request.path.trim_start_matches('/').replace("%23", "#");
            let arguments = serde_json::from_slice(&request.body).unwrap_or_default();
            (200, answer(&function, arguments).to_string())
        });
        self.arguments.extend(["--stand-in".to_owned(), format!("{component}={}", server.url())]);
        self.stand_ins.push(Arc::new(server));
        self
    }

    /// Adds an argument of `souk up`.
    pub fn argument(mut self, argument: impl Into<String>) -> Builder {
        self.arguments.push(argument.into());
        self
    }

    /// Builds the components, once for all tests of a file, and starts the application.
    pub fn start(self) -> App {
        self.build();
        let state = TempDir::with_prefix("souk-").expect("a folder for the state");
        self.share_compiled(state.path());
        let host = Host::start(&self, state.path());
        App { setup: self, state, host }
    }

    /// Lets the state have the compiled components of the application's own state folder: nothing else of a start takes
    /// longer than a moment. Without it the test goes on as well.
    fn share_compiled(&self, state: &Path) {
        let own = self.manifest.parent().unwrap_or(Path::new("")).join(".souk/cache");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&own);
        let own = made.and_then(|()| own.canonicalize());
        let _ = own.and_then(|own| symlink(own, state.join("cache")));
    }

    fn build(&self) {
        static BUILDS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
        if std::env::var_os(BUILT).is_some() {
            return;
        }
        let mut built = BUILDS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if built.contains(&self.manifest) {
            return;
        }
        let output = Command::new(program()).arg("build").arg("--from").arg(&self.manifest).output();
        let output =
            output.unwrap_or_else(|e| panic!("`{}` does not start: {e}\n  fix: put souk on the PATH", program()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        built.push(self.manifest.clone());
    }

    /// The program, with the variables.
    fn souk(&self) -> Command {
        let mut souk = Command::new(program());
        souk.envs(self.variables.iter().map(|(name, value)| (name, value)));
        souk
    }
}

fn program() -> String {
    std::env::var(PROGRAM).unwrap_or_else(|_| "souk".to_owned())
}

fn nearest_manifest() -> PathBuf {
    if let Some(manifest) = std::env::var_os(MANIFEST) {
        return manifest.into();
    }
    let here = std::env::current_dir().expect("a current folder");
    let above = here.ancestors().map(|folder| folder.join("spin.toml"));
    above.into_iter().find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("there is no spin.toml in {} or above it\n  fix: name it, App::builder().manifest(PATH)", here.display())
    })
}
