//! Edits of `spin.toml`.

use super::changes::{Changes, ScaffoldError};
use super::new_component::Language;
use souk_manifest::{RoutePattern, nearest_first};
use std::fmt::Write as _;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value};

/// The manifest during an edit.
pub(super) struct ManifestEdit {
    name: String,
    document: DocumentMut,
}

impl ManifestEdit {
    /// Opens the manifest `name` in the folder of `changes`.
    pub(super) fn open(changes: &Changes, name: &str) -> Result<ManifestEdit, ScaffoldError> {
        let path = changes.folder().join(name);
        let text = changes.read(name).ok_or_else(|| {
            let fix = "create an application with `souk new NAME`, or name its manifest with -f";
            ScaffoldError::new(format!("there is no manifest {}", path.display()), fix)
        })?;
        let document = text.parse().map_err(|error: toml_edit::TomlError| {
            ScaffoldError::new(format!("{} is not TOML: {}", path.display(), error.message()), "correct it first")
        })?;
        Ok(ManifestEdit { name: name.to_owned(), document })
    }

    /// The application's name.
    pub(super) fn application(&self) -> &str {
        self.document
            .get("application")
            .and_then(|table| table.get("name"))
            .and_then(Item::as_str)
            .unwrap_or("application")
    }

    /// The table of a component.
    pub(super) fn component(&self, name: &str) -> Option<&Item> {
        self.document.get("component")?.get(name)
    }

    /// Checks that there is a component `name`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn known(&self, name: &str) -> Result<(), ScaffoldError> {
        if self.component(name).is_some() {
            return Ok(());
        }
        let components = self.components();
        let fix = match nearest_first(name, components.iter().map(String::as_str)).join(", ") {
            none if none.is_empty() => format!("create it with `souk add {name}`"),
            known => format!("name an existing one ({known}), or create it with `souk add {name}`"),
        };
        Err(ScaffoldError::new(format!("there is no component `{name}`"), fix))
    }

    /// The names of all components.
    pub(super) fn components(&self) -> Vec<String> {
        let table = self.document.get("component").and_then(Item::as_table_like);
        table.map(|table| table.iter().map(|(name, _)| name.to_owned()).collect()).unwrap_or_default()
    }

    /// The route of a component, if it has one.
    pub(super) fn route(&self, component: &str) -> Option<&str> {
        let triggers = self.document.get("trigger")?.get("http")?.as_array_of_tables()?;
        let own = triggers.iter().find(|table| table.get("component").and_then(Item::as_str) == Some(component));
        own?.get("route")?.as_str()
    }

    /// The component with this route.
    pub(super) fn at_route(&self, route: &str) -> Option<&str> {
        let triggers = self.document.get("trigger")?.get("http")?.as_array_of_tables()?;
        let wanted = RoutePattern::parse(route).ok()?;
        let parsed = |table: &Table| RoutePattern::parse(table.get("route")?.as_str()?).ok();
        let there = triggers.iter().find(|table| parsed(table).is_some_and(|pattern| pattern.same_shape(&wanted)));
        there?.get("component")?.as_str()
    }

    /// The interfaces in a component's `exports`.
    pub(super) fn exports(&self, component: &str) -> Vec<String> {
        let exports = self.component(component).and_then(|table| table.get("tool")?.get("souk")?.get("exports"));
        let exports = exports.and_then(Item::as_array).into_iter().flatten();
        exports.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Adds tables at the end.
    pub(super) fn append(&mut self, tables: &str) -> Result<(), ScaffoldError> {
        let mut text = self.document.to_string();
        if !text.ends_with("\n\n") {
            text.push('\n');
        }
        text.push_str(tables);
        self.document = text.parse().map_err(|error: toml_edit::TomlError| {
            let message = format!("tables cannot be added at the end of {}: {}", self.name, error.message());
            ScaffoldError::new(message, "write `component` and `trigger` as tables in [brackets]")
        })?;
        Ok(())
    }

    /// Declares a variable with this value, unless the name is already declared.
    pub(super) fn variable(&mut self, name: &str, value: InlineTable) {
        let variables = self.document.entry("variables").or_insert_with(|| Item::Table(Table::new()));
        if let Some(table) = variables.as_table_like_mut()
            && !table.contains_key(name)
        {
            table.insert(name, Item::Value(Value::InlineTable(value)));
        }
    }

    /// The command that tests the application.
    fn current_test_command(&self) -> Option<&str> {
        self.document.get("application")?.get("tool")?.get("souk")?.get("test")?.get("command")?.as_str()
    }

    /// The language of the application's tests, if the command that runs them shows it.
    pub(super) fn test_language(&self) -> Option<Language> {
        let command = self.current_test_command()?;
        let tool = |language: Language| language.choose("cargo test", "node --test", "unittest");
        Language::ALL.into_iter().find(|language| command.contains(tool(*language)))
    }

    /// Lets `souk test` run the tests in this language too. A command that the user wrote stays as it is.
    pub(super) fn test_command(&mut self, language: Language) -> Result<(), ScaffoldError> {
        let command = language.test_command();
        let tool = self.document.get("application").and_then(|table| table.get("tool"));
        if tool.and_then(|tool| tool.get("souk")?.get("test")).is_none() {
            let mut tables =
                "# `souk test` builds and starts the application, and runs this with SOUK_URL set.\n".to_owned();
            let _ = write!(tables, "[application.tool.souk.test]\ncommand = \"{command}\"\n");
            return self.append(&tables);
        }
        let made = |current: &str| Language::ALL.iter().any(|language| current == language.test_command());
        let Some(current) = self.current_test_command().filter(|current| made(current) && *current != command) else {
            return Ok(());
        };
        let both = format!("{current} && {command}");
        if let Some(table) = self.document.get_mut("application").and_then(|table| table.get_mut("tool"))
            && let Some(item) = table.get_mut("souk").and_then(|table| table.get_mut("test")?.get_mut("command"))
        {
            *item = Item::Value(both.into());
        }
        Ok(())
    }

    /// Adds these interfaces of `callee` as dependencies of `caller`; those in `durable` become durable links.
    pub(super) fn link(&mut self, caller: &str, callee: &str, interfaces: &[String], durable: &[String]) {
        let Some(component) = self.document.get_mut("component").and_then(|table| table.get_mut(caller)) else {
            return;
        };
        let Some(component) = component.as_table_like_mut() else { return };
        let dependencies = component.entry("dependencies").or_insert_with(|| Item::Table(Table::new()));
        for interface in interfaces {
            let mut target = InlineTable::new();
            target.insert("component", callee.into());
            if let Some(table) = dependencies.as_table_like_mut() {
                table.insert(interface, Item::Value(Value::InlineTable(target)));
            }
        }
        if durable.is_empty() {
            return;
        }
        let tool = component.entry("tool").or_insert_with(implicit);
        let souk = tool.as_table_like_mut().map(|tool| tool.entry("souk").or_insert_with(|| Item::Table(Table::new())));
        let Some(souk) = souk.and_then(Item::as_table_like_mut) else { return };
        let list = souk.entry("durable").or_insert_with(|| Item::Value(Value::Array(Array::new())));
        if let Some(list) = list.as_array_mut() {
            for interface in durable {
                if !list.iter().any(|entry| entry.as_str() == Some(interface)) {
                    list.push(interface.as_str());
                }
            }
        }
    }

    /// Passes the edited manifest to `changes`.
    pub(super) fn close(self, changes: &mut Changes) {
        changes.replace(self.name, self.document.to_string());
    }
}

/// A table that only contains other tables.
fn implicit() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}
