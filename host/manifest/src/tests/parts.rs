//! Components that the manifest does not name, for dependencies and middleware, and their grants.

use super::*;

/// The components of an application with a component `a`, and `more` after its table.
fn components(more: &str) -> BTreeMap<String, Component> {
    app(&with_component(more)).load().application.components
}

const GRANTS: &str = "key_value_stores = [\"default\"]\nsqlite_databases = [\"main\"]\nfiles = [\"x.txt\"]\n\
    environment = { A = \"of a\", B = \"of a\" }\nvariables = { v = \"of a\" }\n\
    allowed_outbound_hosts = [\"https://a.test\"]\n";

/// The keys of [`GRANTS`] that a component has.
fn granted(component: &Component) -> Vec<&'static str> {
    let all = [
        ("allowed_outbound_hosts", component.allowed_outbound_hosts.iter().any(|h| h.allows("https", "a.test", 443))),
        ("environment", component.environment.contains_key("B")),
        ("files", !component.files.is_empty()),
        ("key_value_stores", component.key_value_stores == ["default"]),
        ("sqlite_databases", component.sqlite_databases == ["main"]),
        ("variables", component.variables.contains_key("v")),
    ];
    all.into_iter().filter(|(_, has)| *has).map(|(key, _)| key).collect()
}

#[test]
fn a_dependency_by_path_or_url_is_a_component_that_is_granted_nothing() {
    let digest = "0".repeat(64);
    let components = components(&format!(
        "{GRANTS}[component.a.dependencies]\n\"n:p/i\" = {{ path = \"p.wasm\" }}\n\"n:p/j\" = {{ path = \"p.wasm\" }}\n\
         \"n:q\" = {{ url = \"https://x.test/q.wasm\", digest = \"sha256:{digest}\", environment = {{ A = \"its own\" }} }}\n"
    ));
    assert_eq!(components.keys().collect::<Vec<_>>(), ["a", "p-for-a", "q-for-a"], "one for one file");
    let targets: Vec<_> = components["a"].dependencies.iter().map(|link| link.component.as_str()).collect();
    assert_eq!(targets, ["p-for-a", "p-for-a", "q-for-a"]);
    let (p, q) = (&components["p-for-a"], &components["q-for-a"]);
    assert!(p.source.ends_with("p.wasm") && p.download.is_none() && granted(p).is_empty());
    assert_eq!(q.download.as_ref().unwrap().digest(), Some(digest.as_str()));
    assert!(granted(q).is_empty() && q.environment["A"] == "its own" && q.part_of.as_deref() == Some("a"));
}

#[test]
fn code_is_a_version_of_a_package_that_the_registry_has() {
    let digest = "a".repeat(64);
    let components = components(&format!(
        "[component.a.dependencies]\n\"n:p/i@0.1.0\" = {{ registry = \"r.test\", version = \"=1.2.0\" }}\n\
         \"n:q\" = {{ registry = \"localhost:5000\", package = \"m:other\", version = \"2.0.0-rc.1\" }}\n\
         [component.b]\nsource = {{ registry = \"R.Test:444\", package = \"n:b\", version = \"1.0.0\" }}\n\
         tool.souk.digest = \"sha256:{digest}\"\n"
    ));
    let of = |name: &str| components[name].download.as_ref().unwrap();
    for (name, shown, digest) in [
        ("p-for-a", "r.test/n:p@1.2.0", None),
        ("q-for-a", "localhost:5000/m:other@2.0.0-rc.1", None),
        ("b", "r.test:444/n:b@1.0.0", Some(digest.as_str())),
    ] {
        assert_eq!((of(name).to_string().as_str(), of(name).digest()), (shown, digest), "{name}");
    }
    let here = |name: &str| matches!(of(name), Download::Release { release, .. } if release.is_local());
    assert!(here("q-for-a") && !here("p-for-a"));
}

#[test]
fn a_dependency_inherits_what_its_list_names_and_nothing_else() {
    for (inherit, keys) in [
        ("false", &[][..]),
        ("[\"variables\", \"files\"]", &["files", "variables"]),
        ("[\"allowed_outbound_hosts\", \"ai_models\"]", &["allowed_outbound_hosts"]),
        (
            "true",
            &["allowed_outbound_hosts", "environment", "files", "key_value_stores", "sqlite_databases", "variables"],
        ),
    ] {
        let link = format!("{{ path = \"p.wasm\", inherit_configuration = {inherit} }}");
        let components = components(&format!("{GRANTS}[component.a.dependencies]\n\"n:p\" = {link}\n"));
        assert_eq!(granted(&components["p-for-a"]), keys, "{inherit}");
    }
    let all = format!(
        "{GRANTS}dependencies_inherit_configuration = true\n[component.a.dependencies]\n\"n:p\" = {{ path = \"p.wasm\" }}\n\
         \"n:q\" = {{ path = \"q.wasm\", inherit_configuration = false }}\n"
    );
    let components = components(&all);
    assert_eq!((granted(&components["p-for-a"]).len(), granted(&components["q-for-a"]).len()), (6, 0));
}

#[test]
fn a_component_that_inherits_is_a_copy_and_the_original_stays_as_it_is() {
    let components = components(&format!(
        "{GRANTS}[component.a.dependencies]\n\"n:b\" = {{ component = \"b\", inherit_configuration = [\"environment\"] }}\n\
         [component.b]\nsource = \"b.wasm\"\nkey_value_stores = [\"own\"]\n\
         [component.b.dependencies]\n\"n:c\" = {{ path = \"c.wasm\" }}\n"
    ));
    assert_eq!(components.keys().collect::<Vec<_>>(), ["a", "b", "b-for-a", "c-for-b"]);
    let copy = &components["b-for-a"];
    assert_eq!((granted(copy), granted(&components["b"])), (vec!["environment"], vec![]));
    assert_eq!((copy.key_value_stores.as_slice(), copy.copy_of.as_deref()), (["own".to_owned()].as_slice(), Some("b")));
    assert_eq!(copy.dependencies[0].component, "c-for-b");
}

#[test]
fn a_component_with_something_that_exists_only_once_is_not_copied() {
    let text = with_component(
        "[component.a.dependencies]\n\"n:b\" = { component = \"b\", inherit_configuration = true }\n\
         [component.b]\nsource = \"b.wasm\"\ntool.souk.migrations = \"m\"\n",
    );
    let errors = app(&text).file("m/x", "").errors();
    assert!(errors.to_string().contains("component `b` cannot inherit the configuration of `a`"), "{errors}");
    assert!(errors.0[0].fix.contains("[component.b]") && errors.0[0].line == Some(9), "{errors}");
}

const CHAIN: &str = "[[trigger.http]]\nroute = \"/x\"\ncomponent = \"a\"\ndependencies.middleware = [\n\
    { component = \"m\" }, { component = \"m\", inherit_configuration = [\"variables\"] }, { path = \"n.wasm\" }]\n\
    [component.m]\nsource = \"m.wasm\"\n";

#[test]
fn middleware_keeps_the_order_of_its_list_and_counts_as_used() {
    let loaded = app(&with_component(CHAIN)).load();
    let [plain, with] = &loaded.application.routes[..] else { panic!("two routes") };
    assert_eq!(
        (plain.middleware.len(), &with.middleware[..]),
        (0, &["m", "m-for-a", "middleware-for-a"].map(String::from)[..])
    );
    assert_eq!(loaded.application.reachable().len(), 4);
    assert!(loaded.warnings.is_empty(), "{:#?}", loaded.warnings);
}

#[test]
fn a_host_of_several_runs_the_parts_of_its_components_and_all_middleware() {
    let more = format!(
        "{CHAIN}[component.b]\nsource = \"b.wasm\"\n[component.b.dependencies]\n\"n:p\" = {{ path = \"p.wasm\" }}\n"
    );
    let mut app = app(&with_component(&more));
    app.options.nats = vec!["nats://h".parse().unwrap()];
    app.options.only = vec!["b".to_owned()];
    let only = app.load().application.only.unwrap();
    assert_eq!(only.into_iter().collect::<Vec<_>>(), ["b", "m", "m-for-a", "middleware-for-a", "p-for-b"]);
}

#[test]
fn without_nats_the_components_that_are_chosen_are_all_there_are() {
    let mut app = app(&with_component(
        "[[trigger.http]]\nroute = \"/b\"\ncomponent = \"b\"\n[component.b]\nsource = \"b.wasm\"\n",
    ));
    app.options.selected = vec!["b".to_owned()];
    let application = app.load().application;
    assert_eq!(application.routes.iter().map(|route| route.component.as_str()).collect::<Vec<_>>(), ["b"]);
    assert!(application.runs_here("b") && !application.runs_here("a"));
    app.options.nats = vec!["nats://h".parse().unwrap()];
    assert_eq!(app.load().application.routes.len(), 2, "others run the rest");
}

#[test]
fn a_base_path_stands_before_every_route_and_answers_of_the_manifest_have_routes_too() {
    let head = "spin_manifest_version = 2\napplication = { name = \"t\", trigger.http.base = \"/shop/\" }\n";
    let text = format!(
        "{head}[[trigger.http]]\nroute = \"/items/...\"\ncomponent = {{ source = \"a.wasm\" }}\n\
         [[trigger.http]]\nroute = \"/gone\"\nstatic_response = {{ status_code = 410, headers = {{ X-Why = \"old\" }} }}\n"
    );
    let application = app(&text).load().application;
    assert_eq!(application.routes[0].pattern.as_ref().unwrap().as_str(), "/shop/items/...");
    let gone = &application.static_routes[0];
    assert_eq!(
        (gone.pattern.as_str(), gone.response.status.as_u16(), gone.response.body.as_str()),
        ("/shop/gone", 410, "")
    );
    assert_eq!(gone.response.headers["x-why"], "old");
}

#[test]
fn a_redis_trigger_takes_its_server_from_itself_or_the_application_and_shows_no_password() {
    let text = "spin_manifest_version = 2\n[application]\nname = \"t\"\ntrigger.redis.address = \"redis://:{{ key }}@one\"\n\
        [variables]\nkey = { required = true, secret = true }\nchannel = { default = \"news\" }\n\
        [[trigger.redis]]\nchannel = \"{{ channel }}\"\ncomponent = { source = \"a.wasm\" }\n\
        [[trigger.redis]]\nchannel = \"x\"\naddress = \"rediss://two:7000\"\ncomponent = \"redis-trigger1-component\"\n";
    let loaded = app(text).env("SPIN_VARIABLE_KEY", "s3cret").load();
    let triggers = &loaded.application.redis_triggers;
    let shown: Vec<_> = triggers.iter().map(|t| format!("{} {} {}", t.address, t.channel, t.component)).collect();
    let component = "redis-trigger1-component";
    assert_eq!(shown, [format!("redis://one:6379/0 news {component}"), format!("rediss://two:7000/0 x {component}")]);
    assert_eq!(triggers[0].address.connection_info().redis_settings().password(), Some("s3cret"));
    assert!(!format!("{triggers:?}").contains("s3cret") && loaded.warnings.is_empty());
    assert_eq!(loaded.application.reachable().len(), 1);
}

#[test]
fn a_variable_of_the_command_line_wins_and_one_that_is_not_declared_is_refused() {
    let text =
        with_component("variables = { v = \"{{ v }}\" }\n[variables]\nv = { default = \"default\", secret = true }\n");
    let mut app = app(&text).env("SPIN_VARIABLE_V", "environment");
    app.options.variables.insert("v".to_owned(), "s3cret".to_owned());
    assert_eq!(app.component("a").variables["v"].expose(), "s3cret");
    app.options.variables.insert("vv".to_owned(), "s3cret".to_owned());
    let errors = app.errors().to_string();
    assert!(
        errors.starts_with("--variable: the application has no variable `vv`") && !errors.contains("s3cret"),
        "{errors}"
    );
}
