//! The manifest's top level: version, `[application]` and `[component]`. [`super::triggers`] reads triggers,
//! [`super::component`] reads components.

use super::component;
use super::draft::{Draft, Templates, read_limits, read_targets};
use super::names::check_component;
use super::peers::{self, Reserved};
use super::static_files;
use super::table::{File, Table};
use super::{Application, Component};
use super::{generated, inherit, redis_trigger, triggers, variables, warnings};
use crate::limits::EdgeLimits;
use std::collections::BTreeMap;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The fixes for wrong values of `openapi` and of `command` in `test`.
const OPENAPI_FIX: &str = "write the path at which the application serves it: `openapi = \"/api/openapi.json\"`";
const TEST_FIX: &str = "write the shell command that tests the application: `command = \"cargo test\"`";

/// Reads the whole document; `None` when it is not a manifest of version 2.
pub(super) fn read(file: File<'_>, root: &DeTable<'_>, dir: &Path) -> Option<Draft> {
    let mut root = Table::new(file, "the manifest", 1, root);
    read_version(&mut root)?;

    let application = Application {
        name: String::new(),
        version: String::new(),
        description: String::new(),
        dir: dir.to_owned(),
        manifest: file.source.path.clone(),
        base_path: "/".to_owned(),
        routes: Vec::new(),
        static_folders: Vec::new(),
        static_routes: Vec::new(),
        redis_triggers: Vec::new(),
        components: BTreeMap::new(),
        limits: EdgeLimits::default(),
        trusted_proxies: Vec::new(),
        key_value_places: BTreeMap::new(),
        sqlite_paths: BTreeMap::new(),
        state_dir: None,
        test: None,
        openapi: None,
        off: BTreeMap::new(),
        conditional: BTreeMap::new(),
        nats: None,
        secrets: BTreeMap::new(),
        variable_places: BTreeMap::new(),
        only: None,
        admin_hosts: Vec::new(),
        stand_ins: BTreeMap::new(),
    };
    // Otherwise every use of a component or variable would be reported too.
    if root.misspelt("component") || root.misspelt("variables") {
        return None;
    }
    let declared = root.table("variables").map(variables::read_declared).unwrap_or_default();
    let mut draft = Draft::new(application, declared);
    match root.table("application") {
        Some(table) => read_application(table, &mut draft),
        None if root.misspelt("application") || root.entries().iter().any(|(name, _)| name.value == "application") => {}
        None => root.error(1, "the manifest has no [application]", "write `[application]` and `name = \"...\"` in it"),
    }

    if let Some(components) = root.table("component") {
        for (name, value) in components.entries() {
            if let Err(error) = check_component(name.value) {
                let message = format!("`{}` cannot be a component's name: {error}", name.value);
                components.error(name.line, message, "name it in kebab-case: `order-history`");
            }
            if let Some(table) = components.entry(&name, value) {
                draft.add(component::read(table, name.value, dir, &draft.declared));
            } else {
                // Kept by name, so that uses of it are not reported too.
                draft.add((Component::new(name.value, name.line, dir), Templates::default()));
            }
        }
    }
    if let Some(triggers) = root.table("trigger") {
        triggers::read(triggers, &draft.application.base_path.clone(), &mut draft, dir);
    }
    draft.reserved.mark(&mut draft.application.routes, file);
    root.finish();
    inherit::resolve(&mut draft, file);
    Some(draft)
}

fn read_version(root: &mut Table<'_, '_>) -> Option<()> {
    const FIX: &str = "write `spin_manifest_version = 2` as the first line";
    const OLD: &str =
        "this is a manifest of version 1: convert it with `spin doctor`, or write a new one for version 2";
    let Some((line, value)) = root.value("spin_manifest_version") else {
        let fix = if root.value("spin_version").is_some() { OLD } else { FIX };
        root.error(1, "the manifest does not say its version", fix);
        return None;
    };
    match value.get_ref() {
        DeValue::Integer(version) if version.as_str() == "2" => Some(()),
        DeValue::Integer(version) => {
            let fix = if version.as_str() == "1" { OLD } else { FIX };
            root.error(line, format!("manifest version {} is not supported", version.as_str()), fix);
            None
        }
        DeValue::String(version) if version == "1" => {
            root.error(line, "manifest version 1 is not supported", OLD);
            None
        }
        other => {
            root.error(line, format!("`spin_manifest_version` must be 2, but is of type {}", other.type_str()), FIX);
            None
        }
    }
}

fn read_application(mut table: Table<'_, '_>, draft: &mut Draft) {
    let application = &mut draft.application;
    if let Some(name) = table.required_string("name", "write `name = \"...\"`") {
        if name.value.trim().is_empty() {
            table.error(name.line, "the application's name is empty", "give it a name");
        }
        application.name = name.value;
    }
    let mut text = |key| table.string(key).map(|text| text.value).unwrap_or_default();
    application.version = text("version");
    application.description = text("description");
    table.strings("authors");
    read_targets(&mut table);

    if let Some(triggers) = table.table("trigger") {
        read_trigger_settings(&triggers, draft);
    }
    if let Some(mut souk) = table.table("tool").and_then(|mut tool| tool.table("souk")) {
        if let Some(limits) = souk.table("limits") {
            read_limits(&limits, EdgeLimits::TABLE, |key, value| draft.application.limits.set(key, value));
        }
        if let Some(variables) = souk.table("variables") {
            generated::read(&variables, &mut draft.declared);
        }
        if let Some(table) = souk.table("warnings") {
            warnings::read(&table, &mut draft.declared);
        }
        let dir = draft.application.dir.clone();
        let folders = souk.tables("static").into_iter().filter_map(|table| static_files::read(table, &dir));
        draft.application.static_folders.extend(folders);
        if let Some(mut test) = souk.table("test") {
            draft.application.test = test.required_string("command", TEST_FIX).map(|command| command.value);
            test.finish();
        }
        if let Some(openapi) = souk.string("openapi") {
            match openapi.value.starts_with('/') {
                true => draft.application.openapi = Some(openapi.value),
                false => souk.error(openapi.line, "`openapi` does not begin with `/`", OPENAPI_FIX),
            }
        }
        draft.application.trusted_proxies = peers::read_trusted(&mut souk);
        draft.reserved = Reserved::read(&mut souk);
        souk.finish();
    }
    table.finish();
}

/// Reads `[application.trigger]`: settings for all triggers of a kind.
fn read_trigger_settings(triggers: &Table<'_, '_>, draft: &mut Draft) {
    for (kind, value) in triggers.entries() {
        if !triggers::KINDS.contains(&kind.value) {
            triggers::refuse(triggers, kind.value, kind.line);
            continue;
        }
        let Some(mut table) = triggers.entry(&kind, value) else { continue };
        if kind.value == "redis" {
            draft.redis_address = redis_trigger::read_address(&mut table, &draft.declared);
        } else if let Some(base) = table.string("base") {
            match base.value.strip_prefix('/') {
                Some(_) => draft.application.base_path = base.value,
                None => table.error(base.line, "`base` does not begin with `/`", "write `base = \"/...\"`"),
            }
        }
        table.finish();
    }
}
