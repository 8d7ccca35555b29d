//! The keys for a component's database: `database_url`, `migrations`, `retired`, `additive` and `seed` under
//! `[component.NAME.tool.souk]`.
//!
//! The file of a migration that ran must not be removed, because every host compares the history with the files.
//! `retired` lists the numbers of migrations that were removed on purpose. A number that ran once is never used again.

use super::Component;
use super::declared::{Declared, Value, check_named, is_set};
use super::draft::{SeedTemplate, Templates};
use super::table::{At, File, Table};
use super::template::template;
use crate::application::Seed;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Reads the keys for the component's database.
pub(super) fn read(
    souk: &mut Table<'_, '_>,
    component: &mut Component,
    templates: &mut Templates,
    dir: &Path,
    declared: &BTreeMap<String, Declared>,
) {
    if let Some(url) = souk.string("database_url") {
        templates.database = template(souk, url.line, &url.value, declared).map(|value| At { value, line: url.line });
    }
    if let Some(migrations) = souk.string("migrations") {
        let files = "`sqlite/NNNN_name.sql` or `postgres/NNNN_name.sql`";
        component.migrations = Some(folder(souk, dir, &migrations, "the folder of migrations", files));
    }
    component.retired = numbers(souk, "retired", component.migrations.is_some());
    component.additive = numbers(souk, "additive", component.migrations.is_some());
    if let Some(seed) = souk.table("seed") {
        read_seed(seed, component, templates, dir, declared);
    }
}

/// The numbers of migrations under `key`.
fn numbers(souk: &mut Table<'_, '_>, key: &'static str, has_migrations: bool) -> Vec<i32> {
    let mut numbers = Vec::new();
    for number in souk.strings(key) {
        let four_digits = number.value.len() == 4 && number.value.bytes().all(|digit| digit.is_ascii_digit());
        match number.value.parse() {
            Ok(version) if four_digits => numbers.push(version),
            _ => {
                let message = format!("`{}` in `{key}` is not the number of a migration", number.value);
                souk.error(number.line, message, "write the four digits that its file begins with: \"0002\"");
            }
        }
        if !has_migrations {
            let message = format!("`{key}` is about migrations, but the component has none");
            souk.error(number.line, message, format!("add `migrations`, or remove `{key}`"));
        }
    }
    numbers
}

fn read_seed(
    mut seed: Table<'_, '_>,
    component: &mut Component,
    templates: &mut Templates,
    dir: &Path,
    declared: &BTreeMap<String, Declared>,
) {
    let unless = seed.string("unless").filter(|unless| check_named(&seed, "unless", unless, declared));
    let first_start = seed
        .string("first_start")
        .and_then(|text| template(&seed, text.line, &text.value, declared).map(|value| At { value, line: text.line }));
    match seed.string("folder") {
        Some(name) => {
            let files = "`add.sql`";
            let folder = folder(&mut seed, dir, &name, "the folder of the seed", files);
            component.seed = Some(Seed { folder, at_first_start: false });
        }
        None => seed.error(seed.line, "the seed has no `folder`", "write `folder = \"FOLDER\"`"),
    }
    if component.migrations.is_none() {
        let message = "a seed needs tables that migrations create, but the component has no migrations";
        seed.error(seed.line, message, "add `migrations`, or remove `seed`");
    }
    templates.seed = Some(SeedTemplate { first_start, unless: unless.map(|unless| unless.value) });
    seed.finish();
}

/// The folder that `name` names, which must exist.
fn folder(table: &mut Table<'_, '_>, dir: &Path, name: &At<String>, what: &str, files: &str) -> PathBuf {
    let path = dir.join(&name.value);
    if !path.is_dir() {
        let (message, fix) = match path.exists() {
            true => ("is a file, not a folder", format!("name the folder that holds {files}")),
            false => (
                "does not exist",
                "create the folder, or correct the path, which is relative to the manifest's folder".to_owned(),
            ),
        };
        table.error(name.line, format!("{what} `{}` {message}", name.value), fix);
    }
    path
}

/// Decides whether the first start adds `component`'s seed.
pub(super) fn fill_in(
    component: &mut Component,
    seed: &SeedTemplate,
    values: &BTreeMap<String, Value>,
    file: File<'_>,
) {
    let Some(first_start) = &seed.first_start else { return };
    let Some(value) = first_start.value.resolve(values) else { return };
    let wanted = match value.expose() {
        "true" => true,
        "false" | "" => false,
        _ => {
            let names: Vec<_> = first_start.value.variables().collect();
            let message = "`first_start` of the seed must be \"true\" or \"false\"".to_owned();
            let fix = match names.as_slice() {
                [] => "write one of the two".to_owned(),
                names => format!("set `{}` to one of the two", names.join("`, `")),
            };
            file.report.error(file.diagnostic(Some(first_start.line), Some(&component.name), message, fix));
            false
        }
    };
    let off = seed.unless.as_ref().is_some_and(|unless| is_set(values, unless));
    if let Some(seed) = &mut component.seed {
        seed.at_first_start = wanted && !off;
    }
}

#[cfg(test)]
mod tests {
    use crate::Seed;
    use crate::tests::{app, with_component};

    const SEED: &str = "[component.a.tool.souk]\nmigrations = \"m\"\nretired = [\"0002\", \"0010\"]\n\
                        [component.a.tool.souk.seed]\nfolder = \"s\"\nfirst_start = \"{{ seed }}\"\nunless = \"key\"\n\
                        [variables]\nseed.default = \"true\"\nkey.default = \"\"\n";

    #[test]
    fn the_first_start_adds_a_seed_when_its_variable_says_so_and_no_other_forbids_it() {
        for (variables, at_first_start) in [
            (&[][..], true),
            (&[("SPIN_VARIABLE_SEED", "false")], false),
            (&[("SPIN_VARIABLE_SEED", "")], false),
            (&[("SPIN_VARIABLE_KEY", "sk")], false),
            (&[("SPIN_VARIABLE_KEY", "")], true),
        ] {
            let mut app = app(&with_component(SEED)).file("m/sqlite/0001_a.sql", "").file("s/sqlite/add.sql", "");
            for (name, value) in variables {
                app = app.env(name, value);
            }
            let application = app.load().application;
            let component = &application.components["a"];
            assert_eq!(component.retired, [2, 10]);
            let folder = app.dir.path().join("s");
            assert_eq!(component.seed, Some(Seed { folder, at_first_start }), "{variables:?}");
        }
    }

    #[test]
    fn a_first_start_value_other_than_true_or_false_is_an_error_that_names_the_variable() {
        let app = app(&with_component(SEED)).file("m/sqlite/0001_a.sql", "").file("s/sqlite/add.sql", "");
        let error = app.env("SPIN_VARIABLE_SEED", "maybe").errors().to_string();
        assert!(error.contains("must be \"true\" or \"false\"") && error.contains("set `seed`"), "{error}");
    }
}
