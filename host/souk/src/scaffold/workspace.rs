//! The Cargo workspace (`Cargo.toml`) of an application with components in Rust.

use super::changes::{Changes, ScaffoldError};
use super::libraries::Library;
use super::{libraries, template};
use toml_edit::{DocumentMut, InlineTable, Item, Table, Value};

const WORKSPACE: &str = include_str!("templates/rust/workspace.toml");
const COMPONENT: &str = include_str!("templates/rust/component.toml");
const CONFIG: &str = include_str!("templates/rust/config.toml");
/// Its path.
const FILE: &str = "Cargo.toml";
/// The path of cargo's configuration.
const CONFIG_FILE: &str = ".cargo/config.toml";

/// The workspace during an edit.
pub(super) struct WorkspaceEdit {
    document: DocumentMut,
}

impl WorkspaceEdit {
    /// Opens the application's workspace, or starts a new one.
    pub(super) fn open(changes: &mut Changes, application: &str) -> Result<WorkspaceEdit, ScaffoldError> {
        let text = match changes.read(FILE) {
            Some(text) => text,
            None => {
                // The user may have one without a workspace.
                if changes.read(CONFIG_FILE).is_none() {
                    changes.create(CONFIG_FILE, CONFIG.to_owned())?;
                }
                template::fill(WORKSPACE, &[("name", application)])
            }
        };
        let wrong = |what: String| ScaffoldError::new(format!("{FILE}: {what}"), "correct it first");
        let document: DocumentMut =
            text.parse().map_err(|error: toml_edit::TomlError| wrong(error.message().to_owned()))?;
        if document.get("workspace").is_none() {
            let fix = "add an empty `[workspace]` to it: components in Rust are members of the application's workspace";
            return Err(ScaffoldError::new(format!("{FILE} is not a workspace"), fix));
        }
        Ok(WorkspaceEdit { document })
    }

    /// Adds a member with its `Cargo.toml`; `features` are the features of spin-sdk that it uses.
    pub(super) fn member(
        &mut self,
        changes: &mut Changes,
        name: &str,
        features: &[&str],
        libraries: &[Library],
    ) -> Result<(), ScaffoldError> {
        if self.document.get("package").and_then(|package| package.get("name")).and_then(Item::as_str) == Some(name) {
            let message = format!("the package of the application's tests is called `{name}`");
            return Err(ScaffoldError::new(message, "choose another name for the component, or for that package"));
        }
        let workspace = self.document.get_mut("workspace").and_then(Item::as_table_like_mut);
        let members = workspace
            .map(|table| table.entry("members").or_insert_with(|| Item::Value(Value::Array(Default::default()))));
        if let Some(members) = members.and_then(Item::as_array_mut)
            && !members.iter().any(|member| member.as_str() == Some(name))
        {
            members.push(name);
        }
        let mut manifest: DocumentMut = template::fill(COMPONENT, &[("component", name)])
            .parse()
            .map_err(|error: toml_edit::TomlError| ScaffoldError::new(error.message(), "this is a bug in Souk"))?;
        let dependencies = manifest.entry("dependencies").or_insert_with(|| Item::Table(Table::new()));
        if let Some(dependencies) = dependencies.as_table_like_mut() {
            for library in libraries {
                dependencies.insert(library.name(), Item::Value(Value::InlineTable(inherited(&[]))));
            }
            dependencies.insert("spin-sdk", Item::Value(Value::InlineTable(inherited(features))));
        }
        changes.create(format!("{name}/Cargo.toml"), manifest.to_string())
    }

    /// Lets a member depend on a library that the workspace has.
    ///
    /// # Errors
    /// When the component is no member of the workspace, or its `Cargo.toml` is not TOML.
    pub(super) fn depend(&self, changes: &mut Changes, member: &str, library: Library) -> Result<(), ScaffoldError> {
        let path = format!("{member}/{FILE}");
        let text = changes.read(&path).ok_or_else(|| {
            let fix = "name a component in Rust whose folder has a Cargo.toml";
            ScaffoldError::new(format!("there is no {path}"), fix)
        })?;
        let mut manifest: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            ScaffoldError::new(format!("{path}: {}", error.message()), "correct it first")
        })?;
        let dependencies = manifest.entry("dependencies").or_insert_with(|| Item::Table(Table::new()));
        if let Some(dependencies) = dependencies.as_table_like_mut()
            && !dependencies.contains_key(library.name())
        {
            dependencies.insert(library.name(), Item::Value(Value::InlineTable(inherited(&[]))));
        }
        changes.replace(path, manifest.to_string());
        Ok(())
    }

    /// Adds a library as a dependency of the members, or of the tests. `souk` is a checkout of Souk that contains it.
    pub(super) fn library(
        &mut self,
        changes: &mut Changes,
        library: Library,
        souk: Option<&str>,
    ) -> Result<(), ScaffoldError> {
        let path = match souk {
            Some(souk) => format!("{}/{}", souk.trim_end_matches('/'), library.place()),
            None => libraries::write(changes, library)?,
        };
        let table = match library {
            Library::Test => self.document.entry("dev-dependencies").or_insert_with(|| Item::Table(Table::new())),
            _ => {
                let workspace = self.document.entry("workspace").or_insert_with(|| Item::Table(Table::new()));
                let Some(workspace) = workspace.as_table_like_mut() else { return Ok(()) };
                workspace.entry("dependencies").or_insert_with(|| Item::Table(Table::new()))
            }
        };
        let mut dependency = InlineTable::new();
        dependency.insert("path", path.into());
        if let Some(table) = table.as_table_like_mut()
            && !table.contains_key(library.name())
        {
            table.insert(library.name(), Item::Value(Value::InlineTable(dependency)));
        }
        Ok(())
    }

    /// The checkout of Souk that contains the application's libraries, if they are not copies.
    pub(super) fn checkout(&self) -> Option<String> {
        let path = self.document.get("dev-dependencies")?.get(Library::Test.name())?.get("path")?.as_str()?;
        Some(path.strip_suffix(Library::Test.place())?.trim_end_matches('/').to_owned())
    }

    /// Passes the edited workspace to `changes`.
    pub(super) fn close(self, changes: &mut Changes) {
        changes.replace(FILE, self.document.to_string());
    }
}

/// A dependency inherited from the workspace, with these features.
fn inherited(features: &[&str]) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("workspace", true.into());
    if !features.is_empty() {
        table.insert("features", Value::Array(features.iter().copied().collect()));
    }
    table
}
