//! Replays the recorded order requests that the gateway answers without the order service: the status and the body must
//! be the same.

use super::*;
use crate::bindings::orders::{
    Checkout, Filter, Found, Item, Money, Order, Page, PaymentSession, Search, Sort, Unpayable,
};
use crate::http::body::without_fields;
use crate::routes::openapi::example;
use crate::routes::recorded::{cases, expected, sent, title};
use serde_json::Value as Json;

const ID: &str = "0198d7a2-5d2e-7c11-9c1b-5b0a3a2f7e61";

/// The gateway's own error, or the call that it would make.
fn answer(case: &Json) -> Result<String, Error> {
    let target = case["path_template"].as_str().unwrap();
    let target = target.replace("{{OA|upper}}", &ID.to_uppercase()).replace("{{OA}}", ID).replace("{{OB}}", ID);
    let target = target.replace("{{OC}}", ID);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let rest: Vec<&str> = path.strip_prefix("/api/orders").unwrap().split('/').skip(1).collect();
    let body = Fields::parse(case["body"].as_str().unwrap_or_default())?;
    Ok(match (case["method"].as_str().unwrap(), rest.as_slice()) {
        ("GET", []) => format!("{:?}", input::query(query)?),
        ("POST", []) => format!("{:?}", input::new_order(&body, None)?),
        ("GET", [status]) => format!("{:?}", input::query_by_status(query, status)?),
        ("GET", ["id", id]) => order_id(id)?,
        ("PATCH", [id]) => format!("{:?} {}", input::new_status(&body)?, order_id(id)?),
        other => panic!("no such case: {other:?}"),
    })
}

#[test]
fn refused_requests_have_the_recorded_status_and_body() {
    let mut refused = 0;
    for case in cases(&["orders-create", "orders-list", "orders-get", "orders-status"]) {
        match answer(&case) {
            Err(error) => {
                let body =
                    if case["method"] == "GET" { None } else { without_fields(case["body"].as_str().unwrap_or("")) };
                let (status, body) = sent(body.iter().fold(error, |error, why| error.missing_hint(why)));
                // The recording does not contain the upper-case id that was sent.
                let text = body.to_string().replace(&ID.to_uppercase(), "{{OA|upper}}");
                assert_eq!((status, text), (expected(&case).0, expected(&case).1.to_string()), "{}", title(&case));
                refused += 1;
            }
            // A refusal that only the service can give has one text, not a list.
            Ok(call) => assert!(
                case["status"].as_u64().unwrap() < 400 || case["response_normalised"]["message"].is_string(),
                "{}: {call}",
                title(&case)
            ),
        }
    }
    assert!(refused >= 35, "only {refused} cases were refused");
}

fn messages(body: &str) -> Vec<String> {
    let (status, body) = sent(input::new_order(&Fields::parse(body).unwrap(), None).unwrap_err());
    assert_eq!(status, 400, "{body}");
    serde_json::from_value(body["message"].clone()).unwrap()
}

#[test]
fn quantities_and_products_are_whole_and_bounded() {
    let line =
        |product: &str, quantity: &str| format!(r#"{{"items":[{{"productId":{product},"quantity":{quantity}}}]}}"#);
    assert_eq!(messages(&line("1", "1.9")), ["items.0.quantity must be an integer number"]);
    assert_eq!(messages(&line("1", "1000001")), ["items.0.quantity must not be greater than 1000000"]);
    assert_eq!(messages(&line("1", "3000000000")), ["items.0.quantity must not be greater than 1000000"]);
    assert_eq!(messages(&line("1.5", "1")), ["items.0.productId must be an integer number"]);
    assert_eq!(messages(&line("1e300", "1")), ["items.0.productId must not be greater than 9007199254740991"]);
    assert_eq!(messages(&line("1", "-1")), ["items.0.quantity must be a positive number"]);
    let order = |body: &str| input::new_order(&Fields::parse(body).unwrap(), None).unwrap();
    assert_eq!(order(&line("9007199254740991", "1e6")).items[0].quantity, 1_000_000);
}

#[test]
fn an_order_has_at_most_a_thousand_lines_and_a_longer_list_is_not_read() {
    let order = |line: &str, n: usize| format!(r#"{{"items":[{}]}}"#, vec![line; n].join(","));
    let good = r#"{"productId":1,"quantity":1}"#;
    let full = order(good, 1000);
    assert_eq!(input::new_order(&Fields::parse(&full).unwrap(), None).unwrap().items.len(), 1000);
    for line in [good, "{}", "[]"] {
        assert_eq!(messages(&order(line, 1001)), ["items must contain no more than 1000 elements"], "{line}");
    }
}

#[test]
fn a_wrong_nested_value_is_named() {
    assert_eq!(messages(r#"{"items":[[{"productId":1,"quantity":1}]]}"#), ["items.0 must be an object"]);
    assert_eq!(messages(r#"{"items":{"productId":0,"quantity":1}}"#), ["items.productId must be a positive number"]);
    assert_eq!(
        messages(r#"{"a":1,"items":[1,{"productId":1,"quantity":0,"b":2}]}"#),
        [
            "property a should not exist",
            "items.each value in nested property items must be either object or array",
            "items.1.property b should not exist",
            "items.1.quantity must be a positive number"
        ]
    );
    assert_eq!(messages(r#"{"items":[{"productId":"\ud800","quantity":1}]}"#), ["items.0 must be valid Unicode"]);
}

#[test]
fn an_idempotency_key_is_visible_ascii_of_at_most_255_characters() {
    let body = Fields::parse(r#"{"items":[{"productId":1,"quantity":1}]}"#).unwrap();
    let order = |key: &str| input::new_order(&body, Some(key.to_owned()));
    let longest = "k".repeat(255);
    for key in ["k", "8e03978e-40d5-43dd-bc93-6894a57f9324", "!~", &longest] {
        assert_eq!(order(key).unwrap().idempotency_key.as_deref(), Some(key));
    }
    for key in ["", " ", "a b", "a, b", "é", "a\u{7f}", &(longest.clone() + "k")] {
        let (status, body) = sent(order(key).unwrap_err());
        assert_eq!((status, &body["error"]), (400, &"Bad Request".into()), "{key:?}");
    }
}

#[test]
fn every_status_is_a_filter_and_three_can_be_set() {
    for status in ["PENDING", "PAID", "DELIVERED", "CANCELLED", "REFUNDED"] {
        let by_query = input::query(&format!("status={status}")).unwrap();
        let by_path = input::query_by_status("", status).unwrap();
        let ListQuery::Page(by_query) = by_query else { panic!("{status} is a search") };
        assert_eq!(by_query.status.map(input::name), Some(status));
        assert_eq!(by_path.status.map(input::name), Some(status));
        let body = format!(r#"{{"status":"{status}"}}"#);
        let settable = input::new_status(&Fields::parse(&body).unwrap()).is_ok();
        assert_eq!(settable, !matches!(status, "PAID" | "REFUNDED"), "{status}");
    }
}

#[test]
fn the_described_examples_are_accepted() {
    assert!(input::new_order(&Fields::parse(&example("NewOrder")).unwrap(), None).is_ok());
    assert!(input::new_status(&Fields::parse(&example("NewStatus")).unwrap()).is_ok());
}

#[test]
fn an_id_is_a_uuid_of_any_version() {
    assert_eq!(order_id(ID).unwrap(), ID);
    for bad in
        ["", "abc", "0198d7a25d2e7c119c1b5b0a3a2f7e61", "0198d7a2-5d2e-7c11-9c1b-5b0a3a2f7e6g", &format!("{ID}-")]
    {
        let (_, body) = sent(order_id(bad).unwrap_err());
        assert_eq!(body["message"], "Validation failed (uuid is expected)", "{bad}");
    }
}

fn paid_order() -> Order {
    Order {
        id: ID.into(),
        owner: Some("0123456789abcdef01234567".into()),
        total: Money { cents: 30050, currency: "usd".into() },
        total_items: 3,
        status: Status::Paid,
        paid_at: Some("2024-02-27T15:51:00.000Z".into()),
        charge_id: Some("ch_1".into()),
        receipt_url: Some("https://example.com/r".into()),
        refunded_cents: 0,
        refund_due_cents: 15025,
        dispute: None,
        created_at: "2024-02-27T15:50:27.545Z".into(),
        updated_at: "2024-02-27T15:51:00.000Z".into(),
        items: vec![Item { product_id: 1, name: "Teclado".into(), unit_cents: 7525, quantity: 2 }],
    }
}

const SUMMARY: &str = concat!(
    r#""id":"0198d7a2-5d2e-7c11-9c1b-5b0a3a2f7e61","totalAmount":300.5,"totalItems":3,"status":"PAID","paid":true,"#,
    r#""paidAt":"2024-02-27T15:51:00.000Z","stripeChargeId":"ch_1","createdAt":"2024-02-27T15:50:27.545Z","#,
    r#""updatedAt":"2024-02-27T15:51:00.000Z""#
);

#[test]
fn a_whole_order_has_its_lines_and_the_state_of_its_payment() {
    let order = paid_order();
    let item = r#""OrderItem":[{"price":75.25,"quantity":2,"productId":1,"name":"Teclado"}]"#;
    let money = r#""receiptUrl":"https://example.com/r","refundDueAmount":150.25"#;
    let expected = format!("{{{SUMMARY},{money},{item}}}");
    assert_eq!(serde_json::to_string(&OrderView::whole(&order)).unwrap(), expected);
    let plain = Order { receipt_url: None, refund_due_cents: 0, ..order };
    assert_eq!(serde_json::to_string(&OrderView::whole(&plain)).unwrap(), format!("{{{SUMMARY},{item}}}"));
}

#[test]
fn a_list_shows_orders_as_recorded() {
    let found = Page { orders: vec![paid_order()], total: 7 };
    let query = Query { page: 2, limit: 3, status: None };
    let expected =
        format!(r#"{{"data":[{{{SUMMARY}}}],"pagination":{{"page":2,"limit":3,"totalRecords":7,"lastPage":3}}}}"#);
    assert_eq!(serde_json::to_string(&List::of(&found, &query, &Customers::default())).unwrap(), expected);
}

fn search(query: &str) -> Search {
    match input::query(query).unwrap() {
        ListQuery::Search(search) => search,
        ListQuery::Page(page) => panic!("{query}: {page:?}"),
    }
}

#[test]
fn filters_are_read_in_the_contracts_form() {
    let all = search(
        "status=PAID&customer=6B0CEF4108E73F2C263DDFCC&from=2024-02-27&to=2024-02-28&minTotal=1.5&maxTotal=200&refundDue=true\
         &disputed=true&sort=largest&after=x&limit=50",
    );
    let Filter { status, customer, made_from, made_before, min_cents, max_cents, refund_due, disputed } = all.filter;
    assert_eq!((status, customer.as_deref()), (Some(Status::Paid), Some("6b0cef4108e73f2c263ddfcc")));
    assert!(refund_due && disputed);
    assert_eq!(made_from.as_deref(), Some("2024-02-27T00:00:00.000Z"));
    assert_eq!(made_before.as_deref(), Some("2024-02-29T00:00:00.000Z"), "the last day counts as a whole");
    assert_eq!((min_cents, max_cents), (Some(150), Some(20_000)));
    assert_eq!((all.after.as_deref(), all.limit, all.sort), (Some("x"), 50, Sort::Largest));
    let filter = search("to=2024-02-27T15:50:27.1Z&from=2024-02-27T15:50:27%2B02:00").filter;
    assert_eq!(filter.made_before.as_deref(), Some("2024-02-27T15:50:27.100Z"));
    assert_eq!(filter.made_from.as_deref(), Some("2024-02-27T13:50:27.000Z"));
    assert!(matches!(input::query("status=PAID&page=2"), Ok(ListQuery::Page(_))), "as clients have always asked");
}

#[test]
fn a_refund_of_an_amount_needs_a_key_and_one_of_all_does_not() {
    let read = |body: &str, key: Option<&str>| {
        input::new_refund(&Fields::parse(body).unwrap(), key.map(str::to_owned)).map(|refund| refund.cents)
    };
    assert_eq!(read("{}", None).unwrap(), None);
    assert_eq!(read("{}", Some("k")).unwrap(), None);
    assert_eq!(read(r#"{"amount":10.5}"#, Some("k")).unwrap(), Some(1050));
    for (body, key) in [
        (r#"{"amount":10.5}"#, None),
        (r#"{"amount":0}"#, Some("k")),
        (r#"{"amount":-1}"#, Some("k")),
        (r#"{"amount":1.005}"#, Some("k")),
        (r#"{"amount":null}"#, Some("k")),
        (r#"{"cents":1}"#, Some("k")),
        ("{}", Some("a b")),
    ] {
        assert_eq!(sent(read(body, key).unwrap_err()).0, 400, "{body} {key:?}");
    }
}

#[test]
fn a_malformed_filter_is_refused_by_name() {
    for (query, message) in [
        ("from=tomorrow", "from must be a day (2024-02-27) or a time in UTC (2024-02-27T15:50:27Z)"),
        ("to=2024-02-30", "to must be a day (2024-02-27) or a time in UTC (2024-02-27T15:50:27Z)"),
        ("customer=ann@example.com", "customer must be the id of a customer, 24 hexadecimal digits"),
        ("customer=6b0cef4108e73f2c263ddfcg", "customer must be the id of a customer, 24 hexadecimal digits"),
        ("sort=price", "sort must be one of newest, oldest, largest, smallest"),
        ("refundDue=1", "refundDue must be true or false"),
        ("minTotal=-1", "minTotal must not be less than 0"),
        ("after=", "after should not be empty"),
        ("after=x&page=2", "page must not be given with a filter"),
        ("from[a]=1", "from must be a day (2024-02-27) or a time in UTC (2024-02-27T15:50:27Z)"),
    ] {
        let (status, body) = sent(input::query(query).unwrap_err());
        assert_eq!((status, body["message"][0].as_str()), (400, Some(message)), "{query}");
    }
}

#[test]
fn a_search_returns_where_the_next_page_begins() {
    let found = Found { orders: vec![paid_order()], next: Some("x".into()) };
    let expected = format!(r#"{{"data":[{{{SUMMARY},"refundDueAmount":150.25}}],"next":"x"}}"#);
    assert_eq!(serde_json::to_string(&FoundView::of(&found, &Customers::default())).unwrap(), expected);
    assert_eq!(
        serde_json::to_string(&FoundView::of(&Found { orders: vec![], next: None }, &Customers::default())).unwrap(),
        r#"{"data":[],"next":null}"#
    );
}

#[test]
fn a_checkout_has_the_url_of_the_payment_page() {
    let payment_session = PaymentSession { url: "u".into(), success_url: "s".into(), cancel_url: "c".into() };
    let shown = serde_json::to_string(&CheckoutView::of(&Checkout { order: paid_order(), payment_session })).unwrap();
    assert!(shown.starts_with(r#"{"order":{"id":"#), "{shown}");
    assert!(shown.ends_with(r#""paymentSession":{"cancelUrl":"c","successUrl":"s","url":"u"}}"#), "{shown}");
}

#[test]
fn the_services_refusals_become_http() {
    let text = |error, id| {
        let reply = to_http_error(error, id).into_reply();
        (reply.status, String::from_utf8(reply.body).unwrap())
    };
    use orders::Error::*;
    let missing = r#"{"message":"Order with id #x not found","status":404}"#;
    assert_eq!(text(NotFound, Some("x")), (404, missing.into()));
    let hint = |ids: &str| format!(r#"{{"message":"Some products were not found","status":400,"hint":"{ids}"}}"#);
    let one = hint("there is no product 99 that can be ordered");
    assert_eq!(text(UnknownProducts(vec![99]), None), (400, one));
    let two = hint("there are no products 98, 99 that can be ordered");
    assert_eq!(text(UnknownProducts(vec![98, 99]), None), (400, two));
    assert_eq!(text(Invalid("a".into()), None), (400, r#"{"message":"a","status":400}"#.into()));
    assert_eq!(text(Forbidden("a".into()), Some("x")), (403, r#"{"message":"a","status":403}"#.into()));
    assert_eq!(text(Conflict("a".into()), Some("x")), (409, r#"{"message":"a","status":409}"#.into()));
    assert_eq!(text(KeyReused, None).0, 422);
    assert_eq!(text(TooManyOpen("a".into()), None), (429, r#"{"message":"a","status":429}"#.into()));
    assert_eq!(text(Unavailable("worker 7 died".into()), None).0, 503);
    assert_eq!(text(Internal("secret".into()), None).0, 500);
    let unpayable = Unpayable { order_id: ID.into(), message: "the payment provider cannot be reached".into() };
    let (status, body) = sent(to_http_error(PaymentUnavailable(unpayable), None));
    assert_eq!((status, body["orderId"].as_str()), (503, Some(ID)));
    let message = format!("Order {ID} is stored and cannot be paid yet: the payment provider cannot be reached. POST ");
    assert!(body["message"].as_str().unwrap().starts_with(&message), "{body}");
}
