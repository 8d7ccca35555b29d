//! Which files a component gets for its contracts, and the errors for wrong WIT files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

const STORE: &str = "// What links are.\npackage acme:links@0.1.0;\n\n/// Keeps links.\ninterface store {\n  variant error \
                     { unavailable(string) }\n  use acme:types/ids@1.0.0.{id};\n  get: func(id: id) -> result<string, \
                     error>;\n}\n";
const IDS: &str = "/// Types.\npackage acme:types@1.0.0;\ninterface ids { type id = u64; }\n";

fn contracts(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Contracts, ContractError>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let contracts = Contracts::read(folder.path());
    (folder, contracts)
}

fn names(names: &[&str]) -> Vec<DependencyName> {
    names.iter().map(|name| DependencyName::parse(name).unwrap()).collect()
}

#[test]
fn a_component_gets_its_imports_its_exports_and_the_packages_that_they_use() {
    let unused = "package acme:unused@1.0.0; interface nothing {}";
    let files = [("links/store.wit", STORE), ("types.wit", IDS), ("unused.wit", unused)];
    let (_folder, contracts) = contracts(&files);
    let contracts = contracts.unwrap();
    let text = contracts.dependencies(&names(&["acme:links/store@0.1.0"]), &names(&["acme:types/ids"])).unwrap();
    assert!(text.contains("import acme:links/store@0.1.0;\n    export acme:types/ids@1.0.0;"), "{text}");
    assert!(text.contains("    /// Keeps links.\n    interface store {"), "comments stay: {text}");
    assert!(text.contains("package acme:types@1.0.0 {") && !text.contains("unused"), "{text}");
}

#[test]
fn a_whole_package_is_each_of_its_interfaces() {
    let files = [("a.wit", "package acme:a@1.0.0;\ninterface one {}"), ("b.wit", "interface two {}")];
    let (_folder, contracts) = contracts(&files);
    let found = contracts.unwrap().find(&DependencyName::parse("acme:a").unwrap()).unwrap();
    assert_eq!(found, ["acme:a/one@1.0.0", "acme:a/two@1.0.0"]);
}

#[test]
fn two_versions_of_a_package_stand_side_by_side() {
    let newer = STORE.replace("0.1.0", "0.2.0");
    let files = [("links.wit", STORE), ("links-0.2.wit", &newer), ("types.wit", IDS)];
    let (_folder, contracts) = contracts(&files);
    let contracts = contracts.unwrap();
    let both = names(&["acme:links/store@0.1.0", "acme:links/store@0.2.0"]);
    let text = contracts.dependencies(&[], &both).unwrap();
    assert!(text.contains("package acme:links@0.1.0 {") && text.contains("package acme:links@0.2.0 {"), "{text}");
    let open = contracts.dependencies(&names(&["acme:links/store"]), &[]).unwrap_err().to_string();
    assert!(
        open.contains("name the version in the manifest: there are acme:links@0.1.0 and acme:links@0.2.0"),
        "{open}"
    );
}

#[test]
fn what_is_wrong_is_said_with_what_would_fix_it() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("links.wit", STORE)], "acme:types"),
        (&[("a.wit", "interface a {}")], "begin it with `package NAMESPACE:NAME@VERSION;`"),
        (&[("a.wit", "package acme:a; interface a { f: fun() }")], "a.wit:1:"),
        (&[("a.wit", "package acme:a;\npackage acme:b { interface b {} }")], "put it into a file of its own"),
        (&[("a/a.wit", "package acme:a;"), ("b/a.wit", "package acme:a;")], "is in two folders"),
    ];
    for (files, expected) in cases {
        let (_folder, contracts) = contracts(files);
        let error = contracts.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let (_folder, contracts) = contracts(&[("types.wit", IDS)]);
    let contracts = contracts.unwrap();
    for (name, expected) in [
        ("acme:links/store@0.1.0", "links/store.wit: `package acme:links@0.1.0;`"),
        ("acme:types/other", "types.wit, or name one that it has: ids"),
    ] {
        let error = contracts.dependencies(&names(&[name]), &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_mistyped_name_is_told_with_the_nearest_one_and_with_the_file_that_declares_the_package() {
    let beside = ("links/more.wit", "interface lists {}");
    let (_folder, contracts) = contracts(&[("links/store.wit", STORE), beside, ("types.wit", IDS)]);
    let contracts = contracts.unwrap();
    for (name, expected) in [
        ("acme:links/store@0.2.0", "links/store.wit declares `package acme:links@0.1.0;`: name that version"),
        ("acme:links/store@0.2.0", "or write `package acme:links@0.2.0;` there"),
        ("acme:links/stroe@0.1.0", "did you mean `acme:links/store@0.1.0`? "),
        ("acme:links/stroe@0.1.0", "links/store.wit has store, lists; otherwise add the interface to package acme:"),
        ("acme:lniks/stroe@0.1.0", "did you mean `acme:links/store@0.1.0`, of "),
        ("acme:lniks@0.1.0", "did you mean `acme:links@0.1.0`, of "),
        ("other:shop/till@1.0.0", "fix: write the package in "),
    ] {
        let error = contracts.find(&DependencyName::parse(name).unwrap()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_declaration_is_found_behind_comments() {
    for (text, found) in [
        ("package a:b;", Some("a:b")),
        ("// package x:y;\n/* package /* z:z; */ */ package  a:b@1.0.0 ;", Some("a:b@1.0.0")),
        ("package a:b { interface c {} }", None),
        ("packages a:b;", None),
        ("", None),
        ("/* open", None),
    ] {
        assert_eq!(package::declared(text).as_deref(), found, "{text}");
    }
}
