//! Forged tokens: an attacker who knows everything but the secret gets no access, and an attacker with the secret is
//! still limited by a token's times. All attacks use an administrator's identity, so that a hole would open everything.

use crate::harness::store::{JWT_SECRET, PASSWORD, Shop, fresh_email, token};
use crate::harness::{Answer, App, stripe::now};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// The signature of `text` by an HMAC algorithm.
fn sign(algorithm: &str, secret: &str, text: &str) -> String {
    macro_rules! hmac {
        ($hash:ty) => {{
            let mut mac = Hmac::<$hash>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(text.as_bytes());
            URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
        }};
    }
    match algorithm {
        "HS256" => hmac!(Sha256),
        "HS384" => hmac!(Sha384),
        "HS512" => hmac!(Sha512),
        other => panic!("{other} is none of HMAC's"),
    }
}

/// A token with any header, signed by `algorithm`.
fn made(header: &Value, claims: &Value, algorithm: &str, secret: &str) -> String {
    let text = format!("{}.{}", encoded(header), encoded(claims));
    format!("{text}.{}", sign(algorithm, secret, &text))
}

/// A token with these claims, in the form that the application gives them.
fn signed(claims: &Value) -> String {
    made(&json!({ "alg": "HS256", "typ": "JWT" }), claims, "HS256", JWT_SECRET)
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// These claims with some of them replaced; `null` removes a claim.
fn changed(claims: &Value, changes: Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

/// Tries to verify the token, to read orders and to change the catalogue with this `authorization` header.
async fn attempts(shop: &Shop, authorization: &str) -> Vec<Answer> {
    let product = json!({ "name": "Forged", "price": 1 }).to_string().into_bytes();
    let headers = [("authorization", authorization), ("content-type", "application/json")];
    let mut answers = Vec::new();
    for (method, path, body) in [
        (Method::POST, "/api/auth/verify", None),
        (Method::GET, "/api/orders", None),
        (Method::POST, "/api/products", Some(product)),
    ] {
        answers.push(shop.client.send(method, path, &headers, body).await);
    }
    answers
}

#[tokio::test]
async fn forged_tokens_open_nothing() {
    let shop = Shop::start().await;
    let (good, customer) = (shop.admin().await, shop.customer().await);
    let (own, now) = (claims(&good), now());
    let statuses = |answers: &[Answer]| answers.iter().map(|a| a.status).collect::<Vec<_>>();
    // The attacks start from valid tokens, so each one is refused because of its change.
    for good in [&good, &signed(&own), &signed(&changed(&own, json!({ "auth_time": now - 30 * DAY + HOUR })))] {
        assert_eq!(statuses(&attempts(&shop, &format!("Bearer {good}")).await), [201, 200, 201]);
    }

    let header = |algorithm: &str| json!({ "alg": algorithm, "typ": "JWT" });
    let [head, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let unsigned = |algorithm: &str| format!("{}.{payload}.", encoded(&header(algorithm)));
    let claiming = |changes: Value| signed(&changed(&own, changes));
    let another = claims(&customer);
    let raised = encoded(&changed(&another, json!({ "id": own["id"], "email": own["email"] })));
    let [customer_head, _, customer_signature] = customer.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let extended = json!({ "alg": "HS256", "typ": "JWT", "crit": ["urn:example:unknown"], "urn:example:unknown": 1 });
    let own_key = json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": URL_SAFE_NO_PAD.encode("mine") }, "kid": "../../dev/null", "jku": "http://127.0.0.1:1/" });

    let attacks = [
        ("algorithm none", unsigned("none")),
        ("algorithm None", unsigned("None")),
        ("algorithm NONE", unsigned("NONE")),
        ("algorithm none, with a signature", made(&header("none"), &own, "HS256", JWT_SECRET)),
        ("no algorithm", made(&json!({ "typ": "JWT" }), &own, "HS256", JWT_SECRET)),
        ("HS384 with the right secret", made(&header("HS384"), &own, "HS384", JWT_SECRET)),
        ("HS512 with the right secret", made(&header("HS512"), &own, "HS512", JWT_SECRET)),
        ("says HS256, signed by HS512", made(&header("HS256"), &own, "HS512", JWT_SECRET)),
        ("says RS256, signed by HS256", made(&header("RS256"), &own, "HS256", JWT_SECRET)),
        ("says ES256, signed by HS256", made(&header("ES256"), &own, "HS256", JWT_SECRET)),
        ("says EdDSA, signed by HS256", made(&header("EdDSA"), &own, "HS256", JWT_SECRET)),
        ("another payload under a customer's signature", format!("{customer_head}.{raised}.{customer_signature}")),
        ("no signature", format!("{head}.{payload}.")),
        ("no third part", format!("{head}.{payload}")),
        ("a fourth part", format!("{good}.{signature}")),
        ("half a signature", good[..good.len() - 20].to_owned()),
        ("the signature of all zeroes", format!("{head}.{payload}.{}", "A".repeat(43))),
        ("another secret", made(&header("HS256"), &own, "HS256", "another-secret-of-more-than-32-bytes")),
        ("an empty secret", made(&header("HS256"), &own, "HS256", "")),
        ("a key of the attacker's", made(&own_key, &own, "HS256", "mine")),
        ("an extension that must be understood", made(&extended, &own, "HS256", JWT_SECRET)),
        ("expired", claiming(json!({ "exp": now - 60 }))),
        ("no exp", claiming(json!({ "exp": null }))),
        ("an exp that is text", claiming(json!({ "exp": "never" }))),
        ("an exp below zero", claiming(json!({ "exp": -1 }))),
        ("not before tomorrow", claiming(json!({ "nbf": now + DAY }))),
        ("issued in the future", claiming(json!({ "iat": now + HOUR }))),
        ("logged in in the future", claiming(json!({ "auth_time": now + HOUR }))),
        ("logged in 30 days ago", claiming(json!({ "auth_time": now - 30 * DAY }))),
        ("logged in in 1970", claiming(json!({ "auth_time": 0 }))),
        ("issued 31 days ago, without a login", claiming(json!({ "auth_time": null, "iat": now - 31 * DAY }))),
        ("no time of login or issue", claiming(json!({ "auth_time": null, "iat": null }))),
        ("another's number", claiming(json!({ "id": another["id"] }))),
        ("another's e-mail", claiming(json!({ "email": another["email"] }))),
        ("no number", claiming(json!({ "id": null }))),
        ("a number that is none", claiming(json!({ "id": { "$ne": "" } }))),
        ("an e-mail that nobody has", claiming(json!({ "email": "nobody@example.com" }))),
        ("no claims", signed(&json!({}))),
        ("a list of claims", signed(&json!([1, 2]))),
        ("garbage", "garbage".to_owned()),
        ("three dots", "...".to_owned()),
        ("30 KB of garbage", "a".repeat(30_000)),
        ("30 KB of claims, signed", claiming(json!({ "name": "a".repeat(20_000) }))),
    ];
    for (attack, forged) in attacks {
        for answer in attempts(&shop, &format!("Bearer {forged}")).await {
            assert_eq!(answer.text(), r#"{"message":"Unauthorized","statusCode":401}"#, "{attack}");
            assert_eq!(answer.status, 401, "{attack}");
        }
    }
    let missing = r#"{"message":"Token not found","error":"Unauthorized","statusCode":401}"#;
    for header in ["", "Bearer", "Bearer ", &format!("Basic {good}"), &good] {
        // A header that is not a bearer token gets a hint.
        let hint = r#","hint":"send the header as `Authorization: Bearer TOKEN`"}"#;
        let expected = if header.is_empty() { missing.to_owned() } else { missing.replace('}', hint) };
        for answer in attempts(&shop, header).await {
            assert_eq!((answer.status, answer.text()), (401, expected.clone()), "{header:?}");
        }
    }
    // A token is valid only in the `authorization` header.
    let elsewhere = format!("/api/orders?token={good}&access_token={good}");
    let cookie = format!("token={good}; jwt={good}");
    let answer = shop.client.send(Method::GET, &elsewhere, &[("cookie", &cookie)], None).await;
    assert_eq!((answer.status, answer.text().as_str()), (401, missing));
    let made = shop.get("/api/products?limit=1000", "").await.expect(200)["data"].to_string();
    assert_eq!(made.matches("Forged").count(), 3, "only the good tokens have made products");
}

#[tokio::test]
async fn a_login_on_a_host_whose_clock_is_ahead_is_good_or_the_log_names_the_clocks() {
    let shop = Shop::start().await;
    let own = claims(&shop.customer().await);
    let ahead = |seconds: u64| {
        let made = now() + seconds;
        signed(&changed(&own, json!({ "iat": made, "auth_time": made, "exp": made + 2 * HOUR })))
    };
    shop.verify(&ahead(55)).await.expect(201);
    assert_eq!(shop.host.log_count("clock skew"), 0);
    shop.verify(&ahead(300)).await.expect(401);
    let line = shop.host.wait_for_log("clock skew").await;
    assert!(line.contains(own["id"].as_str().unwrap()), "{line}");
}

#[tokio::test]
async fn a_token_of_100_kb_is_invalid_and_a_larger_one_exceeds_the_header_limit() {
    let shop = Shop::start().await;
    let long = |bytes: usize| format!("Bearer {}", "a".repeat(bytes));
    for answer in attempts(&shop, &long(100_000)).await {
        assert_eq!(answer.expect(401), json!({ "message": "Unauthorized", "statusCode": 401 }));
    }
    // It exceeds the limit for all headers of a request, so the host answers before any component.
    let request = shop.client.fresh().open(Method::GET, "/api/orders");
    let response = request.header("authorization", long(200_000)).send().await.unwrap();
    assert_eq!(response.status(), 431);
    assert_eq!(shop.get("/api/orders", &shop.customer().await).await.status, 200);
}

#[tokio::test]
async fn an_operators_change_revokes_all_tokens_of_the_account() {
    let shop = Shop::start().await;
    let email = fresh_email();
    let first = token(&shop.register(&email).await);
    let mut tokens = vec![token(&shop.verify(&first).await), first];
    let statuses = async |token: &str| -> Vec<u16> {
        attempts(&shop, &format!("Bearer {token}")).await.iter().map(|answer| answer.status).collect()
    };
    let call = async |function: &str, arguments: serde_json::Value| {
        shop.call("auth", &format!("store:auth/administration#{function}"), arguments).await;
    };
    let customer = [201, 200, 403];
    assert_eq!(statuses(&tokens[0]).await, customer);
    // Setting the same value again changes nothing.
    call("set-role", json!({ "email": email, "role": "customer" })).await;
    call("disable", json!({ "email": email, "disabled": false })).await;
    assert_eq!(statuses(&tokens[0]).await, customer);
    let admin = json!({ "email": email.to_uppercase(), "role": "admin" });
    let changes = [
        ("set-role", admin, [201, 200, 201]),
        ("revoke", json!({ "email": email }), [201, 200, 201]),
        ("set-password", json!({ "email": email, "password": PASSWORD }), [201, 200, 201]),
        ("set-role", json!({ "email": email, "role": "customer" }), customer),
    ];
    for (function, arguments, after) in changes {
        call(function, arguments).await;
        for token in &tokens {
            assert_eq!(statuses(token).await, [401, 401, 401], "{function}");
        }
        tokens.push(token(&shop.login(&email, PASSWORD).await));
        assert_eq!(statuses(tokens.last().unwrap()).await, after, "{function}");
    }
    call("disable", json!({ "email": email, "disabled": true })).await;
    let refused = shop.login(&email, PASSWORD).await;
    assert_eq!(refused.expect(400)["message"], "User/Password not valid");
    call("disable", json!({ "email": email, "disabled": false })).await;
    for token in &tokens {
        assert_eq!(statuses(token).await, [401, 401, 401], "a disabled user has to log in again");
    }
    shop.login(&email, PASSWORD).await.expect(201);
}

#[tokio::test]
async fn a_renewed_token_carries_its_login_on_and_ends_with_its_30_days() {
    let shop = Shop::start().await;
    let own = claims(&shop.customer().await);
    let login = now() - 30 * DAY + HOUR;
    let renewed = claims(&token(&shop.verify(&signed(&changed(&own, json!({ "auth_time": login })))).await));
    assert_eq!(renewed["auth_time"], login);
    assert_eq!(renewed["exp"], login + 30 * DAY);
    let fresh = claims(&token(&shop.verify(&signed(&own)).await));
    assert_eq!(fresh["auth_time"], own["auth_time"]);
    assert_eq!(fresh["exp"].as_u64().unwrap() - fresh["iat"].as_u64().unwrap(), 2 * HOUR);
}

/// The store with the secrets that the host generates. It runs on one host: several hosts generate no secrets, because
/// each would generate another one.
async fn own_secrets(app: App) -> Shop {
    let host = app.start().await;
    let client = host.client();
    Shop { app, host, client }
}

#[tokio::test]
async fn generated_secrets_survive_a_restart_and_are_different_for_each_store() {
    let shop = own_secrets(App::store_alone()).await;
    let email = fresh_email();
    let before = token(&shop.register(&email).await);
    let other = own_secrets(App::store_alone()).await;
    // The other store has the same account with another id, but the message shows that the signature is refused.
    other.register(&email).await.expect(201);
    assert_eq!(other.verify(&before).await.expect(401)["message"], "Unauthorized");

    let Shop { app, host, .. } = shop;
    host.stop().await;
    let shop = own_secrets(app).await;
    assert_eq!(shop.verify(&before).await.expect(201)["user"]["email"], *email);

    let secrets = |shop: &Shop| {
        ["jwt_secret", "stripe_endpoint_secret"].map(|name| {
            let path = shop.app.state().join("secrets").join(name);
            let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap()) & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
            std::fs::read_to_string(path).unwrap()
        })
    };
    let (ours, theirs) = (secrets(&shop), secrets(&other));
    let all: std::collections::BTreeSet<&String> = ours.iter().chain(&theirs).collect();
    assert_eq!(all.len(), 4, "two secrets are the same");
    for secret in all {
        assert!(secret.len() >= 43, "a secret can be guessed");
        assert_eq!(shop.host.log_count(secret) + other.host.log_count(secret), 0, "a secret is in the log");
    }
}
