//! `[component.NAME.profile.NAME]`: settings that replace a component's own when Spin builds or runs a profile.
//!
//! Spin uses them only with `--profile`, which Souk does not have, so Souk never uses them. It reads them nevertheless,
//! to find mistakes.

use super::build::read_commands;
use super::dependencies::{self, read_environment};
use super::source;
use super::table::Table;
use std::path::Path;

/// Reads all profiles of `component`.
pub(super) fn read(table: &mut Table<'_, '_>, dir: &Path) {
    let Some(profiles) = table.table("profile") else { return };
    for (name, value) in profiles.entries() {
        let Some(mut profile) = profiles.entry(&name, value) else { continue };
        if profile.value("source").is_some() {
            source::read(&mut profile, dir);
        }
        read_environment(&mut profile, "environment");
        if let Some(dependencies) = profile.table("dependencies") {
            dependencies::read_table(&dependencies, dir, false, &mut Vec::new(), &mut Vec::new());
        }
        if let Some(mut build) = profile.table("build") {
            read_commands(&mut build);
            build.finish();
        }
        profile.finish();
    }
}
