//! The NestJS system and the store, service by service: real `@nestjs/microservices` programs call our components, and
//! answer our links.
//!
//! The programs are in `tests/nest`. The manifests are the stages in `nest/`, as `docs/replace-a-nestjs-service.md`
//! starts them. The expected answers were recorded from the NestJS system.

use crate::harness::nats::Nats;
use crate::harness::store::{PASSWORD, fresh_email, send};
use crate::harness::{App, Host, WAIT_TIMEOUT, build, debian, eventually};
use http::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

#[tokio::test]
async fn nest_clients_get_from_the_catalogue_what_the_original_service_answered() {
    let nats = Nats::start();
    let (_host, mut client) = started(App::nest("products"), &nats).await;
    let keyboard = json!({
        "id": 1, "name": "Teclado", "price": 75.25, "available": true,
        "createdAt": "2024-02-27T15:50:27.545Z", "updatedAt": "2024-02-27T15:50:27.545Z"
    });
    let mouse = json!({
        "id": 2, "name": "Mouse", "price": 150, "available": true,
        "createdAt": "2024-02-27T15:50:41.977Z", "updatedAt": "2024-02-27T15:50:41.977Z"
    });
    let made = client.send(cmd("create_product"), json!({ "name": "Wire", "price": 9.9 })).await.unwrap();
    assert_eq!(
        (&made["id"], &made["name"], &made["price"], &made["available"]),
        (&json!(48), &json!("Wire"), &json!(9.9), &json!(true))
    );
    assert_eq!(keys(&made), ["available", "createdAt", "id", "name", "price", "updatedAt"]);
    let page = client.send(cmd("find_all_products"), json!({ "page": 1, "limit": 1 })).await.unwrap();
    let pagination = json!({ "page": 1, "limit": 1, "totalPages": 48, "lastPage": 48 });
    assert_eq!(page, json!({ "data": [keyboard], "pagination": pagination }));
    assert_eq!(client.send(cmd("find_one_product"), json!({ "id": "1" })).await.unwrap(), keyboard);
    let changed = client.send(cmd("update_product"), json!({ "id": 48, "price": 10 })).await.unwrap();
    assert_eq!((&changed["price"], &changed["createdAt"]), (&json!(10), &made["createdAt"]));
    let validated = client.send(cmd("validate_products"), json!({ "ids": [2, 1, 1] })).await.unwrap();
    assert_eq!(validated, json!([keyboard, mouse]));
    assert_eq!(client.send(cmd("validate_products"), json!({ "ids": [] })).await.unwrap(), json!([]));
    // A request without ids returns nothing.
    for data in [json!({}), json!({ "ids": null })] {
        assert_eq!(client.send(cmd("validate_products"), data).await.unwrap(), json!([]));
    }
    // The NestJS gateway lets these requests through, so an error would become a 500 there.
    let page = client.send(cmd("find_all_products"), json!({ "page": 1.5, "limit": 10 })).await.unwrap();
    let ids: Vec<&Value> = page["data"].as_array().unwrap().iter().map(|product| &product["id"]).collect();
    assert_eq!(json!(ids), json!((6..16).collect::<Vec<_>>()));
    assert_eq!(page["pagination"], json!({ "page": 1.5, "limit": 10, "totalPages": 48, "lastPage": 5 }));
    let page = client.send(cmd("find_all_products"), json!({ "page": 1, "limit": 1.5 })).await.unwrap();
    assert_eq!(
        page,
        json!({ "data": [keyboard], "pagination": { "page": 1, "limit": 1.5, "totalPages": 48, "lastPage": 32 } })
    );
    let gone = client.send(cmd("delete_product"), json!({ "id": "48" })).await.unwrap();
    assert_eq!((&gone["id"], &gone["available"]), (&json!(48), &json!(false)));

    for (pattern, data, status, message) in [
        ("find_one_product", json!({ "id": "9999" }), 404, "Product #9999 not found"),
        ("update_product", json!({ "id": 1 }), 400, "No data provided"),
        ("validate_products", json!({ "ids": [1, 9999] }), 400, "Some products were not found"),
        // The NestJS system answered with 400 and "Invalid data provided".
        ("delete_product", json!({ "id": "48" }), 404, "Product #48 not found"),
    ] {
        let error = client.send(cmd(pattern), data).await.unwrap_err();
        assert_eq!(error, json!({ "status": status, "message": message }), "{pattern}");
    }
    // The NestJS system answered these with "Internal server error", which tells a client nothing.
    for (pattern, data) in [
        ("update_product", json!({ "id": 1, "name": null })),
        ("update_product", json!({ "id": 1, "price": 1.005 })),
        ("create_product", json!({ "name": "", "price": -1 })),
        ("create_product", json!({ "name": "", "price": 1 })),
        ("find_one_product", json!({ "id": "abc" })),
        ("find_all_products", json!({ "limit": 20000 })),
        ("find_all_products", json!({ "limit": null })),
        ("find_one_product", json!([])),
    ] {
        let error = client.send(cmd(pattern), data.clone()).await.unwrap_err();
        assert_eq!(error["status"], 400, "{pattern} {data}: {error}");
        let message = error["message"].as_str().unwrap();
        let inside = ["struct", "u32", "u64", "f64", "line 1"].iter().find(|inside| message.contains(**inside));
        assert!(!message.is_empty() && inside.is_none(), "{pattern} {data}: {error}");
    }
}

#[tokio::test]
async fn nest_clients_log_in_order_and_pay_with_all_services_replaced() {
    let nats = Nats::start();
    let (host, mut client) = started(App::nest("services").shared_secrets(), &nats).await;
    let email = fresh_email();
    let account = json!({ "name": "Wire", "email": email, "password": PASSWORD });
    let made = client.send(json!("auth.register.user"), account.clone()).await.unwrap();
    assert_eq!((&made["user"]["email"], &made["user"]["name"]), (&json!(email), &json!("Wire")));
    assert_eq!(made["user"]["id"].as_str().unwrap().len(), 24);
    let proof = json!({ "email": email, "password": PASSWORD });
    let session = client.send(json!("auth.login.user"), proof).await.unwrap();
    let verified = client.send(json!("auth.verify.token"), session["token"].clone()).await.unwrap();
    assert_eq!(verified["user"], made["user"]);
    // The NestJS system has no roles.
    for answer in [&made, &session, &verified] {
        assert_eq!((keys(answer), keys(&answer["user"])), (vec!["token", "user"], vec!["email", "id", "name"]));
    }
    for (pattern, data, status, message) in [
        ("auth.register.user", account, 400, "User already exists"),
        ("auth.login.user", json!({ "email": email, "password": "Wrong123!" }), 400, "User/Password not valid"),
        ("auth.verify.token", json!("a.b.c"), 401, "Token not valid"),
    ] {
        let error = client.send(json!(pattern), data).await.unwrap_err();
        assert_eq!(error, json!({ "status": status, "message": message }), "{pattern}");
    }

    let items = json!({ "items": [{ "productId": 1, "quantity": 2 }, { "productId": 2, "quantity": 1 }] });
    let made = client.send(cmd("create_order"), items).await.unwrap();
    let order = &made["order"];
    let whole = [
        "OrderItem",
        "createdAt",
        "id",
        "paid",
        "paidAt",
        "status",
        "stripeChargeId",
        "totalAmount",
        "totalItems",
        "updatedAt",
    ];
    assert_eq!(keys(order), whole);
    assert_eq!(keys(&made["paymentSession"]), ["cancelUrl", "successUrl", "url"]);
    let bought = json!([
        { "price": 75.25, "quantity": 2, "productId": 1, "name": "Teclado" },
        { "price": 150, "quantity": 1, "productId": 2, "name": "Mouse" }
    ]);
    assert_eq!((&order["OrderItem"], &order["totalAmount"]), (&bought, &json!(300.5)));
    assert_eq!((&order["totalItems"], &order["status"], &order["paid"]), (&json!(3), &json!("PENDING"), &json!(false)));
    let id = &order["id"];
    assert_eq!(client.send(cmd("find_one_order"), json!({ "id": id })).await.unwrap(), *order);
    for query in [json!({ "page": 1, "limit": 1 }), json!({ "page": 1, "limit": 1, "status": "PENDING" })] {
        let page = client.send(cmd("find_all_orders"), query).await.unwrap();
        assert_eq!(page["pagination"], json!({ "page": 1, "limit": 1, "totalRecords": 1, "lastPage": 1 }));
        assert_eq!((&page["data"][0]["id"], keys(&page["data"][0])), (id, whole[1..].to_vec()));
    }
    let bill = json!({ "orderId": "o1", "currency": "usd", "items": [{ "name": "A", "price": 1.05, "quantity": 2 }] });
    let session = client.send(json!("create.payment.session"), bill).await.unwrap();
    assert_eq!(keys(&session), ["cancelUrl", "successUrl", "url"]);

    let payment =
        json!({ "stripeChargeId": "ch_wire", "orderId": id, "receiptUrl": "https://pay.stripe.com/receipts/1" });
    // An event that comes twice counts once; an event without an order is ignored.
    client.emit("payment.succeeded", payment.clone()).await;
    client.emit("payment.succeeded", json!({ "stripeChargeId": "ch_other" })).await;
    client.emit("payment.succeeded", payment).await;
    let paid = client.until(cmd("find_one_order"), json!({ "id": id }), |order| order["status"] == "PAID").await;
    assert_eq!((&paid["paid"], &paid["stripeChargeId"]), (&json!(true), &json!("ch_wire")));
    client.emit("payment.succeeded", json!({ "stripeChargeId": "ch_lost", "orderId": "nobody's" })).await;
    let line = host.wait_for_log("DEAD LETTER").await;
    assert!(line.contains("there is no order") && line.contains("nest:microservices/events"), "{line}");
    // A charge that has paid one order cannot pay another one, and the log says so.
    let items = json!({ "items": [{ "productId": 1, "quantity": 1 }] });
    let other = client.send(cmd("create_order"), items).await.unwrap()["order"]["id"].clone();
    client.emit("payment.succeeded", json!({ "stripeChargeId": "ch_wire", "orderId": other })).await;
    eventually("the event is a dead letter", async || (host.log_count("DEAD LETTER") == 2).then_some(())).await;
    host.wait_for_log(r#"charge "ch_wire" was for another order before"#).await;
    let order = client.send(cmd("find_one_order"), json!({ "id": other })).await.unwrap();
    assert_eq!((&order["status"], &order["paid"]), (&json!("PENDING"), &json!(false)));
    let delivered = client.send(cmd("change_order_status"), json!({ "id": id, "status": "DELIVERED" })).await.unwrap();
    assert_eq!((&delivered["status"], keys(&delivered)), (&json!("DELIVERED"), whole[1..].to_vec()));
    for (pattern, data, status) in [
        ("find_one_order", json!({ "id": "06c2f957-e9ca-41b2-bcae-4cb7c7a730f2" }), 404),
        ("change_order_status", json!({ "id": id }), 400),
        ("change_order_status", json!({ "id": id, "status": "PAID" }), 400),
        ("create_order", json!({ "items": [] }), 400),
        ("create_order", json!({ "items": [{ "productId": 9999, "quantity": 1 }] }), 400),
        ("create_order", json!({ "items": [{ "productId": 1, "quantity": 3_000_000_000_u64 }] }), 400),
    ] {
        let error = client.send(cmd(pattern), data.clone()).await.unwrap_err();
        assert!(error["status"] == status || (status == 400 && error["status"] == 409), "{pattern} {data}: {error}");
    }
    host.stop().await;
}

#[tokio::test]
async fn orders_are_paid_with_the_payment_service_of_the_system_while_that_is_there() {
    let nats = Nats::start();
    let (_host, mut client) = started(App::nest("orders"), &nats).await;
    let service = Node::start("service.js", &[&nats.url()]).await;
    let items = json!({ "items": [{ "productId": 1, "quantity": 2 }] });
    let made = client.send(cmd("create_order"), items.clone()).await.unwrap();
    let page = format!("http://nest.test/pay/{}/15050/usd", made["order"]["id"].as_str().unwrap());
    let session = json!({
        "cancelUrl": "http://nest.test/payments/cancel", "successUrl": "http://nest.test/payments/success", "url": page
    });
    assert_eq!(made["paymentSession"], session);

    for (name, status) in [("Refused", 400), ("Broken", 503)] {
        let product = client.send(cmd("create_product"), json!({ "name": name, "price": 5 })).await.unwrap();
        let items = json!({ "items": [{ "productId": product["id"], "quantity": 1 }] });
        let error = client.send(cmd("create_order"), items).await.unwrap_err();
        assert_eq!(error["status"], status, "{name}: {error}");
    }
    service.end().await;
    let error = client.send(cmd("create_order"), items).await.unwrap_err();
    assert_eq!(error["status"], 503, "{error}");
    assert!(error["message"].as_str().unwrap().contains("is stored and cannot be paid yet"), "{error}");
}

/// The store whose gateway uses the accounts of a Nest service.
pub(super) const ACCOUNTS: &str = r#"
[component.gateway.tool.souk.nest.calls]
"auth.register.user" = { function = "store:auth/accounts@1.0.0#register", data = "account" }
"auth.login.user" = "store:auth/accounts@1.0.0#login"
"auth.verify.token" = { function = "store:auth/accounts@1.0.0#verify", data = "token" }

[component.gateway.tool.souk.nest.errors]
invalid = { status = 400 }
email-taken = { status = 400, message = "User already exists" }
unauthorized = { status = 400, message = "User/Password not valid" }
"#;

#[tokio::test]
async fn a_link_by_a_table_reaches_a_nest_service_and_its_errors_are_those_of_the_contract() {
    let mut nats = Nats::start_with("max_payload: 8MB");
    let app = App::store().shared_secrets();
    let app = app.replace("\"store:auth/accounts@1.0.0\" = { component = \"auth\" }\n", "").append(ACCOUNTS);
    let host = app.argument("--nats").argument(nats.url()).start().await;
    let http = host.client();
    let login = async |password: &str| {
        let proof = json!({ "email": "nest@example.com", "password": password });
        send(&http, Method::POST, "/api/auth/login", "", Some(proof)).await
    };
    let register = async |name: &str, email: &str| {
        let account = json!({ "name": name, "email": email, "password": PASSWORD });
        send(&http, Method::POST, "/api/auth/register", "", Some(account)).await
    };
    // No service is running yet.
    assert_eq!(login(PASSWORD).await.status, 503);
    host.wait_for_log("nobody subscribes to the pattern").await;
    let service = Node::start("service.js", &[&nats.url()]).await;
    let session =
        eventually("the service answers", async || Some(login(PASSWORD).await).filter(|a| a.status == 201)).await;
    let session = session.expect(201);
    assert_eq!((&session["user"]["name"], &session["token"]), (&json!("Nest"), &json!("a.b.c")));
    let refused = login("Wrong123!").await.expect(400);
    assert_eq!(refused["message"], "User/Password not valid");
    // The last response of a stream counts.
    assert_eq!(register("Nest", "new@example.com").await.expect(201)["user"]["email"], "new@example.com");
    assert_eq!(register("Nest", "taken@example.com").await.expect(400)["message"], "User already exists");
    // An answer of more than one MiB.
    assert_eq!(register("Large", "large@example.com").await.status, 503);
    host.wait_for_log("answered with more than is read").await;
    // An error whose status is not in the table.
    let verify = send(&http, Method::POST, "/api/auth/verify", "x.y.z", None).await;
    assert_eq!(verify.status, 503);
    host.wait_for_log("its error's status is in no table").await;

    nats.kill(0);
    eventually("a call fails without NATS", async || (login(PASSWORD).await.status == 503).then_some(())).await;
    nats.resume(0);
    eventually("the service answers again", async || (login(PASSWORD).await.status == 201).then_some(())).await;
    service.end().await;
    eventually("the service is gone", async || (login(PASSWORD).await.status == 503).then_some(())).await;
}

#[tokio::test]
async fn two_hosts_share_the_messages_of_a_pattern_and_one_goes_on_alone() {
    let nats = Nats::start();
    // Each host is a separate application with its own products: their number counts the messages that the host got.
    let app =
        |name: &str| App::nest("products").argument("--nats").argument(nats.url()).argument("--name").argument(name);
    let (apps, mut hosts) = (["a", "b"].map(app), Vec::new());
    for app in &apps {
        hosts.push(app.start().await);
    }
    let mut client = Node::client(&nats, cmd("find_one_product")).await;
    for _ in 0..40 {
        client.send(cmd("create_product"), json!({ "name": "Shared", "price": 1 })).await.unwrap();
    }
    let mut made = Vec::new();
    for app in &apps {
        let list = app.call("products", "store:products/catalog#list", Some(json!({ "page": 1, "limit": 1 }))).await;
        let list: Value = serde_json::from_slice(&list.stdout).unwrap();
        made.push(list["total"].as_u64().unwrap_or_else(|| panic!("{list}")) - 47);
    }
    assert_eq!(made.iter().sum::<u64>(), 40, "{made:?}");
    assert!(made.iter().all(|made| *made > 0), "{made:?}");
    // While one host stops under load, no message is lost: it answers every message that NATS has given it.
    let asking = async_nats::connect(nats.url()).await.unwrap();
    let stopped = AtomicBool::new(false);
    let ask = async || {
        while !stopped.load(SeqCst) {
            let payload = json!({ "data": { "id": 1 }, "id": "x" }).to_string();
            let reply = asking.request(cmd("find_one_product").to_string(), payload.into()).await;
            assert!(reply.is_ok_and(|reply| reply.payload.starts_with(b"{\"response\"")));
        }
    };
    let stop = async {
        hosts.remove(0).stop().await;
        stopped.store(true, SeqCst);
    };
    futures::join!(futures::future::join_all((0..32).map(|_| ask())), stop);
    for _ in 0..20 {
        client.send(cmd("find_one_product"), json!({ "id": 1 })).await.unwrap();
    }
}

#[tokio::test]
async fn a_nest_service_in_the_components_queue_group_takes_its_share_until_it_is_stopped() {
    let nats = Nats::start();
    let (_host, mut client) = started(App::nest("services").shared_secrets(), &nats).await;
    let service = Node::start("service.js", &[&nats.url(), "auth"]).await;
    // A token that the service accepts and our accounts do not.
    let (mut theirs, mut ours) = (0, 0);
    while (theirs == 0 || ours == 0) && theirs + ours < 1000 {
        match client.send(json!("auth.verify.token"), json!("a.b.c")).await {
            Ok(_) => theirs += 1,
            Err(error) => {
                assert_eq!(error, json!({ "status": 401, "message": "Token not valid" }));
                ours += 1;
            }
        }
    }
    assert!(theirs > 0 && ours > 0, "{theirs} for the service, {ours} for the component");
    service.end().await;
    for _ in 0..20 {
        client.send(json!("auth.verify.token"), json!("a.b.c")).await.unwrap_err();
    }
}

#[tokio::test]
async fn tables_that_do_not_fit_stop_the_start_with_line_and_fix() {
    let nats = Nats::start();
    let products = || App::nest("products").argument("--nats").argument(nats.url());
    let services = || App::nest("services").shared_secrets().argument("--nats").argument(nats.url());
    let one = r#"'{"cmd":"find_one_product"}' = "nest:microservices/requests@1.0.0#handle""#;
    for (app, fragments) in [
        (App::nest("products"), ["no NATS is configured on this host", "`--nats nats://HOST:4222`"]),
        (products().replace(one, &one.replace("#handle", "#answer")), ["does not export `nest:microservices/requests@1.0.0#answer`", "it exports nest:microservices/requests@1.0.0#handle"]),
        (products().replace(one, &one.replace("cmd", "c m d")), ["cannot contain whitespace", "change the pattern"]),
        (products().replace(one, &format!("{one}\n'{{ \"cmd\": \"delete_product\" }}' = \"nest:microservices/requests@1.0.0#handle\"")), ["is listed twice", "keep one"]),
        (services().replace("email-taken = { status = 400, message = \"User already exists\" }\n", ""), ["can answer with the error `email-taken`", "write `email-taken = {"]),
        (services().replace("data = \"account\"", "data = \"acount\""), ["`acount` is not its only parameter", "remove `data`"]),
        (services().replace("{ unauthorized = { status = 401", "{ unautorized = { status = 401"), ["has no error `unautorized`", "its errors are"]),
        (App::nest("orders").argument("--nats").argument(nats.url()).replace("requests@1.0.0#handle\"\n\n# The orders", "requests@1.0.0#handle\"\n'create.payment.session' = \"nest:microservices/requests@1.0.0#handle\"\n\n# The orders"), ["is one that `nest-products` serves", "make `nest-products` a dependency"]),
    ] {
        let error = app.start_fails().await;
        for fragment in fragments.into_iter().chain(["toml:", "fix: "]) {
            assert!(error.contains(fragment), "{fragment:?} is missing in {error}");
        }
    }
}

/// A message pattern of the NestJS system's products and orders.
pub(super) fn cmd(name: &str) -> Value {
    json!({ "cmd": name })
}

/// The keys of an object, sorted.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> =
        value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// The URL of the first server only, so that the programs connect to it.
fn first(nats: &Nats) -> String {
    format!("nats://127.0.0.1:{}", nats.port(0))
}

/// Starts `app` on `nats`, and a Nest client; waits until the catalogue answers it.
pub(super) async fn started(app: App, nats: &Nats) -> (Host, Node) {
    let host = app.argument("--nats").argument(first(nats)).start().await;
    let client = Node::client(nats, cmd("find_one_product")).await;
    (host, client)
}

/// A running program of `tests/nest`, which reads and writes one JSON value on each line.
pub(super) struct Node {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Node {
    pub(super) async fn start(program: &str, arguments: &[&str]) -> Node {
        static READY: OnceLock<PathBuf> = OnceLock::new();
        let node = READY.get_or_init(prepare);
        let mut command = tokio::process::Command::new(node);
        command.arg(folder().join(program)).args(arguments).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
        let mut node = Node { child, input, output };
        assert_eq!(node.line().await, json!({ "ready": true }));
        node
    }

    /// Starts a client, and waits until `pattern` is answered for the first product.
    pub(super) async fn client(nats: &Nats, pattern: Value) -> Node {
        let mut client = Node::start("client.js", &[&first(nats)]).await;
        client.until(pattern, json!({ "id": 1 }), |product| product["id"] == 1).await;
        client
    }

    /// The next value that the program prints.
    pub(super) async fn line(&mut self) -> Value {
        let line =
            tokio::time::timeout(WAIT_TIMEOUT, self.output.next_line()).await.expect("the program prints nothing");
        let line = line.unwrap().expect("the program has ended");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"))
    }

    pub(super) async fn ask(&mut self, command: Value) -> Value {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        self.line().await
    }

    /// Calls `ClientProxy.send`: returns its only response, or the error that it throws.
    pub(super) async fn send(&mut self, pattern: Value, data: Value) -> Result<Value, Value> {
        let answer = self.ask(json!({ "send": pattern, "data": data })).await;
        match answer["response"].as_array() {
            Some(responses) => {
                assert_eq!(responses.len(), 1, "{answer}");
                Ok(responses[0].clone())
            }
            None => Err(answer["err"].clone()),
        }
    }

    pub(super) async fn emit(&mut self, pattern: &str, data: Value) {
        assert_eq!(self.ask(json!({ "emit": pattern, "data": data })).await, json!({ "emitted": true }));
    }

    /// Repeats the request until the response is `good`.
    pub(super) async fn until(&mut self, pattern: Value, data: Value, good: impl Fn(&Value) -> bool) -> Value {
        let this = tokio::sync::Mutex::new(self);
        eventually("a Nest client gets the response", async || {
            this.lock().await.send(pattern.clone(), data.clone()).await.ok().filter(|response| good(response))
        })
        .await
    }

    /// Closes the program's input, which ends it.
    pub(super) async fn end(self) {
        let Node { mut child, input, output } = self;
        drop((input, output));
        let status = tokio::time::timeout(WAIT_TIMEOUT, child.wait()).await.expect("the program did not end").unwrap();
        assert!(status.success(), "{status}");
    }
}

fn folder() -> PathBuf {
    build::root().join("tests/nest")
}

/// Installs what is missing; returns Node.js.
fn prepare() -> PathBuf {
    let node = debian::found_or_installed(&["node"], "nodejs");
    debian::found_or_installed(&["npm"], "npm");
    // npm keeps a copy of the lock file that it installed from.
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let (asked, installed) = ("package-lock.json", "node_modules/.package-lock.json");
    if changed(&folder().join(installed)) < changed(&folder().join(asked)) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(folder());
        debian::run(npm);
    }
    node
}
