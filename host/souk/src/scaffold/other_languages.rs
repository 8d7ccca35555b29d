//! Components in JavaScript and Python.
//!
//! Their tools read the same file as Rust's, `spin-dependencies.wit`, so only the build command and the sources differ.
//! JavaScript components use WASI 0.2: they export its HTTP handler, whose packages are written into `wit/deps`,
//! because the tool needs them in that file.

use super::component::{Kind, NewComponent, Storage, test_file};
use super::manifest::ManifestEdit;
use super::{Changes, ScaffoldError, template};

/// The export with which JavaScript components answer requests.
pub(super) const JAVASCRIPT_HANDLER: &str = "wasi:http/incoming-handler@0.2.10";

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

const PACKAGE_JSON: &str = include_str!("templates/javascript/package.json");
const HTTP_JS: &str = include_str!("templates/javascript/http.js");
const LINKED_JS: &str = include_str!("templates/javascript/http_linked_greetings.js");
const HTTP_TEST_JS: &str = include_str!("templates/javascript/http.test.mjs");
const LINKED_TEST_JS: &str = include_str!("templates/javascript/http_linked_greetings.test.mjs");
const REQUIREMENTS: &str = include_str!("templates/python/requirements.txt");
const GREETINGS_PY: &str = include_str!("templates/python/greetings.py");

/// The files of a JavaScript component that a link to a greeting component changes: path, text at creation, and text
/// with the link.
pub(super) fn javascript_files(component: &str) -> [(String, &'static str, &'static str); 2] {
    [
        (format!("{component}/app.js"), HTTP_JS, LINKED_JS),
        (format!("tests/{component}.test.mjs"), HTTP_TEST_JS, LINKED_TEST_JS),
    ]
}

/// The files of a JavaScript component, which answers requests.
pub(super) fn javascript(
    changes: &mut Changes,
    edit: &mut ManifestEdit,
    new: &NewComponent,
    gaps: &[(&str, &str)],
) -> Result<(), ScaffoldError> {
    if new.storage != Storage::default() || !matches!(new.kind, Kind::Http { .. }) {
        let fix = "add it with --http alone, and link it to a component that keeps data: `souk add --link`";
        return Err(ScaffoldError::new("a new component in JavaScript answers requests and stores no data", fix));
    }
    for (path, text) in WASI {
        changes.create(path, (*text).to_owned())?;
    }
    changes.create(format!("{}/package.json", new.name), template::fill(PACKAGE_JSON, gaps))?;
    changes.create(format!("{}/app.js", new.name), template::fill(HTTP_JS, gaps))?;
    if edit.tests_with("cargo") {
        return changes.create(test_file(&new.name), template::fill(super::component::HTTP.test, gaps));
    }
    changes.create(format!("tests/{}.test.mjs", new.name), template::fill(HTTP_TEST_JS, gaps))?;
    edit.test_command("node --test tests/*.test.mjs")
}

/// The files of a Python component, which exports a contract.
pub(super) fn python(
    changes: &mut Changes,
    edit: &mut ManifestEdit,
    new: &NewComponent,
    test: &str,
    gaps: &[(&str, &str)],
) -> Result<(), ScaffoldError> {
    if new.storage != Storage::default() || !matches!(new.kind, Kind::Exports { durable: false, .. }) {
        let fix = "add it with --exports alone; examples/polyglot has a component in Python with a database";
        return Err(ScaffoldError::new("a new component in Python exports a contract and stores no data", fix));
    }
    changes.create(format!("{}/requirements.txt", new.name), REQUIREMENTS.to_owned())?;
    changes.create(format!("{}/app.py", new.name), template::fill(GREETINGS_PY, gaps))?;
    if edit.tests_with("cargo") {
        changes.create(test_file(&new.name), template::fill(test, gaps))?;
    }
    Ok(())
}
