//! The API behaves as `openapi.json` says: one program generates requests from the document, and another one a client.

use crate::harness::languages;
use crate::harness::store::{Shop, fresh_email, token};
use serde_json::json;

/// The minimum number of requests that schemathesis generates.
const CASES: u32 = 500;
/// The routes for which it generates them.
const OPERATIONS: u32 = 24;

/// A password that is in no example, so no generated request can change it.
const PASSWORD: &str = "Boss123!x";

/// Always the same 500 requests; with `OPENAPI_CASES=5000`, 5000 requests that are different in each run.
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
    // Requests that would revoke the token are left out.
    arguments.extend(["--exclude-operation-id", "revoke"]);
    // As in the recording, an unknown method of a path gets 404, not 405. The API also refuses requests that are valid
    // by the document but wrong for the data (a wrong password, a missing product). The history of a product stays
    // readable after its deletion; the golden record shows that the product itself is gone.
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
