//! The libraries for components and tests of an application, included in this program as source code.
//!
//! In their repository they inherit versions, lints and dependencies from the workspace. The copy in an application has
//! all of these written out, as `cargo package` does.

use super::changes::{Changes, ScaffoldError};
use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

/// The workspace that the libraries belong to.
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");

/// One library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Library {
    /// One code for SQLite and PostgreSQL: statements, rows, transactions
    #[value(name = "souk-database")]
    Database,
    /// Key-value stores, with synchronous functions
    #[value(name = "souk-key-value")]
    KeyValue,
    /// The application's variables, with synchronous functions
    #[value(name = "souk-variables")]
    Variables,
    /// HTTP: bodies with a limit, headers, entity tags, responses
    #[value(name = "souk-web")]
    Web,
    /// The request id and the deadline of the call
    #[value(name = "souk-call")]
    Call,
    /// Tests of applications
    #[value(skip)]
    Test,
}

/// The files of a library: the path in the library, and the text.
macro_rules! files {
    ($place:literal: $($file:literal),+ $(,)?) => {
        &[$(($file, include_str!(concat!("../../../../", $place, "/", $file)))),+]
    };
}

impl Library {
    #[cfg(test)]
    pub(super) const ALL: [Library; 6] =
        [Library::Database, Library::KeyValue, Library::Variables, Library::Web, Library::Call, Library::Test];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Library::Database => "souk-database",
            Library::KeyValue => "souk-key-value",
            Library::Variables => "souk-variables",
            Library::Web => "souk-web",
            Library::Call => "souk-call",
            Library::Test => "souk-test",
        }
    }

    /// Its path in a checkout of Souk.
    pub(super) fn place(self) -> &'static str {
        match self {
            Library::Database => "components/libraries/database",
            Library::KeyValue => "components/libraries/key-value",
            Library::Variables => "components/libraries/variables",
            Library::Web => "components/libraries/web",
            Library::Call => "components/libraries/call",
            Library::Test => "tests/souk-test",
        }
    }

    /// Its files, without those for its own tests.
    pub(super) fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Library::Database => files!("components/libraries/database":
                "Cargo.toml", "src/bindings.rs", "src/compose.rs", "src/connection.rs", "src/lib.rs", "src/native/mod.rs",
                "src/native/postgres.rs", "src/native/sqlite.rs", "src/row.rs", "src/statement.rs", "src/transaction.rs",
                "wit/postgres.wit"),
            Library::KeyValue => files!("components/libraries/key-value":
                "Cargo.toml", "src/bindings.rs", "src/lib.rs", "wit/atomic.wit", "wit/batch.wit", "wit/store.wit",
                "wit/watch.wit", "wit/world.wit"),
            Library::Variables => files!("components/libraries/variables":
                "Cargo.toml", "src/bindings.rs", "src/lib.rs", "wit/package.wit",
                "wit/variables.wit"),
            Library::Web => files!("components/libraries/web":
                "Cargo.toml", "src/client.rs", "src/etag.rs", "src/lib.rs", "src/plain.rs", "src/request.rs", "src/response.rs",
                "wit/handler.wit"),
            Library::Call => files!("components/libraries/call":
                "Cargo.toml", "src/bindings.rs", "src/lib.rs", "wit/context.wit"),
            Library::Test => files!("tests/souk-test":
                "Cargo.toml", "src/lib.rs", "src/app/mod.rs", "src/app/host.rs", "src/app/http.rs", "src/app/process.rs",
                "src/app/stand_in.rs"),
        }
    }
}

/// Writes a library into the application and returns its path. An existing one stays unchanged.
pub(super) fn write(changes: &mut Changes, library: Library) -> Result<String, ScaffoldError> {
    let folder = format!("libraries/{}", library.name());
    if changes.read(format!("{folder}/Cargo.toml")).is_some() {
        return Ok(folder);
    }
    if library == Library::Database {
        write(changes, Library::Variables)?;
    }
    for (name, text) in library.files() {
        let text = match *name {
            "Cargo.toml" => manifest(text)?,
            _ => without_own_tests(text),
        };
        changes.create(format!("{folder}/{name}"), text)?;
    }
    Ok(folder)
}

/// Removes what only Souk's own tests need: the line or the block after a line with one of these attributes.
fn without_own_tests(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if ["#[cfg(test)]", "#[cfg(feature = \"servers\")]"].contains(&line) {
            if lines.next().is_some_and(|line| line.ends_with('{')) {
                lines.by_ref().find(|line| *line == "}");
            }
        } else {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The manifest of a library, with the values that it inherits from its workspace.
fn manifest(text: &str) -> Result<String, ScaffoldError> {
    let fault = |what: &str| {
        ScaffoldError::new(format!("a library of souk: {what}"), "this is a bug in Souk: please report it")
    };
    let parse = |text: &str| text.parse::<DocumentMut>().map_err(|error| fault(error.message()));
    let (mut manifest, workspace) = (parse(text)?, parse(WORKSPACE)?);
    let shared = |table: &str| workspace.get("workspace").and_then(|w| w.get(table)).and_then(Item::as_table_like);
    let (package, dependencies) = (shared("package"), shared("dependencies"));
    for unwanted in ["lints", "dev-dependencies", "features"] {
        manifest.remove(unwanted);
    }
    if let (Some(own), Some(package)) = (manifest.get_mut("package").and_then(Item::as_table_like_mut), package) {
        for (name, _) in inherited(own) {
            own.insert(&name, package.get(&name).cloned().ok_or_else(|| fault(&name))?);
        }
    }
    let dependencies = dependencies.ok_or_else(|| fault("it has no dependencies"))?;
    let mut tables: Vec<&mut dyn TableLike> = Vec::new();
    for (name, item) in manifest.iter_mut() {
        match name.get() {
            "dependencies" => tables.extend(item.as_table_like_mut()),
            "target" => {
                let targets = item.as_table_like_mut().into_iter().flat_map(|targets| targets.iter_mut());
                let own = targets.filter_map(|(_, target)| target.get_mut("dependencies"));
                tables.extend(own.filter_map(Item::as_table_like_mut));
            }
            _ => {}
        }
    }
    for table in tables {
        for (name, own) in inherited(table) {
            let shared = dependencies.get(&name).ok_or_else(|| fault(&name))?;
            table.insert(&name, Item::Value(Value::InlineTable(dependency(&name, shared, &own))));
        }
    }
    Ok(manifest.to_string())
}

/// The keys of a table that inherit their value from the workspace.
fn inherited(table: &dyn TableLike) -> Vec<(String, Item)> {
    let from_workspace = |item: &Item| item.get("workspace").and_then(Item::as_bool) == Some(true);
    table.iter().filter(|(_, item)| from_workspace(item)).map(|(name, item)| (name.to_owned(), item.clone())).collect()
}

/// A dependency as in the workspace, with what the library adds. Another library is in the folder beside it.
fn dependency(name: &str, shared: &Item, own: &Item) -> InlineTable {
    let mut table = match (shared.as_str(), shared.as_table_like()) {
        (Some(version), _) => InlineTable::from_iter([("version", Value::from(version))]),
        (None, Some(shared)) => {
            shared.iter().filter_map(|(key, item)| Some((key.to_owned(), item.as_value()?.clone()))).collect()
        }
        (None, None) => InlineTable::new(),
    };
    if table.contains_key("path") {
        table = InlineTable::from_iter([("path", Value::from(format!("../{name}")))]);
    }
    let own = own.as_table_like().map(|own| own.iter().filter(|(key, _)| *key != "workspace").collect::<Vec<_>>());
    for (key, item) in own.into_iter().flatten() {
        match (table.get_mut(key).and_then(Value::as_array_mut), item.as_array()) {
            (Some(features), Some(more)) => more.iter().for_each(|feature| features.push(feature.clone())),
            _ => {
                table.extend(item.as_value().map(|value| (key.to_owned(), value.clone())));
            }
        }
    }
    table
}
