//! `souk add COMPONENT`: creates a component with its tables in the manifest, its test, and if needed its contract and
//! migrations.

use super::changes::{Changes, ScaffoldError};
use super::contract::{ContractNames, class};
use super::libraries::Library;
use super::manifest::ManifestEdit;
use super::new_component::{Kind, Language, NewComponent};
use super::workspace::WorkspaceEdit;
use super::{other_languages, template};
use souk_manifest::RoutePattern;
use std::fmt::Write as _;
use toml_edit::InlineTable;

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
    let class = class(name);
    let mut gaps = vec![("component", name), ("python_component", class.as_str())];
    let names;
    let base;
    match &new.kind {
        Kind::Http { route } => {
            let path = plain_route(route)?;
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
            names.check(new.language)?;
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
    // A test in Rust can do more than one in another language, so an application that has some gets no others.
    let tests = match new.language {
        Language::Rust => Language::Rust,
        own => edit.test_language().unwrap_or(own),
    };
    if tests == Language::Rust {
        package(&mut changes, &edit, new)?;
    }
    match new.language {
        Language::Rust => {}
        Language::Javascript => other_languages::javascript(&mut changes, new)?,
        Language::Python => other_languages::python(&mut changes, new)?,
    }
    changes.create(new.language.source_file(name), template::fill(shape.source(new.language), &gaps))?;
    changes.create(tests.test_file(name), template::fill(shape.test(tests), &gaps))?;
    other_languages::test_helper(&mut changes, tests)?;
    edit.test_command(tests)?;
    changes.check_contracts()?;
    edit.close(&mut changes);
    Ok(changes)
}

/// The path of a route for a new component, without its `/...`. The component's test sends requests to that path, so it
/// has no parameters, and only letters that are the same in every language's texts.
fn plain_route(route: &str) -> Result<&str, ScaffoldError> {
    let pattern = RoutePattern::parse(route).map_err(|(message, fix)| ScaffoldError::new(message, fix))?;
    let is_plain = |path: &str| path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~%".contains(&byte));
    let path = route.strip_suffix("/...").filter(|path| path.is_empty() || (path.starts_with('/') && is_plain(path)));
    path.filter(|_| !pattern.is_reserved()).ok_or_else(|| {
        let fix = "write it as `/...` or `/PATH/...`: the component answers every path below it";
        ScaffoldError::new(format!("`{route}` is not a route for a new component"), fix)
    })
}

/// The package of a component in Rust, and the libraries that it and its test in Rust use.
fn package(changes: &mut Changes, edit: &ManifestEdit, new: &NewComponent) -> Result<(), ScaffoldError> {
    let mut workspace = WorkspaceEdit::open(changes, edit.application())?;
    let souk = new.souk.clone().or_else(|| workspace.checkout());
    let mut libraries = Vec::new();
    if new.storage.key_value {
        libraries.push(Library::KeyValue);
    }
    if new.storage.sqlite || new.storage.postgres {
        libraries.push(Library::Database);
    }
    if new.language == Language::Rust {
        let features: &[&str] = if matches!(new.kind, Kind::Http { .. }) { &["http"] } else { &[] };
        workspace.member(changes, &new.name, features, &libraries)?;
    } else {
        libraries.clear();
    }
    for library in libraries.into_iter().chain([Library::Test]) {
        workspace.library(changes, library, souk.as_deref())?;
    }
    workspace.close(changes);
    Ok(())
}

/// Adds a library to a component in Rust that exists already. `souk` is a checkout of Souk that contains it.
///
/// # Errors
/// When there is no such component, or it is not in Rust.
pub(crate) fn add_library(
    folder: &std::path::Path,
    manifest: &str,
    component: &str,
    library: Library,
    souk: Option<&str>,
) -> Result<Changes, ScaffoldError> {
    let mut changes = Changes::new(folder);
    let edit = ManifestEdit::open(&changes, manifest)?;
    edit.known(component)?;
    let mut workspace = WorkspaceEdit::open(&mut changes, edit.application())?;
    let souk = souk.map(str::to_owned).or_else(|| workspace.checkout());
    workspace.depend(&mut changes, component, library)?;
    workspace.library(&mut changes, library, souk.as_deref())?;
    workspace.close(&mut changes);
    Ok(changes)
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
    let Build { source, command, workdir, watch } = build(new);
    let _ = write!(text, "[component.{name}]\nsource = \"{source}\"\n");
    if new.storage.key_value {
        // A store of its own: `default` would be the same store in each component.
        let _ = writeln!(text, "key_value_stores = [\"{name}\"]");
    }
    let database = new.storage.sqlite || new.storage.postgres;
    let url = match new.storage.postgres {
        true => format!("{{{{ {} }}}}", database_variable(name)),
        false => format!("sqlite:{name}"),
    };
    if database {
        let _ = writeln!(text, "sqlite_databases = [\"{name}\"]");
        // The library for Rust reads there which database it opens.
        if new.language == Language::Rust {
            let _ = writeln!(text, "variables = {{ database_url = \"{url}\" }}");
        }
    }
    let mut souk = String::new();
    if database {
        let _ = write!(souk, "migrations = \"{name}/migrations\"\ndatabase_url = \"{url}\"\n");
    }
    let mut exports = Vec::new();
    if let Kind::Exports { durable, .. } = &new.kind {
        let value = |name| gaps.iter().find(|(gap, _)| *gap == name).map_or("", |(_, value)| *value);
        exports.push(value("contract"));
        if *durable {
            exports.push(value("kept"));
        }
    }
    exports.extend(other_languages::handler(new));
    if new.language != Language::Rust {
        souk.push_str("build_if_changed = true\n");
    }
    for (key, interfaces) in [("imports", other_languages::imports(new)), ("exports", exports)] {
        if !interfaces.is_empty() {
            let interfaces: Vec<_> = interfaces.iter().map(|interface| format!("\"{interface}\"")).collect();
            let _ = writeln!(souk, "{key} = [{}]", interfaces.join(", "));
        }
    }
    if !souk.is_empty() {
        let _ = write!(text, "\n[component.{name}.tool.souk]\n{souk}");
    }
    let _ =
        write!(text, "\n[component.{name}.build]\ncommand = {command}\nworkdir = \"{workdir}\"\nwatch = [{watch}]\n");
    text
}

/// A component's file, the commands that build it, the folder in which they run, and the sources to watch.
///
/// The tools for JavaScript and Python are installed once for an application, because those for JavaScript alone take
/// 400 MB. Commands for the same folder run one after another, and the same command once.
fn build(new: &NewComponent) -> Build {
    let name = &new.name;
    match new.language {
        Language::Rust => Build {
            source: format!("target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_")),
            command: "\"cargo build --target wasm32-wasip2 --release\"".to_owned(),
            workdir: name.clone(),
            watch: "\"src/**/*.rs\", \"Cargo.toml\", \"../wit/**/*.wit\"".to_owned(),
        },
        Language::Javascript => Build {
            source: format!("{name}/{name}.wasm"),
            command: other_languages::javascript_build(name),
            workdir: ".".to_owned(),
            watch: format!("\"{name}/*.js\", \"package.json\", \"wit/**/*.wit\""),
        },
        Language::Python => Build {
            source: format!("{name}/{name}.wasm"),
            command: other_languages::python_build(new),
            workdir: ".".to_owned(),
            watch: format!("\"{name}/*.py\", \"requirements.txt\", \"wit/**/*.wit\""),
        },
    }
}

/// How a component is built, as the manifest says it.
struct Build {
    source: String,
    command: String,
    workdir: String,
    watch: String,
}
