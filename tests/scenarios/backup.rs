//! A backup of a busy store, and the store that is restored from it.
//!
//! By default customers order as often as the machine lets them; `SOUK_BACKUP_ORDERS=100` makes it 100 orders a second. The
//! scenario prints how many there were.

use crate::harness::app::texts;
use crate::harness::database::query_number;
use crate::harness::disk::Disk;
use crate::harness::postgres::Postgres;
use crate::harness::store::{Shop, fresh_email};
use crate::harness::stripe::charge_succeeded;
use crate::harness::{App, eventually};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs `souk COMMAND`, which must succeed; returns its standard output.
async fn done(app: &App, command: &str, arguments: &[&str]) -> String {
    let output = app.souk(command, arguments).await;
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{command}: {out}\n{err}");
    out
}

/// Runs `souk COMMAND`, which must fail; returns its standard error.
async fn refused(app: &App, command: &str, arguments: &[&str]) -> String {
    let output = app.souk(command, arguments).await;
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{command}: {out}\n{err}");
    assert!(err.contains("fix: "), "{err}");
    err
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What must not be in the books, and how many rows of it there are.
const WRONG_BOOKS: [(&str, &str); 4] = [
    (
        "a total that is not the sum of the lines",
        "SELECT count(*) FROM orders WHERE total_cents IS NOT \
         (SELECT sum(unit_cents * quantity) FROM order_items WHERE order_id = orders.id)",
    ),
    (
        "an order that is paid without its charge, or not paid with one",
        "SELECT count(*) FROM orders WHERE (status = 'PAID') <> \
         (SELECT count(*) FROM charges WHERE order_id = orders.id AND charges.id = charge_id AND amount_cents = total_cents)",
    ),
    ("a charge of no order", "SELECT count(*) FROM charges WHERE order_id NOT IN (SELECT id FROM orders)"),
    (
        "a wrong count of orders",
        "SELECT count(*) FROM order_counts AS counted WHERE owner = '' AND orders <> \
         (SELECT count(*) FROM orders WHERE status = counted.status)",
    ),
];

#[tokio::test]
async fn a_backup_of_a_busy_shop_has_all_files_of_one_moment() {
    let shop = Shop::of(App::store_alone()).await;
    let email = fresh_email();
    shop.register(&email).await.expect(201);
    let token = shop.customer().await;
    let (stop, orders) = (Cell::new(false), RefCell::new(Vec::<String>::new()));
    let rate = std::env::var("SOUK_BACKUP_ORDERS").ok().map(|rate| rate.parse::<u32>().expect("a whole number"));
    let (start, begun) = (Instant::now(), Cell::new(0));
    // Customers order and pay without pause, so the backup always starts in the middle of some request.
    let busy = || async {
        while !stop.get() {
            if let Some(rate) = rate {
                let turn = start + Duration::from_secs(1) * begun.replace(begun.get() + 1) / rate;
                tokio::time::sleep_until(turn.into()).await;
            }
            let (id, cents) = shop.small_order(&token).await;
            // An acknowledged event is stored, but perhaps not applied yet.
            shop.send_event(&charge_succeeded(&id, cents)).await.expect(200);
            orders.borrow_mut().push(id);
        }
    };
    let backups = async {
        let mut folders = Vec::new();
        for n in 0..4 {
            // With a rate, a second of it.
            let enough = orders.borrow().len() + rate.map_or(4, |rate| rate as usize);
            eventually("there are more orders", || async { (orders.borrow().len() >= enough).then_some(()) }).await;
            let folder = shop.app.path(&format!("backup-{n}"));
            let known = orders.borrow().clone();
            let out = done(&shop.app, "backup", &[text(&folder)]).await;
            assert!(out.contains("sqlite/orders.db") && out.contains("key_value/auth.db"), "{out}");
            folders.push((folder, known));
        }
        stop.set(true);
        folders
    };
    let customers = futures::future::join_all((0..rate.map_or(3, |_| 16)).map(|_| busy()));
    let (_, folders) = futures::join!(customers, backups);
    println!("{:.0} orders a second", orders.borrow().len() as f64 / start.elapsed().as_secs_f64());
    for (folder, known) in folders {
        assert!(!folder.join("secrets").exists(), "secrets are in the backup");
        let other = App::store_alone();
        done(&other, "restore", &[text(&folder)]).await;
        let restored = Shop::of(other).await;
        // Every order that was finished before the backup is there and paid: either already in the database, or by a
        // message that is in the backup, too.
        restored.wait_for_events().await;
        for id in &known {
            let order = restored.order_by_id(&token, id).await;
            assert_eq!(order["status"], "PAID", "{} has {order}", folder.display());
        }
        for (what, wrong) in WRONG_BOOKS {
            assert_eq!(query_number(&restored.app, wrong).await, 0, "{}: {what}", folder.display());
        }
        // The account is there: its e-mail cannot be registered again.
        assert_eq!(restored.register(&email).await.status, 400);
    }
}

#[tokio::test]
async fn an_incomplete_changed_or_foreign_backup_is_refused_before_anything_is_written() {
    let shop = Shop::of(App::store_alone()).await;
    let app = &shop.app;
    let folder = app.path("backup");
    done(app, "backup", &[text(&folder)]).await;
    assert!(refused(app, "backup", &[text(&folder)]).await.contains("is not empty"));
    assert!(refused(app, "restore", &[text(&folder)]).await.contains("in use by another host"));

    let other = App::store_alone();
    let list = folder.join("backup.json");
    let whole = fs::read_to_string(&list).unwrap();
    let database = folder.join("sqlite/products.db");
    let bytes = fs::read(&database).unwrap();
    for (change, fragment) in [
        ("list", "not a backup"),
        ("text", "not a backup"),
        ("application", "of the application `other`"),
        ("format", "newer host"),
        ("path", "names `../spin.db`"),
        ("bytes", "its digest differs"),
        ("gone", "is not the file"),
    ] {
        let edited = |from: &str, to: &str| fs::write(&list, whole.replacen(from, to, 1)).unwrap();
        match change {
            "list" => fs::remove_file(&list).unwrap(),
            "text" => fs::write(&list, "{").unwrap(),
            "application" => edited("\"application\": \"store\"", "\"application\": \"other\""),
            // A newer list may have other members.
            "format" => fs::write(&list, "{\"format\": 3, \"souk\": \"2.0.0\"}").unwrap(),
            "path" => edited("\"sqlite/products.db\"", "\"../spin.db\""),
            "bytes" => {
                let mut changed = bytes.clone();
                *changed.last_mut().unwrap() ^= 1;
                fs::write(&database, changed).unwrap();
            }
            _ => fs::remove_file(&database).unwrap(),
        }
        let message = refused(&other, "restore", &[text(&folder)]).await;
        assert!(message.contains(fragment), "{change}: {message}");
        assert!(!other.state().join("sqlite/orders.db").exists(), "{change}");
        fs::write(&list, &whole).unwrap();
        fs::write(&database, &bytes).unwrap();
    }
    done(&other, "restore", &[text(&folder)]).await;
    assert!(refused(&other, "restore", &[text(&folder)]).await.contains("exists already"));

    let list: Value = serde_json::from_str(&whole).unwrap();
    assert!(list["components"]["orders"].as_str().is_some_and(|digest| digest.len() == 64), "{list}");
}

#[tokio::test]
async fn a_restore_does_not_replace_a_file_that_its_settings_do_not_use() {
    let shop = Shop::of(App::store_alone()).await;
    let folder = shop.app.path("backup");
    done(&shop.app, "backup", &[text(&folder)]).await;
    // The orders have moved to PostgreSQL, and their former file is the way back.
    let other = App::store_alone().variable("orders_database_url", "postgres://souk@127.0.0.1/none");
    let former = other.state().join("sqlite/orders.db");
    fs::create_dir_all(other.state().join("sqlite")).unwrap();
    fs::write(&former, "the former orders").unwrap();
    let message = refused(&other, "restore", &[text(&folder)]).await;
    assert!(message.contains("sqlite/orders.db exists already"), "{message}");
    assert_eq!(fs::read_to_string(&former).unwrap(), "the former orders");
}

#[tokio::test]
async fn two_files_of_a_backup_are_not_restored_to_one_place() {
    let shop = Shop::of(App::store_alone()).await;
    let folder = shop.app.path("backup");
    done(&shop.app, "backup", &[text(&folder)]).await;
    let at = |label: &str| format!("[sqlite_database.{label}]\ntype = \"spin\"\npath = \"one.db\"\n");
    let other = App::store_alone().file("runtime-config.toml", at("orders") + &at("products"));
    let message = refused(&other, "restore", &[text(&folder)]).await;
    assert!(message.contains("of two files that the runtime configuration places at"), "{message}");
    assert!(!other.path("one.db").exists());
}

#[tokio::test]
async fn a_backup_onto_a_full_disk_says_to_make_room_and_the_next_one_succeeds() {
    let (mut disk, app) = Disk::under(App::store_alone(), 64);
    let shop = Shop::of(app).await;
    let (full, later) = (shop.app.state().join("full"), shop.app.state().join("later"));
    disk.fill();
    let message = refused(&shop.app, "backup", &[text(&full)]).await;
    assert!(message.contains("make room on the disk"), "{message}");
    disk.make_room();
    // Files of two backups would not fit together.
    let message = refused(&shop.app, "backup", &[text(&full)]).await;
    assert!(message.contains("is not empty"), "{message}");
    done(&shop.app, "backup", &[text(&later)]).await;
}

#[tokio::test]
async fn an_interrupted_restore_does_not_start_and_can_be_repeated() {
    let shop = Shop::of(App::store_alone()).await;
    let folder = shop.app.path("backup");
    done(&shop.app, "backup", &[text(&folder)]).await;
    let other = App::store_alone();
    fs::write(other.state().join("restoring"), "").unwrap();
    fs::create_dir_all(other.state().join("sqlite")).unwrap();
    fs::write(other.state().join("sqlite/orders.db"), "half").unwrap();
    assert!(other.start_fails().await.contains("a restore of a backup was interrupted"));
    // Files of two backups would not fit together.
    fs::write(other.state().join("restoring"), "the digest of another backup's list").unwrap();
    let message = refused(&other, "restore", &[text(&folder)]).await;
    assert!(message.contains("not the one whose restore was interrupted"), "{message}");
    fs::write(other.state().join("restoring"), "").unwrap();
    done(&other, "restore", &[text(&folder)]).await;
    let restored = Shop::of(other).await;
    assert_eq!(restored.get("/api/products/1", "").await.status, 200);
    // The settings have changed since it was interrupted, and name a file that is somebody else's.
    let config = "[sqlite_database.orders]\ntype = \"spin\"\npath = \"theirs.db\"\n";
    let moved = App::store_alone().file("runtime-config.toml", config).file("theirs.db", "theirs");
    fs::write(moved.state().join("restoring"), "").unwrap();
    assert!(refused(&moved, "restore", &[text(&folder)]).await.contains("theirs.db exists already"));
    assert_eq!(fs::read_to_string(moved.path("theirs.db")).unwrap(), "theirs");
    fs::remove_file(moved.path("theirs.db")).unwrap();
    done(&moved, "restore", &[text(&folder)]).await;
    // What it has put there is no obstacle when it is run again.
    fs::write(moved.state().join("restoring"), "").unwrap();
    done(&moved, "restore", &[text(&folder)]).await;
}

#[cfg(feature = "full")]
#[tokio::test]
async fn a_backup_can_have_the_secrets_encrypted_and_tokens_stay_valid_after_a_restore() {
    // The host generates the secrets.
    let app = App::store_alone().unset("jwt_secret").unset("stripe_endpoint_secret");
    let host = app.start().await;
    let client = host.client();
    let body =
        serde_json::json!({ "name": "Ann", "email": "ann@example.com", "password": crate::harness::store::PASSWORD });
    let answer =
        crate::harness::store::send(&client, reqwest::Method::POST, "/api/auth/register", "", Some(body)).await;
    let mine = crate::harness::store::token(&answer);
    let (key, folder) = (app.path("key"), app.path("backup"));
    std::fs::write(&key, "a passphrase of some length\n").unwrap();
    let said = done(&app, "backup", &[text(&folder), "--secrets", text(&key)]).await;
    assert!(said.contains("backed up to"), "{said}");
    let secret = std::fs::read_to_string(app.state().join("secrets/jwt_secret")).unwrap();
    for file in ["secrets.age", "backup.json"] {
        assert!(!String::from_utf8_lossy(&std::fs::read(folder.join(file)).unwrap()).contains(&secret));
    }
    host.stop().await;

    let elsewhere = App::store_alone().unset("jwt_secret").unset("stripe_endpoint_secret");
    let wrong = elsewhere.path("wrong");
    std::fs::write(&wrong, "another passphrase\n").unwrap();
    let error = refused(&elsewhere, "restore", &[text(&folder), "--secrets", text(&wrong)]).await;
    assert!(error.contains("cannot be decrypted") && error.contains("fix: "), "{error}");
    // A state folder with data keeps its secrets, too.
    let occupied = App::store_alone();
    fs::create_dir_all(occupied.state().join("sqlite")).unwrap();
    fs::write(occupied.state().join("sqlite/orders.db"), "data").unwrap();
    let error = refused(&occupied, "restore", &[text(&folder), "--secrets", text(&key)]).await;
    assert!(error.contains("exists already"), "{error}");
    assert!(!occupied.state().join("secrets/jwt_secret").exists());
    done(&elsewhere, "restore", &[text(&folder), "--secrets", text(&key)]).await;
    let host = elsewhere.start().await;
    let verified =
        crate::harness::store::send(&host.client(), reqwest::Method::POST, "/api/auth/verify", &mine, None).await;
    verified.expect(201);
}

#[tokio::test]
async fn a_backup_with_other_settings_than_the_hosts_is_refused_because_data_would_be_missing() {
    let database = Postgres::shared().database();
    let config = "[key_value_store.auth]\ntype = \"spin\"\npath = \"accounts.db\"\n";
    let app = App::store_alone().variable("orders_database_url", &database).file("runtime-config.toml", config);
    let shop = Shop::of(app).await;
    shop.register("ann@example.com").await.expect(201);
    let Shop { app, host, .. } = shop;
    let folder = app.path("backup");

    let app = app.unset("orders_database_url");
    let message = refused(&app, "backup", &[text(&folder)]).await;
    assert!(message.contains("the host keeps the database of `orders` in postgres://"), "{message}");
    assert!(!message.contains(&database), "the password is in {message}");
    let app = app.variable("orders_database_url", &database).file("runtime-config.toml", "");
    let message = refused(&app, "backup", &[text(&folder)]).await;
    assert!(message.contains("the key-value store `auth`") && message.contains("accounts.db"), "{message}");
    assert!(!folder.exists(), "a refused backup has begun");

    let app = app.file("runtime-config.toml", config);
    let out = done(&app, "backup", &[text(&folder)]).await;
    assert!(out.contains("key_value/auth.db") && out.contains("sqlite/products.db"), "{out}");
    assert!(!out.contains("sqlite/orders.db"), "{out}");
    host.stop().await;
    // A state folder under another path has its own files still.
    let moved = app.path("moved");
    fs::rename(app.state(), &moved).unwrap();
    let out = texts(&app.souk_at("moved", "backup", &[text(&app.path("later"))]).await);
    assert!(out.0.contains("sqlite/products.db"), "{out:?}");
}
