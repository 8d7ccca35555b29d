//! Application variables: their declarations in `[variables]`, and the sources of their values.
//!
//! The sources, in Spin's order; the first that has a value wins:
//! 1. the command line, `--variable NAME=VALUE`;
//! 2. each `[[variables_provider]]` of runtime-config.toml, in the order of the file;
//! 3. the process's environment, `SPIN_VARIABLE_<NAME>`;
//! 4. the file `.env` beside the manifest, with the same names;
//! 5. `default` in the manifest;
//! 6. the host itself, for the variables under `[application.tool.souk.variables]`: see [`super::generated`].
//!
//! This module never prints a value, neither in errors nor by `Debug`.

use super::declared::{Declared, PREFIX, Value, environment_name};
use super::error::{Report, Source};
use super::generated::{self, HostValues};
use super::names::{check_variable, nearest};
use super::readers::{Origin, SecretFiles};
use super::table::{File, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Reads `[variables]`. A variable with a mistake counts as declared, so that its uses are not reported too.
pub(super) fn read_declared(table: Table<'_, '_>) -> BTreeMap<String, Declared> {
    let mut declared = BTreeMap::new();
    for (name, value) in table.entries() {
        if let Err(error) = check_variable(name.value) {
            let fix = "name it in lower_snake_case: `api_key`";
            table.error(name.line, format!("`{}` cannot be a variable's name: {error}", name.value), fix);
        }
        let entry = if value.get_ref().is_str() {
            // The value may be a secret, and is not shown.
            let fix = format!("write `{} = {{ default = \"...\" }}`, or `{{ required = true }}`", name.value);
            table.error(name.line, format!("variable `{}` is a text, and not a declaration", name.value), fix);
            None
        } else {
            table.entry(&name, value)
        };
        let Some(mut entry) = entry else {
            let unknown = Declared::new(name.line, None, true);
            declared.insert(name.value.to_owned(), unknown);
            continue;
        };
        entry.string("description");
        let wrong_default = entry.value("default").is_some_and(|(_, value)| !value.get_ref().is_str());
        let default = entry.string("default");
        let required = entry.boolean("required").is_some_and(|required| required.value);
        // The wrong value may be a secret.
        let secret = entry.value("secret").is_some_and(|(_, value)| value.get_ref().as_bool() != Some(false));
        entry.boolean("secret");
        match (&default, required) {
            (Some(default), true) => entry.error(
                default.line,
                format!("variable `{}` is required and has a default", name.value),
                "keep one of the two: a variable with a default always has a value",
            ),
            (None, false) if !wrong_default => entry.error(
                name.line,
                format!("variable `{}` has no default and is not required", name.value),
                "write `required = true`, or give it a `default`",
            ),
            _ => {}
        }
        entry.finish();
        let default = default.map(|default| default.value);
        declared.insert(name.value.to_owned(), Declared::new(name.line, default, secret));
    }
    declared
}

/// One source of values. Values can be secret, so there is no `Debug`.
pub(super) enum Provider {
    /// `--variable NAME=VALUE`; some values are read from files.
    CommandLine { values: BTreeMap<String, String>, files: BTreeMap<String, PathBuf> },
    /// `type = "static"`: values in runtime-config.toml.
    Static { values: BTreeMap<String, String>, file: Origin },
    /// `type = "env"`, and the default source: the environment, then a `.env` file.
    Environment { prefix: String, dotenv: BTreeMap<String, String>, file: Origin },
}

impl Provider {
    /// The prefix of its environment variables, without the `_`.
    pub(super) fn into_prefix(self) -> Option<String> {
        match self {
            Provider::CommandLine { .. } | Provider::Static { .. } => None,
            Provider::Environment { prefix, .. } => Some(prefix),
        }
    }

    fn get<'p>(&'p self, name: &str, process_env: &'p BTreeMap<String, String>) -> Option<&'p String> {
        match self {
            Provider::CommandLine { values, .. } | Provider::Static { values, .. } => values.get(name),
            Provider::Environment { prefix, dotenv, .. } => {
                let key = environment_name(prefix, name);
                process_env.get(&key).or_else(|| dotenv.get(&key))
            }
        }
    }

    /// Where this source has the value of `name`, for an operator.
    fn place(&self, name: &str, process_env: &BTreeMap<String, String>) -> String {
        match self {
            Provider::CommandLine { .. } => "--variable".to_owned(),
            Provider::Static { file, .. } => file.shown.display().to_string(),
            Provider::Environment { prefix, file, .. } => {
                let key = environment_name(prefix, name);
                match process_env.contains_key(&key) {
                    true => format!("{key} in the environment"),
                    false => format!("{key} in {}", file.shown.display()),
                }
            }
        }
    }

    /// Adds the files of this source that have values of secret variables.
    pub(super) fn add_files(&self, declared: &BTreeMap<String, Declared>, held: &mut SecretFiles) {
        let secret = || declared.iter().filter(|(_, variable)| variable.secret).map(|(name, _)| name.clone());
        match self {
            Provider::CommandLine { files, .. } => {
                for (name, path) in secret().filter_map(|name| files.get(&name).map(|path| (name.clone(), path))) {
                    held.add(&Origin { path: path.clone(), shown: path.clone() }, [name]);
                }
            }
            Provider::Static { values, file } => held.add(file, secret().filter(|name| values.contains_key(name))),
            Provider::Environment { prefix, dotenv, file } => {
                held.add(file, secret().filter(|name| dotenv.contains_key(&environment_name(prefix, name))));
            }
        }
    }
}

/// The values of all declared variables, from the `providers` in their order and then from the `host`.
///
/// A variable without a value is an error that names the environment variable to set. When other hosts run a part of
/// the application, `here` has the variables that this host's part uses; the others need no value. When the application
/// is `shared` with other hosts, no secret is generated.
pub(super) fn resolve(
    declared: &BTreeMap<String, Declared>,
    providers: &[Provider],
    process_env: &BTreeMap<String, String>,
    host: &HostValues,
    here: Option<&BTreeSet<&str>>,
    shared: bool,
    manifest: File<'_>,
) -> Resolved {
    let (mut values, mut places) = (BTreeMap::new(), BTreeMap::new());
    let mut missing = Vec::new();
    for (name, variable) in declared {
        let counts = |value: &&String| variable.generated.is_none() || !value.is_empty();
        let provided =
            providers.iter().find_map(|provider| Some((provider.get(name, process_env).filter(counts)?, provider)));
        let default = || Some((variable.default.as_ref()?, "its default".to_owned()));
        if let Some((value, place)) =
            provided.map(|(value, provider)| (value, provider.place(name, process_env))).or_else(default)
        {
            values.insert(name.clone(), Value::new(value.clone(), variable.secret));
            places.insert(name.clone(), place);
            continue;
        }
        if here.is_some_and(|here| !here.contains(name.as_str())) {
            continue;
        }
        if let Some(generated) = &variable.generated {
            places.insert(name.clone(), host.place(name, generated));
            missing.push((name, variable, generated));
            continue;
        }
        let message = format!("variable `{name}` is required and has no value");
        let key = environment_name(PREFIX, name);
        let fix = format!("set {key} in the environment or in `.env`, or give the variable a `default`");
        manifest.report.error(manifest.diagnostic(Some(variable.line), None, message, fix));
    }
    generated::make(missing, host, shared, &mut values, manifest);
    Resolved { values, places }
}

/// The values of variables, and where each comes from.
pub(super) struct Resolved {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) places: BTreeMap<String, String>,
}

/// Reports variables that are given on the command line and not declared; their values are not shown.
pub(super) fn check_given(given: &BTreeMap<String, String>, declared: &BTreeMap<String, Declared>, report: &Report) {
    let source = Source::new("--variable", "");
    let file = File { source: &source, report };
    for name in given.keys().filter(|name| !declared.contains_key(*name)) {
        let fix = match nearest(name, declared.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it: `{name} = {{ required = true }}` under [variables]"),
        };
        report.error(file.diagnostic(None, None, format!("the application has no variable `{name}`"), fix));
    }
}

/// Warns about `SPIN_VARIABLE_*` in the environment and in `.env` that match no declared variable.
pub(super) fn warn_of_strays<'k>(
    declared: &BTreeMap<String, Declared>,
    keys: impl Iterator<Item = &'k String>,
    manifest: File<'_>,
) {
    for key in keys {
        let Some(name) = key.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('_')) else { continue };
        let name = name.to_ascii_lowercase();
        if declared.contains_key(&name) {
            continue;
        }
        let fix = match nearest(&name, declared.keys().map(String::as_str)) {
            Some(known) => format!("did you mean {}?", environment_name(PREFIX, known)),
            None => format!("declare `{name}` under [variables], or unset {key}"),
        };
        let message = format!("{key} is set, but the application has no variable `{name}`");
        manifest.report.warning(manifest.diagnostic(None, None, message, fix));
    }
}

/// Reads a `.env` file. A missing file counts as empty, but is an error if it is `wanted`.
///
/// dotenvy's error contains the wrong line; only the line's number is reported.
pub(super) fn read_dotenv(path: &Path, shown: &Path, wanted: bool, report: &Report) -> BTreeMap<String, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !wanted => return BTreeMap::new(),
        Err(error) => {
            let source = Source::new(shown, "");
            let file = File { source: &source, report };
            let message = format!("cannot be read: {}", error.kind());
            report.error(file.diagnostic(None, None, message, "make the file readable, or correct `dotenv_path`"));
            return BTreeMap::new();
        }
    };
    let mut values = BTreeMap::new();
    for entry in dotenvy::from_read_iter(text.as_bytes()) {
        match entry {
            Ok((key, value)) => {
                // The first value of a name wins, as in Spin.
                values.entry(key).or_insert(value);
            }
            Err(error) => {
                // dotenvy reports the text of the line, but not its number.
                let line = match &error {
                    dotenvy::Error::LineParse(wrong, _) => {
                        let is_wrong = |line: &str| line.trim_end().ends_with(wrong.trim_end());
                        text.lines().position(is_wrong).map(|at| at + 1)
                    }
                    _ => None,
                };
                let source = Source::new(shown, &text);
                let file = File { source: &source, report };
                let fix = "write NAME=value, and put a value with spaces or `#` in quotes";
                report.error(file.diagnostic(line, None, "this line is not NAME=value", fix));
                break;
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use crate::tests::{HEAD, app};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_known_where_each_value_comes_from() {
        let text = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[variables]\na = { default = \"1\" }\n\
             b = { required = true }\nc = { required = true }\n\
             d = { required = true, secret = true }\ne = { required = true }\nf = { default = \"\" }\n\
             [application.tool.souk.variables]\nd = { generate = \"secret\" }\ne = { generate = \"url\" }\n";
        let config = "[[variables_provider]]\ntype = \"static\"\nvalues = { f = \"x\" }\n";
        let app = app(text).file("runtime-config.toml", config);
        let app = app.file(".env", "SPIN_VARIABLE_B=2\nSPIN_VARIABLE_C=3").env("SPIN_VARIABLE_C", "4");
        let places = app.load().application.variable_places;
        let ends = [
            ("a", "its default"),
            ("b", "/.env"),
            ("c", "SPIN_VARIABLE_C in the environment"),
            ("d", "/d"),
            ("e", "the host: its own URL"),
            ("f", "runtime-config.toml"),
        ];
        assert_eq!(places.len(), ends.len(), "{places:?}");
        for (name, end) in ends {
            assert!(places[name].ends_with(end), "{name}: {places:?}");
        }
        assert!(places["d"].starts_with("the host: "), "{places:?}");
    }

    #[test]
    fn a_file_with_secrets_that_other_users_can_read_is_warned_of() {
        let text =
            format!("{HEAD}[variables]\nkey = {{ required = true, secret = true }}\nplain = {{ default = \"\" }}\n");
        let config = "[[variables_provider]]\ntype = \"static\"\nvalues = { key = \"tuna\" }\n";
        let env = "[[variables_provider]]\ntype = \"env\"\nprefix = \"MY\"\ndotenv_path = \"my.env\"\n";
        for (name, content, config) in [
            (".env", "SPIN_VARIABLE_KEY=tuna", ""),
            ("my.env", "MY_KEY=tuna", env),
            ("runtime-config.toml", config, config),
        ] {
            let app = app(&text).file("runtime-config.toml", config).file(name, content);
            let path = app.dir.path().join(name);
            for (mode, warned) in [(0o640, true), (0o604, true), (0o600, false)] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                let warnings = app.load().warnings.into_iter().map(|warning| warning.to_string());
                let warnings: Vec<String> = warnings.filter(|warning| warning.contains("can read this file")).collect();
                assert_eq!(warnings.len(), usize::from(warned), "{name} {mode:o}: {warnings:?}");
                for fragment in [name, &format!("{mode:04o}"), "key", "fix: chmod 600 "].iter().filter(|_| warned) {
                    assert!(warnings[0].contains(*fragment), "{fragment}: {warnings:?}");
                }
                assert!(!warnings.concat().contains("tuna"), "{warnings:?}");
            }
        }
        let plain = app(&text).env("SPIN_VARIABLE_KEY", "tuna").file(".env", "SPIN_VARIABLE_PLAIN=x");
        fs::set_permissions(plain.dir.path().join(".env"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(plain.load().warnings.iter().all(|warning| !warning.message.contains("can read this file")));
    }
}
