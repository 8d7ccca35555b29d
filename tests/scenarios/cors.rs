//! CORS: off by default, and only for the origins that the configuration lists.

use crate::harness::App;
use crate::harness::store::Shop;
use http::Method;

const SHOP: &str = "https://shop.example";

#[tokio::test]
async fn without_configuration_no_page_of_another_origin_may_use_the_api() {
    let shop = Shop::start().await;
    let headers = [("origin", SHOP), ("access-control-request-method", "POST")];
    let preflight = shop.client.send(Method::OPTIONS, "/api/orders", &headers, None).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (404, None));
    let answer = shop.client.send(Method::GET, "/api/products", &headers[..1], None).await;
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), (None, None));
}

#[tokio::test]
async fn a_listed_origin_asks_first_and_then_reads_answers_and_errors() {
    let shop = Shop::of(App::store().variable("cors_origins", format!("http://localhost:5173,{SHOP}"))).await;
    let send = |method: Method, path: &'static str, headers: Vec<(&'static str, &'static str)>| {
        let shop = &shop;
        async move { shop.client.send(method, path, &headers, None).await }
    };
    let asks = vec![("origin", SHOP), ("access-control-request-method", "POST")];
    let preflight = send(Method::OPTIONS, "/api/orders", asks).await;
    assert_eq!((preflight.status, preflight.text().as_str()), (204, ""));
    assert_eq!(preflight.header("access-control-allow-origin"), Some(SHOP));
    for word in ["authorization", "content-type", "idempotency-key"] {
        assert!(preflight.header("access-control-allow-headers").unwrap().contains(word));
    }
    // A page can read an answer, a 304 and errors.
    let products = send(Method::GET, "/api/products/1", vec![("origin", SHOP)]).await;
    assert_eq!((products.status, products.header("vary")), (200, Some("Origin")));
    for (method, path, status) in [(Method::GET, "/api/orders", 401), (Method::GET, "/api/nothing", 404)] {
        let refused = send(method, path, vec![("origin", SHOP)]).await;
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (status, Some(SHOP)));
        assert!(refused.header("access-control-expose-headers").unwrap().contains("www-authenticate"));
    }
    for stranger in ["https://shop.example.evil", "null"] {
        let answer = send(Method::GET, "/api/products", vec![("origin", stranger)]).await;
        assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), (None, Some("Origin")));
        let asks = vec![("origin", stranger), ("access-control-request-method", "POST")];
        assert_eq!(send(Method::OPTIONS, "/api/orders", asks).await.header("access-control-allow-methods"), None);
    }
}

#[tokio::test]
async fn the_root_says_where_the_documentation_is() {
    let shop = Shop::start().await;
    let entry = shop.get("/", "").await.expect(200);
    for member in ["docs", "openapi"] {
        assert_eq!(shop.get(entry[member].as_str().unwrap(), "").await.status, 200, "{member}");
    }
}
