//! Replays the recorded product requests that the gateway answers without the catalogue: the status and the body must
//! be the same.

use super::*;
use crate::http::body::{unread, without_fields};
use crate::routes::openapi::example;
use crate::routes::recorded::cases as recorded;
use serde_json::Value as Json;

/// The gateway's own error, or the call that it would make.
fn answer(case: &Json) -> Result<String, Error> {
    let target = case["path_template"].as_str().unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let id = path.strip_prefix("/api/products/");
    let body = Fields::parse(case["body"].as_str().unwrap_or_default())?;
    Ok(match (case["method"].as_str().unwrap(), id) {
        ("GET", None) => format!("list {:?}", page_query(query)?),
        ("POST", None) => format!("create {:?}", new_product(&body)?),
        ("PATCH", Some(id)) => {
            let changes = changes(&body)?;
            format!("update {} {changes:?}", product_id(&path::parameter(id)?)?)
        }
        (_, Some(id)) => format!("get or delete {}", product_id(&path::parameter(id)?)?),
        other => panic!("no such case: {other:?}"),
    })
}

#[test]
fn refused_requests_have_the_recorded_status_and_body() {
    let mut refused = 0;
    for case in recorded(&["products-create", "products-list", "products-get", "products-update", "products-delete"]) {
        let context = format!("{} / {}", case["group"], case["name"]);
        match (answer(&case), case["status"].as_u64().unwrap()) {
            (Err(error), status) => {
                let reply = error.into_reply();
                let body: Json = serde_json::from_slice(&reply.body).unwrap();
                assert_eq!((u64::from(reply.status), &body), (status, &case["response_normalised"]), "{context}");
                refused += 1;
            }
            // A refusal that only the catalogue can give, or an empty PATCH.
            (Ok(_), 404) => assert!(case["response_normalised"]["message"].as_str().unwrap().starts_with("Product #")),
            (Ok(call), 400) => {
                assert_eq!(case["response_normalised"]["message"], "No data provided", "{context}: {call}");
            }
            (Ok(call), status) => assert!(status < 400, "{context}: {call} was recorded as {status}"),
        }
    }
    assert!(refused > 40, "only {refused} cases were refused");
}

#[test]
fn refused_bodies_have_the_recorded_status_and_body() {
    let mut refused = 0;
    for case in recorded(&["body-parsing"]) {
        let (Some(text), 400) = (case["body"].as_str(), case["status"].as_u64().unwrap()) else { continue };
        // A body without a type, or of another type, is not read.
        let content_type = case["headers"]["content-type"].as_str();
        let is_read = content_type == Some("application/json");
        let text = if is_read { text } else { "" };
        let error = Fields::parse(text).and_then(|fields| new_product(&fields)).unwrap_err();
        let why = if is_read { without_fields(text) } else { Some(unread(content_type)) };
        let error = why.iter().fold(error, |error, why| error.missing_hint(why));
        let body: Json = serde_json::from_slice(&error.into_reply().body).unwrap();
        assert_eq!(body, case["response_normalised"], "{}", case["name"]);
        refused += 1;
    }
    assert!(refused >= 8, "only {refused} cases were refused");
}

#[test]
fn a_list_continues_after_a_product_and_not_by_page_at_the_same_time() {
    assert_eq!(page_query("after=47&limit=5").unwrap(), ListRange::After(47, 5));
    assert_eq!(page_query("after=0").unwrap(), ListRange::After(0, 10));
    assert_eq!(page_query("page=2").unwrap(), ListRange::Page(2, 10));
    for (query, message) in [
        ("after=-1", "after must be the id of a product"),
        ("after=x", "after must be the id of a product"),
        ("after=99999999999999999999", "after must be the id of a product"),
        ("after=9223372036854775808", "after must be the id of a product"),
        ("after=1&page=1", "after must not be given with page"),
    ] {
        let reply = page_query(query).unwrap_err().into_reply();
        let body: Json = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((reply.status, body["message"][0].as_str()), (400, Some(message)), "{query}");
    }
}

#[test]
fn the_described_examples_are_accepted() {
    assert!(new_product(&Fields::parse(&example("NewProduct")).unwrap()).is_ok());
    assert!(changes(&Fields::parse(&example("ProductChanges")).unwrap()).is_ok());
}

#[test]
fn messages_keep_the_recorded_order_of_their_keys() {
    let body = Fields::parse(r#"{"x":1,"y":2}"#).unwrap();
    let reply = new_product(&body).unwrap_err().into_reply();
    assert_eq!(
        String::from_utf8(reply.body).unwrap(),
        concat!(
            r#"{"message":["property x should not exist","property y should not exist","name should not be empty","#,
            r#""name must be a string","price must not be less than 0","#,
            r#""price must be a number conforming to the specified constraints"],"error":"Bad Request","statusCode":400}"#
        )
    );
}

#[test]
fn a_product_is_shown_as_recorded_to_the_byte() {
    let product = Product {
        id: 1,
        name: "Teclado".into(),
        price: Money { cents: 7525 },
        available: true,
        created_at: "2024-02-27T15:50:27.545Z".into(),
        updated_at: "2024-02-27T15:50:27.545Z".into(),
    };
    let reply = Reply::json(200, &View::of(&product)).unwrap();
    assert_eq!(souk_web::etag::of(&reply.body), "W/\"86-KXhe5yuE9VMkoija1+EELTuPETU\"");
}

#[test]
fn an_id_is_read_as_in_the_nestjs_system() {
    assert_eq!(product_id("01").unwrap(), 1);
    assert_eq!(product_id("-0").unwrap(), 0);
    let refused = |segment| String::from_utf8(product_id(segment).unwrap_err().into_reply().body).unwrap();
    assert_eq!(refused("-01"), r#"{"message":"Product #-1 not found","status":404}"#);
    assert_eq!(
        refused("99999999999999999999"),
        r#"{"message":"Product #99999999999999999999 not found","status":404}"#
    );
    for segment in ["", "-", "1.5", "1e3", "0x1", " 1", "+1", "١"] {
        assert!(refused(segment).contains("numeric string is expected"), "{segment}");
    }
}

#[test]
fn the_catalogues_refusals_become_the_recorded_shapes() {
    let sent = |error, id| {
        let reply = to_http_error(error, id).into_reply();
        (reply.status, String::from_utf8(reply.body).unwrap())
    };
    use catalog::Error::*;
    assert_eq!(sent(NotFound, Some(9999)), (404, r#"{"message":"Product #9999 not found","status":404}"#.into()));
    assert_eq!(sent(Invalid("a".into()), None), (400, r#"{"message":"a","status":400}"#.into()));
    let outage = r#"{"status":503,"message":"The catalogue is unavailable, please try again"}"#;
    assert_eq!(sent(Unavailable("worker 7 died".into()), Some(1)), (503, outage.into()));
    let internal = r#"{"statusCode":500,"message":"Internal server error"}"#;
    assert_eq!(sent(Internal("secret".into()), Some(1)), (500, internal.into()));
}
