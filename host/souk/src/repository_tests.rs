//! The form of the repository, which a newcomer relies on: files are short and begin with what they are for, and pages
//! lead where they say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// The folders of the repository that have its own sources and pages.
const FOLDERS: [&str; 8] = ["components", "deploy", "docs", "examples", "host", "nest", "tests", "wit"];
/// Folders with what is built, installed or copied into an application.
const NOT_OURS: [&str; 7] = ["node_modules", "target", "templates", ".souk", ".venv", "__pycache__", "dist"];
/// Files that cannot begin with `//!`: cargo-hakari writes one, and three guests include the other in themselves.
const WITHOUT_HEAD: [&str; 2] = ["host/workspace-hack/build.rs", "tests/guests/mixed/answer.rs"];
/// Crates without code, whose dependencies give other crates the same features.
const FEATURES_ONLY: [&str; 2] = ["components/shared-features", "host/workspace-hack"];
const MAX_FILE_LINES: usize = 500;
const MAX_ARCHITECTURE_LINES: usize = 300;
const MAX_GLOSSARY_WORDS: usize = 20;
/// Names that a reader had to look up, and names like those that replaced them. For `settle`, `Place` and others that can
/// be the right word, a reviewer decides.
const REPLACED_NAMES: [(&str, &str); 24] = [
    ("AGAIN", "RETRY_INTERVAL"),
    ("Complaint", "LogThrottle"),
    ("Course", "CallProgress"),
    ("Deed", "Action"),
    ("FIRM", "a name with the unit"),
    ("Handed", "Delivery"),
    ("LATE", "MISSED_AFTER"),
    ("LEAST", "MIN_..."),
    ("Lane", "DeliveryWorker"),
    ("MOST", "MAX_..."),
    ("Noted", "RequestInProgress, CheckedNeed"),
    ("Offered", "ServedFunction"),
    ("ROOM", "a name with the unit"),
    ("Room", "MemoryBudget, StreamCapacity"),
    ("TRY", "..._TIMEOUT"),
    ("Told", "GuestRecord"),
    ("WARY", "a name with the unit"),
    ("Wanted", "ExpectedType, ComponentDownload"),
    ("buried", "dead_lettered"),
    ("insist", "retry_until_ok"),
    ("shaken", "may_recover"),
    ("trouble", "on_error"),
    ("uncovered", "functions_without_unavailable"),
    ("worry", "alert"),
];
/// Words that a reader had to translate, in comments and pages.
const REPLACED_WORDS: [(&str, &str); 6] = [
    ("at the most", "at most"),
    ("gone by", "used, trusted"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mends", "fixes"),
    ("whoever", "the caller, the client"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The files with this extension, and their text.
fn files(extension: &str) -> BTreeMap<String, String> {
    fn collect(root: &Path, folder: &Path, extension: &str, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind, name) = (entry.path(), entry.file_type().unwrap(), entry.file_name());
            let is_ours = !NOT_OURS.iter().any(|other| name == *other) && folder != root;
            if kind.is_dir() && (is_ours || FOLDERS.iter().any(|ours| name == *ours)) {
                collect(root, &path, extension, found);
            } else if kind.is_file() && path.extension().is_some_and(|found| found == extension) {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let (root, mut found) = (root(), BTreeMap::new());
    collect(&root, &root, extension, &mut found);
    assert!(found.len() > 10, "{found:?}");
    found
}

#[test]
fn a_source_file_is_at_most_500_lines_long_and_opens_with_what_it_is_for() {
    for (name, text) in files("rs") {
        let lines = text.lines().count();
        assert!(lines <= MAX_FILE_LINES, "{name} has {lines} lines: split it by concern");
        let first = text.lines().find(|line| !line.is_empty() && !line.starts_with("#!["));
        let has_head = first.is_some_and(|line| line.starts_with("//! "));
        assert!(
            has_head || WITHOUT_HEAD.contains(&name.as_str()),
            "{name} does not open with `//!` and what it is for"
        );
    }
}

/// The lines of a page outside its code blocks, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut within_code = false;
    let mut lines = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let is_fence = line.trim_start().starts_with("```");
        within_code ^= is_fence;
        if !within_code && !is_fence {
            lines.push((number, line));
        }
    }
    lines
}

/// The anchors that a renderer of Markdown makes of a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    };
    let headings = prose(text).into_iter().filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| anchor(line.trim_start_matches('#').trim())).collect()
}

/// `folder/../name` without its `..`.
fn joined(folder: &Path, target: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in folder.join(target).components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir => {}
            part => parts.push(part.as_os_str().to_str().unwrap().to_owned()),
        }
    }
    parts.join("/")
}

#[test]
fn every_link_between_pages_leads_to_a_file_and_a_heading_that_exist() {
    let pages = files("md");
    let (mut dead, mut checked) = (Vec::new(), 0);
    for (name, text) in &pages {
        let folder = Path::new(name).parent().unwrap();
        for (number, line) in prose(text) {
            for rest in line.split("](").skip(1) {
                let target = rest.split([')', ' ']).next().unwrap_or_default();
                if target.contains(':') || target.is_empty() {
                    continue;
                }
                checked += 1;
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let file = if file.is_empty() { name.clone() } else { joined(folder, file) };
                let has_anchor = || pages.get(&file).is_none_or(|page| anchors(page).contains(anchor));
                if !root().join(&file).exists() || !anchor.is_empty() && !has_anchor() {
                    dead.push(format!("{name}:{number}: {target}"));
                }
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere: {dead:#?}");
    assert!(checked > 50, "only {checked} links were found");
}

#[test]
fn the_architecture_page_is_short_and_names_files_that_exist() {
    let (root, text) = (root(), fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap());
    let lines = text.lines().count();
    assert!(lines < MAX_ARCHITECTURE_LINES, "ARCHITECTURE.md has {lines} lines");
    let words = text.split("| word | meaning |").nth(1).unwrap().lines().skip(2);
    let words = words.take_while(|line| line.starts_with('|')).count();
    assert!((1..=MAX_GLOSSARY_WORDS).contains(&words), "the glossary has {words} words");
    let mut checked = 0;
    for (number, line) in prose(&text) {
        for name in line.split('`').skip(1).step_by(2) {
            let is_path = name.contains('/') && (name.ends_with(".rs") || name.ends_with('/'));
            if !is_path || name == ".souk/" {
                continue;
            }
            checked += 1;
            let places = ["", "host/", "components/"].map(|folder| root.join(folder).join(name));
            assert!(places.iter().any(|place| place.exists()), "line {number} names {name}, which does not exist");
        }
    }
    assert!(checked > 30, "only {checked} paths were found");
}

#[test]
fn every_watch_pattern_of_a_manifest_matches_a_file() {
    let mut checked = 0;
    for (name, text) in files("toml") {
        let (folder, mut workdir) = (root().join(&name).parent().unwrap().to_owned(), "");
        for line in text.lines() {
            if line.starts_with('[') {
                workdir = "";
            } else if let Some(path) = line.strip_prefix("workdir = ") {
                workdir = path.trim_matches('"');
            } else if let Some(list) = line.strip_prefix("watch = ") {
                for pattern in list.split('"').skip(1).step_by(2) {
                    checked += 1;
                    let pattern = folder.join(workdir).join(pattern);
                    let mut found = glob::glob(pattern.to_str().unwrap()).unwrap();
                    assert!(found.next().is_some(), "{name}: {} matches no file", pattern.display());
                }
            }
        }
    }
    assert!(checked > 50, "only {checked} patterns were found");
}

/// Whether a text contains a word, and not only as a part of another one.
fn has_word(text: &str, word: &str) -> bool {
    let continues = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(start, _)| {
        !continues(text[..start].chars().next_back()) && !continues(text[start + word.len()..].chars().next())
    })
}

#[test]
fn no_name_or_word_is_back_that_a_reader_had_to_translate() {
    assert!(has_word("a Room", "Room") && has_word("Room::new()", "Room") && !has_word("Bathroom, Rooms", "Room"));
    let is_ours = |name: &str| !name.contains("wit/deps/") && !name.ends_with("repository_tests.rs");
    let check = |name: &str, text: &str, replaced: &[(&str, &str)]| {
        for (word, better) in replaced.iter().filter(|(word, _)| text.contains(word)) {
            for (number, line) in text.lines().enumerate() {
                assert!(!has_word(line, word), "{name}:{}: instead of `{word}`, for example: {better}", number + 1);
            }
        }
    };
    for extension in ["rs", "md", "wit", "toml"] {
        for (name, text) in files(extension).into_iter().filter(|(name, _)| is_ours(name)) {
            if extension == "rs" && !name.contains("/guests/") {
                check(&name, &text, &REPLACED_NAMES);
            }
            check(&name, &text.to_lowercase(), &REPLACED_WORDS);
        }
    }
}

#[test]
fn the_host_names_no_contract_of_the_store() {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let mut checked = 0;
    for (name, text) in files("rs") {
        let is_test = name.ends_with("tests.rs") || name.contains("/tests/") || name.contains("/mistakes/");
        if !name.starts_with("host/") || !name.contains("/src/") || is_test {
            continue;
        }
        checked += 1;
        // Unit tests are at the end of a file.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in code.lines().filter(is_code) {
            for word in ["store:auth", "store:orders", "store:payments", "store:products", "stripe"] {
                assert!(!line.to_lowercase().contains(word), "{name} names `{word}`: {line}");
            }
        }
    }
    assert!(checked > 200, "only {checked} files were found");
}

/// The names in the tables of dependencies of a `Cargo.toml`, those of targets included.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let targets =
        manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|targets| targets.values());
    for table in targets.filter_map(toml::Value::as_table).chain([manifest]) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            found.extend(table.get(kind).and_then(toml::Value::as_table).into_iter().flat_map(|t| t.keys().cloned()));
        }
    }
    found
}

#[test]
fn every_dependency_is_used() {
    // Its feature is what is used.
    const FEATURE_ONLY: [(&str, &str); 2] =
        [("host/bindings", "sqlx-postgres"), ("host/bindings", "tikv-jemallocator")];
    let (sources, mut inherited) = (files("rs"), BTreeSet::new());
    let manifests =
        files("toml").into_iter().filter_map(|(name, text)| Some((name.strip_suffix("/Cargo.toml")?.to_owned(), text)));
    for (folder, text) in
        manifests.filter(|(folder, _)| !FEATURES_ONLY.contains(&folder.as_str()) && folder != "tests/fuzz")
    {
        let manifest: toml::Table = text.parse().unwrap();
        // The scenarios are a test of `souk`; three guests share a file beside them.
        let folders = match folder.as_str() {
            "host/souk" => vec!["host/souk/", "tests/harness/", "tests/scenarios/"],
            _ if folder.starts_with("tests/guests/mixed/") => vec!["tests/guests/mixed/"],
            _ => vec![folder.as_str()],
        };
        let own: Vec<&String> = sources
            .iter()
            .filter(|(name, _)| folders.iter().any(|f| name.starts_with(f)))
            .map(|(_, text)| text)
            .collect();
        for name in dependencies(&manifest) {
            let library =
                name.strip_prefix("async-").filter(|n| n.starts_with("stripe")).unwrap_or(&name).replace('-', "_");
            let is_used = FEATURES_ONLY.iter().any(|folder| folder.rsplit('/').next() == Some(&name))
                || FEATURE_ONLY.contains(&(folder.as_str(), name.as_str()))
                || own.iter().any(|text| has_word(text, &library));
            assert!(is_used, "{folder} does not use its dependency `{name}`: remove it");
            inherited.insert(name);
        }
    }
    let root: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    for name in root["workspace"]["dependencies"].as_table().unwrap().keys() {
        assert!(inherited.contains(name), "no member of the workspace uses `{name}`: remove it from Cargo.toml");
    }
}

/// Cargo compiles a crate again for each set of features, and every component is built by a command of its own.
#[test]
fn all_components_of_the_store_share_what_their_macros_are_built_from() {
    let tree = |package: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root()).args(["tree", "--locked", "--target", "wasm32-wasip2", "--edges"]);
        let output = cargo.args(["normal,build", "--format", "{p} {f}", "--prefix", "none", "-p", package]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let line = |line: &str| line.trim_end_matches(" (*)").to_owned();
        let is_shared =
            |line: &&str| ["syn v2", "syn v3", "semver v", "id-arena v"].iter().any(|name| line.starts_with(name));
        text.lines().filter(is_shared).map(line).collect::<BTreeSet<String>>()
    };
    let shared = tree("shared-features");
    assert_eq!(shared.len(), 4, "{shared:?}");
    let store: toml::Table = fs::read_to_string(root().join("spin.toml")).unwrap().parse().unwrap();
    for component in store["component"].as_table().unwrap().keys() {
        assert_eq!(tree(component), shared, "{component}: shared-features must be one of its dependencies");
    }
}

/// The fuzz targets are a workspace of their own, which needs a nightly compiler, so nothing else compiles them.
#[test]
fn every_fuzz_target_has_its_function_its_kept_inputs_and_a_test_that_runs_it() {
    let (sources, folder) = (files("rs"), root().join("tests/fuzz"));
    let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
    let targets = manifest["bin"].as_array().unwrap();
    assert_eq!(targets.len(), fs::read_dir(folder.join("fuzz_targets")).unwrap().count());
    assert_eq!(targets.len(), fs::read_dir(folder.join("corpus")).unwrap().count());
    for target in targets {
        let name = target["name"].as_str().unwrap();
        assert!(folder.join("corpus").join(name).read_dir().unwrap().next().is_some(), "{name} has no kept input");
        let text = &sources[&format!("tests/fuzz/{}", target["path"].as_str().unwrap())];
        let call = text.split("|data: &[u8]| ").nth(1).and_then(|rest| rest.split("(data)").next()).unwrap();
        let [library, "fuzz", function] = call.split("::").collect::<Vec<_>>()[..] else { panic!("{name}: {call}") };
        let fuzz = ["host", "components"].iter().find_map(|parent| {
            let place = library.strip_prefix("souk_").unwrap_or(library).replace('_', "-");
            sources.get(&format!("{parent}/{place}/src/fuzz.rs"))
        });
        let fuzz = fuzz.unwrap_or_else(|| panic!("{name}: {library} has no src/fuzz.rs"));
        assert!(
            fuzz.contains(&format!("pub fn {function}(data: &[u8])")) || fuzz.contains(&format!(" as {function};")),
            "{name}: {library} has no function `fuzz::{function}`"
        );
        assert!(
            fuzz.contains(&format!("check(\"{name}\", super::{function})")),
            "{name}: no test of {library} runs it"
        );
    }
}
