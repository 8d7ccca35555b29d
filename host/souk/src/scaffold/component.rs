//! `souk add COMPONENT`: creates a component with its tables in the manifest, its test, and if needed its contract and
//! migrations.

use super::libraries::Library;
use super::manifest::ManifestEdit;
use super::other_languages::JAVASCRIPT_HANDLER;
use super::workspace::WorkspaceEdit;
use super::{Changes, ScaffoldError, other_languages, template};
use souk_manifest::DependencyName;
use std::fmt::Write as _;
use toml_edit::InlineTable;

/// A component to add.
#[derive(Debug, Clone)]
pub(crate) struct NewComponent {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Where it keeps data.
    pub storage: Storage,
    /// Its language.
    pub language: Language,
    /// A checkout of Souk whose libraries it uses instead of copies.
    pub souk: Option<String>,
}

/// What a component does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It answers HTTP requests.
    Http {
        /// The route, which ends in `/...`.
        route: String,
    },
    /// It exports a contract.
    Exports {
        /// The interface.
        interface: DependencyName,
        /// Whether it receives calls of durable links.
        durable: bool,
    },
}

/// Where a component keeps data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Storage {
    /// In SQLite.
    pub sqlite: bool,
    /// In SQLite, or in PostgreSQL when a variable says so.
    pub postgres: bool,
    /// In a key-value store.
    pub key_value: bool,
}

/// The language of a component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// Rust, with spin-sdk.
    #[default]
    Rust,
    /// JavaScript, with componentize-js: answers HTTP requests.
    Javascript,
    /// Python, with componentize-py: exports a contract.
    Python,
}

/// The source, the test and the contract of one kind of component.
pub(super) struct Shape {
    pub source: &'static str,
    pub test: &'static str,
    contract: Option<&'static str>,
    /// The tables for SQLite and for PostgreSQL.
    tables: Option<(&'static str, &'static str)>,
}

macro_rules! shape {
    ($source:literal, $test:literal) => { shape!(@ $source, $test, None, None) };
    ($source:literal, $test:literal, $contract:literal) => {
        shape!(@ $source, $test, Some(include_str!(concat!("templates/wit/", $contract, ".wit"))), None)
    };
    ($source:literal, $test:literal, _, $tables:literal) => { shape!(@ $source, $test, None, tables!($tables)) };
    ($source:literal, $test:literal, $contract:literal, $tables:literal) => {
        shape!(@ $source, $test, Some(include_str!(concat!("templates/wit/", $contract, ".wit"))), tables!($tables))
    };
    (@ $source:literal, $test:literal, $contract:expr, $tables:expr) => {
        Shape {
            source: include_str!(concat!("templates/rust/", $source, ".rs")),
            test: include_str!(concat!("templates/tests/", $test, ".rs")),
            contract: $contract,
            tables: $tables,
        }
    };
}

macro_rules! tables {
    ($name:literal) => {
        Some((
            include_str!(concat!("templates/sql/", $name, "_sqlite.sql")),
            include_str!(concat!("templates/sql/", $name, "_postgres.sql")),
        ))
    };
}

/// A component that answers requests, keeps no data and calls no other component.
pub(super) const HTTP: Shape = shape!("http", "http");
/// Components that call another one, by the contract that the other one exports.
pub(super) const LINKED: [(&str, Shape); 3] = [
    ("greetings", shape!("http_linked_greetings", "http_linked_greetings")),
    ("values", shape!("http_linked_values", "http_linked_values")),
    ("inbox", shape!("http_linked_inbox", "http_linked_inbox")),
];

/// The contracts of [`LINKED`], by the same names.
pub(super) const CONTRACTS: [(&str, &str); 3] = [
    ("greetings", include_str!("templates/wit/greetings.wit")),
    ("values", include_str!("templates/wit/values.wit")),
    ("inbox", include_str!("templates/wit/inbox.wit")),
];

impl NewComponent {
    fn shape(&self) -> Result<Shape, ScaffoldError> {
        let Storage { sqlite, postgres, key_value } = self.storage;
        if key_value && (sqlite || postgres) {
            let fix = "choose one of them now, and grant the other by hand: `key_value_stores` or `sqlite_databases`";
            return Err(ScaffoldError::new("a new component keeps its data in one place", fix));
        }
        Ok(match (&self.kind, key_value, sqlite || postgres) {
            (Kind::Http { .. }, false, false) => HTTP,
            (Kind::Http { .. }, true, _) => shape!("http_key_value", "http_key_value"),
            (Kind::Http { .. }, _, true) => shape!("http_database", "http_database", _, "lines"),
            (Kind::Exports { durable: false, .. }, false, false) => shape!("greetings", "greetings", "greetings"),
            (Kind::Exports { durable: false, .. }, true, _) => shape!("values_key_value", "values", "values"),
            (Kind::Exports { durable: false, .. }, _, true) => shape!("values_database", "values", "values", "entries"),
            (Kind::Exports { durable: true, .. }, true, _) => shape!("inbox_key_value", "inbox", "inbox"),
            (Kind::Exports { durable: true, .. }, _, true) => shape!("inbox_database", "inbox", "inbox", "messages"),
            (Kind::Exports { durable: true, .. }, false, false) => {
                return Err(ScaffoldError::new(
                    "a component that receives durable calls needs a place for their data",
                    "add --key-value, --sqlite or --postgres",
                ));
            }
        })
    }
}

/// The names that a contract has in Rust, Python and WIT.
pub(super) struct ContractNames {
    /// `acme:links@0.1.0`.
    package: String,
    /// `acme:links/store@0.1.0`.
    contract: String,
    interface: String,
    /// `acme:links/kept@0.1.0`.
    pub kept: String,
    /// `acme::links::store`.
    path: String,
    /// `acme::links`.
    package_path: String,
    /// `order_store`, for the interface `order-store`.
    python_module: String,
    /// `OrderStore`.
    python_class: String,
    /// `wit/links/store.wit`.
    pub file: String,
}

impl ContractNames {
    pub(super) fn of(name: &DependencyName) -> ContractNames {
        let interface = name.interface.clone().unwrap_or_default();
        let version = name.version.as_ref().map(|version| format!("@{version}")).unwrap_or_default();
        let rust = |text: &str| text.replace('-', "_").replace(':', "::");
        let package_path = rust(&name.package);
        let folder = name.package.split_once(':').map_or("contract", |(_, name)| name);
        ContractNames {
            package: format!("{}{version}", name.package),
            contract: name.to_string(),
            kept: format!("{}/kept{version}", name.package),
            path: format!("{package_path}::{}", rust(&interface)),
            file: format!("wit/{folder}/{interface}.wit"),
            package_path,
            python_module: interface.replace('-', "_"),
            python_class: interface.split('-').map(capitalized).collect(),
            interface,
        }
    }

    pub(super) fn values(&self) -> [(&str, &str); 8] {
        [
            ("package", &self.package),
            ("contract", &self.contract),
            ("interface", &self.interface),
            ("kept", &self.kept),
            ("path", &self.path),
            ("package_path", &self.package_path),
            ("python_module", &self.python_module),
            ("python_class", &self.python_class),
        ]
    }
}

/// A word with an upper-case first letter.
fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// Words that cannot be a Rust module's name.
const KEYWORDS: [&str; 43] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true", "try",
    "type", "unsafe", "use",
];

/// Adds a component to the application with the manifest `manifest` in `folder`.
///
/// # Errors
/// When it cannot be added as described, or some of it exists already.
pub(crate) fn add(folder: &std::path::Path, manifest: &str, new: &NewComponent) -> Result<Changes, ScaffoldError> {
    let name = new.name.as_str();
    souk_manifest::check_component(name).map_err(|why| {
        let fix = "name it with words of letters and digits, joined by `-`: `order-history`";
        ScaffoldError::new(format!("`{name}` cannot be a component's name: {why}"), fix)
    })?;
    if ["target", "tests", "libraries", "wit", "src"].contains(&name) {
        let message = format!("`{name}` is a folder of the application itself");
        return Err(ScaffoldError::new(message, "choose another name"));
    }
    let shape = new.shape()?;
    let mut changes = Changes::new(folder);
    let mut edit = ManifestEdit::open(&changes, manifest)?;
    if edit.component(name).is_some() {
        let message = format!("component `{name}` exists already");
        return Err(ScaffoldError::new(message, "choose another name, or remove its table from the manifest"));
    }
    let mut gaps = vec![("component", name)];
    let names;
    let base;
    match &new.kind {
        Kind::Http { route } => {
            let Some(path) = route.strip_suffix("/...").filter(|path| path.is_empty() || path.starts_with('/')) else {
                let fix = "write it as `/...` or `/PATH/...`: the component answers every path below it";
                return Err(ScaffoldError::new(format!("`{route}` is not a route for a new component"), fix));
            };
            if let Some(other) = edit.at_route(route) {
                let message = format!("component `{other}` already answers at `{route}`");
                return Err(ScaffoldError::new(message, "choose another route, such as `/PATH/...`"));
            }
            base = path.to_owned();
            gaps.push(("base", &base));
        }
        Kind::Exports { interface, .. } => {
            if interface.interface.is_none() || interface.version.is_none() {
                let message = format!("`{interface}` does not name an interface with its version");
                return Err(ScaffoldError::new(message, "write it as `acme:links/store@0.1.0`"));
            }
            names = ContractNames::of(interface);
            if let Some(word) = names.path.split("::").find(|word| KEYWORDS.contains(word)) {
                let fix = "choose another word: bindings in Rust take each part of the name as it is";
                return Err(ScaffoldError::new(format!("`{word}` in `{interface}` is a keyword of Rust"), fix));
            }
            gaps.extend(names.values());
            let contract = template::fill(shape.contract.unwrap_or_default(), &names.values());
            if changes.read(&names.file).is_some_and(|there| there != contract) {
                let message = format!("{} exists already, with other content than that of a new component", names.file);
                return Err(ScaffoldError::new(
                    message,
                    "choose another interface; or copy a component that exports this one, and list it in `exports`",
                ));
            }
            changes.create(&names.file, contract)?;
        }
    }
    edit.append(&tables(new, &gaps))?;
    if new.storage.postgres {
        let mut value = InlineTable::new();
        value.insert("default", format!("sqlite:{name}").into());
        value.insert("secret", true.into());
        edit.variable(&database_variable(name), value);
    }
    if let Some((sqlite, postgres)) = shape.tables {
        changes.create(format!("{name}/migrations/sqlite/0001_first.sql"), sqlite.to_owned())?;
        if new.storage.postgres {
            changes.create(format!("{name}/migrations/postgres/0001_first.sql"), postgres.to_owned())?;
        }
    }
    match new.language {
        Language::Rust => rust(&mut changes, &mut edit, new, &shape, &gaps)?,
        Language::Javascript => other_languages::javascript(&mut changes, &mut edit, new, &gaps)?,
        Language::Python => other_languages::python(&mut changes, &mut edit, new, shape.test, &gaps)?,
    }
    edit.close(&mut changes);
    Ok(changes)
}

/// The source, package and test of a component in Rust.
fn rust(
    changes: &mut Changes,
    edit: &mut ManifestEdit,
    new: &NewComponent,
    shape: &Shape,
    gaps: &[(&str, &str)],
) -> Result<(), ScaffoldError> {
    let mut workspace = WorkspaceEdit::open(changes, edit.application())?;
    let souk = new.souk.clone().or_else(|| workspace.checkout());
    let mut libraries = Vec::new();
    if new.storage.key_value {
        libraries.push(Library::KeyValue);
    }
    if new.storage.sqlite || new.storage.postgres {
        libraries.push(Library::Database);
    }
    let features: &[&str] = if matches!(new.kind, Kind::Http { .. }) { &["http"] } else { &[] };
    workspace.member(changes, &new.name, features, &libraries)?;
    for library in libraries.into_iter().chain([Library::Test]) {
        workspace.library(changes, library, souk.as_deref())?;
    }
    workspace.close(changes);
    changes.create(format!("{}/src/lib.rs", new.name), template::fill(shape.source, gaps))?;
    changes.create(test_file(&new.name), template::fill(shape.test, gaps))?;
    edit.test_command("cargo test")
}

/// The path of a component's test.
pub(super) fn test_file(component: &str) -> String {
    format!("tests/{}.rs", component.replace('-', "_"))
}

fn database_variable(component: &str) -> String {
    format!("{}_database_url", component.replace('-', "_").to_lowercase())
}

/// The manifest's tables for a component.
fn tables(new: &NewComponent, gaps: &[(&str, &str)]) -> String {
    let name = &new.name;
    let mut text = String::new();
    if let Kind::Http { route } = &new.kind {
        let _ = write!(text, "[[trigger.http]]\nroute = \"{route}\"\ncomponent = \"{name}\"\n\n");
    }
    let (source, command, watch) = build(new);
    let _ = write!(text, "[component.{name}]\nsource = \"{source}\"\n");
    if new.storage.key_value {
        text.push_str("key_value_stores = [\"default\"]\n");
    }
    let database = new.storage.sqlite || new.storage.postgres;
    let url = match new.storage.postgres {
        true => format!("{{{{ {} }}}}", database_variable(name)),
        false => format!("sqlite:{name}"),
    };
    if database {
        let _ = write!(text, "sqlite_databases = [\"{name}\"]\nvariables = {{ database_url = \"{url}\" }}\n");
    }
    let mut souk = String::new();
    if database {
        let _ = write!(souk, "migrations = \"{name}/migrations\"\ndatabase_url = \"{url}\"\n");
    }
    if let Kind::Exports { durable, .. } = &new.kind {
        let value = |name| gaps.iter().find(|(gap, _)| *gap == name).map_or("", |(_, value)| *value);
        let mut exports = vec![value("contract")];
        if *durable {
            exports.push(value("kept"));
        }
        let exports: Vec<_> = exports.iter().map(|export| format!("\"{export}\"")).collect();
        let _ = writeln!(souk, "exports = [{}]", exports.join(", "));
    }
    if new.language == Language::Javascript {
        let _ = writeln!(souk, "exports = [\"{JAVASCRIPT_HANDLER}\"]");
    }
    if !souk.is_empty() {
        let _ = write!(text, "\n[component.{name}.tool.souk]\n{souk}");
    }
    let _ = write!(
        text,
        "\n[component.{name}.build]\ncommand = {command}\nworkdir = \"{name}\"\nwatch = [{watch}, \"../wit/**/*.wit\"]\n"
    );
    text
}

/// A component's file, the command that builds it, and the sources to watch.
fn build(new: &NewComponent) -> (String, &'static str, &'static str) {
    let name = &new.name;
    match new.language {
        Language::Rust => (
            format!("target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_")),
            "\"cargo build --target wasm32-wasip2 --release\"",
            "\"src/**/*.rs\", \"Cargo.toml\"",
        ),
        Language::Javascript => (
            format!("{name}/{name}.wasm"),
            "[\"npm install --no-audit --no-fund\", \"npm run build\"]",
            "\"*.js\", \"package.json\"",
        ),
        Language::Python => (
            format!("{name}/app.wasm"),
            "[\n  \"python3 -m venv .venv\",\n  \".venv/bin/pip install --quiet --require-hashes --requirement \
             requirements.txt\",\n  \".venv/bin/componentize-py --wit-path spin-dependencies.wit --world root componentize \
             app --output app.wasm\",\n]",
            "\"*.py\", \"requirements.txt\"",
        ),
    }
}
