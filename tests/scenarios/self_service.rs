//! Changes that users make to their own accounts, and that an operator makes for them.

use crate::harness::App;
use crate::harness::store::{PASSWORD, Shop, fresh_email, token};
use futures::future::join_all;
use serde_json::{Value, json};

const NEW: &str = "Xyz789!a";

async fn admin(shop: &Shop, function: &str, arguments: Value) -> Value {
    shop.call("auth", &format!("store:auth/administration#{function}"), arguments).await
}

/// Makes an operator's call, which must fail; returns its error.
async fn refused(shop: &Shop, function: &str, arguments: Value) -> String {
    let function = format!("store:auth/administration#{function}");
    let output = shop.app.call("auth", &function, Some(arguments)).await;
    assert!(!output.status.success(), "{function} was not refused");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn a_user_changes_the_password_and_every_other_token_ends() {
    let shop = Shop::start().await;
    let email = fresh_email();
    let (one, other) = (token(&shop.register(&email).await), token(&shop.login(&email, PASSWORD).await));
    let change = |password: &str, new: &str| json!({ "password": password, "newPassword": new });
    let wrong = shop.post("/api/auth/change-password", &one, change("Abc123!y", NEW)).await.expect(400);
    assert_eq!(wrong, json!({ "status": 400, "message": "the password is wrong" }));
    shop.post("/api/auth/change-password", &one, change(PASSWORD, "weak")).await.expect(400);
    shop.post("/api/auth/change-password", "", change(PASSWORD, NEW)).await.expect(401);
    let fresh = token(&shop.post("/api/auth/change-password", &one, change(PASSWORD, NEW)).await);
    for old in [&one, &other] {
        shop.verify(old).await.expect(401);
    }
    assert_eq!(shop.verify(&fresh).await.expect(201)["user"]["role"], "customer");
    shop.login(&email, PASSWORD).await.expect(400);
    shop.login(&email, NEW).await.expect(201);

    shop.post("/api/auth/revoke", "", json!({})).await.expect(401);
    let user = shop.post("/api/auth/revoke", &fresh, json!({})).await.expect(201);
    assert_eq!(user["email"], *email);
    shop.verify(&fresh).await.expect(401);
    shop.post("/api/auth/revoke", &fresh, json!({})).await.expect(401);
}

#[tokio::test]
async fn a_user_changes_the_e_mail_and_the_old_one_is_free() {
    let shop = Shop::start().await;
    let (old, new, taken) = (fresh_email(), fresh_email(), fresh_email());
    let made = shop.register(&old).await;
    shop.register(&taken).await.expect(201);
    let (first, id) = (token(&made), made.json()["user"]["id"].clone());
    let change = |password: &str, email: &str| json!({ "password": password, "email": email });
    let to = async |token: &str, password: &str, email: &str| {
        shop.post("/api/auth/change-email", token, change(password, email)).await
    };
    to(&first, "Abc123!y", &new).await.expect(400);
    assert_eq!(to(&first, PASSWORD, &taken).await.expect(400)["message"], "User already exists");
    let second = token(&to(&first, PASSWORD, &new.to_uppercase()).await);
    shop.verify(&first).await.expect(401);
    // The same address in another case is the same address.
    let changed = to(&second, PASSWORD, &new).await;
    assert_eq!((&changed.json()["user"]["id"], &changed.json()["user"]["email"]), (&id, &json!(new)));
    assert_eq!(shop.verify(&token(&changed)).await.expect(201)["user"]["email"], *new);
    shop.login(&old, PASSWORD).await.expect(400);
    assert_eq!(shop.login(&new, PASSWORD).await.expect(201)["user"]["id"], id);
    let other = shop.register(&old).await.expect(201);
    assert_ne!(other["user"]["id"], id);
    assert_eq!(admin(&shop, "find", json!({ "email": new })).await["user"]["id"], id);
    assert_eq!(admin(&shop, "find-by-id", json!({ "id": id })).await["user"]["email"], *new);
    assert_eq!(shop.accounts().await.len(), 3);

    // If two users want one address at the same time, one gets it.
    let shops: Vec<String> = join_all((0..4).map(|_| shop.customer())).await;
    let wanted = fresh_email();
    let answers =
        join_all(shops.iter().map(|token| shop.post("/api/auth/change-email", token, change(PASSWORD, &wanted)))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{answers:?}");
}

#[tokio::test]
async fn an_operator_hands_out_a_token_that_sets_a_password_once() {
    let shop = Shop::start().await;
    let email = fresh_email();
    let mine = token(&shop.register(&email).await);
    let create = async || {
        let made = admin(&shop, "create-reset-token", json!({ "email": email })).await;
        made["token"].as_str().unwrap().to_owned()
    };
    let reset = async |token: &str, password: &str| {
        shop.post("/api/auth/reset-password", "", json!({ "token": token, "password": password })).await
    };
    let (first, second) = (create().await, create().await);
    let invalid = json!({ "status": 400, "message": "The reset token is not valid" });
    assert_eq!(reset(&first, NEW).await.expect(400), invalid, "a later token ends the first one");
    assert_eq!(reset("abc", NEW).await.expect(400), invalid);
    reset(&second, "weak").await.expect(400);
    shop.verify(&mine).await.expect(201);
    // If several clients use the token at the same time, one succeeds.
    let answers = join_all((0..4).map(|_| reset(&second, NEW))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{answers:?}");
    assert_eq!(reset(&second, NEW).await.expect(400), invalid);
    shop.verify(&mine).await.expect(401);
    shop.login(&email, PASSWORD).await.expect(400);
    shop.login(&email, NEW).await.expect(201);
    // Disabling a user ends the reset token, which then gets the same error as any invalid token.
    let third = create().await;
    admin(&shop, "disable", json!({ "email": email, "disabled": true })).await;
    assert_eq!(reset(&third, PASSWORD).await.expect(400), invalid);
    admin(&shop, "disable", json!({ "email": email, "disabled": false })).await;
    assert_eq!(reset(&third, PASSWORD).await.expect(400), invalid);
    assert!(
        refused(&shop, "create-reset-token", json!({ "email": "nobody@example.com" })).await.contains("no account has")
    );

    admin(&shop, "set-password", json!({ "email": email, "password": PASSWORD })).await;
    shop.login(&email, NEW).await.expect(400);
    shop.login(&email, PASSWORD).await.expect(201);
}

#[tokio::test]
async fn a_deleted_account_keeps_its_orders_and_its_id_reserved() {
    let shop = Shop::start().await;
    let email = fresh_email();
    let made = shop.register(&email).await;
    let (mine, id) = (token(&made), made.json()["user"]["id"].clone());
    let (order, _) = shop.small_order(&mine).await;
    shop.post("/api/auth/delete-account", &mine, json!({ "password": "Abc123!y" })).await.expect(400);
    let deleted = shop.post("/api/auth/delete-account", &mine, json!({ "password": PASSWORD })).await.expect(201);
    assert_eq!(deleted, json!({ "id": id }));
    shop.verify(&mine).await.expect(401);
    shop.login(&email, PASSWORD).await.expect(400);
    assert_eq!(admin(&shop, "find", json!({ "email": email })).await, Value::Null);
    assert_eq!(admin(&shop, "find-by-id", json!({ "id": id })).await, Value::Null);
    assert!(shop.accounts().await.is_empty());
    let boss = shop.admin().await;
    assert_eq!(shop.get(&format!("/api/orders/id/{order}"), &boss).await.expect(200)["totalAmount"], 150.5);
    // The address can be used again, but not the id.
    let again = shop.register(&email).await.expect(201);
    assert_ne!(again["user"]["id"], id);
    let hash = "$2b$10$abcdefghijklmnopqrstuuYANcCJwYc6GF9It1Cx3Pg8BsGWUFAVS";
    let import = json!({ "account": {
        "email": fresh_email(), "name": "", "role": "customer", "passwordHash": hash, "id": id,
    } });
    assert!(refused(&shop, "import-account", import).await.contains("another account has this id"));

    // An operator deletes an account by its id.
    admin(&shop, "delete-account", json!({ "id": again["user"]["id"] })).await;
    assert!(refused(&shop, "delete-account", json!({ "id": id })).await.contains("no account has this id"));
    shop.login(&email, PASSWORD).await.expect(400);
    assert_eq!(shop.accounts().await.len(), 1);
}

#[tokio::test]
async fn equal_looking_passwords_are_equal_and_equal_looking_addresses_are_refused() {
    let shop = Shop::start().await;
    let email = fresh_email();
    // `é` as one character, and as `e` with a combining accent.
    let (composed, apart) = ("Abc123!\u{e9}", "Abc123!e\u{301}");
    let account = json!({ "name": "Zoe", "email": email, "password": apart });
    shop.post("/api/auth/register", "", account).await.expect(201);
    for typed in [composed, apart] {
        shop.login(&email, typed).await.expect(201);
    }
    shop.login(&email, "Abc123!e").await.expect(400);
    for (other, plain) in
        [("zoe\u{308}@example.com", "zoë@example.com"), ("a\u{202e}nn@example.com", "ann@example.com")]
    {
        let account = json!({ "name": "", "email": other, "password": PASSWORD });
        let refused = shop.post("/api/auth/register", "", account).await.expect(400);
        assert_eq!(refused["message"], format!("email must be written as {plain}"));
    }
    // An imported account keeps its address and can log in, and the operator sees which address it looks like.
    let hash = "$2b$10$abcdefghijklmnopqrstuuYANcCJwYc6GF9It1Cx3Pg8BsGWUFAVS";
    let (hidden, plain) = ("bo\u{200b}b@example.com", "bob@example.com");
    let import = json!({ "account": {
        "email": hidden, "name": "", "role": "customer", "passwordHash": hash, "id": null,
    } });
    let imported = admin(&shop, "import-account", import).await;
    shop.register(plain).await.expect(201);
    let (mut found, mut from) = (Vec::new(), Value::Null);
    loop {
        let page = admin(&shop, "list-look-alikes", json!({ "from": from })).await;
        found.extend(page["accounts"].as_array().unwrap().iter().cloned());
        from = page["next"].clone();
        if from.is_null() {
            break;
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["account"]["user"]["id"], imported["user"]["id"]);
    assert_eq!((&found[0]["plain"], &found[0]["other"]["user"]["email"]), (&json!(plain), &json!(plain)));
}

#[tokio::test]
async fn a_bcrypt_hash_of_a_long_password_is_not_replaced() {
    let shop = Shop::start().await;
    let long = format!("Aa1!{}", "x".repeat(76));
    let email = fresh_email();
    // The bcrypt hash of the 80 characters, cost 4.
    let hash = "$2b$04$YfiqHZONtic8vmWdJJGjhO49iT1OtG1uUga0Xbvx/P1qmhH8Pt9JS";
    let import = json!({ "account": {
        "email": email, "name": "", "role": "customer", "passwordHash": hash, "id": null,
    } });
    admin(&shop, "import-account", import).await;
    // The first 72 bytes are enough to log in, as before; but such a login must not fix the rest of the password.
    shop.login(&email, &format!("{}OTHER", &long[..72])).await.expect(201);
    shop.login(&email, &long).await.expect(201);
}

#[tokio::test]
async fn reset_tokens_and_known_sources_that_count_no_more_are_removed() {
    let shop = Shop::of(App::store_alone()).await;
    let (old, young) = (fresh_email(), fresh_email());
    let mut tokens = Vec::new();
    for email in [&old, &young] {
        shop.register(email).await.expect(201);
        let made = admin(&shop, "create-reset-token", json!({ "email": email })).await;
        tokens.push(made["token"].as_str().unwrap().to_owned());
    }
    let path = shop.app.state().join("key_value/auth.db");
    let database = || rusqlite::Connection::open(&path).unwrap();
    let keys = |like: &str| -> i64 {
        let counted = "SELECT count(*) FROM entry WHERE CAST(value AS TEXT) LIKE ?1 OR key LIKE ?1";
        database().query_row(counted, [like], |row| row.get(0)).unwrap()
    };
    assert_eq!((keys("%\"reset\":%"), keys("known/%")), (2, 2));
    // The one account's token, and its login, become old. The call before, it seems, had no time for what comes after this place.
    let (id, _) = tokens[0].split_once('-').unwrap();
    let mut aged = 0;
    for (value, like) in [("$.reset.until", format!("user/{id}")), ("$[0].login", "known/%".to_owned())] {
        let age = "UPDATE entry SET value = CAST(json_set(CAST(value AS TEXT), ?1, 1) AS BLOB), version = random()
            WHERE key = (SELECT min(key) FROM entry WHERE key LIKE ?2)";
        aged += database().execute(age, [value, &like]).unwrap();
    }
    let note = "INSERT INTO entry (key, value, version) VALUES ('clean-up-from', CAST('\"user/z\"' AS BLOB), 1)";
    database().execute(note, []).unwrap();
    assert_eq!(aged, 2);
    let clean_up = async || shop.call("auth", "store:auth/timers#clean-up", json!({})).await;
    clean_up().await;
    assert_eq!((keys("%\"reset\":%"), keys("known/%"), keys("clean-up-from")), (2, 2, 0), "it went on from there");
    for _ in 0..2 {
        clean_up().await;
        assert_eq!((keys("%\"reset\":%"), keys("known/%"), keys("clean-up-from")), (1, 1, 0));
    }
    let reset = async |token: &str| {
        let body = json!({ "token": token, "password": NEW });
        shop.post("/api/auth/reset-password", "", body).await.status
    };
    assert_eq!((reset(&tokens[0]).await, reset(&tokens[1]).await), (400, 201));
}
