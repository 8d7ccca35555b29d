//! Generates `docs/reference.md` from the code: the tables of keys and limits that the host itself uses, the interfaces
//! that its bindings are generated from, and the texts of `docs/reference.template.md` around them.
//!
//! A test fails when the page is outdated; `UPDATE_SNAPSHOTS=1 cargo test -p souk --features full --lib reference` writes it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::contracts::Contracts;
use crate::limits;
use souk_manifest::keys::{self, Key};
use souk_manifest::limits::{ComponentLimits, EdgeLimits, Limit};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const FRAME: &str = include_str!("../../../docs/reference.template.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Escapes text for a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn keys(all: &[Key]) -> String {
    let mut text = String::new();
    let mut tables: Vec<&str> = Vec::new();
    for key in all {
        if !tables.contains(&key.table) {
            tables.push(key.table);
        }
    }
    for table in tables {
        let heading = match table {
            "" => "At the top".to_owned(),
            "variables_provider" => format!("`[[{table}]]`"),
            table => format!("`[{table}]`"),
        };
        let _ = write!(
            text,
            "### {heading}\n\n| key | value | without it | example | what it does |\n|---|---|---|---|---|\n"
        );
        for key in all.iter().filter(|key| key.table == table) {
            let Key { key, value, default, example, about, .. } = key;
            let cells = [&format!("`{key}`"), *value, *default, &format!("`{example}`"), *about].map(cell);
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text.push('\n');
    }
    text
}

fn manifest_limits(limits: &[Limit]) -> String {
    let mut text = "| limit | default | from | to | why |\n|---|---|---|---|---|\n".to_owned();
    for limit in limits {
        let (min, max) = limit.range;
        let _ = writeln!(text, "| `{}` | {} | {min} | {max} | {} |", limit.key, limit.default, cell(limit.reason));
    }
    text
}

fn fixed_limits() -> String {
    let mut text = "| part | limit | value | what it bounds |\n|---|---|---|---|\n".to_owned();
    for limit in limits::fixed_limits() {
        let _ = writeln!(text, "| {} | {} | {} | {} |", limit.module, limit.name(), limit.value, cell(limit.comment));
    }
    text
}

/// The packages in `wit/deps` from which the bindings are generated, with their interfaces; and WASI 0.2, which
/// wasmtime provides.
fn interfaces() -> String {
    let contracts = Contracts::read(&root().join("wit/deps")).unwrap_or_else(|error| panic!("{error}"));
    let mut text = "| package | interfaces | for components in Rust |\n|---|---|---|\n".to_owned();
    for (package, interfaces) in contracts.packages() {
        let interfaces: Vec<_> = interfaces.iter().map(|interface| format!("`{interface}`")).collect();
        let rust = SDK.iter().find(|(prefix, _)| package.starts_with(prefix)).map_or("", |(_, rust)| *rust);
        let _ = writeln!(text, "| `{package}` | {} | {rust} |", interfaces.join(", "));
    }
    let _ = writeln!(
        text,
        "| `wasi:http`, `wasi:cli`, `wasi:clocks`, `wasi:filesystem`, `wasi:io`, `wasi:random`, `wasi:sockets`, each @0.2 | all | \
         spin-sdk 5 and older; Rust's std |"
    );
    text
}

/// How a component in Rust uses packages of `wit/deps`: a prefix of their names, and the text.
const SDK: &[(&str, &str)] = &[
    ("wasi:http@0.3", "spin-sdk 7, feature `http`: `http_service`"),
    ("wasi:sockets@0.3", "every use is refused"),
    ("wasi:filesystem@0.3", "what `files` grants, to read"),
    ("spin:variables@3", "spin-sdk 7, feature `variables`"),
    ("spin:key-value@3", "spin-sdk 7, feature `key-value`"),
    ("spin:sqlite@3", "spin-sdk 7, feature `sqlite`; library `souk-database`"),
    ("spin:postgres@4", "spin-sdk 7, feature `pg`; library `souk-database`"),
    ("spin:postgres@3", "spin-sdk 5, module `pg3`"),
    ("spin:redis@3", "spin-sdk 7, feature `redis`"),
    ("spin:mysql@3", "spin-sdk 7, feature `mysql`"),
    ("spin:mqtt@3", "spin-sdk 7, feature `mqtt`"),
    ("wasi:keyvalue@", "library `souk-key-value`"),
    ("souk:call@", "the id of the request and the time until its deadline; library `souk-call`"),
    ("fermyon:spin@2", "spin-sdk 5 and older; library `souk-variables`"),
];

fn page() -> String {
    let mut page = FRAME.to_owned();
    for (gap, text) in [
        ("manifest-keys", keys(keys::MANIFEST)),
        ("runtime-config-keys", keys(keys::RUNTIME_CONFIG)),
        ("edge-limits", manifest_limits(EdgeLimits::TABLE)),
        ("component-limits", manifest_limits(ComponentLimits::TABLE)),
        ("fixed-limits", fixed_limits()),
        ("interfaces", interfaces()),
    ] {
        let gap = format!("<!-- {gap} -->");
        assert!(page.contains(&gap), "the frame has no {gap}");
        page = page.replace(&gap, text.trim_end());
    }
    page
}

#[test]
fn the_reference_page_is_what_the_code_says() {
    let (place, page) = (root().join("docs/reference.md"), page());
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&place, &page).unwrap();
    }
    let there = std::fs::read_to_string(&place).unwrap_or_default();
    let differs = there.lines().zip(page.lines()).find(|(there, page)| there != page);
    assert!(there == page, "docs/reference.md is outdated from {differs:?} on: UPDATE_SNAPSHOTS=1 writes it");
}
