//! Password guessing: the store slows down strangers, all of them together, but not clients that have logged in to the
//! account before.

use crate::harness::store::{PASSWORD, Shop, fresh_email, token};
use crate::harness::{Answer, App, eventually};
use http::Method;
use serde_json::{Value, json};

/// The store behind a proxy that names its clients.
async fn start() -> Shop {
    let reserved = "reserved_routes = [\"/payments/webhook\"]";
    Shop::of(App::store().replace(reserved, &format!("{reserved}\ntrusted_proxies = [\"127.0.0.0/8\"]"))).await
}

/// Sends a request from the client with this address.
async fn post_from(shop: &Shop, source: &str, path: &str, token: &str, body: Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("x-forwarded-for", source), ("content-type", "application/json")];
    if !token.is_empty() {
        headers.push(("authorization", bearer.as_str()));
    }
    shop.client.send(Method::POST, path, &headers, Some(body.to_string().into_bytes())).await
}

async fn login_from(shop: &Shop, source: &str, email: &str, password: &str) -> Answer {
    post_from(shop, source, "/api/auth/login", "", json!({ "email": email, "password": password })).await
}

/// The seconds in an answer's `Retry-After`.
fn retry_after(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 429, "{answer:?}");
    let seconds = answer.header("retry-after").expect("Retry-After").parse().unwrap();
    let message = format!("Too many attempts, please try again in {seconds} seconds");
    assert_eq!(answer.json(), json!({ "status": 429, "message": message }));
    seconds
}

#[tokio::test]
async fn guesses_from_everywhere_slow_strangers_and_not_the_owner() {
    let shop = start().await;
    let email = fresh_email();
    let body = json!({ "name": "Ann", "email": email, "password": PASSWORD });
    let made = post_from(&shop, "198.51.100.1", "/api/auth/register", "", body).await.expect(201);
    login_from(&shop, "2001:db8:1:2::1", &email, PASSWORD).await.expect(201);

    let unknown = fresh_email();
    for account in [&unknown, &email] {
        let mut wrong = 0;
        for guess in 0..200 {
            let answer = login_from(&shop, &format!("203.0.113.{}", guess % 50), account, "Abc123!y").await;
            match answer.status {
                400 => wrong += 1,
                _ => assert!(retry_after(&answer) <= 900),
            }
        }
        // Ten guesses are free; the next ones need a wait of one second, then two, four, ...
        assert!((10..=20).contains(&wrong), "{wrong} guesses were checked");
    }
    // The owner's machines, and other machines in their networks, can log in at once.
    for known in ["198.51.100.1", "2001:db8:1:2:ffff::9"] {
        let session = login_from(&shop, known, &email, PASSWORD).await.expect(201);
        assert_eq!(session["user"]["id"], made["user"]["id"]);
    }
    // A stranger who waits as long as the answer says and then has the right password is no longer a stranger.
    let first = loop {
        let answer = login_from(&shop, "192.0.2.9", &email, "Abc123!y").await;
        if answer.status != 400 {
            break retry_after(&answer);
        }
    };
    let stranger = || login_from(&shop, "192.0.2.9", &email, PASSWORD);
    let then = eventually("the stranger's wait is over", async || {
        let answer = stranger().await;
        if answer.status == 429 {
            assert!(retry_after(&answer) <= first, "the wait must not grow with early attempts");
            return None;
        }
        Some(answer)
    })
    .await;
    then.expect(201);
    let id = made["user"]["id"].as_str().unwrap();
    shop.host.wait_for_log(&format!("user {id}: too many wrong passwords")).await;
    shop.host.wait_for_log("an account that does not exist: too many wrong passwords").await;
}

#[tokio::test]
async fn one_source_is_slowed_whatever_it_tries() {
    let shop = start().await;
    let known = fresh_email();
    let account = json!({ "name": "Ann", "email": known, "password": PASSWORD });
    post_from(&shop, "198.51.100.1", "/api/auth/register", "", account.clone()).await.expect(201);
    let source = "203.0.113.7";
    for _ in 0..60 {
        // A registration reveals whether an e-mail has an account, so it counts as guessing, too.
        let taken = post_from(&shop, source, "/api/auth/register", "", account.clone()).await.expect(400);
        assert_eq!(taken["message"], "User already exists");
    }
    let reset = json!({ "token": format!("{}-{}", "0".repeat(24), "1".repeat(64)), "password": PASSWORD });
    for _ in 0..40 {
        let refused = post_from(&shop, source, "/api/auth/reset-password", "", reset.clone()).await.expect(400);
        assert_eq!(refused["message"], "The reset token is not valid");
    }
    let fresh = json!({ "name": "Ben", "email": fresh_email(), "password": PASSWORD });
    retry_after(&post_from(&shop, source, "/api/auth/register", "", fresh.clone()).await);
    retry_after(&login_from(&shop, source, &fresh_email(), PASSWORD).await);
    // Other sources are not slowed, and neither are clients with a token.
    let ben = token(&post_from(&shop, "198.51.100.2", "/api/auth/register", "", fresh).await);
    post_from(&shop, source, "/api/auth/verify", &ben, json!({})).await.expect(201);
}

#[tokio::test]
async fn a_client_with_a_token_cannot_guess_the_password() {
    let shop = start().await;
    let email = fresh_email();
    let account = json!({ "name": "Ann", "email": email, "password": PASSWORD });
    let stolen = token(&post_from(&shop, "198.51.100.1", "/api/auth/register", "", account).await);
    let mut looked_at = 0;
    for _ in 0..20 {
        let change = json!({ "password": "Abc123!y", "newPassword": "Xyz789!a" });
        let answer = post_from(&shop, "203.0.113.7", "/api/auth/change-password", &stolen, change).await;
        match answer.status {
            400 => looked_at += 1,
            _ => assert!(retry_after(&answer) > 0),
        }
    }
    assert!((10..20).contains(&looked_at), "{looked_at} guesses were checked");
}

#[tokio::test]
async fn a_user_who_changes_the_e_mail_is_no_stranger_at_the_new_one() {
    let shop = start().await;
    let (old, new) = (fresh_email(), fresh_email());
    let (first, other) = ("198.51.100.1", "198.51.100.2");
    let account = json!({ "name": "Ann", "email": old, "password": PASSWORD });
    post_from(&shop, first, "/api/auth/register", "", account).await.expect(201);
    let session = login_from(&shop, first, &old, PASSWORD).await;
    let change = json!({ "password": PASSWORD, "email": new });
    // From a machine that has not logged in: it has proved the password, too.
    post_from(&shop, other, "/api/auth/change-email", &token(&session), change).await.expect(201);
    for guess in 0..40 {
        login_from(&shop, &format!("203.0.113.{guess}"), &new, "Abc123!y").await;
    }
    retry_after(&login_from(&shop, "203.0.113.99", &new, PASSWORD).await);
    for known in [first, other] {
        login_from(&shop, known, &new, PASSWORD).await.expect(201);
    }
}
