//! `[application.tool.souk.warnings]`: warnings at every start while a variable has a certain value.
//!
//! A setting that opens an application to everyone is right in some places and a disaster in others. Only the
//! application knows which of its variables are such settings; the host logs its warning when one is on.

use super::declared::{Declared, PREFIX, Value, Warning, check_named, environment_name};
use super::table::{At, File, Table};
use std::collections::BTreeMap;

/// Reads the table into the variables that it names.
pub(super) fn read(table: &Table<'_, '_>, declared: &mut BTreeMap<String, Declared>) {
    const FIX: &str = "write `open_access = { value = \"true\", message = \"anyone may write\" }`";
    for (name, value) in table.entries() {
        let Some(mut entry) = table.entry(&name, value) else { continue };
        let (value, message) = (entry.required_string("value", FIX), entry.required_string("message", FIX));
        entry.finish();
        let variable = At { value: name.value.to_owned(), line: name.line };
        if !check_named(table, "warnings", &variable, declared) {
            continue;
        }
        if let (Some(known), Some(value), Some(message)) = (declared.get_mut(name.value), value, message) {
            known.warning = Some(Warning { line: name.line, value: value.value, message: message.value });
        }
    }
}

/// Reports the warnings whose variable has the value.
pub(super) fn report(declared: &BTreeMap<String, Declared>, values: &BTreeMap<String, Value>, manifest: File<'_>) {
    for (name, variable) in declared {
        let Some(warning) = &variable.warning else { continue };
        if values.get(name).is_some_and(|value| value.expose() == warning.value) {
            let fix = format!("if that is not meant, set {} to something else", environment_name(PREFIX, name));
            manifest.report.warning(manifest.diagnostic(Some(warning.line), None, warning.message.clone(), fix));
        }
    }
}
