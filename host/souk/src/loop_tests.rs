//! Files of a crate do not import each other in loops, so that a reader can begin at any of them and read downward.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module, by the names in its path.
type Module = Vec<String>;

/// The loop that stays, by the folder of the crate and the modules that are in it: every reply can be an error, and an
/// error is a reply.
const KNOWN: [(&str, &[&str]); 1] = [("components/gateway/src", &["http::error", "http::reply"])];

/// The modules of a crate with their code, without tests.
fn modules(source: &Path) -> BTreeMap<Module, String> {
    fn collect(folder: &Path, path: &Module, found: &mut BTreeMap<Module, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let is_test = name.ends_with("tests") || ["fuzz", "templates", "mistakes"].contains(&name.as_str());
            let below = [path.as_slice(), std::slice::from_ref(&name)].concat();
            if file.is_dir() && !is_test {
                collect(&file, &below, found);
            } else if file.extension().is_some_and(|extension| extension == "rs") && !is_test {
                let text = fs::read_to_string(&file).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
                let root = ["lib", "main", "mod"].contains(&name.as_str());
                found.insert(if root { path.clone() } else { below }, code.join("\n"));
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(source, &Vec::new(), &mut found);
    found
}

/// The paths in a tree such as `a::{b, c::{d, e}}`.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let body = rest.strip_suffix('}').unwrap_or(rest);
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for c in body.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    parts.push(part);
    let whole = |part: &String| expanded(part).into_iter().map(|path| format!("{before}{path}")).collect::<Vec<_>>();
    parts.iter().filter(|part| !part.trim().is_empty()).flat_map(whole).collect()
}

/// The paths that a file imports or names; a `pub use` passes on what others import.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for statement in code.split(';') {
        let start = statement.rfind("\nuse ").map(|at| at + 1).or_else(|| statement.starts_with("use ").then_some(0));
        if let Some(start) = start {
            found.extend(expanded(&statement[start + "use ".len()..].replace('\n', " ")));
        } else if !statement.contains("pub use ") && !statement.contains("use ") {
            let words = statement.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            found.extend(
                words.filter(|word| ["crate::", "super::"].iter().any(|p| word.starts_with(p))).map(str::to_owned),
            );
        }
    }
    found
}

/// The module that `path` in `module` leads into; `None` for another crate and for the crate's root.
fn resolved(path: &str, module: &Module, modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut parts: Vec<String> = path.split("::").map(str::to_owned).collect();
    let mut base = match parts[0].as_str() {
        "crate" => Vec::new(),
        "super" => module[..module.len().saturating_sub(1)].to_vec(),
        "self" => module.clone(),
        child if modules.contains_key(&[module.as_slice(), &[child.to_owned()]].concat()) => {
            parts.insert(0, String::new());
            module.clone()
        }
        _ => return None,
    };
    parts.remove(0);
    while parts.first().is_some_and(|part| part == "super") {
        parts.remove(0);
        base.pop();
    }
    base.extend(parts);
    while !base.is_empty() && !modules.contains_key(&base) {
        base.pop();
    }
    (!base.is_empty() && base != *module).then_some(base)
}

/// The modules that can be reached from `from` by imports.
fn reached<'m>(from: &'m Module, imports: &'m BTreeMap<&Module, BTreeSet<Module>>) -> BTreeSet<&'m Module> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for next in imports.get(module).into_iter().flatten() {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}

#[test]
fn files_do_not_import_each_other_in_loops() {
    assert_eq!(expanded("super::{a, b::{C, d as e}}"), ["super::a", "super::b::C", "super::b::d"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut checked = 0;
    for parent in ["host", "components", "components/libraries"] {
        for entry in fs::read_dir(root.join(parent)).unwrap() {
            let (source, name) = (entry.as_ref().unwrap().path().join("src"), entry.unwrap().file_name());
            let folder = format!("{parent}/{}/src", name.to_str().unwrap());
            if !source.is_dir() {
                continue;
            }
            let modules = modules(&source);
            checked += modules.len();
            let imports: BTreeMap<&Module, BTreeSet<Module>> = modules
                .iter()
                .map(|(module, code)| {
                    (module, paths(code).iter().filter_map(|path| resolved(path, module, &modules)).collect())
                })
                .collect();
            let known = KNOWN.iter().filter(|(known, _)| *known == folder).flat_map(|(_, modules)| *modules);
            let known: BTreeSet<&str> = known.copied().collect();
            let in_loops: Vec<String> = modules
                .keys()
                .filter(|module| reached(module, &imports).contains(module))
                .map(|module| module.join("::"))
                .filter(|module| !known.contains(module.as_str()))
                .collect();
            assert!(in_loops.is_empty(), "{folder}: these import each other in a loop: {in_loops:#?}");
        }
    }
    assert!(checked > 400, "only {checked} files were found");
}
