//! A new place for stored data: the host refuses to start until the data is there, and one command copies it.

use crate::harness::App;
use crate::harness::app::texts;
use crate::harness::database::query_number;
use crate::harness::mongodb::MongoDb;
use crate::harness::nats::Nats;
use crate::harness::postgres::{self, Postgres};
use crate::harness::redis::Redis;
use crate::harness::store::{PASSWORD, Shop, token};
use sqlx::{Connection as _, PgConnection};

/// Runs `souk store copy`, which must succeed; returns its output.
async fn copy(app: &App, arguments: &[&str]) -> String {
    let output = app.souk("store", &[&["copy"], arguments].concat()).await;
    let (said, err) = texts(&output);
    assert!(output.status.success(), "{arguments:?}: {said}{err}");
    said
}

#[tokio::test]
async fn accounts_move_from_a_file_through_every_kind_of_store_and_back() {
    let mongodb = cfg!(feature = "full").then(MongoDb::start);
    let (redis, nats) = (Redis::start(&[]), Nats::start());
    let redis = redis.database();
    let servers = format!("[nats]\nservers = [\"{}\"]\n\n", nats.url());
    let places = [
        mongodb.as_ref().map(|server| format!("type = \"mongodb\"\nurl = \"{}\"\n", server.database())),
        Some(format!("type = \"redis\"\nurl = \"{redis}\"\n")),
        Some("type = \"nats\"\n".to_owned()),
    ];
    let shop = Shop::of(App::store_alone().shared_secrets()).await;
    for n in 0..20 {
        shop.register(&format!("ann{n}@example.com")).await.expect(201);
    }
    let mine = token(&shop.login("ann7@example.com", PASSWORD).await);
    let Shop { mut app, host, .. } = shop;
    host.stop().await;
    let mut from = "state".to_owned();
    for place in places.into_iter().flatten() {
        app = app.file("runtime-config.toml", format!("{servers}[key_value_store.auth]\n{place}"));
        let refused = app.start_fails().await;
        assert!(
            refused.contains("the key-value store `auth` is now in ") && refused.contains("which is empty"),
            "{refused}"
        );
        assert!(refused.contains("souk store copy auth --from ") && refused.contains("--start-empty"), "{refused}");
        let said = copy(&app, &["auth", "--from", &from]).await;
        assert!(said.starts_with("auth: ") && said.contains(", and compared"), "{said}");
        if from != "state" {
            // The hosts' shared record on NATS still has the old place of the accounts.
            let accepted = app.souk("cluster", &["accept"]).await;
            assert!(accepted.status.success(), "{:?}", texts(&accepted));
        }
        let shop = Shop::of(app).await;
        shop.verify(&mine).await.expect(201);
        assert_eq!(shop.accounts().await.len(), 20);
        // A second copy would overwrite live data.
        let again = shop.app.souk("store", &["copy", "auth", "--from", "state"]).await;
        assert!(texts(&again).1.contains("is in use by another host"), "{again:?}");
        let (config, host) = (place.split('"').nth(3).map(str::to_owned), shop.host);
        host.stop().await;
        app = shop.app;
        // The file that the accounts were in is still there, and is not theirs any more.
        let (folder, empty) = (format!("backup-{}", from.len()), format!("restored-{}", from.len()));
        let folder = app.path(&folder).display().to_string();
        let backed_up = texts(&app.souk("backup", &[&folder]).await);
        assert!(
            backed_up.1.contains("the key-value store `auth`") && !backed_up.0.contains("auth.db"),
            "{backed_up:?}"
        );
        let restored = app.souk_at(app.path(&empty).to_str().unwrap(), "restore", &[&folder]).await;
        assert!(restored.status.success(), "{:?}", texts(&restored));
        from = config.unwrap_or_else(|| "nats".to_owned());
    }
    let back = format!("file:{}", app.path("back.db").display());
    copy(&app, &["auth", "--from", "configured", "--to", &back]).await;
    let app = app.file("runtime-config.toml", "[key_value_store.auth]\ntype = \"spin\"\npath = \"back.db\"\n");
    let shop = Shop::of(app).await;
    shop.verify(&mine).await.expect(201);
    assert_eq!(shop.accounts().await.len(), 20);
}

#[tokio::test]
async fn a_shop_moves_from_sqlite_to_postgresql_with_all_that_it_has() {
    let shop = Shop::of(App::store_alone().shared_secrets()).await;
    let customer = token(&shop.register("ann@example.com").await);
    let (paid, cents) = shop.small_order(&customer).await;
    shop.pay(&paid, cents).await;
    let order = shop.order(&customer, &[(3, 2), (4, 1)]).await;
    let id = order["order"]["id"].as_str().unwrap().to_owned();
    let before = [shop.order_by_id(&customer, &paid).await, shop.order_by_id(&customer, &id).await];
    let admin = shop.admin().await;
    shop.patch("/api/products/5", &admin, serde_json::json!({ "price": 9.5 })).await.expect(200);
    let paths = [format!("/api/orders/id/{paid}/history"), "/api/products/5/history".to_owned()];
    let mut histories = Vec::new();
    for path in &paths {
        histories.push(shop.get(path, &admin).await.expect(200));
    }
    let Shop { app, host, .. } = shop;
    host.stop().await;

    let database = Postgres::shared().database();
    let app = app.variable("products_database_url", &database).variable("orders_database_url", &database);
    let refused = app.start_fails().await;
    assert!(refused.contains("the database of `orders` is now in postgres://"), "{refused}");
    assert!(refused.contains("souk store copy orders --from file:") && !refused.contains(&database), "{refused}");
    copy(&app, &["products", "--from", "state"]).await;
    // One of the two databases has not been copied yet.
    assert!(app.start_fails().await.contains("the database of `orders`"));
    let said = copy(&app, &["orders", "--from", "state"]).await;
    assert!(said.contains(" rows of ") && said.contains(", and compared"), "{said}");

    let shop = Shop::of(app).await;
    assert_eq!(shop.host.log_count("is missing here"), 0, "both were copied");
    // The old files are out of date from now on.
    let folder = shop.app.path("backup").display().to_string();
    let backed_up = texts(&shop.app.souk("backup", &[&folder]).await);
    assert!(backed_up.0.contains("key_value/auth.db") && !backed_up.0.contains("sqlite/orders.db"), "{backed_up:?}");
    let after = [shop.order_by_id(&customer, &paid).await, shop.order_by_id(&customer, &id).await];
    assert_eq!(after, before);
    for (path, history) in paths.iter().zip(histories) {
        assert!(history["data"].as_array().is_some_and(|changes| changes.len() > 1), "{history}");
        assert_eq!(shop.get(path, &admin).await.expect(200), history);
    }
    assert_eq!(shop.get("/api/products/1", "").await.expect(200)["name"], "Teclado");
    assert_eq!(shop.get("/api/orders", &customer).await.expect(200)["pagination"]["totalRecords"], 2);
    let (third, cents) = shop.small_order(&customer).await;
    shop.pay(&third, cents).await;
    assert_eq!(query_number(&shop.app, "SELECT count(*) FROM orders").await, 3);
    let lamp = serde_json::json!({ "name": "Lamp", "price": 3 });
    assert_eq!(shop.post("/api/products", &admin, lamp).await.expect(201)["id"], 48, "numbers go on");
}

#[tokio::test]
async fn a_copy_that_stops_before_its_first_row_does_not_continue_over_other_data() {
    let shop = Shop::of(App::store_alone().shared_secrets()).await;
    let customer = token(&shop.register("ann@example.com").await);
    shop.small_order(&customer).await;
    let Shop { app, host, .. } = shop;
    host.stop().await;
    let database = Postgres::shared().database();
    let app = app.variable("orders_database_url", &database);
    copy(&app, &["orders", "--from", "state"]).await;
    // The shop has sold since, and somebody runs the copy again, which stops while it looks for rows.
    let impatient =
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET lock_timeout = 100', current_database()); END $$";
    Postgres::shared().psql(postgres::name_of(&database), impatient);
    let mut lock = PgConnection::connect(&database).await.unwrap();
    let locked = "BEGIN; DO $$ DECLARE name text; BEGIN \
                  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%migration%' \
                  LOOP EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', name); END LOOP; END $$";
    sqlx::raw_sql(locked).execute(&mut lock).await.unwrap();
    let stopped = app.souk("store", &["copy", "orders", "--from", "state"]).await;
    assert!(texts(&stopped).1.contains("lock timeout"), "{stopped:?}");
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    let again = app.souk("store", &["copy", "orders", "--from", "state"]).await;
    assert!(texts(&again).1.contains("has rows, and no copy into it was begun"), "{again:?}");
    assert_eq!(query_number(&Shop::of(app).await.app, "SELECT count(*) FROM orders").await, 1);
}

#[tokio::test]
async fn a_database_that_has_only_its_tables_is_empty() {
    let shop = Shop::of(App::store_alone().shared_secrets()).await;
    let customer = token(&shop.register("ann@example.com").await);
    shop.small_order(&customer).await;
    let Shop { app, host, .. } = shop;
    host.stop().await;
    let app = app.variable("orders_database_url", Postgres::shared().database());
    let migrated = app.souk("migrate", &[]).await;
    assert!(migrated.status.success(), "{:?}", texts(&migrated));
    let refused = app.start_fails().await;
    assert!(refused.contains("the database of `orders` is now in postgres://"), "{refused}");
    copy(&app, &["orders", "--from", "state"]).await;
    assert_eq!(query_number(&Shop::of(app).await.app, "SELECT count(*) FROM orders").await, 1);
}

#[tokio::test]
async fn a_database_moves_to_another_file_by_the_command_that_the_refused_start_names() {
    let shop = Shop::of(App::store_alone().shared_secrets()).await;
    let customer = token(&shop.register("ann@example.com").await);
    let (id, _) = shop.small_order(&customer).await;
    let before = shop.order_by_id(&customer, &id).await;
    let Shop { app, host, .. } = shop;
    host.stop().await;
    let app = app.file("runtime-config.toml", "[sqlite_database.orders]\ntype = \"spin\"\npath = \"disk/orders.db\"\n");
    std::fs::create_dir(app.path("disk")).unwrap();
    let refused = app.start_fails().await;
    let former = app.state().canonicalize().unwrap().join("sqlite/orders.db").display().to_string();
    let command = format!("souk store copy orders --from file:{former} --to configured");
    assert!(refused.contains("the database of `orders` is now in ") && refused.contains(&command), "{refused}");
    let said = copy(&app, &["orders", "--from", &format!("file:{former}"), "--to", "configured"]).await;
    assert!(said.contains(" rows of ") && said.contains(", and compared"), "{said}");
    let again = app.souk("store", &["copy", "orders", "--from", "state"]).await;
    assert!(texts(&again).1.contains("has rows"), "{again:?}");
    let same = app.souk("store", &["copy", "orders", "--from", "configured"]).await;
    assert!(texts(&same).1.contains("both places are "), "{same:?}");
    let shop = Shop::of(app).await;
    assert_eq!(shop.order_by_id(&customer, &id).await, before);
    let (later, _) = shop.small_order(&customer).await;
    let Shop { app, host, .. } = shop;
    host.stop().await;
    // Back to the former file, which has data, too, but not the last order.
    let shop = Shop::of(app.file("runtime-config.toml", "")).await;
    let warning = shop.host.wait_for_log("what was stored there since is missing here").await;
    assert!(warning.contains(&former) && warning.contains("disk/orders.db"), "{warning}");
    shop.get(&format!("/api/orders/id/{later}"), &customer).await.expect(404);
}

#[tokio::test]
async fn a_database_without_migrations_is_not_left_behind_either() {
    let rows = "CREATE TABLE IF NOT EXISTS t (a INTEGER, b TEXT); INSERT INTO t VALUES (9, 'zebra');";
    let app = App::alone("wasi-0-2");
    app.start_at("127.0.0.1:0", "state", &["--sqlite", rows]).await.stop().await;
    let app = app.file("runtime-config.toml", "[sqlite_database.default]\ntype = \"spin\"\npath = \"new.db\"\n");
    let refused = app.start_fails().await;
    assert!(refused.contains("the database `default` is now in ") && refused.contains("new.db"), "{refused}");
    assert!(refused.contains("souk store copy sqlite/default --from file:"), "{refused}");
    let said = copy(&app, &["sqlite/default", "--from", "state"]).await;
    assert!(said.starts_with("sqlite/default: 1 rows of 1 tables copied from "), "{said}");
    assert!(app.start().await.client().get("/sqlite").await.text().contains("zebra"));
}

#[tokio::test]
async fn all_data_that_a_changed_configuration_leaves_behind_is_reported_together() {
    const TWO: &str = r#"
spin_manifest_version = 2

[application]
name = "two"

[component.one]
source = "one.wasm"
sqlite_databases = ["one"]

[component.one.tool.souk]
migrations = "tables"

[component.other]
source = "other.wasm"
sqlite_databases = ["other"]

[component.other.tool.souk]
migrations = "tables"
"#;
    let app = App::inline(TWO).component("one.wasm", "(component)").component("other.wasm", "(component)");
    let rows = "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (9);";
    let app = app.file("tables/sqlite/0001_rows.sql", rows);
    app.start().await.stop().await;
    let moved = |label: &str| format!("[sqlite_database.{label}]\ntype = \"spin\"\npath = \"new-{label}.db\"\n");
    let app = app.file("runtime-config.toml", moved("one") + &moved("other"));
    let refused = app.start_fails().await;
    for (line, name) in [(7, "one"), (14, "other")] {
        let words = format!("spin.toml:{line}: component `{name}`: the database of `{name}` is now in ");
        assert!(refused.contains(&words), "{words}: {refused}");
    }
    assert_eq!(refused.matches("\n  fix: copy it: `souk store copy ").count(), 2, "{refused}");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_not_copied_and_not_made() {
    let shop = Shop::of(App::store_alone()).await;
    let Shop { app, host, .. } = shop;
    host.stop().await;
    let (from, to) = (app.path("none.db"), app.path("copy.db"));
    let [from_place, to_place] = [&from, &to].map(|path| format!("file:{}", path.display()));
    let output = app.souk("store", &["copy", "auth", "--from", &from_place, "--to", &to_place]).await;
    assert!(texts(&output).1.contains("there is no store in "), "{output:?}");
    assert!(!from.exists() && !to.exists());
}

#[tokio::test]
async fn start_empty_accepts_a_new_empty_place() {
    let shop = Shop::of(App::store_alone()).await;
    shop.register("ann@example.com").await.expect(201);
    let Shop { app, host, .. } = shop;
    host.stop().await;
    let app = app.file("runtime-config.toml", "[key_value_store.auth]\ntype = \"spin\"\npath = \"new.db\"\n");
    assert!(app.start_fails().await.contains("and was in "));
    let shop = Shop::of(app.argument("--start-empty")).await;
    assert_eq!(shop.accounts().await.len(), 0);
}

#[tokio::test]
async fn an_interrupted_copy_stops_the_start_until_it_is_complete() {
    let mut server = Redis::start(&[]);
    let shop = Shop::of(App::store_alone()).await;
    shop.register("ann@example.com").await.expect(201);
    let Shop { app, host, .. } = shop;
    host.stop().await;
    let to = server.database();
    // A complete copy, which the journal below then lists as unfinished.
    copy(&app, &["auth", "--from", "state", "--to", &to]).await;
    let app = app.file("runtime-config.toml", format!("[key_value_store.auth]\ntype = \"redis\"\nurl = \"{to}\"\n"));
    let occupied = app.souk("store", &["copy", "auth", "--from", "state"]).await;
    assert!(texts(&occupied).1.contains("has keys, but no copy into it was begun"), "{occupied:?}");
    let journal = app.state().join("places.json");
    let mut places: serde_json::Value = serde_json::from_slice(&std::fs::read(&journal).unwrap()).unwrap();
    let state = app.state().canonicalize().unwrap().join("key_value/auth.db");
    places["copies"]["auth"] = serde_json::json!({ (to.as_str()): state });
    std::fs::write(&journal, places.to_string()).unwrap();
    let refused = app.start_fails().await;
    assert!(refused.contains("a copy of auth to redis://") && refused.contains("was interrupted"), "{refused}");
    // The operator can give up the copy: the data in the old place is complete.
    let before = app.file("runtime-config.toml", "");
    let Shop { app, host, .. } = Shop::of(before).await;
    host.stop().await;
    let app = app.file("runtime-config.toml", format!("[key_value_store.auth]\ntype = \"redis\"\nurl = \"{to}\"\n"));
    server.kill();
    let away = app.souk("store", &["copy", "auth", "--from", "state"]).await;
    assert!(!away.status.success(), "{away:?}");
    server.resume();
    copy(&app, &["auth", "--from", "state"]).await;
    assert_eq!(Shop::of(app).await.accounts().await.len(), 1);
}
