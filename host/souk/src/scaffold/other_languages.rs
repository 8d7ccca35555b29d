//! Components in JavaScript and Python.
//!
//! Their tools read the same file as Rust's, `spin-dependencies.wit`, so only the build command and the sources differ.
//! JavaScript components use WASI 0.2: they export its HTTP handler. In Python, Spin's SDK answers requests, and brings
//! the interfaces that it uses. Elsewhere a component imports Spin's interfaces for data by their WIT, in the version
//! whose functions are synchronous, because a `func` of a contract may wait in no other. The packages that the file
//! needs are written into `wit/deps`.

use super::changes::{Changes, ScaffoldError};
use super::new_component::{Kind, Language, NewComponent, Storage};
use crate::contracts::FILE;

/// The export with which JavaScript components answer requests.
const JAVASCRIPT_HANDLER: &str = "wasi:http/incoming-handler@0.2.10";

macro_rules! deps {
    ($($file:literal),+ $(,)?) => {
        &[$((concat!("wit/deps/", $file), include_str!(concat!("../../../../examples/polyglot/wit/deps/", $file)))),+]
    };
}

/// The packages of WASI 0.2 that its HTTP handler uses.
const WASI: &[(&str, &str)] = deps![
    "clocks/monotonic-clock.wit",
    "http/handler.wit",
    "http/package.wit",
    "http/types.wit",
    "io/error.wit",
    "io/poll.wit",
    "io/streams.wit",
];

/// Spin's interfaces for data.
const SPIN: &[(&str, &str)] = deps!["spin/key-value.wit", "spin/package.wit", "spin/sqlite.wit", "spin/variables.wit"];

const PACKAGE_JSON: &str = include_str!("templates/javascript/package.json");
const REQUIREMENTS: &str = include_str!("templates/python/requirements.txt");
const HELPER_JS: &str = include_str!("templates/tests/souk.mjs");
const HELPER_PYTHON: &str = include_str!("templates/tests/application.py");

/// The export with which a component answers requests, if the file for its tool has to name it.
pub(super) fn handler(new: &NewComponent) -> Option<&'static str> {
    let answers = new.language == Language::Javascript && matches!(new.kind, Kind::Http { .. });
    answers.then_some(JAVASCRIPT_HANDLER)
}

/// The interfaces for data that the file for a component's tool has to name.
pub(super) fn imports(new: &NewComponent) -> Vec<&'static str> {
    let Storage { sqlite, key_value, .. } = new.storage;
    match (has_sdk(new), key_value, sqlite) {
        (false, true, _) => vec!["fermyon:spin/key-value@2.0.0"],
        (false, _, true) => vec!["fermyon:spin/sqlite@2.0.0"],
        _ => Vec::new(),
    }
}

/// Whether an SDK brings Spin's interfaces.
fn has_sdk(new: &NewComponent) -> bool {
    match new.language {
        Language::Rust => true,
        Language::Javascript => false,
        Language::Python => matches!(new.kind, Kind::Http { .. }),
    }
}

/// Installs the tools for JavaScript, at the first build and when their list has changed: npm needs seconds, and the
/// network, to find that nothing has. The file that marks an installation goes with its folder.
const INSTALL_JAVASCRIPT: &str = "[ -e node_modules/.installed ] && [ ! package.json -nt node_modules/.installed ] && \
                                  [ ! package-lock.json -nt node_modules/.installed ] || \
                                  (npm install --no-audit --no-fund && touch node_modules/.installed)";

/// The same for Python.
const INSTALL_PYTHON: &str = "[ -e .venv/installed ] && [ ! requirements.txt -nt .venv/installed ] || \
                              (python3 -m venv .venv && .venv/bin/pip install --quiet --require-hashes --requirement \
                              requirements.txt && touch .venv/installed)";

/// The commands that build a component in JavaScript, as TOML.
pub(super) fn javascript_build(name: &str) -> String {
    format!(
        r#"[
  "{INSTALL_JAVASCRIPT}",
  "npx componentize-js {name}/app.js --wit {name}/{FILE} --world-name root --out {name}/{name}.wasm",
]"#
    )
}

/// The commands that build a component in Python, as TOML. Where it answers requests, the SDK's interfaces and its own
/// are one world. The tool finds the SDK's in the active environment, and the modules of contracts have their full
/// names, beside the SDK's.
pub(super) fn python_build(new: &NewComponent) -> String {
    let name = &new.name;
    let tool = match new.kind {
        Kind::Http { .. } => format!(
            ". .venv/bin/activate && componentize-py --full-names --wit-path {name}/{FILE} --world root:component/root \
             --world spin:up/http-trigger@4.1.0"
        ),
        Kind::Exports { .. } => format!(".venv/bin/componentize-py --wit-path {name}/{FILE} --world root"),
    };
    format!(
        r#"[
  "{INSTALL_PYTHON}",
  "{tool} componentize --python-path {name} app --output {name}/{name}.wasm",
]"#
    )
}

/// The packages that a component needs in `wit/deps`, and the list of its tools.
pub(super) fn javascript(changes: &mut Changes, new: &NewComponent) -> Result<(), ScaffoldError> {
    packages(changes, new)?;
    tools(changes, "package.json", PACKAGE_JSON, "@bytecodealliance/componentize-js");
    Ok(())
}

/// The packages that a component needs in `wit/deps`, and the list of its tools.
pub(super) fn python(changes: &mut Changes, new: &NewComponent) -> Result<(), ScaffoldError> {
    packages(changes, new)?;
    tools(changes, "requirements.txt", REQUIREMENTS, "componentize-py");
    Ok(())
}

/// Writes the list of tools that all components in a language share. If the user has another one, it stays as it is.
fn tools(changes: &mut Changes, path: &str, text: &str, tool: &str) {
    match changes.read(path) {
        None => changes.replace(path, text.to_owned()),
        Some(own) if own.contains(tool) => {}
        Some(_) => changes.note(format!("{path} is yours: add `{tool}` to it, as `souk new` would:\n{text}")),
    }
}

fn packages(changes: &mut Changes, new: &NewComponent) -> Result<(), ScaffoldError> {
    if new.storage.postgres {
        let fix = "add it with --sqlite; or in Rust, whose library speaks to either database";
        return Err(ScaffoldError::new("a new component that keeps its data in PostgreSQL is in Rust", fix));
    }
    let wasi = if handler(new).is_some() { WASI } else { &[] };
    // For the developer who later adds one of them to `imports`.
    let spin = if has_sdk(new) { &[] } else { SPIN };
    wasi.iter().chain(spin).try_for_each(|(path, text)| changes.create(path, (*text).to_owned()))
}

/// The module that tests in this language share.
pub(super) fn test_helper(changes: &mut Changes, language: Language) -> Result<(), ScaffoldError> {
    let (path, text) = match language {
        Language::Rust => return Ok(()),
        Language::Javascript => ("tests/souk.mjs", HELPER_JS),
        Language::Python => ("tests/application.py", HELPER_PYTHON),
    };
    // The user may have added to it.
    if changes.read(path).is_none() {
        changes.create(path, text.to_owned())?;
    }
    Ok(())
}
