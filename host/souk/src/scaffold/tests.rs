//! What `souk new` and `souk add` write for each kind of component.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod examples;
mod installs;
mod page;

use super::libraries::Library;
use super::*;
use souk_manifest::DependencyName;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn app() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("shop");
    new(&app, "shop", None).unwrap().write().unwrap();
    (folder, app)
}

fn component(name: &str, kind: Kind, storage: Storage) -> NewComponent {
    NewComponent { name: name.to_owned(), kind, storage, language: Language::Rust, souk: None }
}

fn http(route: &str) -> Kind {
    Kind::Http { route: route.to_owned() }
}

fn exports(interface: &str, durable: bool) -> Kind {
    Kind::Exports { interface: DependencyName::parse(interface).unwrap(), durable }
}

fn add_to(app: &Path, new: &NewComponent) -> Result<(), String> {
    add(app, "spin.toml", new).map_err(|error| error.to_string())?.write().unwrap();
    Ok(())
}

fn link(app: &Path, caller: &str, callee: &str) -> Result<Vec<String>, String> {
    let link = NewLink { caller: caller.to_owned(), callee: callee.to_owned(), interface: None };
    let changes = add_link(app, "spin.toml", &link).map_err(|error| error.to_string())?;
    changes.write().unwrap();
    Ok(changes.notes().to_vec())
}

const NOTHING: Storage = Storage { sqlite: false, postgres: false, key_value: false };
const STORAGES: [Storage; 4] = [
    NOTHING,
    Storage { sqlite: true, ..NOTHING },
    Storage { postgres: true, ..NOTHING },
    Storage { key_value: true, ..NOTHING },
];

#[test]
fn every_kind_of_component_in_every_language_makes_a_manifest_that_is_read_and_leaves_no_gap() {
    for language in Language::ALL {
        for storage in STORAGES {
            for (kind, durable) in [(None, false), (Some(false), false), (Some(true), true)] {
                if (durable && storage == NOTHING) || (storage.postgres && language != Language::Rust) {
                    continue;
                }
                let (_folder, app) = app();
                let callee = kind.map_or(http("/kept/..."), |durable| exports("acme:links/store@0.1.0", durable));
                let in_language = |new| NewComponent { language, ..new };
                add_to(&app, &in_language(component("web", http("/api/..."), NOTHING))).unwrap();
                add_to(&app, &in_language(component("link-store", callee, storage))).unwrap();
                if kind.is_some() {
                    assert_eq!(link(&app, "web", "link-store").unwrap(), [""; 0], "the caller was as it was made");
                }
                let plan =
                    souk_manifest::load_build_only(&app.join("spin.toml")).unwrap_or_else(|errors| panic!("{errors}"));
                assert_eq!(plan.test.as_deref(), Some(language.test_command()));
                no_gap_is_left(&app);
                let contracts = crate::contracts::Contracts::read(&app.join("wit")).unwrap();
                for step in plan.components.values() {
                    contracts.dependencies(&step.imports, &step.exports).unwrap();
                }
            }
        }
    }
}

/// In Rust, `<<` is also the shift operator, but no template uses it.
fn no_gap_is_left(app: &Path) {
    for (path, text) in files(app).into_iter().filter(|(path, _)| !path.starts_with(app.join("libraries"))) {
        assert!(!text.contains("<<"), "{}: {text}", path.display());
    }
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

#[test]
fn a_caller_that_somebody_changed_is_left_alone_and_the_command_says_how_to_call() {
    let (_folder, app) = app();
    add_to(&app, &component("web", http("/..."), NOTHING)).unwrap();
    add_to(&app, &component("store", exports("acme:links/store@0.1.0", false), NOTHING)).unwrap();
    let source = app.join("web/src/lib.rs");
    std::fs::write(&source, "// mine\n").unwrap();
    let notes = link(&app, "web", "store").unwrap();
    assert!(notes[0].contains("`use acme::links::store;`"), "{notes:?}");
    assert_eq!(std::fs::read_to_string(source).unwrap(), "// mine\n");
    let manifest = std::fs::read_to_string(app.join("spin.toml")).unwrap();
    assert!(manifest.contains("\"acme:links/store@0.1.0\" = { component = \"store\" }"), "{manifest}");
}

#[test]
fn components_in_other_languages_have_their_tools_commands_and_what_those_need() {
    let (_folder, app) = app();
    let javascript = NewComponent { language: Language::Javascript, ..component("web", http("/..."), NOTHING) };
    let greetings = exports("acme:greetings/good-day@1.0.0", false);
    let python = NewComponent { language: Language::Python, ..component("greeter", greetings, NOTHING) };
    add_to(&app, &javascript).unwrap();
    add_to(&app, &python).unwrap();
    assert_eq!(link(&app, "web", "greeter").unwrap(), [""; 0]);
    let plan = souk_manifest::load_build_only(&app.join("spin.toml")).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(plan.test.as_deref(), Some("node --test tests/*.test.mjs"));
    let contracts = crate::contracts::Contracts::read(&app.join("wit")).unwrap();
    let text =
        |name: &str| contracts.dependencies(&plan.components[name].imports, &plan.components[name].exports).unwrap();
    assert!(text("web").contains("export wasi:http/incoming-handler@0.2.10;") && text("web").contains("import acme:"));
    assert!(text("greeter").contains("export acme:greetings/good-day@1.0.0;"));
    no_gap_is_left(&app);
    let source = |path: &str| std::fs::read_to_string(app.join(path)).unwrap();
    assert!(source("web/app.js").contains("import { greet } from \"acme:greetings/good-day@1.0.0\""));
    assert!(source("greeter/app.py").contains("class GoodDay(exports.GoodDay):"));
    assert!(source("tests/web.test.mjs").contains("/Ann"));
    let storage = Storage { postgres: true, ..NOTHING };
    let error = add_to(&app, &NewComponent { name: "other".into(), kind: http("/other/..."), storage, ..javascript });
    assert!(error.unwrap_err().contains("is in Rust\n  fix: add it with --sqlite"));
}

#[test]
fn a_component_without_an_sdk_names_the_interfaces_of_its_grants_for_its_tool() {
    let storage = Storage { sqlite: true, ..NOTHING };
    for (language, kind, named) in [
        (Language::Javascript, http("/..."), true),
        (Language::Javascript, exports("acme:links/store@0.1.0", false), true),
        (Language::Python, exports("acme:links/store@0.1.0", false), true),
        (Language::Python, http("/..."), false),
        (Language::Rust, http("/..."), false),
    ] {
        let (_folder, app) = app();
        add_to(&app, &NewComponent { language, ..component("store", kind, storage) }).unwrap();
        let plan = souk_manifest::load_build_only(&app.join("spin.toml")).unwrap_or_else(|errors| panic!("{errors}"));
        let step = &plan.components["store"];
        let text = crate::contracts::Contracts::read(&app.join("wit")).unwrap();
        let text = text.dependencies(&step.imports, &step.exports).unwrap();
        assert_eq!(text.contains("import fermyon:spin/sqlite@2.0.0;"), named, "{language:?}: {text}");
    }
}

#[test]
fn each_component_with_a_key_value_store_has_one_of_its_own() {
    for language in Language::ALL {
        let contract = |durable| exports("acme:links/store@0.1.0", durable);
        for kind in [http("/..."), contract(false), contract(true)] {
            let (_folder, app) = app();
            let new = component("link-store", kind, Storage { key_value: true, ..NOTHING });
            add_to(&app, &NewComponent { language, ..new }).unwrap();
            let manifest = std::fs::read_to_string(app.join("spin.toml")).unwrap();
            assert!(manifest.contains("key_value_stores = [\"link-store\"]\n"), "{manifest}");
            let source = std::fs::read_to_string(app.join(language.source_file("link-store"))).unwrap();
            assert!(source.contains("\"link-store\"") && !source.contains("\"default\""), "{source}");
        }
    }
}

#[test]
fn the_source_of_a_component_names_the_paths_of_its_own_route() {
    let key_value = Storage { key_value: true, ..NOTHING };
    let callees = [(false, NOTHING), (false, key_value), (true, key_value)];
    for ((route, base), language) in
        [("/...", "/"), ("/record/...", "/record/")].into_iter().flat_map(|route| Language::ALL.map(|l| (route, l)))
    {
        let of_route = |source: &str| {
            let paths = ["`GET ", "`PUT ", "`POST "].into_iter().flat_map(|method| source.split(method).skip(1));
            let paths: Vec<&str> = paths.collect();
            assert!(!paths.is_empty() && paths.iter().all(|path| path.starts_with(base)), "{route}: {source}");
        };
        let in_language = |new| NewComponent { language, ..new };
        let source = |app: &Path| std::fs::read_to_string(app.join(language.source_file("web"))).unwrap();
        for storage in [key_value, Storage { sqlite: true, ..NOTHING }] {
            let (_folder, app) = app();
            add_to(&app, &in_language(component("web", http(route), storage))).unwrap();
            of_route(&source(&app));
        }
        for (durable, storage) in callees {
            let (_folder, app) = app();
            add_to(&app, &in_language(component("web", http(route), NOTHING))).unwrap();
            let store = component("store", exports("acme:links/store@0.1.0", durable), storage);
            add_to(&app, &in_language(store)).unwrap();
            assert_eq!(link(&app, "web", "store").unwrap(), [""; 0]);
            of_route(&source(&app));
        }
    }
}

#[test]
fn a_new_application_says_in_which_language_its_components_usually_are() {
    let folder = tempfile::tempdir().unwrap();
    for (language, usual) in [
        (None, Language::Rust),
        (Some(Language::Rust), Language::Rust),
        (Some(Language::Javascript), Language::Javascript),
        (Some(Language::Python), Language::Python),
    ] {
        let app = folder.path().join(format!("app-{language:?}").replace(['(', ')'], "-").trim_end_matches('-'));
        new(&app, "shop", language).unwrap().write().unwrap();
        assert_eq!(usual_language(&app, "spin.toml").unwrap(), usual);
        let plan = souk_manifest::load_build_only(&app.join("spin.toml")).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(plan.test.as_deref(), language.map(Language::test_command));
    }
    // A first component in another language than that of the tests.
    let app = folder.path().join("app-Some-Rust");
    add_to(&app, &NewComponent { language: Language::Python, ..component("web", http("/..."), NOTHING) }).unwrap();
    assert!(app.join("tests/web.rs").exists() && app.join("libraries/souk-test/Cargo.toml").exists());
    assert!(std::fs::read_to_string(app.join("Cargo.toml")).unwrap().contains("souk-test"));
}

#[test]
fn tests_are_in_the_language_that_runs_already_and_a_component_in_rust_adds_its_own() {
    let (_folder, app) = app();
    let manifest = || std::fs::read_to_string(app.join("spin.toml")).unwrap();
    let add = |name: &str, language, route: &str| {
        add_to(&app, &NewComponent { language, ..component(name, http(route), NOTHING) }).unwrap();
    };
    add("first", Language::Python, "/first/...");
    add("second", Language::Javascript, "/second/...");
    assert!(app.join("tests/test_second.py").exists() && !app.join("tests/second.test.mjs").exists());
    std::fs::write(app.join("tests/application.py"), "# mine\n").unwrap();
    add("third", Language::Rust, "/third/...");
    let command = "command = \"python3 -m unittest discover --start-directory tests && cargo test\"";
    assert!(manifest().contains(command), "{}", manifest());
    add("fourth", Language::Python, "/fourth/...");
    assert!(app.join("tests/fourth.rs").exists(), "a test in Rust can do more");
    assert_eq!(std::fs::read_to_string(app.join("tests/application.py")).unwrap(), "# mine\n");
    std::fs::write(app.join("spin.toml"), manifest().replace(command, "command = \"make check\"")).unwrap();
    add("fifth", Language::Python, "/fifth/...");
    assert!(app.join("tests/test_fifth.py").exists() && manifest().contains("\"make check\""), "{}", manifest());
}

#[test]
fn cargo_builds_into_the_folder_that_the_manifest_names_unless_the_user_has_a_configuration() {
    let (_folder, app) = app();
    add_to(&app, &component("web", http("/..."), NOTHING)).unwrap();
    let config = || std::fs::read_to_string(app.join(".cargo/config.toml")).unwrap();
    assert!(config().contains("[build]\ntarget-dir = \"target\"\n"), "{}", config());
    std::fs::remove_file(app.join("Cargo.toml")).unwrap();
    std::fs::write(app.join(".cargo/config.toml"), "# mine\n").unwrap();
    add_to(&app, &component("other", http("/other/..."), NOTHING)).unwrap();
    assert_eq!(config(), "# mine\n");
}

#[test]
fn comments_of_the_manifest_stay() {
    let (_folder, app) = app();
    let manifest = app.join("spin.toml");
    let text = std::fs::read_to_string(&manifest).unwrap() + "# mine\ncolour = { default = \"red\" } # and mine\n";
    std::fs::write(&manifest, text).unwrap();
    add_to(&app, &component("web", http("/..."), Storage { postgres: true, ..NOTHING })).unwrap();
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("# mine\ncolour = { default = \"red\" } # and mine\n"), "{text}");
    assert!(text.contains("web_database_url = { default = \"sqlite:web\", secret = true }"), "{text}");
}

#[test]
fn nothing_is_written_where_something_is_in_the_way() {
    let (_folder, app) = app();
    add_to(&app, &component("web", http("/..."), NOTHING)).unwrap();
    std::fs::create_dir_all(app.join("store/src")).unwrap();
    std::fs::write(app.join("store/src/lib.rs"), "// mine\n").unwrap();
    let before = files(&app);
    for (new, expected) in [
        (component("web", http("/other/..."), NOTHING), "component `web` exists already"),
        (component("other", http("/..."), NOTHING), "component `web` already answers at `/...`"),
        (component("other", http("/x"), NOTHING), "write it as `/...`"),
        (component("other", http("//..."), NOTHING), "has an empty segment"),
        (component("other", http("/:id/..."), NOTHING), "is not a route for a new component"),
        (component("other", http("/a\"b/..."), NOTHING), "is not a route for a new component"),
        (component("other", http("/*"), NOTHING), "is not a route for a new component"),
        (component("other", http("/.well-known/spin/..."), NOTHING), "is not a route for a new component"),
        (
            component("other", exports("acme:mail/kept@0.1.0", true), Storage { sqlite: true, ..NOTHING }),
            "duplicate item named `kept`",
        ),
        (component("a_b", http("/x/..."), NOTHING), "cannot be a component's name"),
        (component("target", http("/x/..."), NOTHING), "a folder of the application itself"),
        (component("shop-tests", http("/x/..."), NOTHING), "the package of the application's tests"),
        (component("store", exports("acme:links/store@0.1.0", false), NOTHING), "store/src/lib.rs exists already"),
        (
            component("other", exports("acme:box/inbox@0.1.0", false), NOTHING),
            "`box` in `acme:box/inbox@0.1.0` is a keyword",
        ),
        (component("other", exports("acme:box-office/record@0.1.0", false), NOTHING), "found keyword `record`"),
        (
            component("other", exports("core:day/part@0.1.0", false), NOTHING),
            "`core` in `core:day/part@0.1.0` is a module of every component in Rust",
        ),
        (
            NewComponent {
                language: Language::Python,
                ..component("other", exports("acme:day/class@0.1.0", false), NOTHING)
            },
            "`class` in `acme:day/class@0.1.0` is a keyword of Python",
        ),
        (component("other", exports("acme:links/store", false), NOTHING), "an interface with its version"),
        (component("other", exports("acme:links/store@0.1.0", true), NOTHING), "add --key-value, --sqlite"),
        (
            component("other", http("/x/..."), Storage { sqlite: true, postgres: false, key_value: true }),
            "in one place",
        ),
    ] {
        let error = add_to(&app, &new).expect_err(expected);
        assert!(error.contains(expected) && error.contains("\n  fix: "), "{error}");
    }
    for (caller, callee, expected) in [
        ("web", "nobody", "there is no component `nobody`\n  fix: name an existing one (web), or create it"),
        ("web", "web", "name two components"),
    ] {
        let error = link(&app, caller, callee).expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(files(&app), before);
    assert!(new(&app, "shop", None).unwrap_err().to_string().contains("is not empty"));
    std::fs::create_dir_all(app.join("repository/.git")).unwrap();
    new(&app.join("repository"), "shop", None).expect("a repository without files");
    assert!(new(&app.join("x"), "a b", None).unwrap_err().to_string().contains("cannot be an application's name"));
}

#[test]
fn a_second_durable_contract_is_in_a_package_of_its_own() {
    let (_folder, app) = app();
    let durable =
        |name: &str, interface: &str| component(name, exports(interface, true), Storage { key_value: true, ..NOTHING });
    add_to(&app, &durable("first", "acme:mail/inbox@0.1.0")).unwrap();
    let before = files(&app);
    let error = add_to(&app, &durable("second", "acme:mail/outbox@0.1.0")).unwrap_err();
    assert!(error.contains("duplicate item named `kept`") && error.contains("or the package"), "{error}");
    assert_eq!(files(&app), before);
    add_to(&app, &durable("second", "acme:post/outbox@0.1.0")).unwrap();
    // Mistakes that were there before are not this command's.
    std::fs::write(app.join("wit/mail/inbox.wit"), "nonsense").unwrap();
    add_to(&app, &durable("third", "acme:letters/box-three@0.1.0")).unwrap();
}

#[test]
fn a_link_is_durable_by_the_types_of_its_contract_wherever_and_however_it_is_written() {
    let (_folder, app) = app();
    add_to(&app, &component("web", http("/..."), NOTHING)).unwrap();
    let key_value = Storage { key_value: true, ..NOTHING };
    add_to(&app, &component("clicks", exports("acme:clicks/counter@0.1.0", true), key_value)).unwrap();
    let text = std::fs::read_to_string(app.join("wit/clicks/counter.wit")).unwrap();
    let text = text.replace("delivery-error", "failure").replace("id: string, text", "\n    id: string,\n    text");
    assert!(text.contains("failure") && text.contains("(\n    id: string,\n    text: string)"), "{text}");
    std::fs::remove_dir_all(app.join("wit/clicks")).unwrap();
    std::fs::write(app.join("wit/all.wit"), text).unwrap();
    link(&app, "web", "clicks").unwrap();
    let manifest = std::fs::read_to_string(app.join("spin.toml")).unwrap();
    assert!(manifest.contains("durable = [\"acme:clicks/counter@0.1.0\"]"), "{manifest}");
    assert!(manifest.contains("\"acme:clicks/kept@0.1.0\" = { component = \"clicks\" }"), "{manifest}");
}

#[test]
fn a_component_in_rust_gets_a_library_and_another_one_is_refused() {
    let (_folder, app) = app();
    add_to(&app, &component("web", http("/..."), NOTHING)).unwrap();
    let library = |name: &str| add_library(&app, "spin.toml", name, Library::Web, None);
    for _ in 0..2 {
        library("web").unwrap().write().unwrap();
    }
    let read = |path: &str| std::fs::read_to_string(app.join(path)).unwrap();
    assert_eq!(
        read("web/Cargo.toml").matches("souk-web = { workspace = true }").count(),
        1,
        "{}",
        read("web/Cargo.toml")
    );
    assert!(read("Cargo.toml").contains("souk-web = { path = \"libraries/souk-web\" }"), "{}", read("Cargo.toml"));
    assert!(read("libraries/souk-web/src/lib.rs").starts_with("//!"));
    let python = NewComponent { language: Language::Python, ..component("page", http("/page/..."), NOTHING) };
    add_to(&app, &python).unwrap();
    assert!(library("page").unwrap_err().to_string().contains("name a component in Rust"));
    assert!(library("nobody").unwrap_err().to_string().contains("there is no component `nobody`"));
}

#[test]
fn a_library_is_written_with_all_its_files_and_what_its_workspace_says() {
    for library in Library::ALL {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(library.place());
        // Files of modules that only Souk's own tests need.
        let root = std::fs::read_to_string(place.join("src/lib.rs")).unwrap();
        let servers: BTreeSet<_> = root
            .split("#[cfg(feature = \"servers\")]\n")
            .skip(1)
            .filter_map(|rest| rest.trim_start_matches("pub ").strip_prefix("mod ")?.split(';').next())
            .map(|module| PathBuf::from(format!("src/{module}.rs")))
            .collect();
        let own = |path: &Path| !servers.contains(path) && !path.ends_with("tests.rs");
        let there: BTreeSet<_> = ["Cargo.toml", "src", "wit"]
            .iter()
            .map(|name| place.join(name))
            .filter(|path| path.exists())
            .flat_map(|path| if path.is_dir() { files(&path) } else { vec![(path, String::new())] })
            .map(|(path, _)| path.strip_prefix(&place).unwrap().to_owned())
            .filter(|path| own(path))
            .collect();
        let listed: BTreeSet<_> = library.files().iter().map(|(name, _)| PathBuf::from(name)).collect();
        assert_eq!(listed, there, "the list of {}", library.name());

        let folder = tempfile::tempdir().unwrap();
        let mut changes = Changes::new(folder.path());
        let written = libraries::write(&mut changes, library).unwrap();
        changes.write().unwrap();
        let manifest = std::fs::read_to_string(folder.path().join(written).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("workspace") && !manifest.contains("dev-dependencies"), "{manifest}");
    }
}
