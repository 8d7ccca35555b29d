//! Lists that a client reads page by page, and an administrator's search for orders.

use crate::harness::App;
use crate::harness::database::Database;
use crate::harness::store::Shop;
use serde_json::Value;

#[tokio::test]
async fn orders_are_found_by_filters_page_after_page_on_sqlite() {
    orders_are_found(Database::Sqlite).await;
}

#[tokio::test]
async fn orders_are_found_by_filters_page_after_page_on_postgres() {
    orders_are_found(Database::Postgres).await;
}

/// The totals of a list, page after page by `next`.
async fn totals(shop: &Shop, token: &str, query: &str) -> Vec<f64> {
    let (mut totals, mut after) = (Vec::new(), String::new());
    loop {
        let page = shop.get(&format!("/api/orders?limit=2&{query}{after}"), token).await.expect(200);
        assert!(page.get("pagination").is_none(), "a search has no total: {page}");
        totals.extend(page["data"].as_array().unwrap().iter().map(|order| order["totalAmount"].as_f64().unwrap()));
        match &page["next"] {
            Value::Null => return totals,
            next => after = format!("&after={}", next.as_str().unwrap()),
        }
    }
}

async fn orders_are_found(database: Database) {
    let shop = Shop::of(database.configure(App::store())).await;
    let (admin, ann, bob) = (shop.admin().await, shop.customer().await, shop.customer().await);
    // A keyboard costs 75.25.
    let mut ids = Vec::new();
    for (token, pieces) in [(&ann, 1), (&bob, 4), (&ann, 3), (&bob, 2), (&ann, 5)] {
        let made = shop.order(token, &[(1, pieces)]).await;
        ids.push(made["order"]["id"].as_str().unwrap().to_owned());
    }
    shop.pay(&ids[1], 30100).await;
    let price = |pieces: f64| pieces * 75.25;
    assert_eq!(totals(&shop, &admin, "sort=newest").await, [5.0, 2.0, 3.0, 4.0, 1.0].map(price));
    assert_eq!(totals(&shop, &admin, "sort=largest").await, [5.0, 4.0, 3.0, 2.0, 1.0].map(price));
    assert_eq!(totals(&shop, &admin, "sort=smallest&minTotal=150.5&maxTotal=301").await, [2.0, 3.0, 4.0].map(price));
    assert_eq!(totals(&shop, &admin, "status=PENDING&sort=oldest").await, [1.0, 3.0, 2.0, 5.0].map(price));
    assert_eq!(totals(&shop, &admin, "refundDue=true").await, [0.0; 0]);
    assert_eq!(totals(&shop, &admin, "to=2020-01-01").await, [0.0; 0]);
    assert_eq!(totals(&shop, &admin, "from=2020-01-01&sort=oldest").await, [1.0, 4.0, 3.0, 2.0, 5.0].map(price));
    // A customer finds only their own orders, and cannot continue a list after another customer's order.
    assert_eq!(totals(&shop, &ann, "sort=oldest").await, [1.0, 3.0, 5.0].map(price));
    shop.get(&format!("/api/orders?after={}", ids[1]), &ann).await.expect(400);
    // A second payment of the same order must be refunded.
    shop.pay(&ids[1], 30100).await;
    assert_eq!(totals(&shop, &admin, "refundDue=true").await, [4.0].map(price));
}

#[tokio::test]
async fn products_are_listed_page_after_page_and_by_page_to_the_same_end() {
    let shop = Shop::start().await;
    let admin = shop.admin().await;
    shop.send(http::Method::DELETE, "/api/products/5", &admin, None).await.expect(200);
    let mut by_page = Vec::new();
    for page in 1..=5 {
        let page = shop.get(&format!("/api/products?page={page}&limit=10"), "").await.expect(200);
        assert_eq!(page["pagination"]["totalPages"], 46);
        by_page.extend(page["data"].as_array().unwrap().clone());
    }
    let (mut by_product, mut after) = (Vec::new(), Value::from(0));
    while !after.is_null() {
        let page = shop.get(&format!("/api/products?after={after}&limit=7"), "").await.expect(200);
        by_product.extend(page["data"].as_array().unwrap().clone());
        after = page["next"].clone();
    }
    assert_eq!(by_product.len(), 46);
    assert_eq!(by_product, by_page);
}
