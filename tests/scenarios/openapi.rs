//! What `openapi.json` says is what the API does: programs make requests and a client from it.

use crate::harness::languages;
use crate::harness::store::{Shop, fresh_email, token};
use serde_json::json;

/// How many requests schemathesis makes up, at the least.
const CASES: u32 = 500;
/// The routes from which it makes them.
const OPERATIONS: u32 = 24;

/// A password that no example has, so that no request changes it.
const PASSWORD: &str = "Boss123!x";

/// 500 requests that are always the same; with `OPENAPI_CASES=5000` so many, and others each time.
#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let shop = Shop::start().await;
    let email = fresh_email();
    shop.post("/api/auth/register", "", json!({ "name": "", "email": email, "password": PASSWORD })).await.expect(201);
    shop.call("auth", "store:auth/administration#set-role", json!({ "email": email, "role": "admin" })).await;
    let admin = token(&shop.login(&email, PASSWORD).await);
    let cases = std::env::var("OPENAPI_CASES").ok().map(|cases| cases.parse::<u32>().expect("a number"));
    let each = cases.unwrap_or(CASES).div_ceil(OPERATIONS).to_string();
    let url = format!("http://{}", shop.host.address());
    let bearer = format!("Authorization: Bearer {admin}");
    let mut arguments = vec!["--url", &url, "--header", &bearer, "--max-examples", &each];
    // What the token is for ends with it.
    arguments.extend(["--exclude-operation-id", "revoke"]);
    // As it was recorded, a method that a path does not have is 404, not 405; and what only the data can say (a wrong
    // password, a product that is not there) is refused although the document allows it.
    // The history of a product outlives it; that the product itself is gone, the golden record says.
    arguments.extend(["--exclude-checks", "unsupported_method,positive_data_acceptance,use_after_free"]);
    if cases.is_none() {
        arguments.extend(["--seed", "1"]);
    }
    let document = shop.get("/api/openapi.json", "").await.text();
    languages::schemathesis(document, arguments.into_iter().map(str::to_owned).collect()).await;
    assert_eq!(shop.host.log_count("internal error"), 0);
    shop.get("/api/orders", &admin).await.expect(200);
}

#[tokio::test]
async fn a_client_that_is_made_from_the_document_compiles() {
    let shop = Shop::start().await;
    languages::openapi_client(shop.get("/api/openapi.json", "").await.text()).await;
}
