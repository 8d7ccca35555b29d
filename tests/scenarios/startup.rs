//! Mistakes that stop the start: each one ends the program with one message that names it, before anything listens.
//!
//! The host's own tests have a table of mistakes in the manifest's text. These scenarios have mistakes that only show
//! with components, links and databases. The components are written as text, so that the types are visible.

use crate::harness::App;
use crate::harness::app::texts;
use std::time::{Duration, UNIX_EPOCH};

/// `consumer` depends on `provider`'s contract; neither serves HTTP.
const PAIR: &str = r#"
spin_manifest_version = 2

[application]
name = "pair"
version = "1.0.0"

[component.consumer]
source = "consumer.wasm"

[component.consumer.dependencies]
"souk-test:pair/contract@1.0.0" = { component = "provider" }

[component.provider]
source = "provider.wasm"
"#;

/// A component that imports `souk-test:pair/contract`, with one function of this type.
fn importing(function: &str) -> String {
    format!(r#"(component (import "souk-test:pair/contract@1.0.0" (instance {function})))"#)
}

/// A component that exports `souk-test:pair/contract` with `answer: async func(n: TYPE) -> TYPE`; `core` is TYPE's core
/// WebAssembly type.
fn exporting_answer(ty: &str, core: &str) -> String {
    format!(
        r#"(component
            (core module $m (func (export "answer") (param {core}) (result {core}) local.get 0))
            (core instance $i (instantiate $m))
            (func $answer async (param "n" {ty}) (result {ty}) (canon lift (core func $i "answer")))
            (instance $contract (export "answer" (func $answer)))
            (export "souk-test:pair/contract@1.0.0" (instance $contract)))"#
    )
}

/// The import that matches `exporting_answer("u32", "i32")`.
const ANSWER: &str = r#"(export "answer" (func async (param "n" u32) (result u32)))"#;

fn pair(consumer: &str, provider: &str) -> App {
    App::inline(PAIR).component("consumer.wasm", consumer).component("provider.wasm", provider)
}

/// Asserts that the message contains all these fragments.
fn assert_names(message: &str, fragments: &[&str]) {
    for fragment in fragments {
        assert!(message.contains(fragment), "the message does not say {fragment:?}:\n{message}");
    }
}

#[tokio::test]
async fn an_import_whose_type_differs_from_the_export_is_refused_with_both_signatures() {
    let message = pair(&importing(ANSWER), &exporting_answer("u64", "i64")).start_fails().await;
    assert_names(&message, &["consumer", "provider", "souk-test:pair/contract@1.0.0", "answer", "u32", "u64"]);
}

#[tokio::test]
async fn a_function_that_the_export_lacks_is_refused_by_name() {
    let wants_more = format!(r#"{ANSWER} (export "another" (func async (result u32)))"#);
    let message = pair(&importing(&wants_more), &exporting_answer("u32", "i32")).start_fails().await;
    assert_names(&message, &["consumer", "provider", "another"]);
}

#[tokio::test]
async fn a_dependency_on_a_component_that_does_not_export_the_contract_is_refused() {
    let message = pair(&importing(ANSWER), "(component)").start_fails().await;
    assert_names(&message, &["consumer", "provider", "souk-test:pair/contract@1.0.0"]);
}

#[tokio::test]
async fn a_contract_with_a_stream_is_refused_by_the_function() {
    let streaming = r#"(component
        (core module $m (func (export "rows") (result i32) unreachable))
        (core instance $i (instantiate $m))
        (type $rows (stream u32))
        (func $rows async (result $rows) (canon lift (core func $i "rows")))
        (instance $contract (export "rows" (func $rows)))
        (export "souk-test:pair/contract@1.0.0" (instance $contract)))"#;
    let consumer = importing(r#"(type $rows (stream u32)) (export "rows" (func async (result $rows)))"#);
    let message = pair(&consumer, streaming).start_fails().await;
    assert_names(&message, &["souk-test:pair/contract@1.0.0", "rows", "stream"]);
}

#[tokio::test]
async fn a_contract_with_a_resource_is_refused_by_the_function() {
    let provider = r#"(component
        (type $cursor' (resource (rep i32)))
        (core module $m (func (export "open") (result i32) unreachable))
        (core instance $i (instantiate $m))
        (func $open' async (result (own $cursor')) (canon lift (core func $i "open")))
        (component $contract
            (import "import-type-cursor" (type $cursor (sub resource)))
            (import "import-func-open" (func $open async (result (own $cursor))))
            (export $exported "cursor" (type $cursor))
            (export "open" (func $open) (func async (result (own $exported)))))
        (instance $instance (instantiate $contract
            (with "import-type-cursor" (type $cursor'))
            (with "import-func-open" (func $open'))))
        (export "souk-test:pair/contract@1.0.0" (instance $instance)))"#;
    let consumer = importing(
        r#"(export "cursor" (type $cursor (sub resource))) (export "open" (func async (result (own $cursor))))"#,
    );
    let message = pair(&consumer, provider).start_fails().await;
    assert_names(&message, &["souk-test:pair/contract@1.0.0", "resource"]);
}

#[tokio::test]
async fn an_import_that_nobody_satisfies_is_refused() {
    let app = pair(&importing(ANSWER), &exporting_answer("u32", "i32"))
        .replace(r#""souk-test:pair/contract@1.0.0" = { component = "provider" }"#, "");
    let message = app.start_fails().await;
    assert_names(&message, &["consumer", "souk-test:pair/contract@1.0.0", "dependencies"]);
}

#[tokio::test]
async fn an_import_that_a_component_exports_to_which_nothing_leads_is_refused_with_the_dependency_to_add() {
    let app = pair(&importing(ANSWER), &exporting_answer("u32", "i32"))
        .replace(r#""souk-test:pair/contract@1.0.0" = { component = "provider" }"#, "")
        .append("[[trigger.http]]\nroute = \"/...\"\ncomponent = \"consumer\"\n");
    let fix = "`provider` exports it: write \"souk-test:pair/contract@1.0.0\" = { component = \"provider\" } under \
               [component.consumer.dependencies]";
    assert_names(&app.start_fails().await, &["which nothing provides", fix]);
    // Before its first build, the manifest shows what it exports.
    let app = app.append("[component.provider.tool.souk]\nexports = [\"souk-test:pair/contract@1.0.0\"]\n");
    std::fs::remove_file(app.path("provider.wasm")).unwrap();
    assert_names(&app.start_fails().await, &["which nothing provides", fix]);
}

#[tokio::test]
async fn a_wrong_link_of_a_component_that_was_built_before_the_manifest_changed_is_fixed_by_a_build() {
    let builds = ["consumer", "provider"].map(|name| format!("[component.{name}.build]\ncommand = \"true\"\n"));
    let built_at = |app: &App, name: &str, seconds| {
        let file = std::fs::File::options().write(true).open(app.path(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    let (before, later) = (1_000, 4_000_000_000);
    let app = pair("(component)", &exporting_answer("u32", "i32")).append(&builds.concat());
    built_at(&app, "provider.wasm", later);
    built_at(&app, "consumer.wasm", before);
    let fix = "fix: run `souk build`: spin.toml changed after `consumer` was built";
    assert_names(&app.start_fails().await, &["does not import it", fix]);
    built_at(&app, "consumer.wasm", later);
    let fix = "fix: call it in the component's source";
    assert_names(&app.start_fails().await, &["does not import it", fix]);

    let app = pair(&importing(ANSWER), "(component)").append(&builds.concat());
    built_at(&app, "consumer.wasm", later);
    built_at(&app, "provider.wasm", before);
    let fix = "fix: run `souk build`: spin.toml changed after `provider` was built";
    assert_names(&app.start_fails().await, &["does not export", fix]);
}

#[cfg(not(feature = "full"))]
#[tokio::test]
async fn an_interface_of_a_feature_that_was_not_built_is_warned_of_by_the_name_of_the_feature() {
    for (interface, feature) in [
        ("spin:mysql/mysql@3.0.0", "mysql"),
        ("fermyon:spin/mysql@2.0.0", "mysql"),
        ("spin:mqtt/mqtt@3.0.0", "mqtt"),
        ("fermyon:spin/mqtt@2.0.0", "mqtt"),
    ] {
        let consumer = format!(r#"(component (import "{interface}" (instance (export "call" (func)))))"#);
        let app = App::inline(PAIR)
            .replace("\"souk-test:pair/contract@1.0.0\" = { component = \"provider\" }", "")
            .component("consumer.wasm", &consumer)
            .component("provider.wasm", "(component)");
        let host = app.start().await;
        let line = host.wait_for_log("component `consumer` imports what Souk does not have").await;
        assert!(line.contains(&format!("{interface} (of the feature `{feature}`: `--features full`")), "{line}");
    }
}

#[tokio::test]
async fn a_dependency_on_an_unknown_component_is_refused_with_its_line() {
    let app = pair(&importing(ANSWER), &exporting_answer("u32", "i32"))
        .replace(r#"{ component = "provider" }"#, r#"{ component = "provder" }"#);
    let message = app.start_fails().await;
    assert_names(&message, &["spin.toml:12", "provder", "provider"]);
}

#[tokio::test]
async fn a_cycle_of_dependencies_is_refused_with_its_path() {
    let both = r#"(component
        (import "souk-test:pair/contract@1.0.0"
            (instance (export "answer" (func async (param "n" u32) (result u32)))))
        (core module $m (func (export "answer") (param i32) (result i32) local.get 0))
        (core instance $i (instantiate $m))
        (func $answer async (param "n" u32) (result u32) (canon lift (core func $i "answer")))
        (instance $contract (export "answer" (func $answer)))
        (export "souk-test:pair/contract@1.0.0" (instance $contract)))"#;
    let app = App::inline(PAIR)
        .append("[component.provider.dependencies]\n\"souk-test:pair/contract@1.0.0\" = { component = \"consumer\" }\n")
        .component("consumer.wasm", both)
        .component("provider.wasm", both);
    let message = app.start_fails().await;
    assert_names(&message, &["cycle", "consumer", "provider"]);
}

#[tokio::test]
async fn a_missing_component_file_is_refused_with_what_builds_it() {
    let message = App::inline(PAIR).component("provider.wasm", "(component)").start_fails().await;
    assert_names(&message, &["consumer", "consumer.wasm", "souk build"]);
}

#[tokio::test]
async fn a_file_that_is_no_component_is_refused_by_name() {
    let app = App::inline(PAIR).component("provider.wasm", "(component)").file("consumer.wasm", "not wasm");
    assert_names(&app.start_fails().await, &["consumer", "consumer.wasm"]);
    let module = r#"(module (import "nowhere" "call" (func)))"#;
    let app = App::inline(PAIR).component("provider.wasm", "(component)").component("consumer.wasm", module);
    assert_names(&app.start_fails().await, &["consumer", "consumer.wasm", "component"]);
}

#[tokio::test]
async fn a_route_to_a_component_that_serves_no_http_is_refused() {
    let app = pair(&importing(ANSWER), &exporting_answer("u32", "i32"))
        .append("[[trigger.http]]\nroute = \"/...\"\ncomponent = \"provider\"\n");
    assert_names(&app.start_fails().await, &["provider", "wasi:http/handler"]);
}

#[tokio::test]
async fn all_that_is_wrong_with_components_is_reported_at_once_each_with_its_line_and_its_fix() {
    let route = |component: &str| format!("[[trigger.http]]\nroute = \"/{component}\"\ncomponent = \"{component}\"\n");
    let more = [
        "[component.absent]\nsource = \"absent.wasm\"\n",
        "[component.lonely]\nsource = \"consumer.wasm\"\nsqlite_databases = [\"default\"]\n",
    ];
    let app = pair(&importing(ANSWER), &exporting_answer("u64", "i64"))
        .append(&more.concat())
        .append(&["absent", "lonely", "consumer", "provider"].map(route).concat());
    let database = app.state_of("lonely").join("sqlite/default.db");
    std::fs::create_dir_all(database.parent().unwrap()).unwrap();
    std::fs::write(&database, "no database at all\n".repeat(500)).unwrap();
    let message = app.start_fails().await;
    let all = [
        "spin.toml:12: component `consumer`: `souk-test:pair/contract@1.0.0#answer`: importer and exporter differ: ",
        "component `absent`: ",
        "component `lonely`: database `default` in ",
        "component `lonely`: imports `souk-test:pair/contract@1.0.0`, which nothing provides",
        "component `lonely`: has a route but exports neither ",
        "component `consumer`: has a route but exports neither ",
        "component `provider`: has a route but exports neither ",
    ];
    assert_names(&message, &all);
    assert_eq!(message.matches("\n  fix: ").count(), all.len(), "{message}");
    assert_eq!(message.matches("spin.toml:").count(), all.len(), "{message}");
}

#[tokio::test]
async fn a_migration_that_was_changed_after_it_ran_stops_start_up_by_name() {
    let app = App::new("rogue");
    app.start().await.stop().await;
    let app = app.file("migrations/sqlite/0001_rows.sql", "CREATE TABLE rows (id INTEGER PRIMARY KEY, other TEXT);");
    assert_names(&app.start_fails().await, &["calm", "0001_rows"]);
}

#[tokio::test]
async fn a_migration_that_fails_stops_start_up_by_name_and_leaves_nothing_behind() {
    let broken = "CREATE TABLE half (id INTEGER);\nINSERT INTO no_such_table VALUES (1);";
    let app = App::new("rogue").file("migrations/sqlite/0002_broken.sql", broken);
    assert_names(&app.start_fails().await, &["calm", "0002_broken", "no_such_table"]);
    // The corrected migration runs, because its first half was rolled back.
    let app = app.file("migrations/sqlite/0002_broken.sql", "CREATE TABLE half (id INTEGER);");
    let host = app.start().await;
    assert_eq!(host.client().get("/rogue/count-rows/none").await.expect(200), 0);
}

#[tokio::test]
async fn a_required_variable_without_a_value_stops_start_up_and_says_how_to_set_it() {
    let app = App::new("rogue").replace(r#"greeting = { default = "hello" }"#, "greeting = { required = true }");
    assert_names(&app.start_fails().await, &["greeting", "SPIN_VARIABLE_GREETING"]);
    let host = app.variable("greeting", "hei").start().await;
    assert_eq!(host.client().get("/rogue/read-variable/greeting").await.expect(200), "hei");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_with_a_fix() {
    let app = App::new("rogue");
    for (folder, what) in [("sqlite", "database `default`"), ("key_value", "key-value store `default`")] {
        let path = app.state_of("rogue").join(folder).join("default.db");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "no database at all\n".repeat(500)).unwrap();
        let message = app.start_fails().await;
        assert_names(&message, &[what, "default.db", "file is not a database", "fix: is it a SQLite database?"]);
        std::fs::remove_file(path).unwrap();
    }
    app.start().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_refused_by_name() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = App::new("edge").souk("up", &["--listen", &address]).await;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{message}");
    assert_names(&message, &[&address]);
}

/// An application whose `rogue` reads a secret and a URL from the host, and whose `fresh` is off if `bank` is set. It
/// runs on one host: with several, each would have another URL, and none would generate a secret.
fn given() -> App {
    App::alone("rogue")
        .replace(r#"token = { default = "swordfish", secret = true }"#, "token = { required = true, secret = true }")
        .replace("[variables]", "[variables]\nown_url = { required = true }\nbank = { default = \"\" }")
        .replace(
            r#"variables = { greeting = "{{ greeting }}" }"#,
            r#"variables = { greeting = "{{ own_url }}/next", token = "{{ token }}" }"#,
        )
        .append(
            "[application.tool.souk.variables]\ntoken = { generate = \"secret\", unless = \"bank\" }\n\
             own_url = { generate = \"url\" }\n",
        )
}

#[tokio::test]
async fn a_generated_secret_survives_a_restart_is_private_and_is_in_no_output() {
    use std::os::unix::fs::PermissionsExt;
    let app = given();
    let file = app.state().join("secrets/token");
    // Commands that only read generate no secret.
    for (command, arguments) in [("doctor", [].as_slice()), ("migrate", &["--status"])] {
        let output = app.souk(command, arguments).await;
        assert!(output.status.success(), "{command}: {output:?}");
        assert!(!file.exists(), "{command} made a secret");
    }

    let read = "/rogue/read-variable/token";
    let host = app.start().await;
    let secret = host.client().get(read).await.expect(200).as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 64, "{secret}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(file.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(host.log_count(&secret), 0, "the log has the secret");
    host.stop().await;
    let doctor = app.souk("doctor", &[]).await;
    assert!(!format!("{doctor:?}").contains(&secret), "doctor prints the secret");

    let host = app.start().await;
    assert_eq!(host.client().get(read).await.expect(200), secret.as_str());
    host.stop().await;
    let host = given().start().await;
    assert_ne!(host.client().get(read).await.expect(200), secret.as_str(), "another state folder has the same secret");

    std::fs::write(&file, "").unwrap();
    assert_names(&app.start_fails().await, &["spin.toml:", "secrets/token is empty", "fix: ", "remove the file"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"", "the host has replaced the file");
}

#[tokio::test]
async fn the_host_knows_its_own_url() {
    let app = given();
    let host = app.start().await;
    let expected = format!("http://{}/next", host.address());
    assert_eq!(host.client().get("/rogue/read-variable/greeting").await.expect(200), expected.as_str());
    host.stop().await;
    let (out, err) = {
        let function = "souk-test:rogue/deeds@1.0.0#read-variable";
        let arguments = Some(serde_json::json!({ "name": "greeting" }));
        crate::harness::app::texts(&app.call("rogue", function, arguments).await)
    };
    assert_eq!(out.trim(), r#""http://127.0.0.1:3000/next""#, "{err}");
}

#[tokio::test]
async fn a_variable_turns_a_component_off() {
    let app = given().append(
        "[component.fresh.tool.souk]\nunless = \"bank\"\n[component.front-fresh.tool.souk]\nunless = \"bank\"\n",
    );
    let host = app.start().await;
    host.client().get("/fresh/self/hello").await.expect(200);
    host.stop().await;

    // The secret that the host generated before is not used for the bank.
    let app = app.variable("bank", "the real one");
    assert_names(&app.start_fails().await, &["`token` is required because `bank` is set", "SPIN_VARIABLE_TOKEN"]);
    let app = app.variable("token", "from the bank");
    let host = app.start().await;
    assert_eq!(host.client().get("/rogue/read-variable/token").await.expect(200), "from the bank");
    assert_names(&host.log().join("\n"), &["front-fresh: off, because `bank` is set", "fresh: off, because"]);
    assert_eq!(host.log_count("/fresh/") + host.log_count("the real one"), 0, "{:#?}", host.log());
    host.client().get("/fresh/self/hello").await.expect(404);
    let (_, err) = crate::harness::app::texts(&app.call("fresh", "souk-test:rogue/deeds#answer", None).await);
    assert_names(&err, &["`fresh` is off, because `bank` is set", "fix: "]);
}

#[tokio::test]
async fn a_component_that_is_off_is_neither_compiled_nor_reached_nor_linked() {
    let switch = "[variables]\nbank = { default = \"\" }\n";
    // Its file is missing, which stops the start only while the component is on.
    let inner = "[component.inner]\nsource = \"../../../target/wasm32-wasip2/debug/front.wasm\"";
    let app = App::new("edge")
        .replace(inner, "[component.inner]\nsource = \"missing.wasm\"")
        .append(&format!("{switch}[component.inner.tool.souk]\nunless = \"bank\"\n"));
    assert_names(&app.start_fails().await, &["inner", "missing.wasm"]);
    let host = app.variable("bank", "b").start().await;
    host.client().get("/self/internal/inner/self/hello").await.expect(502);

    let app = App::new("rogue").replace("[variables]", switch).append("[component.rogue.tool.souk]\nunless = \"bank\"");
    let message = app.variable("bank", "b").start_fails().await;
    assert_names(&message, &["component `front`", "`rogue`, which is off, because `bank` is set", "fix: "]);
}

/// The application `probe` with another component, `spare`, that no trigger or link leads to.
fn with_spare(source: &str) -> App {
    App::alone("probe").append(&format!("[component.spare]\nsource = {source:?}\nkey_value_stores = [\"spare\"]\n"))
}

#[tokio::test]
async fn a_component_that_nothing_leads_to_does_not_keep_a_host_from_starting() {
    let app = with_spare("spare.wasm").component("spare.wasm", &importing(r#"(export "answer" (func))"#));
    let host = app.start().await;
    let line = host.wait_for_log("component `spare` is not loaded").await;
    assert!(line.contains("leads to it") && line.contains("souk call"), "{line}");
    host.client().get("/self/hello").await.expect(200);
    let (_, err) = texts(&app.call("spare", "souk-test:pair/contract#answer", None).await);
    assert!(err.contains("`spare`") && err.contains("souk-test:pair/contract@1.0.0") && err.contains("fix: "), "{err}");
}

#[tokio::test]
async fn souk_call_loads_a_component_that_nothing_leads_to_with_and_without_a_host() {
    let app = with_spare("../../../target/wasm32-wasip2/debug/rogue.wasm");
    let call = async || {
        let arguments = serde_json::json!({ "store": "spare", "key": "n" });
        let output = app.call("spare", "souk-test:rogue/deeds@1.0.0#key-value-increment", Some(arguments)).await;
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{out}{err}");
        out.trim().to_owned()
    };
    assert_eq!(call().await, "1");
    let host = app.start().await;
    host.wait_for_log("component `spare` is not loaded").await;
    assert_eq!([call().await, call().await], ["2", "3"]);
    let (out, err) = texts(&app.souk("call", &["--list"]).await);
    assert!(out.contains("spare souk-test:rogue/deeds@1.0.0"), "{out}{err}");
}

#[tokio::test]
async fn souk_call_needs_only_the_component_that_it_calls_and_what_that_leads_to() {
    let broken = "[[trigger.http]]\nroute = \"/broken/...\"\ncomponent = \"broken\"\n[component.broken]\nsource = \
                  \"not-built.wasm\"\n";
    let app = App::alone("rogue").append(broken);
    assert_names(&app.start_fails().await, &["component `broken`", "not-built.wasm", "souk build"]);
    let answer = "souk-test:rogue/deeds@1.0.0#answer";
    let (out, err) = texts(&app.call("rogue", answer, Some(serde_json::json!({ "n": 41 }))).await);
    assert_eq!(out, "41\n", "{err}");
    let note = err.lines().find(|line| line.contains("`rogue` is started with what it leads to, without ")).unwrap();
    assert!(note.contains("broken") && note.contains("front"), "{note}");
    let (_, err) = texts(&app.call("broken", "a:b/c#d", None).await);
    assert_names(&err, &["component `broken`", "not-built.wasm", "souk build"]);
    // The list has what can be loaded, and says what cannot.
    let (out, err) = texts(&app.souk("call", &["--list"]).await);
    for part in ["rogue souk-test:rogue/deeds@1.0.0", "answers HTTP requests", "not-built.wasm"] {
        assert!(out.contains(part), "{part} is missing: {out}{err}");
    }
}
