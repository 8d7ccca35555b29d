//! What each component of the store may access, word for word: a change that grants more must change this file, too.

use crate::harness::store::{PASSWORD, Shop, fresh_email, token};
use crate::harness::stripe::{self, now, signature};
use crate::harness::stripe_api::{self, StripeApi, refusal, store_with_key};
use crate::harness::{App, Host, app, build};
use http::Method;
use serde_json::json;
use std::collections::BTreeMap;

/// The grants that the host prints with the default configuration.
const GRANTS: &str = "  auth
    link      store:auth/passwords@1.0.0 -> passwords
    schedule  clean-up (cron 27 3 * * *)
    key-value auth
    variables jwt_secret
  gateway
    link      store:auth/accounts@1.0.0 -> auth
    link      store:auth/directory@1.0.0 -> auth
    link      store:auth/guesses@1.0.0 -> auth
    link      store:auth/self-service@1.0.0 -> auth
    link      store:orders/history@1.0.0 -> orders
    link      store:orders/orders@1.0.0 -> orders
    link      store:orders/refunds@1.0.0 -> orders
    link      store:products/catalog@1.0.0 -> products
    link      store:products/changes@1.0.0 -> products
    variables cors_origins, open_access
  orders
    link      store:payments/checkout@1.0.0 -> payments
    link      store:payments/refunds@1.0.0 -> payments
    link      store:products/catalog@1.0.0 -> products
    link      store:products/names@1.0.0 -> products
    schedule  expire-unpaid (every 10m), reconcile (every 30m), clean-up (cron 17 3 * * *)
    sqlite    orders
    variables currency, database_url, max_open_orders, unpaid_order_hours
  passwords
  payments
    outbound  https://api.stripe.com, http://stripe-sandbox.spin.internal
    variables public_url, stripe_api_url, stripe_cancel_url, stripe_secret, stripe_success_url
  products
    sqlite    products
    variables database_url
  stripe-sandbox
    schedule  send-waiting (every 1m)
    sqlite    stripe-sandbox
    outbound  http://webhook.spin.internal
    variables public_url, stripe_endpoint_secret
  webhook
    link      store:orders/payment-events@1.0.0 -> orders
    durable   store:orders/payment-events@1.0.0
    variables stripe_endpoint_secret
";

/// The routes, which are all that is public.
const ROUTES: &[(&str, &str)] = &[
    ("/api/...", "gateway"),
    ("/payments/...", "payments"),
    ("/payments/webhook", "webhook"),
    ("/stripe-sandbox/...", "stripe-sandbox"),
    ("/...", "gateway"),
];

/// Which components get which of the application's variables, under any name.
const VARIABLES: &[(&str, &[&str])] = &[
    ("jwt_secret", &["auth"]),
    ("stripe_secret", &["payments"]),
    ("stripe_endpoint_secret", &["stripe-sandbox", "webhook"]),
    ("stripe_api_url", &["payments"]),
    ("stripe_success_url", &["payments"]),
    ("cors_origins", &["gateway"]),
    ("stripe_cancel_url", &["payments"]),
    ("public_url", &["payments", "stripe-sandbox"]),
    ("currency", &["orders"]),
    ("max_open_orders", &["orders"]),
    // For the seed's `first_start`; no component reads it.
    ("seed", &[]),
    ("unpaid_order_hours", &["orders"]),
    ("products_database_url", &["products"]),
    ("orders_database_url", &["orders"]),
    ("open_access", &["gateway"]),
];

/// The lines of a block that a host prints at its start.
fn block<'l>(log: &'l [String], title: &str) -> impl Iterator<Item = &'l str> {
    let start = log.iter().position(|line| line == title).unwrap_or_else(|| panic!("no {title:?} in {log:?}"));
    log[start + 1..].iter().take_while(|line| !line.is_empty()).map(String::as_str)
}

/// What a host adds to the line of a component that another host runs; empty if there is one host.
fn remote_suffix(host: &Host) -> &'static str {
    if host.logs().len() > 1 { " (on another host)" } else { "" }
}

/// The components with their grants, as printed by the host that runs them.
fn components(host: &Host) -> Vec<String> {
    let mut components: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let remote_suffix = remote_suffix(host);
    for log in host.logs() {
        let mut component = None;
        for line in block(&log, "Components:") {
            match line.strip_prefix("    ") {
                Some(_) => {
                    components.entry(component.clone().unwrap()).or_default().push(line.replace(remote_suffix, ""))
                }
                None if !remote_suffix.is_empty() && line.ends_with(remote_suffix) => {}
                None => drop(components.entry(component.insert(line.to_owned()).clone()).or_default()),
            }
        }
    }
    components.into_iter().flat_map(|(name, grants)| std::iter::once(name).chain(grants)).collect()
}

/// The public routes: patterns with their components.
fn routes(host: &Host) -> Vec<(String, String)> {
    let (url, remote_suffix) = (format!("http://{}", host.address()), remote_suffix(host));
    let pair = |line: &str| {
        let (route, component) = line.trim().split_once(' ').expect("a route and its component");
        let route = route.strip_prefix(&url).expect("a route of this host");
        (route.to_owned(), component.trim().replace(remote_suffix, ""))
    };
    block(&host.logs()[0], "Routes:").map(pair).collect()
}

/// The store with its default databases, also on several hosts.
fn as_it_comes(app: App) -> App {
    app.unset("products_database_url").unset("orders_database_url")
}

fn owned(routes: &[(&str, &str)]) -> Vec<(String, String)> {
    routes.iter().map(|(route, component)| ((*route).to_owned(), (*component).to_owned())).collect()
}

#[tokio::test]
async fn each_component_reaches_what_it_needs_and_nothing_else() {
    let shop = Shop::of(as_it_comes(App::store())).await;
    assert_eq!(components(&shop.host), GRANTS.lines().collect::<Vec<_>>());
    assert_eq!(routes(&shop.host), owned(ROUTES));
}

#[test]
fn each_variable_is_granted_only_to_components_that_need_it() {
    let text = std::fs::read_to_string(build::root().join("spin.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let components = manifest["component"].as_table().unwrap();
    let mut granted: Vec<(&str, Vec<&str>)> = VARIABLES.iter().map(|(name, _)| (*name, Vec::new())).collect();
    for (component, table) in components {
        for key in table.as_table().unwrap().keys() {
            let known = ["source", "variables", "dependencies", "sqlite_databases", "key_value_stores"];
            let known = known.contains(&key.as_str()) || ["allowed_outbound_hosts", "build", "tool"].contains(&&**key);
            assert!(known, "{component} has a kind of grant that this scenario does not know: {key}");
        }
        // The database that the host grants (`tool.souk.database_url`) must be the one in the component's own variable.
        let database = table.get("tool").and_then(|tool| tool["souk"].get("database_url"));
        if let Some(database) = database {
            assert_eq!(table["variables"].get("database_url"), Some(database), "{component}");
        }
        let Some(variables) = table.get("variables") else { continue };
        for (name, template) in variables.as_table().unwrap() {
            let template = template.as_str().unwrap();
            let variable = template.strip_prefix("{{ ").and_then(|text| text.strip_suffix(" }}"));
            let variable =
                variable.unwrap_or_else(|| panic!("{component}.{name} is more than one variable: {template}"));
            let entry = granted.iter_mut().find(|(name, _)| *name == variable);
            entry.unwrap_or_else(|| panic!("{variable} is not in the table")).1.push(component);
        }
    }
    granted.iter_mut().for_each(|(_, components)| components.sort_unstable());
    let expected: Vec<(&str, Vec<&str>)> = VARIABLES.iter().map(|(name, to)| (*name, to.to_vec())).collect();
    assert_eq!(granted, expected);
    assert_eq!(manifest["variables"].as_table().unwrap().len(), VARIABLES.len(), "a variable is not in the table");
}

#[tokio::test]
async fn with_a_key_for_stripe_there_is_no_sandbox() {
    let stripe = StripeApi::start().await;
    let shop = Shop::of(as_it_comes(stripe.store())).await;
    let expected: Vec<_> = ROUTES.iter().copied().filter(|(_, component)| *component != "stripe-sandbox").collect();
    assert_eq!(routes(&shop.host), owned(&expected));
    let components = components(&shop.host);
    let about: Vec<_> = components.iter().filter(|line| line.starts_with("  stripe-sandbox")).collect();
    assert_eq!(about, ["  stripe-sandbox: off, because `stripe_secret` is set"]);
    // With another URL for Stripe, only that URL is granted, and Stripe's own is not.
    let outbound: Vec<_> = components.iter().filter(|line| line.contains("outbound")).collect();
    assert_eq!(outbound.len(), 1, "{components:?}");
    assert!(outbound[0].contains(stripe.url()) && !outbound[0].contains("api.stripe.com"), "{components:?}");
    for path in ["/stripe-sandbox", "/stripe-sandbox/pay/cs_test_0123456789abcdef0123456789abcdef", "/v1"] {
        assert_eq!(shop.get(path, "").await.expect(404)["message"], format!("Cannot GET {path}"));
    }
}

#[tokio::test]
async fn with_a_key_for_stripe_the_secret_of_its_events_must_be_set_too() {
    let without = store_with_key().unset("stripe_endpoint_secret");
    for app in [without, store_with_key().variable("stripe_endpoint_secret", "")] {
        let message = app.start_fails().await;
        assert!(message.contains("stripe_endpoint_secret") && message.contains("stripe_secret"), "{message}");
        assert!(message.contains("SPIN_VARIABLE_STRIPE_ENDPOINT_SECRET"), "it names no fix: {message}");
        assert!(!message.contains(stripe_api::KEY), "{message}");
        assert!(!app.state().join("secrets/stripe_endpoint_secret").exists(), "the host generated one");
    }
}

#[tokio::test]
async fn a_store_with_no_secret_to_sign_with_does_not_start() {
    let app = App::store().unset("jwt_secret").replace("jwt_secret = { generate = \"secret\" }\n", "");
    let message = app.start_fails().await;
    assert!(message.contains("jwt_secret") && message.contains("SPIN_VARIABLE_JWT_SECRET"), "{message}");
}

#[tokio::test]
async fn no_secret_and_no_password_is_in_a_log_or_an_error() {
    let stripe = StripeApi::start().await;
    // The secrets contain the word that the scenarios' client looks for in every answer.
    let (jwt, endpoint) = ("jwt-swordfish-0123456789-0123456789", "whsec_swordfish_0123456789");
    let app = stripe.store().variable("jwt_secret", jwt).variable("stripe_endpoint_secret", endpoint);
    let host = app.start().await;
    let client = host.client();
    let shop = Shop { app, host, client };

    let email = fresh_email();
    let token = token(&shop.register(&email).await);
    shop.register(&email).await.expect(400);
    shop.login(&email, PASSWORD).await.expect(201);
    shop.login(&email, "Wrong123!").await.expect(400);
    shop.verify(&token[..token.len() - 1]).await.expect(401);
    shop.get("/api/orders", &token).await.expect(200);
    let no_key = || refusal(401, "invalid_request_error", "", &format!("Invalid API Key: {}", stripe_api::KEY));
    let oops = || refusal(500, "api_error", "", "Oops");
    stripe.next([no_key(), oops(), oops()]);
    let answer = shop.order_with_key(&token, "a", &[(1, 1)]).await.expect(503);
    let pay = format!("/api/orders/{}/pay", answer["orderId"].as_str().unwrap());
    shop.post(&pay, &token, json!({})).await.expect(503);
    shop.post(&pay, &token, json!({})).await.expect(201);
    let body = stripe::charge_succeeded("06c2f957-e9ca-41b2-bcae-4cb7c7a730f2", 5).to_string().into_bytes();
    for (secret, age, status) in [("whsec_other", 0, 400), (endpoint, 1000, 400), (endpoint, 0, 200)] {
        let answer = stripe::post(&shop.client, &signature(secret, &body, now() - age), body.clone()).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    shop.send(Method::PUT, "/api/orders", &token, None).await.expect(404);
    // The log has every failure, up to the last one.
    shop.host.wait_for_log("check the variable `stripe_secret`").await;
    shop.host.wait_for_log("PUT /api/orders").await;
    let mut said = shop.host.log();
    for (command, arguments) in
        [("doctor", &[][..]), ("call", &["--list"]), ("call", &["auth", "list", r#"{"page":1,"limit":9}"#])]
    {
        let (out, err) = app::texts(&shop.app.souk(command, arguments).await);
        assert!(out.len() + err.len() > 20, "{command} {arguments:?} printed nothing");
        said.extend([out, err]);
    }
    let signature = token.rsplit('.').next().unwrap();
    for secret in ["swordfish", stripe_api::KEY, jwt, endpoint, PASSWORD, "Wrong123!", signature, "$argon2"] {
        let lines: Vec<_> = said.iter().filter(|text| text.contains(secret)).collect();
        assert!(lines.is_empty(), "{secret} was printed: {lines:?}");
    }
}
