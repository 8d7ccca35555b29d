//! Whole manifests: one with everything in it, a table of mistakes, and which source of a value wins.

mod files;
mod parts;
mod runtime_config;
mod spin_keys;

use super::*;
use crate::limits::ByteSize;
use crate::secrets::Secrets;
use crate::subject::Subjects;
use proptest::prelude::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;
use tempfile::TempDir;

/// An application in a folder of its own.
pub(super) struct App {
    pub(super) dir: TempDir,
    pub(super) options: LoadOptions,
}

pub(super) fn app(manifest: &str) -> App {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("spin.toml"), manifest).unwrap();
    let options = LoadOptions {
        name: None,
        manifest: dir.path().join("spin.toml"),
        runtime_config: None,
        operator: None,
        environment: Vec::new(),
        process_env: BTreeMap::new(),
        nats: Vec::new(),
        credentials: None,
        only: Vec::new(),
        selected: Vec::new(),
        variables: BTreeMap::new(),
        variable_files: BTreeMap::new(),
    };
    App { dir, options }
}

/// The URL that the host gives in these tests.
pub(super) const URL: &str = "http://127.0.0.1:3000";

/// Reads a manifest and fills it in; secrets get random values.
pub(super) fn load(options: &LoadOptions) -> Result<Loaded, ManifestErrors> {
    let folder = options.manifest.with_file_name("no secrets here");
    read(options)?.fill_in(&HostValues { url: URL.to_owned(), secrets: Secrets::looked_up(folder) })
}

impl App {
    pub(super) fn file(self, path: &str, text: &str) -> Self {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        self
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.options.process_env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn load(&self) -> Loaded {
        load(&self.options).unwrap_or_else(|errors| panic!("{errors}"))
    }

    pub(super) fn errors(&self) -> ManifestErrors {
        load(&self.options).expect_err("the manifest is wrong")
    }

    pub(super) fn component(&self, name: &str) -> Component {
        self.load().application.components.remove(name).unwrap()
    }
}

pub(super) const HEAD: &str = "spin_manifest_version = 2\napplication = { name = \"t\" }\n";

/// A component `a` with a route, and `more` in the table `[component.a]`, which begins in line 6.
pub(super) fn with_component(more: &str) -> String {
    format!("{HEAD}[[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n[component.a]\nsource = \"a.wasm\"\n{more}")
}

const FULL: &str = r#"
spin_manifest_version = 2

[application]
name = "shop"
version = "1.2.3"
description = "Everything at once"
authors = ["A <a@example.com>"]
targets = ["spin-up:3.3", { url = "https://example.com/env.toml" }]

[application.trigger.http]
base = "/"

[application.tool.lint]
anything = { at = "all" }

[application.tool.souk.limits]
connections = 1_000
drain = 0x10

[application.tool.souk.variables]
own_url = { generate = "url" }
pepper = { generate = "secret", unless = "proxy" }

[variables]
token = { required = true, secret = true, description = "for the bank" }
db_host = { default = "db.test" }
proxy = { default = "" }
own_url = { required = true }
pepper = { required = true, secret = true }

[[trigger.http]]
id = "front"
route = "/api/..."
component = "gateway"
executor = { type = "http" }

[[trigger.http]]
route = { private = true }
component = "orders"

[[trigger.http]]
route = "/items/:id"
component = { source = "inline.wasm", environment = { A = "1" } }

[component.gateway]
source = "gateway.wasm"
description = "The front"
environment = { LOG = "info", MODE = "manifest" }
files = ["assets/**/*.txt", "one.txt", { source = "pages", destination = "/www" }]
exclude_files = ["assets/secret/*"]
allowed_outbound_hosts = ["https://*.example.com", "postgres://{{ db_host }}", "http://orders.spin.internal", "{{ proxy }}"]
key_value_stores = ["default", "sessions"]
sqlite_databases = ["my_db"]
ai_models = []
dependencies_inherit_configuration = false

[component.gateway.variables]
bank = "Bearer {{ token }}"
host = "{{db_host}}:5432"
plain = "text"
next = "{{ own_url }}/next"
pepper = "{{ pepper }}"

[component.gateway.build]
command = ["npm install", "npm run build"]
workdir = "gateway"
watch = ["src/**/*.ts"]

[component.gateway.dependencies]
"shop:orders/orders@1.0.0" = { component = "orders", export = "shop:orders/orders@1.0.1", inherit_configuration = false }
"shop:stock" = { component = "stock" }

[component.gateway.tool.souk]
migrations = "migrations"
durable = []
limits = { memory = 1048576, max_reuse = 1 }

[component.orders]
source = "orders.wasm"
build = { command = "make" }

[component.stock]
source = "stock.wasm"
"#;

fn full() -> App {
    app(FULL)
        .file("assets/a.txt", "")
        .file("assets/deep/b.txt", "")
        .file("assets/b.png", "")
        .file("assets/secret/c.txt", "")
        .file("one.txt", "")
        .file("pages/index.html", "")
        .file("migrations/1.sql", "")
        .file("gateway/package.json", "")
        .env("SPIN_VARIABLE_TOKEN", "s3cret")
}

#[test]
fn a_manifest_with_everything_in_it_is_understood() {
    let mut full = full();
    full.options.environment.push(("MODE".to_owned(), "command line".to_owned()));
    let loaded = full.load();
    let application = &loaded.application;
    let dir = full.dir.path();
    assert_eq!((application.name.as_str(), application.version.as_str()), ("shop", "1.2.3"));
    assert_eq!((application.limits.connections, application.limits.drain), (1000, Duration::from_millis(16)));
    assert_eq!(application.dir, dir);

    let routes: Vec<_> = application
        .routes
        .iter()
        .map(|r| (r.id.as_str(), r.pattern.as_ref().map(|p| p.as_str()), r.component.as_str()))
        .collect();
    assert_eq!(
        routes,
        [
            ("front", Some("/api/..."), "gateway"),
            ("orders-http-trigger", None, "orders"),
            ("http-trigger1", Some("/items/:id"), "http-trigger1-component"),
        ]
    );
    assert_eq!(*application.router().route("/api/x").unwrap().target, "gateway");
    assert_eq!(application.components["http-trigger1-component"].environment["A"], "1");

    let gateway = &application.components["gateway"];
    assert_eq!(gateway.source, dir.join("gateway.wasm"));
    assert_eq!((gateway.limits.memory, gateway.limits.max_reuse), (ByteSize::mib(1), 1));
    assert_eq!(gateway.variables["bank"].expose(), "Bearer s3cret");
    assert!(gateway.variables["bank"].is_secret() && !gateway.variables["host"].is_secret());
    assert_eq!(gateway.variables["host"].expose(), "db.test:5432");
    assert_eq!(gateway.variables["next"].expose(), "http://127.0.0.1:3000/next");
    assert!(gateway.variables["pepper"].is_secret() && gateway.variables["pepper"].expose().len() == 64);
    assert_eq!(gateway.allowed_outbound_hosts.len(), 3, "an entry that is empty once filled in grants nothing");
    assert!(application.off.is_empty());
    assert_eq!(gateway.environment["MODE"], "command line");
    assert_eq!(gateway.environment["LOG"], "info");
    assert_eq!(gateway.key_value_stores, ["default", "sessions"]);
    assert_eq!(gateway.sqlite_databases, ["my_db"]);
    assert_eq!(gateway.migrations, Some(dir.join("migrations")));
    let build = gateway.build.as_ref().unwrap();
    assert_eq!(build.commands, ["npm install", "npm run build"]);
    assert_eq!((&build.workdir, build.watch.as_slice()), (&dir.join("gateway"), ["src/**/*.ts".to_owned()].as_slice()));
    assert_eq!(application.components["orders"].build.as_ref().unwrap().workdir, dir);

    let links: Vec<_> = gateway.dependencies.iter().map(|d| (d.name.to_string(), d.component.as_str())).collect();
    assert_eq!(links, [("shop:orders/orders@1.0.0".to_owned(), "orders"), ("shop:stock".to_owned(), "stock")]);
    assert_eq!(gateway.dependencies[0].export.as_deref(), Some("shop:orders/orders@1.0.1"));

    let allowed =
        |scheme: &str, host: &str, port| gateway.allowed_outbound_hosts.iter().any(|h| h.allows(scheme, host, port));
    assert!(allowed("postgres", "db.test", 5432) && allowed("https", "a.example.com", 443));
    assert!(!allowed("postgres", "other.test", 5432));
    assert!(gateway.allowed_outbound_hosts.iter().any(|h| h.allows_internal("http", "orders")));

    let files: Vec<_> = gateway.files.resolve().unwrap().into_iter().collect();
    let expected = ["assets/a.txt", "assets/deep/b.txt", "one.txt"].map(|f| (format!("/{f}"), dir.join(f)));
    let expected: Vec<_> =
        expected.into_iter().chain([("/www/index.html".to_owned(), dir.join("pages/index.html"))]).collect();
    assert_eq!(files, expected);

    let warnings: Vec<_> = loaded.warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(warnings, ["`targets` is for Spin's tools and is not checked"]);
}

#[test]
fn a_secret_is_in_no_debug_output_and_no_message() {
    let full = full();
    assert!(!format!("{:?}", full.load()).contains("s3cret"));

    let text = with_component("allowed_outbound_hosts = [\"https://{{ token }}\"]");
    let text = format!("{text}\n[variables]\ntoken = {{ required = true, secret = true }}\n");
    let wrong = app(&text).env("SPIN_VARIABLE_TOKEN", "s3cret/path").errors();
    assert!(!format!("{wrong} {wrong:?}").contains("s3cret"), "{wrong}");
    assert!(wrong.to_string().contains("{{ token }}"), "{wrong}");

    let wrong = app(&with_component("")).file(".env", "A=1\ns3cret with spaces\n").errors();
    assert!(!format!("{wrong} {wrong:?}").contains("s3cret"), "{wrong}");
    assert_eq!(wrong.0[0].line, Some(2));

    let wrong = app(&with_component("allowed_outbound_hosts = [\"https://u:s3cret@a.test\"]")).errors();
    assert!(!format!("{wrong} {wrong:?}").contains("s3cret"), "{wrong}");

    let wrong = app(&with_component("")).file("runtime-config.toml", "a = \"s3cret").errors();
    assert!(!format!("{wrong} {wrong:?}").contains("s3cret"), "{wrong}");
}

#[test]
fn an_error_reads_as_file_line_component_problem_and_fix() {
    let app = app(&with_component("sqlite_database = [\"a\"]"));
    let shown = app.options.manifest.display();
    let expected = format!(
        "{shown}:8: component `a`: unknown key `sqlite_database` in [component.a]\n  fix: did you mean `sqlite_databases`?"
    );
    assert_eq!(app.errors().to_string(), expected);
}

#[test]
fn the_first_source_of_a_value_wins() {
    let text = with_component("variables = { v = \"{{ v }}\" }\n[variables]\nv = { default = \"default\" }\n");
    let value = |app: &App| app.component("a").variables["v"].expose().to_owned();

    assert_eq!(value(&app(&text)), "default");
    let dotenv = || app(&text).file(".env", "SPIN_VARIABLE_V='from dotenv'\nSPIN_VARIABLE_V=second\n");
    assert_eq!(value(&dotenv()), "from dotenv");
    let process = || dotenv().env("SPIN_VARIABLE_V", "from process");
    assert_eq!(value(&process()), "from process");
    assert_eq!(value(&app(&text).env("SPIN_VARIABLE_V", "")), "", "empty is a value");
    assert_eq!(value(&app(&text).env("V", "not asked for")), "default");

    let env_provider = "[[variables_provider]]\ntype = \"env\"\nprefix = \"APP\"\ndotenv_path = \"app.env\"\n";
    let env = || process().file("runtime-config.toml", env_provider).file("app.env", "APP_V='from app.env'");
    assert_eq!(value(&env()), "from app.env");
    assert_eq!(value(&env().env("APP_V", "from APP_V")), "from APP_V");

    let both = format!("{env_provider}[[variables_provider]]\ntype = \"static\"\nvalues = {{ v = \"from static\" }}\n");
    let both = || process().file("runtime-config.toml", &both);
    assert_eq!(value(&both().file("app.env", "")), "from static");
    assert_eq!(value(&both().file("app.env", "APP_V=first")), "first", "providers are asked in their order");
}

#[test]
fn functions_that_may_be_called_twice_are_named_one_by_one_or_by_their_interface() {
    let text = with_component("tool.souk.idempotent = [\"n:p/i@1.0.0#get\", \"n:p/j\"]");
    let [one, all] = &app(&text).component("a").idempotent[..] else { panic!("two entries") };
    assert!(one.covers("n:p/i@1.0.0", "get") && !one.covers("n:p/i@1.0.0", "put") && !one.covers("n:p/i@2.0.0", "get"));
    assert!(all.covers("n:p/j@3.0.0", "anything") && !all.covers("n:p/i@1.0.0", "get"));
    assert_eq!((one.to_string(), all.to_string()), ("n:p/i@1.0.0#get".to_owned(), "n:p/j".to_owned()));
}

#[test]
fn a_build_needs_no_values_and_checks_the_rest() {
    let text = with_component(
        "allowed_outbound_hosts = [\"https://{{ host }}\"]\n[component.a.build]\ncommand = \"make\"\nworkdir = \"src\"\n\
        [variables]\nhost = { required = true }\n",
    );
    let app = app(&text);
    let errors = load_build_only(&app.options.manifest).expect_err("the folder is missing");
    assert!(errors.to_string().contains("the build's folder `src` does not exist"), "{errors}");
    let app = app.file("src/main.c", "");
    let plan = load_build_only(app.dir.path()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(plan.components["a"].build.as_ref().unwrap().commands, ["make"]);
    assert_eq!(plan.components["a"].source, app.dir.path().join("a.wasm"));
    assert!(app.errors().to_string().contains("SPIN_VARIABLE_HOST"));
    load_build_only(&self::app("x = 1").options.manifest).expect_err("not a manifest");
}

#[test]
fn a_build_knows_the_lines_of_contracts_except_those_of_code_from_elsewhere() {
    let text = with_component(
        "[component.a.dependencies]\n\"n:p/i@1.0.0\" = { component = \"b\", export = \"n:q/j@1.0.0\" }\n\
        \"n:r/k\" = { path = \"r.wasm\" }\n[component.b]\nsource = \"b.wasm\"\n[component.b.tool.souk]\n\
        exports = [\"n:p/l@1.0.0\"]\n",
    );
    let plan = load_build_only(&app(&text).options.manifest).unwrap_or_else(|errors| panic!("{errors}"));
    let shown = |named: &NamedContract| (named.name.to_string(), named.component.clone(), named.line);
    let named: Vec<_> = plan.contracts.iter().map(shown).collect();
    let expected = [("n:p/i@1.0.0", "a", 9), ("n:q/j@1.0.0", "a", 9), ("n:p/l@1.0.0", "b", 14)];
    assert_eq!(named, expected.map(|(name, component, line)| (name.to_owned(), component.to_owned(), line)));
}

#[test]
fn all_mistakes_are_reported_together_in_the_order_of_the_file() {
    let text = with_component(
        "sorce = \"x\"\nfiles = 3\nallowed_outbound_hosts = [\"a.test\"]\n[variables]\nV = { default = 3 }\n",
    );
    let errors = app(&text).errors();
    let lines: Vec<_> = errors.0.iter().map(|e| e.line.unwrap()).collect();
    assert_eq!(lines, [8, 9, 10, 12, 12], "{errors}");
}

#[test]
fn an_unintended_looking_manifest_gives_warnings() {
    for (text, line, message) in [
        (with_component("[component.b]\nsource = \"b.wasm\""), Some(8), "no trigger and no dependency"),
        (
            format!("{HEAD}[[trigger.http]]\nroute = {{ private = true }}\ncomponent = {{ source = \"a\" }}"),
            None,
            "no route is public",
        ),
        (with_component("[[trigger.http]]\nroute = { private = true }\ncomponent = \"a\""), Some(8), "private"),
        (
            with_component("[[trigger.http]]\nroute = \"/.well-known/spin/x\"\ncomponent = \"a\""),
            Some(9),
            "never reached",
        ),
        (with_component("targets = [\"spin-up:3\"]"), Some(8), "`targets`"),
    ] {
        let warnings = app(&text).load().warnings;
        let [warning] = warnings.as_slice() else { panic!("{text}\n{warnings:#?}") };
        assert_eq!(warning.line, line, "{text}\n{warning}");
        assert!(warning.message.contains(message), "{warning}");
    }
    let text = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.souk.warnings]\n\
                open = { value = \"true\", message = \"everyone may write\" }\n\
                [variables]\nopen = { default = \"no\" }\n\
                [[trigger.http]]\nroute = \"/...\"\ncomponent = { source = \"a.wasm\" }\n";
    assert_eq!(app(text).load().warnings.len(), 0);
    let warnings = app(text).env("SPIN_VARIABLE_OPEN", "true").load().warnings;
    assert_eq!((warnings.len(), warnings[0].line), (1, Some(5)));
    assert!(warnings[0].message.contains("everyone may write") && warnings[0].fix.contains("SPIN_VARIABLE_OPEN"));
    let text = with_component("[variables]\napi_key = { default = \"\" }");
    let warnings = app(&text).env("SPIN_VARIABLE_API_KYE", "s3cret").load().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].fix.contains("SPIN_VARIABLE_API_KEY") && !warnings[0].to_string().contains("s3cret"));
}

#[test]
fn a_missing_manifest_says_where_to_look() {
    let dir = TempDir::new().unwrap();
    let errors = load_build_only(dir.path()).expect_err("there is none");
    assert!(errors.to_string().contains("spin.toml: cannot be read"), "{errors}");
    assert!(errors.0[0].fix.contains("-f"));

    let mut app = app(&with_component(""));
    app.options.runtime_config = Some(dir.path().join("none.toml"));
    assert!(app.errors().to_string().contains("none.toml: cannot be read"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_manifest_with_lines_lost_and_swapped_never_panics_and_every_error_has_a_fix(
        lost in proptest::collection::vec(0..90_usize, 0..4),
        swapped in proptest::collection::vec((0..90_usize, 0..90_usize), 0..3),
    ) {
        let mut lines: Vec<_> = FULL.lines().collect();
        for (a, b) in swapped {
            let len = lines.len();
            lines.swap(a % len, b % len);
        }
        for line in lost {
            lines.remove(line % lines.len());
        }
        let text = lines.join("\n");
        if let Err(errors) = load(&app(&text).options) {
            prop_assert!(!errors.0.is_empty());
            for error in &errors.0 {
                prop_assert!(!error.fix.is_empty() && error.line.is_some_and(|line| line <= lines.len() + 1), "{}", error);
            }
        }
    }
}
