//! One application in its own temporary folder, with its own state. A scenario may change the application before it
//! starts it.
//!
//! The folder has the repository's layout (`target`, `tests/apps/NAME`), so that the relative paths in the manifests
//! are valid and the same files can be run by hand. The state folder outlives a host: a scenario can start a second
//! host on it.

mod commands;

pub(crate) use commands::texts;

use super::database::accounts;
use super::postgres::Postgres;
use super::spread::{self, Spread};
use super::{archive, build, languages};
use commands::run;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

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
    #[cfg(feature = "full")]
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
