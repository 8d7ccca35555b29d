//! `[component.NAME.build]`: the commands that build a component; its profiles have such commands too.

use super::Build;
use super::table::Table;
use std::path::Path;
use toml::de::DeValue;

/// Reads the table.
pub(super) fn read(mut table: Table<'_, '_>, dir: &Path) -> Option<Build> {
    let commands = read_commands(&mut table);
    let workdir = table.string("workdir").map_or_else(|| dir.to_owned(), |workdir| dir.join(workdir.value));
    let watch = table.strings("watch").into_iter().map(|path| path.value).collect();
    table.finish();
    Some(Build { commands, workdir, watch })
}

/// Reads `command` of a build table.
pub(super) fn read_commands(table: &mut Table<'_, '_>) -> Vec<String> {
    const FIX: &str = "write `command = \"cargo build ...\"`, or a list of commands";
    match table.value("command") {
        None => {
            table.error(table.line, format!("{} has no `command`", table.place), FIX);
            Vec::new()
        }
        Some((line, value)) => match value.get_ref() {
            DeValue::String(command) => vec![command.to_string()],
            DeValue::Array(list) if list.is_empty() => {
                table.error(line, "`command` is an empty list", FIX);
                Vec::new()
            }
            DeValue::Array(_) => table.strings("command").into_iter().map(|command| command.value).collect(),
            other => {
                table.mismatch("command", line, "a string or a list of strings", other);
                Vec::new()
            }
        },
    }
}
