//! Finds limits in the host's sources that `souk doctor` does not print.

use super::fixed_limits;
use souk_manifest::limits::LimitValue;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Constants that look like a limit but are none: file, name, and what it is.
const NO_BOUNDS: &[(&str, &str, &str)] = &[
    ("bindings/src/sqlite/value.rs", "CELL_BYTES", "the size of a type"),
    ("bindings/src/postgres/value.rs", "CELL_BYTES", "the size of a type"),
    #[cfg(feature = "mysql")]
    ("bindings/src/mysql/value.rs", "CELL_BYTES", "the size of a type"),
    ("bindings/src/sqlite/engine.rs", "PAGE_BYTES", "SQLite's default size of a page, in which files are counted"),
    ("bindings/src/full.rs", "MIN_FREE_BYTES", "what is so little room that a disk is full"),
    ("bindings/src/otel/logs.rs", "LINE_BYTES", "what a line counts for beside its text"),
    ("bindings/src/tape/mod.rs", "ENTRY_BYTES", "what an entry counts for beside its texts"),
    ("bindings/src/tape/mod.rs", "READ_BYTES", "the size of a number"),
    ("bindings/src/tape/secrets.rs", "MIN_SECRET_BYTES", "what is long enough to be a secret"),
    ("codec/src/trail.rs", "RESERVE_STEP_BYTES", "the step in which a buffer grows"),
    ("manifest/src/secrets.rs", "SECRET_BYTES", "the exact size of a secret that is made"),
    ("souk/src/cli/event_table.rs", "MIN_WIDTH", "the layout of a table"),
    ("souk/src/cli/event_table.rs", "MIN_ID", "the layout of a table"),
    ("souk/src/cli/event_table.rs", "MIN_TEXT", "the layout of a table"),
    ("manifest/src/limits.rs", "HOUR", "a unit of the table of limits that a manifest changes"),
    ("manifest/src/limits.rs", "DAY", "a unit of the table of limits that a manifest changes"),
];

/// Parts of the host that exist only with a feature.
const OPTIONAL: &[(&str, bool)] = &[
    ("bindings/src/mysql/", cfg!(feature = "mysql")),
    ("bindings/src/mqtt/", cfg!(feature = "mqtt")),
    ("bindings/src/outbound/url.rs", cfg!(any(feature = "mysql", feature = "mqtt"))),
];

/// A source file without its tests and comments.
struct Source {
    /// The path below `host/`.
    path: String,
    text: String,
}

fn sources() -> Vec<Source> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // Templates are code of applications.
            if path.ends_with("scaffold/templates") {
                continue;
            }
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for member in fs::read_dir(host).unwrap() {
        let folder = member.unwrap().path().join("src");
        if folder.is_dir() {
            collect(&folder, &mut files);
        }
    }
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let is_test = |path: &Path| name(path).ends_with("tests") || name(path) == "fuzz";
    files.retain(|path| !is_test(path) && !path.iter().any(|part| part == "tests"));
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        // Unit tests are at the end of a file.
        let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>();
        let path = path.strip_prefix(host).unwrap().to_string_lossy().replace('\\', "/");
        Source { path, text: code.join("\n") }
    };
    let mut sources: Vec<Source> = files.iter().map(read).collect();
    let left_out = |source: &Source| OPTIONAL.iter().any(|(path, there)| !there && source.path.starts_with(path));
    sources.retain(|source| !left_out(source));
    sources
}

impl Source {
    /// The text inside `fixed_limits! { ... }`, and the rest of the file.
    fn split(&self) -> (String, String) {
        let (mut tables, mut rest) = (String::new(), String::new());
        let mut within = false;
        for line in self.text.lines() {
            within |= line.ends_with("fixed_limits! {");
            let into = if within { &mut tables } else { &mut rest };
            *into += line;
            *into += "\n";
            within &= line != "}";
        }
        (tables, rest)
    }
}

/// The constants that `text` declares, each with its type.
fn constants(text: &str) -> Vec<(String, String)> {
    let declared = text.lines().filter_map(|line| {
        let (before, after) = line.split_once("const ")?;
        let visibility = before.trim();
        let (name, rest) = after.split_once(": ")?;
        let (kind, _) = rest.split_once(" =")?;
        let constant = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        (constant && (visibility.is_empty() || visibility.starts_with("pub"))).then(|| (name.into(), kind.into()))
    });
    declared.collect()
}

/// Whether a constant outside a table is a limit, judged by its name and its type.
fn bounds(name: &str, kind: &str) -> bool {
    let number = ["usize", "u64", "u32", "u16", "u8", "i64", "i32"].contains(&kind);
    let starts = ["MAX_", "MIN_"].iter().any(|start| name.starts_with(start));
    let ends =
        ["_TIMEOUT", "_INTERVAL", "_BYTES", "_KIB", "_LIMIT", "_TTL", "_MS"].iter().any(|end| name.ends_with(end));
    kind.contains("Duration") || (number && (starts || ends))
}

#[test]
fn every_constant_that_bounds_something_stands_in_a_table() {
    let sources = sources();
    let tables: String = sources.iter().map(|source| source.split().0).collect();
    let mut unused: BTreeSet<_> = NO_BOUNDS.iter().map(|(path, name, _)| (*path, *name)).collect();
    let mut outside = String::new();
    for source in &sources {
        let (_, rest) = source.split();
        for (name, kind) in constants(&rest) {
            let excepted = unused.iter().find(|(path, excepted)| source.path == *path && name == *excepted).copied();
            if let Some(excepted) = excepted {
                unused.remove(&excepted);
                continue;
            }
            // The codec does not depend on the macro's crate; a crate that depends on both lists the codec's limits.
            let elsewhere = source.path.starts_with("codec/") && tables.contains(&format!("= souk_codec::{name},"));
            if bounds(&name, &kind) && !elsewhere {
                outside += &format!("host/{}: {name}: {kind}\n", source.path);
            }
        }
    }
    assert!(
        outside.is_empty(),
        "declare these in `souk_manifest::fixed_limits! {{ ... }}`, or say in NO_BOUNDS why they are no limits:\n{outside}"
    );
    assert!(unused.is_empty(), "NO_BOUNDS names constants that do not exist: {unused:?}");
}

#[test]
fn no_duration_is_written_where_it_is_used() {
    let from = ["from_millis(", "from_secs(", "from_micros(", "from_nanos("];
    let number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit() && c != '0');
    for source in sources().iter().filter(|source| !source.path.starts_with("manifest/src/limits")) {
        let (_, rest) = source.split();
        for line in rest.lines() {
            let written = from.iter().any(|from| line.split(from).skip(1).any(number));
            assert!(!written, "host/{}: make this a constant in `fixed_limits!`: {}", source.path, line.trim());
        }
    }
}

#[test]
fn doctor_prints_every_table() {
    let printed: BTreeSet<_> = fixed_limits().iter().map(|limit| (limit.module, limit.constant)).collect();
    let mut rows = 0;
    for source in sources() {
        let (tables, _) = source.split();
        for table in tables.split("fixed_limits! {").skip(1) {
            let module = table.split('"').nth(1).unwrap();
            for (constant, _) in constants(table) {
                let row = (module, constant.as_str());
                assert!(printed.contains(&row), "host/{}: {row:?} is in no `fixed_limits()`", source.path);
                rows += 1;
            }
        }
    }
    assert_eq!(fixed_limits().len(), rows, "a row is printed twice, or is in no source");
}

#[test]
fn comments_of_fixed_limits_are_sentences_for_an_operator() {
    for limit in fixed_limits() {
        let comment = limit.comment.trim();
        assert!(comment.ends_with('.') && !comment.contains("[`") && !comment.contains("`]"), "{limit:?}");
        assert!(limit.value != LimitValue::Count(0, "") && !limit.value.to_string().starts_with("0 "), "{limit:?}");
    }
}
