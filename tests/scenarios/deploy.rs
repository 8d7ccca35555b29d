//! New versions of a component while the application runs: clients do not notice a deployment, a bad version is taken
//! out of service, and the same version serves after a restart.

use crate::harness::app::texts;
use crate::harness::{App, Client, Host, build, eventually};
use http::Method;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The test component `versions` with this behaviour in its file.
pub(super) fn version(behaviour: &str) -> Vec<u8> {
    static PLAIN: OnceLock<Vec<u8>> = OnceLock::new();
    let plain = PLAIN.get_or_init(|| {
        build::guest("versions");
        std::fs::read(build::component("versions")).unwrap()
    });
    let mark = b"BEHAVIOUR:good-1          ";
    let at = plain.windows(mark.len()).position(|window| window == mark).expect("the mark");
    let mut bytes = plain.clone();
    bytes[at..at + mark.len()].copy_from_slice(format!("BEHAVIOUR:{behaviour:<16}").as_bytes());
    bytes
}

pub(super) const MANIFEST: &str = r#"
    spin_manifest_version = 2
    application = { name = "shop", version = "1.0.0" }
    [[trigger.http]]
    route = "/..."
    component = "web"
    [component.web]
    source = "web.wasm"
    [component.web.tool.souk.limits]
    memory = "16MiB"
"#;

pub(super) fn app() -> App {
    App::inline(MANIFEST).file("web.wasm", version("good-1"))
}

/// Writes a version beside the application; returns its path.
pub(super) fn built(app: &App, behaviour: &str) -> String {
    let path: PathBuf = app.path(&format!("{behaviour}.wasm"));
    std::fs::write(&path, version(behaviour)).unwrap();
    path.to_str().unwrap().to_owned()
}

pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) async fn deploy(app: &App, arguments: &[&str]) -> String {
    let output = app.souk("deploy", arguments).await;
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}{err}");
    out
}

async fn refused(app: &App, arguments: &[&str]) -> String {
    let output = app.souk("deploy", arguments).await;
    assert!(!output.status.success(), "{:?}", texts(&output));
    texts(&output).1
}

pub(super) async fn versions(app: &App) -> Vec<Value> {
    let (out, err) = texts(&app.souk("versions", &["--json"]).await);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
}

pub(super) async fn body(client: &Client, path: &str) -> (u16, String) {
    let response = client.open(Method::GET, path).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Clients that send requests without pause until [`stop`](Crowd::stop()).
pub(super) struct Crowd {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    /// How many answers each client has counted.
    counted: Vec<Arc<AtomicUsize>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    pub(super) fn of(host: &Host) -> Crowd {
        let (stop, good, failed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::default());
        let counted: Vec<Arc<AtomicUsize>> = (0..4).map(|_| Arc::default()).collect();
        let clients = counted.iter().map(|counted| {
            let (client, stop, good, failed) = (host.client(), stop.clone(), good.clone(), Arc::clone(&failed));
            let counted = counted.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let status = client.open(Method::GET, "/").send().await.map(|response| response.status().as_u16());
                    let count: &AtomicUsize = if matches!(status, Ok(200)) { &good } else { &failed };
                    count.fetch_add(1, Ordering::Relaxed);
                    counted.fetch_add(1, Ordering::Release);
                }
            })
        });
        Crowd { clients: clients.collect(), stop, good, failed, counted }
    }

    /// How many requests have failed, of all that were sent before now.
    async fn failed(&self) -> usize {
        let counts = || self.counted.iter().map(|counted| counted.load(Ordering::Acquire)).collect::<Vec<_>>();
        let before = counts();
        eventually("each client got an answer", async || {
            counts().iter().zip(&before).all(|(now, before)| now > before).then_some(())
        })
        .await;
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits for this many more good answers.
    pub(super) async fn wait_for_answers(&self, more: usize) {
        let until = self.good.load(Ordering::Relaxed) + more;
        eventually("the clients got more good answers", async || {
            (self.good.load(Ordering::Relaxed) >= until).then_some(())
        })
        .await;
    }

    /// Stops the clients; returns how many requests failed.
    pub(super) async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.failed.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn new_versions_serve_without_a_failed_request_and_the_last_one_also_after_a_restart() {
    let app = app();
    let host = app.start().await;
    let client = host.client();
    let crowd = Crowd::of(&host);
    for n in 2..=4 {
        crowd.wait_for_answers(50).await;
        let slow = client.clone();
        let in_flight = tokio::spawn(async move { body(&slow, "/?400").await });
        crowd.wait_for_answers(20).await;
        let said = deploy(&app, &["web", &built(&app, &format!("good-{n}"))]).await;
        assert!(said.contains(&format!("web: version {n} serves; version {} ends its calls", n - 1)), "{said}");
        assert_eq!(body(&client, "/").await, (200, format!("good-{n}")));
        assert_eq!(
            in_flight.await.unwrap(),
            (200, format!("good-{}", n - 1)),
            "a call ends on the version that began it"
        );
    }
    assert_eq!(crowd.stop().await, 0);
    host.wait_for_log("version 3 of component `web` has ended its last call").await;
    let states: Vec<_> = versions(&app).await.iter().map(|v| (v["number"].clone(), v["state"].clone())).collect();
    let expected = [(1, "kept"), (2, "kept"), (3, "previous"), (4, "active")];
    assert_eq!(states, expected.map(|(number, state)| (Value::from(number), Value::from(state))));
    host.stop().await;

    let host = app.start().await;
    assert_eq!(body(&host.client(), "/").await, (200, "good-4".to_owned()));
    assert!(host.log().iter().any(|line| line.contains("web: version 4, which was deployed")), "{:?}", host.log());
    let (out, err) = texts(&app.souk("rollback", &["web"]).await);
    assert!(out.contains("version 5 serves"), "{out}{err}");
    assert_eq!(body(&host.client(), "/").await, (200, "good-3".to_owned()));
    host.stop().await;

    // The file that the manifest names has changed, so it is a new version.
    let app = app.file("web.wasm", version("good-6"));
    let host = app.start().await;
    assert_eq!(body(&host.client(), "/").await, (200, "good-6".to_owned()));
    assert!(
        host.log().iter().any(|line| line.contains("web: version 6, because its `source` has changed")),
        "{:?}",
        host.log()
    );
}

#[tokio::test]
async fn a_bad_version_is_withdrawn_and_only_calls_to_it_fail() {
    for (behaviour, why) in
        [("traps", "trapped"), ("errors", "calls failed"), ("slow", "half of"), ("leaks", "limit `memory`")]
    {
        let app = app();
        let host = app.start().await;
        let crowd = Crowd::of(&host);
        crowd.wait_for_answers(100).await;
        let file = built(&app, behaviour);
        let said = deploy(&app, &["web", &file, "--canary", "20%", "--for", "10m"]).await;
        assert!(said.contains("version 2 gets 20 % of the calls"), "{said}");
        let end = host.wait_for_log("version 2 of component `web` gets no more calls").await;
        assert!(end.contains(why), "{behaviour}: {end}");
        // Calls that have begun may still end.
        host.wait_for_log("version 2 of component `web` has ended its last call").await;
        let failed = crowd.failed().await;
        assert!(failed <= 60, "{behaviour}: {failed} calls failed");
        crowd.wait_for_answers(200).await;
        assert_eq!(crowd.stop().await, failed, "{behaviour}: calls failed afterwards");
        let all = versions(&app).await;
        let two = all.iter().find(|version| version["number"] == 2).unwrap();
        assert!(two["state"] == "kept" && two["note"].as_str().unwrap().contains(why), "{two}");
        host.stop().await;
        let host = app.start().await;
        assert_eq!(body(&host.client(), "/").await, (200, "good-1".to_owned()), "{behaviour}");
    }
}

#[tokio::test]
async fn a_good_version_gets_its_share_and_then_all_calls() {
    let app = app();
    let host = app.start().await;
    let crowd = Crowd::of(&host);
    deploy(&app, &["web", &built(&app, "good-2"), "--canary", "50%", "--for", "100ms", "--max-slowdown", "50"]).await;
    host.wait_for_log("version 2 of component `web` serves all calls").await;
    assert_eq!(crowd.stop().await, 0);
    assert_eq!(body(&host.client(), "/").await, (200, "good-2".to_owned()));

    // Without calls the trial does not end, but an operator can end it.
    deploy(&app, &["web", &built(&app, "good-3"), "--canary", "1%", "--for", "1ms"]).await;
    host.wait_for_log("version 3 of component `web` has had 0 calls, and the version that serves 0, too few").await;
    let said = deploy(&app, &["web", "--promote-anyway"]).await;
    assert!(said.contains("version 3 serves all calls"), "{said}");
    assert_eq!(body(&host.client(), "/").await, (200, "good-3".to_owned()));
    deploy(&app, &["web", &built(&app, "good-4"), "--canary", "1%"]).await;
    let refusal = refused(&app, &["web", &built(&app, "good-2")]).await;
    assert!(refusal.contains("version 4 is being tried out"), "{refusal}");
    let (out, err) = texts(&app.souk("rollback", &["web"]).await);
    assert!(out.contains("version 4 was tried out and gets no more calls"), "{out}{err}");
}

/// A component that exports the contract with one function `f`, which has a parameter of this type.
pub(super) fn exporter(parameter: &str, core: &str) -> String {
    format!(
        r#"(component
            (core module $m (func (export "f") (param {core}) (result i32) i32.const 1))
            (core instance $i (instantiate $m))
            (func $f (param "x" {parameter}) (result u32) (canon lift (core func $i "f")))
            (instance $numbers (export "f" (func $f)))
            (export "test:deploy/numbers@1.0.0" (instance $numbers)))"#
    )
}

pub(super) const CALLER: &str = r#"(component
    (import "test:deploy/numbers@1.0.0" (instance $numbers (export "f" (func (param "x" u32) (result u32)))))
    (alias export $numbers "f" (func $f))
    (core func $lowered (canon lower (func $f)))
    (core module $m
        (import "" "f" (func $f (param i32) (result i32)))
        (func (export "g") (result i32) (call $f (i32.const 5))))
    (core instance $i (instantiate $m (with "" (instance (export "f" (func $lowered))))))
    (func $g (result u32) (canon lift (core func $i "g")))
    (instance $own (export "g" (func $g)))
    (export "test:deploy/own@1.0.0" (instance $own)))"#;

#[tokio::test]
async fn an_invalid_version_is_refused_before_it_gets_a_call() {
    let manifest = r#"
        spin_manifest_version = 2
        application = { name = "linked", version = "1.0.0" }
        [[trigger.http]]
        route = "/..."
        component = "web"
        [component.web]
        source = "web.wasm"
        [component.caller]
        source = "caller.wasm"
        dependencies = { "test:deploy/numbers@1.0.0" = { component = "callee" } }
        [component.callee]
        source = "callee.wasm"
    "#;
    let app = App::inline(manifest)
        .file("web.wasm", version("good-1"))
        .component("caller.wasm", CALLER)
        .component("callee.wasm", &exporter("u32", "i32"));
    let app = app
        .component("other.wasm", &exporter("u64", "i64"))
        .component("empty.wasm", "(component)")
        .component(
            "traps.wasm",
            r#"(component
                (core module $m (func $s unreachable) (start $s) (func (export "f") (param i32) (result i32) i32.const 2))
                (core instance $i (instantiate $m))
                (func $f (param "x" u32) (result u32) (canon lift (core func $i "f")))
                (instance $numbers (export "f" (func $f)))
                (export "test:deploy/numbers@1.0.0" (instance $numbers)))"#,
        )
        .component("needs.wasm", r#"(component (import "test:deploy/more@1.0.0" (instance (export "h" (func)))))"#)
        .file("text.wasm", "no component");
    let host = app.start().await;
    // No route leads to this component: only `souk call` loads it.
    let call = app.call("caller", "test:deploy/own#g", None).await;
    assert_eq!(texts(&call).0.trim(), "1", "{:?}", texts(&call));
    let file = |name: &str| app.path(name).to_str().unwrap().to_owned();
    for (component, name, fragments) in [
        ("web", "empty.wasm", ["component `web`", "has a route", "wasi:http/handler@0.3"]),
        ("web", "needs.wasm", ["component `web`", "test:deploy/more@1.0.0", "fix:"]),
        ("web", "text.wasm", ["component `web`", "is no", "wasm32-wasip2"]),
        ("nobody", "empty.wasm", ["no component `nobody`", "name one of", "web"]),
    ] {
        let refusal = refused(&app, &[component, &file(name)]).await;
        let refusal =
            refusal.replace("is not a WebAssembly component", "is no component").replace("is a core module", "is no");
        for fragment in fragments {
            assert!(refusal.contains(fragment), "{name}: {fragment} is missing: {refusal}");
        }
    }
    let said = deploy(&app, &["web", &built(&app, "good-2"), "--check"]).await;
    assert!(said.contains("would be version 2"), "{said}");
    assert_eq!(body(&host.client(), "/").await, (200, "good-1".to_owned()), "a check deploys nothing");
    let said = deploy(&app, &["web", &built(&app, "good-1")]).await;
    assert!(said.contains("version 1 has these bytes and serves already"), "{said}");
}

#[tokio::test]
async fn a_version_that_its_callers_cannot_call_is_refused_with_both_signatures() {
    let manifest = r#"
        spin_manifest_version = 2
        application = { name = "linked", version = "1.0.0" }
        [[trigger.http]]
        route = "/..."
        component = "web"
        [component.web]
        source = "web.wasm"
        dependencies = { "test:deploy/numbers@1.0.0" = { component = "callee" } }
        [component.callee]
        source = "callee.wasm"
    "#;
    // The handler is never called; only the component's imports matter.
    let web = r#"(component
        (import "test:deploy/numbers@1.0.0" (instance (export "f" (func (param "x" u32) (result u32)))))
        (import "wasi:http/types@0.2.0" (instance $types
            (export "incoming-request" (type $request (sub resource)))
            (export "response-outparam" (type $out (sub resource)))))
        (alias export $types "incoming-request" (type $request))
        (alias export $types "response-outparam" (type $out))
        (core module $m (func (export "handle") (param i32 i32)))
        (core instance $i (instantiate $m))
        (func $handle (param "request" (own $request)) (param "response-out" (own $out))
            (canon lift (core func $i "handle")))
        (component $shape
            (import "request" (type $request (sub resource)))
            (import "out" (type $out (sub resource)))
            (import "handle" (func $handle (param "request" (own $request)) (param "response-out" (own $out))))
            (export "handle" (func $handle)))
        (instance $handler (instantiate $shape
            (with "request" (type $request)) (with "out" (type $out)) (with "handle" (func $handle))))
        (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;
    let app = App::inline(manifest)
        .component("web.wasm", web)
        .component("callee.wasm", &exporter("u32", "i32"))
        .component("other.wasm", &exporter("u64", "i64"))
        .component("same.wasm", &exporter("u32", "i32").replace("i32.const 1", "i32.const 2"))
        .component(
            "traps.wasm",
            &exporter("u32", "i32").replace("(core module $m", "(core module $m (func $s unreachable) (start $s)"),
        );
    let _host = app.start().await;
    let file = |name: &str| app.path(name).to_str().unwrap().to_owned();
    let refusal = refused(&app, &["callee", &file("other.wasm")]).await;
    for fragment in [
        "component `callee`",
        "its caller `web`",
        "importer: f: func(x: u32) -> u32",
        "exporter: f: func(x: u64) -> u32",
    ] {
        assert!(refusal.contains(fragment), "{fragment} is missing: {refusal}");
    }
    let traps = file("traps.wasm");
    let mut arguments = vec!["callee", traps.as_str()];
    // A check says so too.
    for _ in 0..2 {
        let refusal = refused(&app, &arguments).await;
        arguments.push("--check");
        assert!(refusal.contains("nothing was deployed") && refusal.contains("component `callee`"), "{refusal}");
    }
    let number =
        async || texts(&app.call("callee", "test:deploy/numbers#f", Some(serde_json::json!({ "x": 1 }))).await).0;
    assert_eq!(number().await.trim(), "1");
    deploy(&app, &["callee", &file("same.wasm")]).await;
    assert_eq!(number().await.trim(), "2");
}

#[tokio::test]
async fn a_component_whose_sources_change_is_built_and_served_while_the_host_runs() {
    let manifest = MANIFEST.to_owned()
        + r#"
    [component.web.build]
    command = "cp source.wasm web.wasm && ! test -e fail"
    watch = ["*.wasm.txt", "source.wasm"]
    "#;
    let app = App::inline(&manifest).file("source.wasm", version("good-1")).argument("--watch").argument("--build");
    let host = app.start().await;
    let client = host.client();
    assert_eq!(body(&client, "/").await, (200, "good-1".to_owned()));
    let crowd = Crowd::of(&host);
    let slow = client.clone();
    let in_flight = tokio::spawn(async move { body(&slow, "/?15000").await });
    crowd.wait_for_answers(20).await;
    let app = app.file("source.wasm", version("good-2"));
    host.wait_for_log("served web: version 2 serves").await;
    assert_eq!(body(&client, "/").await, (200, "good-2".to_owned()));
    assert!(!in_flight.is_finished(), "it is in flight while the component is replaced");
    assert_eq!(in_flight.await.unwrap(), (200, "good-1".to_owned()));
    // A failed build changes nothing, and neither does a version that does not fit.
    let app = app.file("source.wasm", "no component");
    host.wait_for_log("`web` serves as before").await;
    let app = app.file("fail", "").file("source.wasm", version("good-3"));
    eventually("the second failure is told", async || (host.log_count("`web` serves as before") >= 2).then_some(()))
        .await;
    assert_eq!(body(&client, "/").await, (200, "good-2".to_owned()));
    std::fs::remove_file(app.path("fail")).unwrap();
    let _app = app.file("source.wasm", version("good-4"));
    host.wait_for_log("served web: version 3 serves").await;
    assert_eq!(body(&client, "/").await, (200, "good-4".to_owned()));
    assert_eq!(crowd.stop().await, 0);
}

#[tokio::test]
async fn a_changed_manifest_is_applied_without_a_restart_where_possible_and_never_if_it_has_mistakes() {
    build::application("tests/apps/sdks/spin.toml");
    let app = App::alone("sdks");
    let host = app.start().await;
    let client = host.client();
    assert_eq!(body(&client, "/spin-6/variable?greeting").await, (200, "hello".to_owned()));
    let (out, err) = texts(&app.souk("reload", &[]).await);
    assert_eq!(out.trim(), "nothing has changed", "{err}");

    let app = app.replace(r#"greeting = { default = "hello" }"#, r#"greeting = { default = "welcome" }"#);
    let app = app.replace(r#"key_value_stores = ["default"]"#, r#"key_value_stores = []"#);
    let (out, err) = texts(&app.souk("reload", &[]).await);
    assert!(out.contains("applied: component `spin-6`: variables, key_value_stores\n"), "{out}{err}");
    assert_eq!(body(&client, "/spin-6/variable?greeting").await, (200, "welcome".to_owned()));
    assert_ne!(body(&client, "/spin-6/key-value").await.0, 200, "it may not open the store any more");
    let app = app.replace(r#"key_value_stores = []"#, r#"key_value_stores = ["default"]"#);
    let (out, err) = texts(&app.souk("reload", &[]).await);
    assert!(out.contains("applied: component `spin-6`: key_value_stores\n"), "{out}{err}");
    assert_eq!(body(&client, "/spin-6/key-value").await.0, 200, "it may open the store again");

    // New routes replace the old ones, unless one leads to a component that cannot run.
    let route = "[[trigger.http]]\nroute = \"/again/...\"\ncomponent = \"spin-6\"\n";
    let app = app.append(route);
    assert_eq!(body(&client, "/again/variable?greeting").await.0, 404);
    let (out, err) = texts(&app.souk("reload", &[]).await);
    assert!(out.contains("applied: triggers of HTTP"), "{out}{err}");
    assert_eq!(body(&client, "/again/variable?greeting").await, (200, "Hello from /again/variable".to_owned()));
    let app = app.replace(route, "");
    let (out, err) = texts(&app.souk("reload", &[]).await);
    assert!(out.contains("applied: triggers of HTTP"), "{out}{err}");
    assert_eq!(body(&client, "/again/variable?greeting").await.0, 404);
    let newcomer =
        "[[trigger.http]]\nroute = \"/new/...\"\ncomponent = \"new\"\n[component.new]\nsource = \"nowhere.wasm\"\n";
    let app = app.append(newcomer);
    let output = app.souk("reload", &[]).await;
    let (out, err) = texts(&output);
    assert!(!output.status.success() && err.contains("nowhere.wasm") && err.contains("souk build"), "{out}{err}");
    assert_eq!(body(&client, "/new/variable").await.0, 404);
    let app = app.replace(newcomer, "");

    // A manifest with a mistake is not applied at all. SIGHUP requests the same as the command.
    let app = app.replace(r#"default = "welcome""#, r#"default = "bye""#).append("[component.broken]\n");
    host.signal("HUP");
    let error = host.wait_for_log("nothing was applied").await;
    assert!(error.contains("broken"), "{error}");
    assert_eq!(body(&client, "/spin-6/variable?greeting").await, (200, "welcome".to_owned()));
    let _app = app.replace("[component.broken]\n", "");
    host.signal("HUP");
    host.wait_for_log("component `spin-6`: variables applied").await;
    eventually("the new value is there", async || {
        (body(&client, "/spin-6/variable?greeting").await == (200, "bye".to_owned())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_metric_series_of_a_version_end_with_it() {
    let app = app().administered();
    let host = app.start().await;
    let api = crate::harness::admin::Api::of(&host);
    let client = host.client();
    let of = |version: &'static str| {
        let (api, client) = (api.clone(), client.clone());
        async move {
            body(&client, "/").await;
            let text = api.get("/metrics").await.text();
            text.matches(&format!("souk_version=\"{version}\"")).count()
        }
    };
    assert!(of("1.0.0").await > 0);
    let second = built(&app, "good-2");
    deploy(&app, &["web", &second]).await;
    eventually("the first version's series are gone", || async { (of("1.0.0").await == 0).then_some(()) }).await;
    assert!(of("1.0.0+2").await > 0);
}
