//! Example data: the first start adds it to a store without production settings, and to no other.

use crate::harness::App;
use crate::harness::app::texts;
use crate::harness::postgres::Postgres;
use crate::harness::store::{Shop, token};

/// The number of products in the store.
async fn products(shop: &Shop) -> u64 {
    let page = shop.get("/api/products?limit=1", "").await.expect(200);
    page["pagination"]["totalPages"].as_u64().unwrap()
}

/// Runs `souk seed`, which must succeed; returns its output.
async fn seed(app: &App, arguments: &[&str]) -> String {
    let output = app.souk("seed", arguments).await;
    let (said, err) = texts(&output);
    assert!(output.status.success(), "{said}{err}");
    said
}

// On one host, because these databases are files in the host's state folder.
#[tokio::test]
async fn the_first_start_adds_examples_unless_the_store_has_production_settings() {
    for (name, value, expected) in [
        ("seed", "true".to_owned(), 47),
        ("seed", "false".to_owned(), 0),
        ("stripe_secret", "sk_test_seed".to_owned(), 0),
        ("products_database_url", Postgres::shared().database(), 0),
    ] {
        let app = App::store_alone().variable("seed", "true").variable(name, &value).unseeded();
        let shop = Shop::of(app).await;
        assert_eq!(products(&shop).await, expected, "{name} = {value}");
        // An existing database gets no examples.
        let shop = shop.restart(|app| app.variable("seed", "true")).await;
        assert_eq!(products(&shop).await, expected, "{name} = {value}, a second time");
    }
}

#[tokio::test]
async fn examples_are_added_and_removed_by_hand_and_what_the_shop_changed_stays() {
    for database in [None, Some(Postgres::shared().database())] {
        let mut app = App::store_alone().variable("seed", "false");
        if let Some(database) = &database {
            app = app.variable("products_database_url", database).variable("orders_database_url", database);
        }
        let shop = Shop::of(app).await;
        assert_eq!(products(&shop).await, 0);
        let Shop { app, host, .. } = shop;
        host.stop().await;
        assert_eq!(seed(&app, &[]).await, "products: examples added\n");
        // A second run changes nothing.
        seed(&app, &[]).await;
        let shop = Shop::of(app).await;
        assert_eq!(products(&shop).await, 47);
        let admin = shop.admin().await;
        shop.patch("/api/products/7", &admin, serde_json::json!({ "price": 1 })).await.expect(200);
        let Shop { app, host, .. } = shop;
        host.stop().await;
        assert_eq!(seed(&app, &["--remove"]).await, "products: examples removed\n");
        let shop = Shop::of(app).await;
        assert_eq!(products(&shop).await, 1, "{database:?}");
        shop.get("/api/products/7", "").await.expect(200);
        // The id of a removed example is not used again.
        let lamp = serde_json::json!({ "name": "Lamp", "price": 3 });
        assert_eq!(shop.post("/api/products", &admin, lamp).await.expect(201)["id"], 48);
    }
}

#[tokio::test]
async fn examples_that_orders_name_stay() {
    for database in [None, Some(Postgres::shared().database())] {
        let mut app = App::store_alone();
        if let Some(database) = &database {
            app = app.variable("products_database_url", database).variable("orders_database_url", database);
        }
        let shop = Shop::of(app).await;
        let customer = token(&shop.register("ann@example.com").await);
        shop.order(&customer, &[(3, 1), (4, 1)]).await;
        let Shop { app, host, .. } = shop;
        host.stop().await;
        let output = app.souk("seed", &["--remove"]).await;
        let (_, err) = texts(&output);
        assert!(!output.status.success() && err.contains("1 orders name products 1 to 47"), "{err}");
        assert!(err.contains("component `orders`") && err.contains("fix: "), "{err}");
        assert_eq!(products(&Shop::of(app).await).await, 47);
    }
}

#[tokio::test]
async fn examples_are_not_added_to_another_database_than_the_hosts() {
    let Shop { app, host, .. } = Shop::of(App::store_alone()).await;
    host.stop().await;
    let app = app.variable("products_database_url", Postgres::shared().database());
    let output = app.souk("seed", &[]).await;
    let (_, err) = texts(&output);
    assert!(!output.status.success() && err.contains("the host keeps the database of `products` in "), "{err}");
    // With the examples there, this start would have left the former products behind.
    assert!(app.start_fails().await.contains("the database of `products` is now in postgres://"));
}
