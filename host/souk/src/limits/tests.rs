//! Finds limits in the host's sources that `souk doctor` does not print.

use super::fixed_limits;
use souk_manifest::limits::LimitValue;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Constants that are numbers and no limits: file, name, and what each is.
const NO_BOUNDS: &[(&str, &str, &str)] = &[
    ("bindings/src/call.rs", "DRAWS", "the range of a random number"),
    ("bindings/src/fair.rs", "FEW", "how many items it takes to look for those that nobody waits for"),
    ("bindings/src/full.rs", "MIN_FREE_BYTES", "what is so little room that a disk is full"),
    ("bindings/src/key_value/file.rs", "PAGE_SIZE", "SQLite's size of a page, in which files are counted"),
    #[cfg(feature = "mongodb")]
    ("bindings/src/key_value/mongodb.rs", "DISK_FULL", "a code of MongoDB"),
    #[cfg(feature = "mongodb")]
    ("bindings/src/key_value/mongodb.rs", "DUPLICATE_KEY", "a code of MongoDB"),
    #[cfg(feature = "mongodb")]
    ("bindings/src/key_value/mongodb.rs", "HOSTED", "a code of MongoDB"),
    ("bindings/src/migrations/postgres.rs", "LOCK", "the number of a lock"),
    #[cfg(feature = "mysql")]
    ("bindings/src/mysql/value.rs", "CELL_BYTES", "the size of a type"),
    ("bindings/src/otel/logs.rs", "ERROR", "a number of OpenTelemetry"),
    ("bindings/src/otel/logs.rs", "INFO", "a number of OpenTelemetry"),
    ("bindings/src/otel/logs.rs", "LINE_BYTES", "what a line counts for beside its text"),
    ("bindings/src/otel/logs.rs", "WARN", "a number of OpenTelemetry"),
    ("bindings/src/postgres/numeric.rs", "GROUP", "the form of a number on the wire"),
    ("bindings/src/postgres/numeric.rs", "NEGATIVE", "the form of a number on the wire"),
    ("bindings/src/postgres/parameter.rs", "MICROS", "a unit of time"),
    ("bindings/src/postgres/value.rs", "CELL_BYTES", "the size of a type"),
    ("bindings/src/postgres/value.rs", "EPOCH", "where PostgreSQL begins to count time"),
    ("bindings/src/postgres/value.rs", "MICROS", "a unit of time"),
    ("bindings/src/sqlite/engine.rs", "PAGE_BYTES", "SQLite's default size of a page, in which files are counted"),
    ("bindings/src/sqlite/engine.rs", "PROGRESS_STEPS", "how often SQLite asks whether a statement's time is over"),
    ("bindings/src/sqlite/gauge.rs", "NEVER", "a value for none"),
    ("bindings/src/sqlite/spill.rs", "CALLS", "how often a statement's time is read"),
    ("bindings/src/sqlite/spill.rs", "UNREAD", "a value for none"),
    ("bindings/src/sqlite/value.rs", "CELL_BYTES", "the size of a type"),
    ("bindings/src/tape/mod.rs", "ENTRY_BYTES", "what an entry counts for beside its texts"),
    ("bindings/src/tape/mod.rs", "READ_BYTES", "the size of a number"),
    ("bindings/src/tape/recorder.rs", "FORMAT", "the version of a format"),
    ("bindings/src/tape/recording.rs", "CLOCK_KINDS", "how many kinds of clocks there are"),
    ("bindings/src/tape/secrets.rs", "MIN_SECRET_BYTES", "what is long enough to be a secret"),
    ("bindings/src/trace/ids.rs", "EACH", "a number in which eight bytes are set at once"),
    ("bindings/src/trace/ids.rs", "STEP", "a step of a generator of random numbers"),
    ("bindings/src/trace/redaction.rs", "MIN_FORM_BYTES", "what is long enough to be a form of a secret"),
    ("bindings/src/trace/ring.rs", "USUAL_SPANS", "the room with which a list begins"),
    ("codec/src/encode.rs", "EXACT", "the largest number that JSON parsers read exactly"),
    ("codec/src/shape.rs", "SHOWN", "the layout of an error"),
    ("codec/src/signature.rs", "WIDTH", "the layout of a signature"),
    ("codec/src/trail.rs", "RESERVE_STEP_BYTES", "the step in which a buffer grows"),
    ("links/src/cluster/identity.rs", "FORM", "the version of a format"),
    ("links/src/cluster/intents.rs", "FORM", "the version of a format"),
    ("links/src/cluster/places.rs", "SHOWN_ID_DIGITS", "the layout of an error"),
    ("links/src/durable/file/commit.rs", "UNIT", "the unit of a bound of the table"),
    ("links/src/nest/call.rs", "TRACE_BYTES", "what the headers of a trace count for"),
    ("links/src/remote/expected.rs", "SECONDS_OF_A_DAY", "a unit of time"),
    ("manifest/src/allowed.rs", "LISTED_VALUES", "the layout of an error"),
    ("manifest/src/limits.rs", "DAY", "a unit of the table of limits that a manifest changes"),
    ("manifest/src/limits.rs", "HOUR", "a unit of the table of limits that a manifest changes"),
    ("manifest/src/postgres.rs", "DEFAULT_PORT", "PostgreSQL's port"),
    ("manifest/src/readers.rs", "EVERYONE", "a bit of a file's mode"),
    ("manifest/src/readers.rs", "GROUP", "a bit of a file's mode"),
    ("manifest/src/secrets.rs", "SECRET_BYTES", "the exact size of a secret that is made"),
    ("nats/src/lib.rs", "DEFAULT_REPLICAS", "the default of a key"),
    ("runtime/src/background.rs", "LOWEST_PRIORITY", "a number of the system"),
    ("runtime/src/compiler.rs", "REFUSED", "an exit code"),
    ("runtime/src/config.rs", "CORE_INSTANCES", "a bound of the table, with another type"),
    ("runtime/src/config.rs", "MEMORIES", "a bound of the table, with another type"),
    ("runtime/src/config.rs", "TABLES", "a bound of the table, with another type"),
    ("runtime/src/plain.rs", "DOES_NOT_FIT", "a status"),
    ("runtime/src/report/sections.rs", "CODE", "the form of WebAssembly"),
    ("runtime/src/report/sections.rs", "CUSTOM", "the form of WebAssembly"),
    ("runtime/src/report/sections.rs", "HEADER", "the form of WebAssembly"),
    ("souk/src/admin/sessions.rs", "SESSION_DIGITS", "the length of a text of ours"),
    ("souk/src/backup/mod.rs", "FORMAT", "the version of a format"),
    ("souk/src/cli/event_table.rs", "MIN_ID", "the layout of a table"),
    ("souk/src/cli/event_table.rs", "MIN_TEXT", "the layout of a table"),
    ("souk/src/cli/event_table.rs", "MIN_WIDTH", "the layout of a table"),
    ("souk/src/cli/event_table.rs", "WIDTH", "the layout of a table"),
    ("souk/src/cli/traces.rs", "BAR", "the layout of a table"),
    ("souk/src/http/budget/owners.rs", "GROUPS", "how many budgets a request counts in"),
    ("souk/src/http/peer/proxy_protocol.rs", "BINARY_HEAD", "the form of a header"),
    ("souk/src/http/request.rs", "ENTRY", "what a header counts for beside its text"),
    ("souk/src/imports/run.rs", "PROGRESS_ROWS", "how often a command shows its progress"),
    ("souk/src/moving/key_value.rs", "BATCH", "two bounds of the table, one divided by the other"),
    ("souk/src/otlp/spans.rs", "SAMPLED", "a bit of a trace's flags"),
];

/// Parts of the host that exist only with a feature.
const OPTIONAL: &[(&str, bool)] = &[
    ("bindings/src/mysql/", cfg!(feature = "mysql")),
    ("bindings/src/mqtt/", cfg!(feature = "mqtt")),
    ("bindings/src/key_value/mongodb.rs", cfg!(feature = "mongodb")),
    ("souk/src/allocator.rs", cfg!(feature = "jemalloc")),
    ("souk/src/fetch/release.rs", cfg!(feature = "oci")),
    ("souk/src/package/", cfg!(feature = "oci")),
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

/// Whether a constant outside a table can be a limit, judged by its type.
fn can_bound(kind: &str) -> bool {
    kind.contains("Duration") || ["usize", "u64", "u32", "u16", "u8", "i64", "i32"].contains(&kind)
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
            if can_bound(&kind) && !elsewhere {
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

/// One at a time is a rule, not a bound.
#[test]
fn no_number_of_things_at_one_time_is_written_where_it_is_used() {
    let bounded = ["channel(", "buffered(", "buffer_unordered(", "for_each_concurrent(", "Semaphore::new("];
    let number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit()) && !text.starts_with("1)");
    for source in sources() {
        for line in source.split().1.lines() {
            let written = bounded.iter().any(|call| line.split(call).skip(1).any(number));
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
