//! A changed manifest, applied to the running host: limits, and components that are added and removed, with everything
//! that leads to them.

use super::deploy::{Crowd, MANIFEST, body, version, versions};
use super::deploy_hosts;
use super::deploy_starts::starting;
use super::durable::{counted, dead_letter, send, until_done};
use super::schedules::{schedule, seen};
use super::type_changes::HANDLER;
use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::postgres::{Postgres, name_of};
use crate::harness::store::Shop;
use crate::harness::{App, build, eventually};

pub(super) const OTHER: &str = r#"
    [[trigger.http]]
    route = "/other"
    component = "other"
    [component.other]
    source = "other.wasm"
"#;

pub(super) async fn reload(app: &App) -> String {
    let output = app.souk("reload", &[]).await;
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}{err}");
    out
}

#[tokio::test]
async fn limits_are_applied_to_new_calls_and_a_limit_that_needs_a_restart_is_named() {
    let app = App::inline(MANIFEST).file("web.wasm", version("good-1"));
    let host = app.start().await;
    let client = host.client();
    assert_eq!(body(&client, "/?300").await, (200, "good-1".to_owned()));
    let limits = "memory = \"12MiB\"\ncall_deadline = \"100ms\"\ncall_bytes = \"9MiB\"\n";
    let app = app.replace("memory = \"16MiB\"\n", limits);
    let said = reload(&app).await;
    for line in [
        "applied: component `web`: limit `memory`, limit `call_deadline`",
        "left:    component `web`: limit `call_bytes`: applied by the next start",
    ] {
        assert!(said.contains(line), "{line} is missing: {said}");
    }
    assert_ne!(body(&client, "/?300").await.0, 200, "its deadline is over");
    assert_eq!(body(&client, "/").await, (200, "good-1".to_owned()));
    // The next reload does not list applied changes again, but it lists the ones that are left.
    let said = reload(&app).await;
    assert!(!said.contains("applied: ") && said.contains("left:    component `web`: limit `call_bytes`"), "{said}");
    let app = app.replace("call_deadline = \"100ms\"\ncall_bytes = \"9MiB\"\n", "");
    assert!(reload(&app).await.contains("applied: component `web`: limit `call_deadline`"));
    assert_eq!(body(&client, "/?300").await, (200, "good-1".to_owned()));
    // More memory than any component had at the start.
    let app = app.replace("memory = \"12MiB\"", "memory = \"512MiB\"");
    assert!(reload(&app).await.contains("applied: component `web`: limit `memory`"));
    assert_eq!(body(&client, "/").await, (200, "good-1".to_owned()));

    // One instance and no place for a call that waits: of two calls at one time, one is refused. With more instances
    // both are answered.
    let app = app.replace("memory = \"512MiB\"", "memory = \"512MiB\"\ninstances = 1\nwaiting = 0");
    assert!(reload(&app).await.contains("limit `instances`, limit `waiting`"));
    let two = async || {
        let (first, second) = futures::join!(body(&client, "/?500"), body(&client, "/?500"));
        [first.0, second.0]
    };
    let mut answers = two().await;
    answers.sort_unstable();
    assert_eq!(answers, [200, 503]);
    let app = app.replace("instances = 1\n", "instances = 2\n");
    assert!(reload(&app).await.contains("applied: component `web`: limit `instances`"));
    assert_eq!(two().await, [200, 200]);
    // The engine has reserved addresses for a number of instances.
    let many = "[[trigger.http]]\nroute = \"/many\"\ncomponent = \"many\"\n[component.many]\nsource = \"web.wasm\"\n\
                [component.many.tool.souk.limits]\ninstances = 512\n";
    let app = app.append(many);
    let output = app.souk("reload", &[]).await;
    assert!(!output.status.success() && texts(&output).1.contains("instances"), "{:?}", texts(&output));
    let app = app.replace("instances = 512\n", "instances = 30\n");
    assert!(reload(&app).await.contains("applied: component `many`, which is new, runs"));
    assert_eq!(body(&client, "/many").await, (200, "good-1".to_owned()));
}

#[tokio::test]
async fn what_a_component_prints_is_logged_without_its_secrets_also_those_from_before_a_reload() {
    let granted = r#"greeting = "{{ greeting }}""#;
    let app = App::alone("rogue").replace("\"swordfish\"", "\"tuna-4711\"");
    let app = app.replace(granted, &format!(r#"{granted}, token = "{{{{ token }}}}""#));
    let host = app.start().await;
    let client = host.client();
    client.get("/rogue/print/mene-tuna-4711").await.expect(200);
    host.wait_for_log("mene-***").await;
    let app = app.replace("\"tuna-4711\"", "\"herring-4712\"");
    let said = reload(&app).await;
    assert!(said.contains("applied: component `rogue`: "), "{said}");
    client.get("/rogue/print/tekel-tuna-4711-herring-4712").await.expect(200);
    host.wait_for_log("tekel-***-***").await;
    // The access log has the paths of requests.
    let log = host.log().into_iter().filter(|line| !line.contains("/print/"));
    let secret: Vec<_> = log.filter(|line| line.contains("tuna") || line.contains("herring")).collect();
    assert!(secret.is_empty(), "{secret:?}");
}

// On one host, because the database is at first a file in the host's state folder.
#[tokio::test]
async fn a_component_stays_at_its_database_with_the_variable_and_the_grant_that_lead_to_it_until_the_next_start() {
    let app = App::store_alone().unset("products_database_url").unset("orders_database_url");
    let shop = Shop::of(app.variable("seed", "true").unseeded()).await;
    let product = shop.get("/api/products/7", "").await.expect(200);
    let (url, default) = (Postgres::shared().database(), "products_database_url = { default = \"sqlite:products\"");
    let Shop { app, host, client } = shop;
    let app = app.replace(default, &default.replace("sqlite:products", &url));
    let left = "left:    component `products`: database_url, and with it variables, allowed_outbound_hosts: applied by \
                the next start";
    for _ in 0..2 {
        let said = reload(&app).await;
        assert!(said.contains(left) && !said.contains("applied: component `products`"), "{said}");
    }
    // With another change of the component, which is linked again, too.
    let idempotent = "database_url = \"{{ products_database_url }}\"\nidempotent";
    let app = app.replace(idempotent, &format!("trace_arguments = true\n{idempotent}"));
    let said = reload(&app).await;
    assert!(said.contains("applied: component `products`: trace_arguments\n") && said.contains(left), "{said}");
    assert_eq!(client.get("/api/products/7").await.expect(200), product);
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(Postgres::shared().psql(name_of(&url), tables), "0", "nothing was begun in the other database");
    host.stop().await;
}

#[tokio::test]
async fn components_go_and_come_and_what_was_in_flight_is_answered() {
    let app = App::inline(&(MANIFEST.to_owned() + OTHER))
        .file("web.wasm", version("good-1"))
        .file("other.wasm", version("good-2"));
    let host = app.start().await;
    let client = host.client();
    assert_eq!(body(&client, "/other").await, (200, "good-2".to_owned()));

    // With a mistake elsewhere in the manifest, nothing is applied.
    let app = app.replace(OTHER, "[component.broken]\n");
    let output = app.souk("reload", &[]).await;
    assert!(!output.status.success() && texts(&output).1.contains("broken"), "{:?}", texts(&output));
    assert_eq!(body(&client, "/other").await, (200, "good-2".to_owned()));

    let app = app.replace("[component.broken]\n", "");
    let said = reload(&app).await;
    for line in [
        "applied: triggers of HTTP",
        "applied: component `other`, which is no longer in the manifest, takes no more calls",
    ] {
        assert!(said.contains(line), "{line} is missing: {said}");
    }
    assert_eq!(body(&client, "/other").await, (200, "good-1".to_owned()), "another route has it");
    let path = app.path("web.wasm");
    for (command, arguments) in
        [("call", vec!["other", "wasi:http/handler#handle"]), ("deploy", vec!["other", path.to_str().unwrap()])]
    {
        let output = app.souk(command, &arguments).await;
        let error = texts(&output).1;
        assert!(!output.status.success(), "{command}");
        assert!(error.contains("no component `other`"), "{command}: {error}");
    }
    assert!(reload(&app).await.contains("nothing has changed"));

    let app = app.append(OTHER);
    let said = reload(&app).await;
    for line in ["applied: triggers of HTTP", "applied: component `other`, which is new, runs"] {
        assert!(said.contains(line), "{line} is missing: {said}");
    }
    assert_eq!(body(&client, "/other").await, (200, "good-2".to_owned()));

    // A component that was never there, under load, with a request to a component that goes.
    let crowd = Crowd::of(&host);
    let slow = client.clone();
    let in_flight = tokio::spawn(async move { body(&slow, "/other?10000").await });
    crowd.wait_for_answers(20).await;
    let new = OTHER.replace("other", "new");
    let app = app.file("new.wasm", version("good-3")).replace(OTHER, &new);
    let said = reload(&app).await;
    for line in [
        "component `new`, which is new, runs",
        "component `other`, which is no longer in the manifest, takes no more calls",
    ] {
        assert!(said.contains(line), "{line} is missing: {said}");
    }
    assert_eq!(body(&client, "/new").await, (200, "good-3".to_owned()));
    assert!(!in_flight.is_finished(), "it is in flight while its component goes");
    assert_eq!(in_flight.await.unwrap(), (200, "good-2".to_owned()));
    host.wait_for_log("of component `other` has ended its last call").await;
    crowd.wait_for_answers(20).await;
    assert_eq!(crowd.stop().await, 0);

    // It has a version like every other component, and so has the next start.
    let of_new = |all: &[serde_json::Value]| {
        all.iter().filter(|one| one["component"] == "new").map(|one| one["state"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of_new(&versions(&app).await), ["active"]);
    assert!(versions(&app).await.iter().all(|one| one["component"] != "other"));
    let path = app.path("good-4.wasm");
    std::fs::write(&path, version("good-4")).unwrap();
    let said = super::deploy::deploy(&app, &["new", path.to_str().unwrap()]).await;
    assert!(said.contains("version 2 serves; version 1 ends its calls"), "{said}");
    host.stop().await;
    let host = app.start().await;
    assert_eq!(body(&host.client(), "/new").await, (200, "good-4".to_owned()));
}

#[tokio::test]
async fn nothing_of_a_manifest_is_applied_when_a_component_that_is_new_is_wrong() {
    let trap = r#"(component
        (core module $m (func $s unreachable) (start $s) (func (export "f") (result i32) i32.const 2))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $own (export "f" (func $f)))
        (export "test:new/own@1.0.0" (instance $own)))"#;
    let needs = r#"(component
        (import "test:new/own@1.0.0" (instance $own (export "f" (func (result u64)))))
        (alias export $own "f" (func $f))
        (core func $lowered (canon lower (func $f)))
        (core module $m
            (import "" "f" (func $f (result i64)))
            (func (export "g") (result i32) (drop (call $f)) i32.const 5))
        (core instance $i (instantiate $m (with "" (instance (export "f" (func $lowered))))))
        (func $g (result u32) (canon lift (core func $i "g")))
        (instance $again (export "g" (func $g)))
        (export "test:new/again@1.0.0" (instance $again)))"#;
    let mut app = App::inline(MANIFEST)
        .file("web.wasm", version("good-1"))
        .file("other.wasm", version("good-2"))
        .component("trap.wasm", trap)
        .component("needs.wasm", needs)
        .file("broken/sqlite/0001_broken.sql", "CREATE TABLE good (id INTEGER);\nCREATE TABEL bad;");
    let host = app.start().await;
    let client = host.client();
    let schedule = |component: &str, call: &str| {
        format!(
            "[[component.{component}.tool.souk.schedule]]\nname = \"often\"\ncall = \"{call}\"\ncron = \"* * * * *\"\n"
        )
    };
    let trap = "[component.trap]\nsource = \"trap.wasm\"\n".to_owned();
    let needs = "[component.needs]\nsource = \"needs.wasm\"\n\
                 dependencies = { \"test:new/own@1.0.0\" = { component = \"trap\" } }\n\
                 [[trigger.http]]\nroute = \"/needs\"\ncomponent = \"needs\"\n";
    let database = "sqlite_databases = [\"default\"]\n[component.other.tool.souk]\nmigrations = \"broken\"\n";
    for (wrong, fragments) in [
        (trap.clone() + &schedule("trap", "test:new/own@1.0.0#f"), ["`often`", "fix:"]),
        (trap.clone() + "[[trigger.http]]\nroute = \"/trap\"\ncomponent = \"trap\"\n", ["`trap`", "exports neither"]),
        (trap + needs, ["importer: f: func() -> u64", "exporter: f: func() -> u32"]),
        (database.to_owned(), ["0001_broken", "TABEL"]),
        ("files = [\"nowhere/*\"]\n[component.nobody]\n".to_owned(), ["nobody", "source"]),
    ] {
        let more = OTHER.to_owned() + &wrong;
        app = app.append(&more);
        let output = app.souk("reload", &[]).await;
        let (out, err) = texts(&output);
        assert!(!output.status.success(), "{wrong}: {out}");
        for fragment in fragments {
            assert!(err.contains(fragment), "{fragment} is missing: {err}");
        }
        assert_eq!(body(&client, "/other").await, (200, "good-1".to_owned()), "{wrong}");
        assert_eq!(versions(&app).await.len(), 1, "{wrong}");
        app = app.replace(&more, "");
    }
    // A component that traps while it starts.
    let module = "(core module $handler-module";
    let traps = HANDLER.replace(module, &format!("{module} (func $s unreachable) (start $s)"));
    let app = app.component("other.wasm", &format!("(component {traps})")).append(OTHER);
    let output = app.souk("reload", &[]).await;
    let (out, err) = texts(&output);
    assert!(!output.status.success() && err.contains("`other`") && err.contains("nothing was applied"), "{out}{err}");
    let app = app.file("other.wasm", version("good-2"));
    assert!(reload(&app).await.contains("applied: component `other`, which is new, runs"));
    assert_eq!(body(&client, "/other").await, (200, "good-2".to_owned()));
}

#[tokio::test]
async fn all_components_of_which_no_instance_can_be_created_are_reported_together() {
    let module = "(core module $handler-module";
    let traps = HANDLER.replace(module, &format!("{module} (func $s unreachable) (start $s)"));
    let app = App::inline(MANIFEST).file("web.wasm", version("good-1"));
    let app = app.component("trap.wasm", &format!("(component {traps})"));
    let _host = app.start().await;
    let new = |name: &str| {
        format!(
            "[[trigger.http]]\nroute = \"/{name}\"\ncomponent = \"{name}\"\n\
             [component.{name}]\nsource = \"trap.wasm\"\n"
        )
    };
    let app = app.append(&(new("one") + &new("two")));
    let output = app.souk("reload", &[]).await;
    let (out, err) = texts(&output);
    assert!(!output.status.success() && err.contains("nothing was applied"), "{out}{err}");
    for name in ["one", "two"] {
        assert!(err.contains(&format!(": component `{name}`: trapped: ")), "{name} is missing: {err}");
    }
    assert_eq!(err.matches("\n  fix: correct the component").count(), 2, "{err}");
}

#[tokio::test]
async fn links_and_durable_links_of_a_component_that_is_new_are_served_and_so_are_its_files_and_its_migrations() {
    build::application("tests/apps/durable/spin.toml");
    let whole = std::fs::read_to_string(App::alone("durable").path("spin.toml")).unwrap();
    let (start, end) = (whole.find("[component.sender]").unwrap(), whole.find("[component.front]").unwrap());
    let sender = &whole[start..end];
    let route = "[[trigger.http]]\nroute = \"/send/...\"\ncomponent = \"sender\"\n";
    let app = App::alone("durable").replace(sender, "").replace(route, "");
    let host = app.start().await;
    let client = host.client();
    assert_eq!(client.get("/send/finish/early/0").await.status, 404);
    assert!(!app.state().join("durable/messages.db").exists(), "nothing sends messages");

    // `sender` sends messages to `rogue`, which has run since the start.
    let more =
        "migrations = \"tables\"\n[[application.tool.souk.static]]\nroute = \"/pages/...\"\nfolder = \"pages\"\n";
    let app = app
        .file("tables/sqlite/0001_tables.sql", "CREATE TABLE reloaded (id INTEGER PRIMARY KEY);")
        .file("pages/index.html", "<p>new</p>");
    let sender = sender
        .replace("[component.sender.dependencies]", "sqlite_databases = [\"sender\"]\n[component.sender.dependencies]");
    let app = app.append(&(sender + more + route));
    let said = reload(&app).await;
    for line in ["component `sender`, which is new, runs", "triggers of HTTP", "static folders"] {
        assert!(said.contains(&format!("applied: {line}")), "{line} is missing: {said}");
    }
    for n in 0..20 {
        send(&client, &format!("finish/message-{n}/0")).await;
    }
    for n in 0..20 {
        until_done(&client, &format!("message-{n}")).await;
        assert_eq!(counted(&client, &format!("tries:message-{n}")).await, 1);
    }
    assert_eq!(body(&client, "/pages/").await, (200, "<p>new</p>".to_owned()));
    let database = rusqlite::Connection::open(app.state().join("sqlite/sender.db")).unwrap();
    database.execute("INSERT INTO reloaded VALUES (1)", []).unwrap();

    // The messages of a component that goes stay, and are delivered once it is back.
    let app = app.replace(route, "");
    assert!(reload(&app).await.contains("`sender`, which is no longer in the manifest, takes no more calls"));
    assert_eq!(client.get("/send/finish/late/0").await.status, 404);
    let app = app.append(route);
    assert!(reload(&app).await.contains("`sender`, which is new, runs"));
    send(&client, "finish/again/0").await;
    until_done(&client, "again").await;
    host.stop().await;
}

#[tokio::test]
async fn schedules_begin_and_end_with_a_reload() {
    build::schedule_guests();
    let app = App::alone("schedules");
    let host = app.start().await;
    let client = host.client();
    assert!(seen(&client).await.is_empty());
    let often = schedule("often", "every = \"1s\"");
    let app = app.append(&often);
    assert!(reload(&app).await.contains("applied: component `ticker`: schedules"));
    eventually("it is called", async || (seen(&client).await.len() >= 2).then_some(())).await;
    // Another schedule in its place: between two of its calls there is none of the first.
    let app = app.replace(&often, &schedule("seldom", "every = \"3s\""));
    assert!(reload(&app).await.contains("applied: component `ticker`: schedules"));
    let since = seen(&client).await.len();
    eventually("calls of the other schedule are seen", async || (seen(&client).await.len() >= since + 3).then_some(()))
        .await;
    let times: Vec<i64> = seen(&client).await.into_keys().collect();
    let [.., first, second] = times.as_slice() else { unreachable!() };
    assert_eq!(second - first, 3000, "{times:?}");
}

#[tokio::test]
async fn limits_of_deliveries_are_applied_to_messages_that_come_after_a_reload() {
    build::application("tests/apps/durable/spin.toml");
    let app = App::alone("durable");
    let host = app.start().await;
    let app = app.append("delivery_attempts = 2\n");
    assert!(reload(&app).await.contains("applied: component `rogue`: limit `delivery_attempts`"));
    send(&host.client(), "retry/never/1000").await;
    assert_eq!(dead_letter(&app).await["attempts"], 2);
}

#[tokio::test]
async fn the_places_of_a_component_that_does_not_start_are_not_recorded_for_other_hosts() {
    let nats = Nats::start();
    let traps = starting("(func $s unreachable) (start $s)");
    let app = deploy_hosts::app(&nats, None).file("other.wasm", traps);
    let host = app.start_at("127.0.0.1:0", "state", &[]).await;
    let app = app.append(&(OTHER.to_owned() + "key_value_stores = [\"default\"]\n"));
    let (out, err) = texts(&app.souk_at("state", "reload", &[]).await);
    assert!(err.contains("`other`") && err.contains("nothing was applied"), "{out}{err}");
    let recorded = async |app: &App| texts(&app.souk_at("state", "cluster", &["show"]).await).0;
    let before = recorded(&app).await;
    assert!(before.contains("application shop") && !before.contains("data of other"), "{before}");
    let app = app.file("other.wasm", version("good-2"));
    let (out, err) = texts(&app.souk_at("state", "reload", &[]).await);
    assert!(out.contains("applied: component `other`, which is new, runs"), "{out}{err}");
    assert!(recorded(&app).await.contains("data of other"));
    drop(host);
}

#[tokio::test]
async fn other_hosts_reach_a_component_that_is_new() {
    let nats = Nats::start();
    let app = deploy_hosts::app(&nats, None);
    let all = app.start_at("127.0.0.1:0", "state", &[]).await;
    let front = app.start_at("127.0.0.1:0", "state-front", &["--only", "front"]).await;
    let client = front.client();
    assert_eq!(body(&client, "/").await, (200, "good-1".to_owned()));
    let crowd = Crowd::of(&front);
    let app = app.append(OTHER).file("other.wasm", version("good-2"));
    for (state, line) in [("state", "component `other`, which is new, runs"), ("state-front", "triggers of HTTP")] {
        let (out, err) = texts(&app.souk_at(state, "reload", &[]).await);
        assert!(out.contains(&format!("applied: {line}")), "{line} is missing: {out}{err}");
    }
    assert_eq!(body(&client, "/other").await, (200, "good-2".to_owned()));
    crowd.wait_for_answers(20).await;
    let app = app.replace(OTHER, "");
    for state in ["state-front", "state"] {
        assert!(app.souk_at(state, "reload", &[]).await.status.success());
    }
    assert_eq!(body(&client, "/other").await, (200, "good-1".to_owned()), "another route has it");
    crowd.wait_for_answers(20).await;
    assert_eq!(crowd.stop().await, 0, "{:#?}", all.log());
}

#[tokio::test]
async fn patterns_of_nest_begin_and_end_with_a_reload_and_those_that_stay_are_answered() {
    let nats = Nats::start();
    let app = App::nest("products").argument("--nats").argument(nats.url());
    let _host = app.start().await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    let ask = async |command: &str| {
        let data = if command == "find_one_product" { r#"{"id":1}"# } else { "{}" };
        let packet = format!(r#"{{"pattern":{{"cmd":"{command}"}},"data":{data},"id":"x"}}"#);
        let answer = client.request(format!(r#"{{"cmd":"{command}"}}"#), packet.into()).await;
        answer.ok().map(|answer| String::from_utf8(answer.payload.to_vec()).unwrap())
    };
    assert!(ask("find_one_product").await.unwrap().contains("Teclado"));
    let line = "'{\"cmd\":\"find_one_product\"}' = \"nest:microservices/requests@1.0.0#handle\"\n";
    let table = "[component.nest-products.tool.souk.nest.serves]\n";
    let mut app = app.replace(line, "");
    for is_served in [false, true] {
        let stays = async {
            for _ in 0..100 {
                assert!(ask("find_all_products").await.unwrap().contains("Teclado"));
            }
        };
        let (said, ()) = futures::join!(reload(&app), stays);
        assert!(said.contains("applied: component `nest-products`: nest"), "{said}");
        eventually("the pattern begins or ends", async || {
            (ask("find_one_product").await.is_some() == is_served).then_some(())
        })
        .await;
        if !is_served {
            app = app.replace(table, &format!("{table}{line}"));
        }
    }
}
