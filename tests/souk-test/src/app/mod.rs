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

/// The variable with the manifest's path, if it is not the nearest `spin.toml`. `souk test` sets it.
const MANIFEST: &str = "SOUK_MANIFEST";
/// The variable with the program's path, if it is not `souk` on the path. `souk test` sets it.
const PROGRAM: &str = "SOUK_PROGRAM";
/// The variable that says that the components are already built. `souk test` sets it.
const BUILT: &str = "SOUK_BUILT";

/// A running application. When it is dropped, it ends and its state is deleted.
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
    /// The servers that stand in for components.
    stand_ins: Vec<Arc<StandIn>>,
}

impl App {
    /// Builds and starts the application of the nearest `spin.toml`: in this folder, or in one above it.
    pub fn start() -> App {
        App::builder().start()
    }

    /// A builder for the application of the nearest `spin.toml`, which can change it before it starts.
    pub fn builder() -> Builder {
        Builder { manifest: nearest_manifest(), variables: Vec::new(), arguments: Vec::new(), stand_ins: Vec::new() }
    }

    /// Stops the application with SIGTERM, as an operator does, and starts it again on the same state.
    pub fn restart(self) -> App {
        let App { setup, state, host } = self;
        host.stop();
        let host = Host::start(&setup, state.path());
        App { setup, state, host }
    }

    /// The application's URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.host.port())
    }

    /// The application's state folder.
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

    /// Calls a function of any component, also one without a route, as `souk call` does. `function` is
    /// `interface#function`, where the interface's version is optional; `arguments` is an object with the parameters by
    /// name, or an array by position. If the function returns a `result`, this returns its ok value.
    ///
    /// # Errors
    /// The err value of the function's `result`.
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

    /// Waits until every message of durable links is delivered or is a dead letter.
    pub fn wait_for_deliveries(&self) {
        if let Err(said) = self.souk(&["events", "wait"]) {
            panic!("not everything was delivered: {said}");
        }
    }

    /// Delivers every waiting message now, whether it waits for a retry after a failed delivery or for the time that
    /// its sender chose.
    pub fn let_time_pass(&self) {
        for event in self.events() {
            let id = event["id"].as_str().unwrap_or_default();
            if event["state"] == "pending" {
                // It fails if the message has been delivered meanwhile.
                let _ = self.souk(&["events", "retry", id]);
            }
        }
    }

    /// The undelivered messages of durable links and the dead letters, as `souk events list --json` prints them.
    pub fn events(&self) -> Vec<Value> {
        let listed = self.souk(&["events", "list", "--json"]).unwrap_or_else(|said| panic!("no events: {said}"));
        serde_json::from_str(&listed).unwrap_or_else(|e| panic!("not JSON: {listed}: {e}"))
    }

    /// The log of the host until now, with the output of the components.
    pub fn log(&self) -> String {
        self.host.log()
    }

    /// Waits until a line of the log contains `text`, and returns the first such line. The log may lag behind a response.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.host.wait_for_log(text)
    }

    /// Runs a command of `souk` on this application; returns its standard output, or its standard error when it fails.
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
    /// Uses another manifest.
    pub fn manifest(mut self, path: impl Into<PathBuf>) -> Builder {
        self.manifest = path.into();
        self
    }

    /// Sets a variable of the application.
    pub fn variable(mut self, name: &str, value: impl ToString) -> Builder {
        self.variables.push((format!("SPIN_VARIABLE_{}", name.to_uppercase()), value.to_string()));
        self
    }

    /// Replaces `component` by `answer`, to test the component's callers alone: `answer` gets every call over the links
    /// to it. It gets `interface@version#function` and the arguments by name, and returns the result as `souk call`
    /// prints it: for a `result`, `{"ok": value}` or `{"err": error}`. It also gets the calls over durable links, which
    /// are not stored.
    ///
    /// The host sends these calls over HTTP to a server in the test (`souk up --stand-in`), so the application runs on
    /// the same program as in production.
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

    /// Builds the components, once for all tests of a process, and starts the application.
    pub fn start(self) -> App {
        self.build();
        let state = TempDir::with_prefix("souk-").expect("a folder for the state");
        self.share_compiled(state.path());
        let host = Host::start(&self, state.path());
        App { setup: self, state, host }
    }

    /// Links the cache of compiled components in the application's own state folder into `state`: compiling takes most
    /// of the time of a start. An error is ignored, because the cache is optional.
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

    /// The command `souk`, with the application's variables in its environment.
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
