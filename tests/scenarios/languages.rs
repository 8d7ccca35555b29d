//! Components in JavaScript, Python, C and Go beside components in Rust: linked by contracts, each with its own grants. Some
//! of them replace a component of the store.

use super::golden;
use crate::harness::app::texts;
use crate::harness::store::Shop;
use crate::harness::{App, Client, build, eventually, languages};
use http::Method;
use serde_json::json;
use std::path::PathBuf;

/// The status and text of a request.
async fn ask(client: &Client, method: Method, path: &str) -> (u16, String) {
    let response = client.open(method, path).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_page_in_javascript_a_catalogue_in_python_and_likes_in_rust_are_linked() {
    let app = App::polyglot().variable("title", "Ann & Bob's");
    let host = app.start().await;
    let client = host.client();
    let (status, page) = ask(&client, Method::GET, "/").await;
    assert_eq!(status, 200, "{page}");
    for fragment in ["<h1>Ann &#38; Bob&#39;s</h1>", "<li>Teclado: 75.25</li>", "<p>47 products</p>"] {
        assert!(page.contains(fragment), "{fragment} is missing: {page}");
    }
    assert!(ask(&client, Method::GET, "/?page=5").await.1.contains("Almohadilla para mouse: 15.00"));
    let (status, page) = ask(&client, Method::GET, "/?page=0").await;
    assert!(status == 400 && page.contains("page must be a positive number"), "{status} {page}");

    assert_eq!(ask(&client, Method::POST, "/api/likes/1").await, (200, "Teclado: 1\n".to_owned()));
    assert_eq!(ask(&client, Method::GET, "/api/likes/1").await, (200, "Teclado: 1\n".to_owned()));
    assert_eq!(ask(&client, Method::GET, "/api/likes/48").await.0, 404);

    // The other components see what one component changes.
    let changes = json!({ "id": 1, "changes": { "name": "Keyboard", "price": null } });
    let (out, err) = texts(&app.call("catalogue", "store:products/catalog#update", Some(changes)).await);
    assert!(out.contains("Keyboard"), "{out}{err}");
    assert!(ask(&client, Method::GET, "/").await.1.contains("<li>Keyboard: 75.25</li>"));
    let (out, _) = texts(&app.souk("call", &["--list"]).await);
    for line in ["page (WASI 0.2)", "catalogue store:products/catalog@1.0.0 (WASI 0.2)", "likes (WASI 0.3)"] {
        assert!(out.contains(line), "{line} is missing: {out}");
    }
    assert!(!out.contains("init"), "{out}");
}

#[tokio::test]
async fn a_catalogue_that_is_overloaded_is_an_error_that_the_page_handles() {
    let app = App::polyglot();
    // A version that has never served would stop the start with so little memory.
    app.start().await.stop().await;
    let app = app.append("[component.catalogue.tool.souk.limits]\nmemory = \"1MiB\"");
    let host = app.start().await;
    assert_eq!(ask(&host.client(), Method::GET, "/").await.0, 503);
    assert_eq!(ask(&host.client(), Method::GET, "/api/likes/1").await.0, 503);
}

/// Components built with Spin's tools, each of which calls another one by its internal name.
fn spins() -> App {
    let manifest = r#"
        spin_manifest_version = 2
        application = { name = "spins", version = "1.0.0" }
        [component.javascript]
        source = "{javascript}"
        key_value_stores = ["default"]
        sqlite_databases = ["default"]
        variables = { greeting = "hello" }
        allowed_outbound_hosts = ["http://python-5.spin.internal"]
        dependencies = { "store:products/catalog@1.0.0" = { component = "catalogue" } }
        [component.python-3]
        source = "{python-3}"
        key_value_stores = ["default"]
        variables = { greeting = "hello" }
        allowed_outbound_hosts = ["http://javascript.spin.internal"]
        [component.python-5]
        source = "{python-5}"
        key_value_stores = ["default"]
        sqlite_databases = ["default"]
        variables = { greeting = "hello" }
        allowed_outbound_hosts = ["http://python-3.spin.internal"]
        [component.catalogue]
        source = "{catalogue}"
        sqlite_databases = ["products"]
        [component.catalogue.tool.souk]
        migrations = "{migrations}"
        database_url = "sqlite:products"
        [[trigger.http]]
        route = "/javascript/..."
        component = "javascript"
        [[trigger.http]]
        route = "/python-3/..."
        component = "python-3"
        [[trigger.http]]
        route = "/python-5/..."
        component = "python-5"
    "#;
    let catalogue = languages::polyglot().join(languages::CATALOGUE);
    let migrations = build::root().join("examples/polyglot/catalogue/migrations");
    let manifest = [
        ("{javascript}", languages::javascript().to_owned()),
        ("{python-3}", languages::python("3")),
        ("{python-5}", languages::python("5")),
        ("{catalogue}", catalogue),
        ("{migrations}", migrations),
    ]
    .iter()
    .fold(manifest.to_owned(), |manifest, (name, path)| manifest.replace(name, path.to_str().unwrap()));
    App::inline(&manifest).compiled()
}

#[tokio::test]
async fn components_of_spins_tools_for_javascript_and_python_run_unchanged() {
    let host = spins().start().await;
    let client = host.client();
    for (path, expected) in [
        ("/javascript/world", "Hello from /javascript/world"),
        ("/javascript/variable", "hello"),
        ("/javascript/key-value", "kept"),
        ("/javascript/sqlite", "javascript!"),
        ("/javascript/product/2", "Mouse"),
        ("/javascript/fetch?url=http://python-5.spin.internal/python-5/there", "Hello from /python-5/there"),
        ("/python-3/world", "Hello from /python-3/world"),
        ("/python-3/variable?greeting", "hello"),
        ("/python-3/key-value", "three"),
        ("/python-3/fetch?http://javascript.spin.internal/javascript/there", "Hello from /javascript/there"),
        ("/python-5/world", "Hello from /python-5/world"),
        ("/python-5/variable?greeting", "hello"),
        ("/python-5/key-value", "five"),
        ("/python-5/sqlite", "five!"),
        ("/python-5/fetch?http://python-3.spin.internal/python-3/there", "Hello from /python-3/there"),
    ] {
        assert_eq!(ask(&client, Method::GET, path).await, (200, expected.to_owned()), "{path}");
    }
    for component in ["javascript", "python-3", "python-5"] {
        let body = "é".repeat(100_000);
        let answer =
            client.send(Method::POST, &format!("/{component}/echo"), &[], Some(body.clone().into_bytes())).await;
        assert!(answer.status == 200 && answer.text() == body, "{component}: {}", answer.status);
    }
    let (status, text) = ask(&client, Method::GET, "/javascript/throw").await;
    assert!(status == 500 && !text.contains("at "), "{status} {text}");
}

#[tokio::test]
async fn components_in_c_are_linked_with_those_in_rust_both_ways() {
    linked_both_ways(languages::c()).await;
}

#[tokio::test]
async fn components_in_go_are_linked_with_those_in_rust_both_ways() {
    linked_both_ways(languages::go()).await;
}

/// Links `web.wasm` and `greeter.wasm` of this folder with those in Rust.
async fn linked_both_ways(folder: PathBuf) {
    let manifest = r#"
        spin_manifest_version = 2
        application = { name = "other", version = "1.0.0" }
        [component.other-web]
        source = "{other}/web.wasm"
        dependencies = { "example:greetings/greetings@1.0.0" = { component = "rust-greeter" } }
        [component.rust-greeter]
        source = "{greeter}"
        [component.rust-web]
        source = "{web}"
        dependencies = { "example:greetings/greetings@1.0.0" = { component = "other-greeter" } }
        [component.other-greeter]
        source = "{other}/greeter.wasm"
        [[trigger.http]]
        route = "/other/..."
        component = "other-web"
        [[trigger.http]]
        route = "/..."
        component = "rust-web"
    "#;
    let parts = [
        ("{other}", folder),
        ("{greeter}", build::component("example-greeter")),
        ("{web}", build::component("example-linked-web")),
    ];
    let manifest =
        parts.iter().fold(manifest.to_owned(), |text, (name, path)| text.replace(name, path.to_str().unwrap()));
    let host = App::inline(&manifest).compiled().start().await;
    let client = host.client();
    for (path, status, answer) in [
        ("/other/en/Ada", 200, "Hello, Ada!"),
        ("/other/es/Ada", 200, "¡Hola, Ada!"),
        ("/other/fr/Ada", 404, "fr"),
        ("/en/Ada", 200, "Hello, Ada!\n"),
        ("/es/Ada", 200, "¡Hola, Ada!\n"),
        ("/fr/Ada", 404, "there is no greeting in \"fr\"\n"),
    ] {
        assert_eq!(ask(&client, Method::GET, path).await, (status, answer.to_owned()), "{path}");
    }
    let body = "ä".repeat(3_000_000);
    let answer = client.open(Method::POST, "/other/").body(body.clone()).send().await.unwrap().text().await.unwrap();
    assert!(answer == body, "{} bytes came back", answer.len());
}

#[tokio::test]
async fn a_missing_import_of_pythons_sdk_is_one_warning_and_only_calls_to_it_fail() {
    let host = spins().start().await;
    let client = host.client();
    for component in ["python-3", "python-5"] {
        let named = format!("component `{component}` imports what Souk does not have");
        assert!(host.wait_for_log(&named).await.contains("fermyon:spin/llm@2.0.0"));
        assert_eq!(host.log_count(&named), 1);
        assert_eq!(ask(&client, Method::GET, &format!("/{component}/infer")).await.0, 500);
        assert_eq!(ask(&client, Method::GET, &format!("/{component}/world")).await.0, 200);
    }
    let calls = || host.log_count("called fermyon:spin/llm@2.0.0#infer");
    eventually("the log names both calls", async || (calls() >= 2).then_some(())).await;
    assert_eq!(calls(), 2);
}

#[tokio::test]
async fn the_example_has_the_contract_of_the_store() {
    let contract = |folder: &str| {
        let path = build::root().join(folder).join("catalog.wit");
        std::fs::read_to_string(path).unwrap()
    };
    assert_eq!(contract("examples/polyglot/wit/deps/products"), contract("wit/products"));
}

#[tokio::test]
async fn the_store_answers_as_recorded_with_its_products_in_python() {
    let python = languages::polyglot().join(languages::CATALOGUE);
    let store = App::store_alone()
        .replace("source = \"target/wasm32-wasip2/debug/products.wasm\"", &format!("source = {python:?}"))
        .variable("open_access", true);
    let shop = Shop::of(store).await;
    // The whole recording, because the number of products depends on the groups before the catalogue's.
    golden::replay(shop).await;
}
