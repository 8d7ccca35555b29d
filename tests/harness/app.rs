//! One application in its own temporary folder, with its own state. A scenario may change the application before it
//! starts it.
//!
//! The folder has the repository's layout (`target`, `tests/apps/NAME`), so that the relative paths in the manifests
//! are valid and the same files can be run by hand. The state folder outlives a host: a scenario can start a second
//! host on it.

use super::database::accounts;
use super::postgres::Postgres;
use super::spread::{self, Spread};
use super::{Host, archive, build, languages};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

/// An application, ready to be started.
pub(crate) struct App {
    folder: Arc<TempDir>,
    manifest: PathBuf,
    variables: BTreeMap<String, String>,
    arguments: Vec<String>,
    /// The program, with its arguments, that runs `souk`; empty where `souk` runs directly.
    runner: Vec<String>,
    /// Which host runs what, and the servers that the hosts share, when there are several hosts.
    spread: Option<Spread>,
}

impl App {
    /// The application of `tests/apps/NAME`.
    pub(crate) fn new(name: &str) -> App {
        let app = App::alone(name);
        if spread::enabled() { app.spread_over_hosts(Spread::new(name)) } else { app }
    }

    /// The application of `tests/apps/NAME` on one host, also with `SOUK_HOSTS=3`.
    pub(crate) fn alone(name: &str) -> App {
        build::guests();
        let folder = folder();
        let place = Path::new("tests/apps").join(name);
        copy(&build::root().join(&place), &folder.path().join(&place));
        App::at(folder, place.join("spin.toml"))
    }

    /// The repository's own application.
    pub(crate) fn store() -> App {
        let app = App::store_alone();
        if spread::enabled() { app.spread_as(Spread::new("store")) } else { app }
    }

    /// The repository's own application on one host, also with `SOUK_HOSTS=3`.
    pub(crate) fn store_alone() -> App {
        build::components();
        let folder = folder();
        fs::copy(build::root().join("spin.toml"), folder.path().join("spin.toml")).expect("the store's manifest");
        symlink(build::root().join("components"), folder.path().join("components")).unwrap();
        // The scenarios have few customers, and each of them has many open orders.
        accounts(App::at(folder, "spin.toml".into())).variable("max_open_orders", 100_000)
    }

    /// The repository's own application under a unique name, on databases that its hosts share.
    pub(crate) fn spread_as(self, spread: Spread) -> App {
        self.variable("products_database_url", Postgres::shared().database())
            .variable("orders_database_url", Postgres::shared().database())
            .variable("public_url", format!("http://127.0.0.1:{}", spread.port))
            .shared_secrets()
            .spread_over_hosts(spread)
    }

    /// The application with the secrets that its hosts share: hosts that are connected by NATS generate none.
    pub(crate) fn shared_secrets(self) -> App {
        self.variable("jwt_secret", super::store::JWT_SECRET)
            .variable("stripe_endpoint_secret", super::store::STRIPE_SECRET)
    }

    /// The application under a unique name, on several hosts.
    fn spread_over_hosts(self, spread: Spread) -> App {
        let name = |name: &str| format!("name = \"{name}\"");
        let app = self.replace(&name(spread.application), &name(&spread.name)).on_nats(&spread.nats);
        App { spread: Some(spread), ..app }
    }

    /// The application with these NATS servers in its runtime-config.toml.
    pub(crate) fn on_nats(self, urls: &str) -> App {
        let servers: Vec<_> = urls.split(',').map(|url| format!("{url:?}")).collect();
        self.file("runtime-config.toml", format!("[nats]\nservers = [{}]\n", servers.join(", ")))
    }

    /// For an application on several hosts: with `down`, no host runs `component`; without it, its host runs it again.
    pub(crate) fn down(mut self, component: &str, down: bool) -> App {
        let spread = self.spread.as_mut().expect("an application on several hosts");
        if down {
            spread.down.insert(component.to_owned())
        } else {
            spread.down.remove(component)
        };
        self
    }

    /// Lets the last of several hosts, which receives the durable messages, reach NATS at these addresses.
    pub(crate) fn last_host_nats(mut self, servers: String) -> App {
        self.spread.as_mut().expect("an application on several hosts").last_host_nats = Some(servers);
        self
    }

    /// Which host runs what, when there are several hosts.
    pub(crate) fn spread_over(&self) -> Option<&Spread> {
        self.spread.as_ref()
    }

    /// The application of `examples/NAME`, always on one host.
    pub(crate) fn example(name: &str) -> App {
        let place = Path::new("examples").join(name);
        build::application(place.to_str().unwrap());
        let folder = folder();
        copy(&build::root().join(&place), &folder.path().join(&place));
        App::at(folder, place.join("spin.toml"))
    }

    /// The application of `examples/polyglot`, on one host.
    pub(crate) fn polyglot() -> App {
        let (kept, folder, place) = (languages::polyglot(), folder(), Path::new("examples/polyglot"));
        let from = build::root().join(place);
        for part in ["spin.toml", languages::PAGE, languages::CATALOGUE] {
            let to = folder.path().join(place).join(part);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            let source = if part.ends_with(".wasm") { kept } else { &from };
            fs::copy(source.join(part), to).unwrap();
        }
        copy(&from.join("catalogue/migrations"), &folder.path().join(place).join("catalogue/migrations"));
        App::at(folder, place.join("spin.toml")).compiled()
    }

    /// Compiles the application's components now, without a time limit, so that its hosts find them in the cache.
    pub(crate) fn compiled(self) -> App {
        let output = self.command("doctor").output().expect("souk runs");
        assert!(output.status.success(), "{}", texts(&output).0);
        self
    }

    /// A stage of the move from the NestJS system to the repository's own application: `nest/STAGE.toml`.
    pub(crate) fn nest(stage: &str) -> App {
        build::adapters();
        let folder = folder();
        let place = Path::new("nest").join(format!("{stage}.toml"));
        fs::create_dir(folder.path().join("nest")).unwrap();
        fs::copy(build::root().join(&place), folder.path().join(&place)).expect("the stage's manifest");
        symlink(build::root().join("components"), folder.path().join("components")).unwrap();
        App::at(folder, place)
    }

    /// The repository's own application with open access: every caller has all rights, without a login.
    pub(crate) fn open_store() -> App {
        App::store().variable("open_access", true)
    }

    /// An application with this manifest, always on one host: it has one component, or its start is refused.
    pub(crate) fn inline(manifest: &str) -> App {
        let app = App::at(folder(), "spin.toml".into());
        fs::write(&app.manifest, manifest).unwrap();
        app
    }

    fn at(folder: TempDir, manifest: PathBuf) -> App {
        let manifest = folder.path().join(manifest);
        // The applications share nothing but compiled code. Without the cache, each start would compile the same
        // components again.
        let cache = build::target().join("scenarios-cache");
        fs::create_dir_all(&cache).unwrap();
        for host in 0..spread::ADDRESSES.len() {
            let state = state(&folder, host);
            fs::DirBuilder::new().mode(0o700).create(&state).unwrap();
            symlink(&cache, state.join("cache")).unwrap();
        }
        App {
            folder: Arc::new(folder),
            manifest,
            variables: BTreeMap::new(),
            arguments: Vec::new(),
            runner: Vec::new(),
            spread: None,
        }
    }

    /// The application with its own, empty code cache.
    pub(crate) fn never_compiled(self) -> App {
        let cache = self.state().join("cache");
        fs::remove_file(&cache).expect("the cache that applications share");
        fs::DirBuilder::new().mode(0o700).create(&cache).unwrap();
        self
    }

    /// The application of a package: `package` is what `-f` names. It starts in an empty folder.
    pub(crate) fn packaged(package: &str) -> App {
        App { manifest: package.into(), ..App::at(folder(), "spin.toml".into()) }
    }

    /// The folder in which the application starts.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds `text` to the end of the manifest.
    pub(crate) fn append(self, text: &str) -> App {
        let manifest = fs::read_to_string(&self.manifest).unwrap();
        fs::write(&self.manifest, format!("{manifest}\n{text}")).unwrap();
        self
    }

    /// Replaces every `from` in the manifest, which must contain it.
    pub(crate) fn replace(self, from: &str, to: &str) -> App {
        let manifest = fs::read_to_string(&self.manifest).unwrap();
        assert!(manifest.contains(from), "the manifest has no {from}");
        fs::write(&self.manifest, manifest.replace(from, to)).unwrap();
        self
    }

    /// Writes a file beside the manifest.
    pub(crate) fn file(self, name: &str, contents: impl AsRef<[u8]>) -> App {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    /// Writes a component, given as text, beside the manifest.
    pub(crate) fn component(self, name: &str, text: &str) -> App {
        let bytes = wat::parse_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        self.file(name, bytes)
    }

    /// Unpacks a state folder (`.tar.gz`) that an earlier host left.
    pub(crate) fn state_from(self, archive: &Path) -> App {
        archive::unpack(archive, &self.state());
        self
    }

    /// Sets a variable of the application.
    pub(crate) fn variable(mut self, name: &str, value: impl ToString) -> App {
        self.variables.insert(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value.to_string());
        self
    }

    /// Sets an environment variable.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> App {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes the value of a variable of the application.
    pub(crate) fn unset(mut self, name: &str) -> App {
        self.variables.remove(&format!("SPIN_VARIABLE_{}", name.to_uppercase()));
        self
    }

    /// The value that a variable was set to.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.variables.get(&format!("SPIN_VARIABLE_{}", name.to_uppercase())).map(String::as_str)
    }

    /// Adds an argument of `souk up`.
    pub(crate) fn argument(mut self, argument: impl Into<String>) -> App {
        self.arguments.push(argument.into());
        self
    }

    /// Runs `souk` through this program, which must replace itself with `souk` (`exec`).
    pub(crate) fn inside(mut self, runner: Vec<String>) -> App {
        self.runner = runner;
        self
    }

    /// A path beside the manifest.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.manifest.parent().unwrap().join(name)
    }

    /// The state folder of the host; of the first one, if there are several.
    pub(crate) fn state(&self) -> PathBuf {
        state(&self.folder, 0)
    }

    /// The state folder of the host that runs `component`.
    pub(crate) fn state_of(&self, component: &str) -> PathBuf {
        let host = self.spread.as_ref().and_then(|s| s.parts.iter().position(|part| part.contains(component)));
        state(&self.folder, host.unwrap_or(0))
    }

    /// Does not add the example products before the first start.
    pub(crate) fn unseeded(self) -> App {
        fs::write(self.folder.path().join("seeded"), "").unwrap();
        self
    }

    /// Adds the example products, which the scenarios buy, where the first start does not add them itself.
    pub(crate) async fn seed(&self) {
        let set = |name| self.value(name).is_some_and(|value| !value.is_empty());
        let is_store = self.manifest.ends_with("spin.toml") && self.path("components/products/seed").exists();
        let by_hand = set("stripe_secret") || set("products_database_url");
        let seeded = self.folder.path().join("seeded");
        if !is_store || !by_hand || self.value("seed") == Some("false") || seeded.exists() {
            return;
        }
        let mut souk = self.command_with_state("seed", &self.state_of("products"));
        if self.spread.is_some() {
            souk.args(["--only", "products"]);
        }
        let output = run(souk).await;
        // A failure is ignored: the start reports the same error, and the scenario checks it there.
        if output.status.success() {
            fs::write(seeded, "").unwrap();
        }
    }

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
        let mut souk = self.command(command);
        souk.args(arguments).stdin(fs::File::open(given).unwrap());
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
    fn command_with_state(&self, command: &str, state: &Path) -> Command {
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
    let Some(status) = tokio::time::timeout(super::WAIT_TIMEOUT, end).await.expect("souk neither serves nor ends")
    else {
        souk.kill().await.unwrap();
        return None;
    };
    assert!(status.code().is_some_and(|code| code != 0), "the host ended with {status}:\n{err}");
    assert!(!err.contains("panicked"), "the host panicked:\n{err}");
    Some(err)
}

async fn run(mut command: Command) -> Output {
    let task = tokio::task::spawn_blocking(move || command.output().expect("souk runs"));
    tokio::time::timeout(super::WAIT_TIMEOUT, task).await.expect("souk did not end").unwrap()
}

/// The state folder of one of an application's hosts.
fn state(folder: &TempDir, host: usize) -> PathBuf {
    folder.path().join(if host == 0 { "state".to_owned() } else { format!("state-{host}") })
}

fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("souk-").tempdir().unwrap();
    symlink(build::target(), folder.path().join("target")).unwrap();
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
