//! Accounts: how passwords are checked, who owns an e-mail, and how logins affect other requests.

use crate::harness::store::{PASSWORD, Shop, down, fresh_email, token};
use futures::future::{join, join_all};
use serde_json::{Value, json};
use std::cell::Cell;

/// [`PASSWORD`] as the NestJS system hashed it: bcrypt, cost 10.
const LEGACY_HASH: &str = "$2b$10$abcdefghijklmnopqrstuuYANcCJwYc6GF9It1Cx3Pg8BsGWUFAVS";

/// Imports an account of the NestJS system; returns its e-mail.
async fn import(shop: &Shop, password_hash: &str) -> String {
    let email = fresh_email();
    let account = json!({
        "email": email,
        "name": "Ann",
        "role": "customer",
        "passwordHash": password_hash,
        "id": "65de3d1f0a1b2c3d4e5f6071",
    });
    shop.call("auth", "store:auth/administration#import-account", json!({ "account": account })).await;
    email
}

/// An account as it is stored.
fn stored(shop: &Shop, email: &str) -> String {
    let path = shop.app.state().join("key_value/auth.db");
    let database = rusqlite::Connection::open(path).unwrap();
    let found = "SELECT CAST(value AS TEXT) FROM entry WHERE instr(CAST(value AS TEXT), ?1) > 0";
    database.query_row(found, [email], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn logins_do_not_delay_other_requests() {
    const CLIENTS: usize = 16;
    const LOGINS: usize = 4;
    let shop = Shop::start().await;
    let email = fresh_email();
    let mine = token(&shop.register(&email).await);
    let (done, verified) = (Cell::new(false), Cell::new(0));
    let client = async || {
        for _ in 0..LOGINS {
            shop.login(&email, PASSWORD).await.expect(201);
        }
    };
    let logins = async {
        join_all((0..CLIENTS).map(|_| client())).await;
        done.set(true);
    };
    let verifications = async {
        while !done.get() {
            shop.verify(&mine).await.expect(201);
            verified.set(verified.get() + 1);
        }
    };
    join(logins, verifications).await;
    // In one queue with 16 others, a request would get one turn in 17.
    assert!(verified.get() >= CLIENTS * LOGINS, "{} verifications beside {} logins", verified.get(), CLIENTS * LOGINS);
}

#[tokio::test]
async fn every_byte_of_a_long_password_counts_for_a_login() {
    let shop = Shop::start().await;
    let email = fresh_email();
    let start = format!("Aa1!{}", "x".repeat(68));
    let long = |end: &str| format!("{start}{end}");
    let body = json!({ "name": "Ann", "email": email, "password": long("TAIL1234") });
    shop.post("/api/auth/register", "", body).await.expect(201);
    for wrong in [long("OTHERXXX"), long(""), long("TAIL123"), long("TAIL12345")] {
        shop.login(&email, &wrong).await.expect(400);
    }
    shop.login(&email, &long("TAIL1234")).await.expect(201);
}

#[tokio::test]
async fn an_account_of_old_logs_in_and_its_hash_is_replaced() {
    let shop = Shop::start().await;
    let email = import(&shop, LEGACY_HASH).await;
    let wrong = shop.login(&email, "Abc123!y").await.expect(400);
    assert_eq!(wrong["message"], "User/Password not valid");
    assert!(stored(&shop, &email).contains(LEGACY_HASH), "a failed login changes nothing");

    let session = shop.login(&email, PASSWORD).await.expect(201);
    assert_eq!(session["user"]["id"], "65de3d1f0a1b2c3d4e5f6071");
    let account = stored(&shop, &email);
    assert!(account.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !account.contains("$2b$"), "{account}");
    shop.login(&email, PASSWORD).await.expect(201);
    shop.login(&email, "Abc123!y").await.expect(400);
}

#[tokio::test]
async fn an_unknown_email_gets_the_answer_and_the_work_of_a_wrong_password() {
    let shop = Shop::start().await;
    let (known, shut_out) = (fresh_email(), fresh_email());
    for email in [&known, &shut_out] {
        shop.register(email).await.expect(201);
    }
    let disable = json!({ "email": shut_out, "disabled": true });
    shop.call("auth", "store:auth/administration#disable", disable).await;
    let cases = [(&known, "Abc123!y"), (&fresh_email(), PASSWORD), (&shut_out, PASSWORD), (&shut_out, "Abc123!y")];
    let refusal = json!({ "status": 400, "message": "User/Password not valid" });
    for (email, password) in cases {
        assert_eq!(shop.login(email, password).await.expect(400), refusal, "{email} {password}");
    }
    // The work is the same too: while no password can be checked, none of these requests is answered.
    let shop = shop.restart(|app| down(app, "passwords")).await;
    for (email, password) in cases {
        shop.login(email, password).await.expect(503);
    }
}

#[tokio::test]
async fn one_of_several_concurrent_registrations_of_an_email_succeeds() {
    let shop = Shop::start().await;
    for _ in 0..3 {
        let email = fresh_email();
        let spelt = [email.clone(), email.to_uppercase(), email.replace("user", "User"), email.replace("com", "COM")];
        let answers = join_all((0..16).map(|i| shop.register(&spelt[i % 4]))).await;
        let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert_eq!(made.len(), 1, "{answers:?}");
        for answer in refused {
            assert_eq!(answer.expect(400)["message"], "User already exists");
        }
        let id = &made[0].json()["user"]["id"];
        for email in &spelt {
            assert_eq!(shop.login(email, PASSWORD).await.expect(201)["user"]["id"], *id, "{email}");
        }
    }
    assert_eq!(shop.accounts().await.len(), 3);
}

#[tokio::test]
async fn an_email_ignores_case_and_is_shown_as_entered() {
    let shop = Shop::start().await;
    let made = shop.register("Ann.Miller@Example.com").await.expect(201);
    assert_eq!(made["user"]["email"], "Ann.Miller@Example.com");
    for email in ["ann.miller@example.com", "ANN.MILLER@EXAMPLE.COM"] {
        assert_eq!(shop.register(email).await.expect(400)["message"], "User already exists", "{email}");
        let session: Value = shop.login(email, PASSWORD).await.expect(201);
        assert_eq!((&session["user"]["id"], &session["user"]["email"]), (&made["user"]["id"], &made["user"]["email"]));
    }
    let admin = json!({ "email": "aNN.mILLER@example.com", "role": "admin" });
    let account = shop.call("auth", "store:auth/administration#set-role", admin).await;
    assert_eq!((&account["user"]["id"], &account["user"]["role"]), (&made["user"]["id"], &json!("admin")));
}

#[tokio::test]
async fn no_line_of_the_log_has_the_name_or_the_email_of_an_account() {
    let shop = Shop::start().await;
    let (email, name) = ("zoe.q@personal.example", "Zoe Quillfeather");
    let user = json!({ "name": name, "email": email, "password": PASSWORD });
    let made = token(&shop.post("/api/auth/register", "", user.clone()).await);
    shop.post("/api/auth/register", "", user).await.expect(400);
    shop.login(email, PASSWORD).await.expect(201);
    shop.login(email, "Abc123!y").await.expect(400);
    shop.small_order(&made).await;
    // Addresses where no route wants one.
    shop.get(&format!("/api/users/{email}"), "").await.expect(404);
    shop.get("/api/zoe.q%40personal.example/orders", "").await.expect(404);
    shop.get(&format!("/api/products?search={email}&name=Quillfeather"), "").await;
    for function in ["find", "create-reset-token", "revoke"] {
        let function = format!("store:auth/administration#{function}");
        shop.call("auth", &function, json!({ "email": email })).await;
    }
    shop.host.wait_for_log("#revoke").await;
    shop.host.wait_for_log("GET /api/users/***").await;
    let mut log = shop.host.log();
    // A component that fails while it has the data.
    let shop = shop.restart(|app| down(app, "passwords")).await;
    shop.login(email, PASSWORD).await.expect(503);
    shop.host.wait_for_log("POST /api/auth/login").await;
    log.extend(shop.host.log());
    for line in log {
        for personal in ["personal.example", "zoe.q", "Quillfeather"] {
            assert!(!line.contains(personal), "{personal} is in {line}");
        }
    }
}
