//! Import of old orders, on both databases.

use super::both;
use crate::bindings::imports::Verdict;
use crate::import::take;
use serde_json::json;
use souk_database::Database;
use std::collections::{BTreeSet, HashMap};

fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

/// A row as PostgreSQL gives it, with changes.
fn row(n: u32, changes: serde_json::Value) -> String {
    let mut row = json!({
        "id": id(n), "totalAmount": 20.5, "totalItems": 3, "status": "PENDING", "paid": false, "paidAt": null,
        "stripeChargeId": null, "createdAt": "2024-02-27T15:50:27.5", "updatedAt": "2024-02-28T15:50:27",
        "receiptUrl": null,
        "items": [{ "productId": 1, "quantity": 2, "price": 10.0 }, { "productId": 9, "quantity": 1, "price": 0.5 }],
    });
    for (key, value) in changes.as_object().unwrap() {
        row[key] = value.clone();
    }
    row.to_string()
}

fn names(ids: &BTreeSet<i64>) -> Result<HashMap<i64, String>, String> {
    Ok(ids.iter().map(|id| (*id, format!("Thing {id}"))).collect())
}

fn import(db: &Database, rows: &[String], dry_run: bool) -> Vec<Verdict> {
    take(db, rows, "usd", names, dry_run).unwrap()
}

fn texts(db: &Database, sql: &'static str) -> Vec<String> {
    db.query(sql, &[]).unwrap().map(|mut row| row.text().unwrap()).collect()
}

#[test]
fn an_old_order_keeps_its_id_dates_charge_and_receipt() {
    let paid = json!({
        "status": "PAID", "paid": true, "paidAt": "2024-02-27T16:00:00.123", "stripeChargeId": "ch_1",
        "receiptUrl": "https://pay.example/r",
    });
    for db in both() {
        let rows = [row(1, json!({})), row(2, paid.clone())];
        assert!(matches!(import(&db, &rows, true)[..], [Verdict::Taken, Verdict::Taken]));
        assert_eq!(texts(&db, "SELECT id FROM orders"), Vec::<String>::new());
        assert!(matches!(import(&db, &rows, false)[..], [Verdict::Taken, Verdict::Taken]));
        assert!(matches!(import(&db, &rows, false)[..], [Verdict::There, Verdict::There]));
        assert_eq!(texts(&db, "SELECT id FROM orders ORDER BY seq"), [id(1), id(2)]);
        let order = crate::store::find(&db, &id(2), None).unwrap();
        assert_eq!((order.total.cents, order.total_items, order.owner), (2050, 3, None));
        assert_eq!(order.paid_at.as_deref(), Some("2024-02-27T16:00:00.123Z"));
        assert_eq!(order.receipt_url.as_deref(), Some("https://pay.example/r"));
        assert_eq!((order.created_at.as_str(), order.charge_id.as_deref()), ("2024-02-27T15:50:27.500Z", Some("ch_1")));
        assert_eq!(texts(&db, "SELECT name FROM order_items WHERE line = 1"), ["Thing 9", "Thing 9"]);
        assert_eq!(texts(&db, "SELECT order_id FROM charges"), [id(2)]);
    }
}

#[test]
fn rows_that_our_checks_refuse_are_imported_as_the_table_says() {
    for (changes, expected, status) in [
        (json!({ "totalAmount": 0.5 }), "its total was 0.5, and is the sum of its lines, 2050 cents", "PENDING"),
        (
            json!({ "totalAmount": 10.01, "items": [{ "productId": 1, "quantity": 1, "price": 10.005 }] }),
            "the price of product 1 was 10.005, and is",
            "PENDING",
        ),
        (json!({ "status": "PAID" }), "it was paid and had no charge", "PAID"),
        (json!({ "paid": true, "stripeChargeId": "ch_2" }), "it was PENDING and paid", "PAID"),
        (json!({ "status": "CANCELLED", "stripeChargeId": "ch_3" }), "see whether that was given back", "CANCELLED"),
    ] {
        for db in both() {
            let verdicts = import(&db, &[row(1, changes.clone())], false);
            assert!(matches!(&verdicts[..], [Verdict::Changed(why)] if why.contains(expected)), "{verdicts:?}");
            assert_eq!(texts(&db, "SELECT status FROM orders"), [status]);
        }
    }
}

#[test]
fn a_row_that_cannot_become_an_order_is_archived_and_a_malformed_row_is_refused() {
    for db in both() {
        let rows = [
            row(1, json!({ "totalAmount": 0, "items": null })),
            row(2, json!({ "items": [{ "productId": 1, "quantity": 0, "price": 1.0 }] })),
            row(3, json!({ "items": [{ "productId": 1, "quantity": 1, "price": -1.0 }] })),
            row(4, json!({ "status": "LOST" })),
            row(5, json!({ "createdAt": "soon" })),
            // PostgreSQL stores no U+0000: this row must not keep the others from being imported.
            row(6, json!({ "paid": true, "stripeChargeId": "ch_\0" })),
            row(7, json!({ "receiptUrl": "\0" })),
            "{".to_owned(),
        ];
        let verdicts = import(&db, &rows, false);
        assert!(
            verdicts[..3].iter().all(|one| matches!(one, Verdict::Changed(why) if why.contains("imported_orders")))
        );
        assert!(verdicts[3..].iter().all(|one| matches!(one, Verdict::Refused(_))), "{verdicts:?}");
        assert_eq!(texts(&db, "SELECT reason FROM imported_orders ORDER BY id").len(), 3);
        assert!(
            texts(&db, "SELECT source FROM imported_orders WHERE reason LIKE 'its total is 0%'")[0].contains(&id(1))
        );
        assert_eq!(texts(&db, "SELECT id FROM orders"), Vec::<String>::new());
        assert!(matches!(import(&db, &rows, false)[0], Verdict::There));
    }
}

#[test]
fn an_archived_row_that_is_good_when_it_comes_again_becomes_an_order() {
    for db in both() {
        let bad = |n| row(n, json!({ "totalAmount": 0, "items": null, "totalItems": 0 }));
        import(&db, &[bad(1), bad(2)], false);
        let now = [row(1, json!({ "status": "PAID", "paid": true, "stripeChargeId": "ch_1" })), bad(2)];
        for dry_run in [true, false] {
            let verdicts = import(&db, &now, dry_run);
            let [Verdict::Changed(why), Verdict::There] = &verdicts[..] else { panic!("{verdicts:?}") };
            assert!(why.contains("kept in the table imported_orders before, and is an order now"), "{why}");
        }
        assert_eq!(texts(&db, "SELECT id FROM imported_orders"), [id(2)]);
        assert_eq!(texts(&db, "SELECT status FROM orders"), ["PAID"]);
        assert_eq!(texts(&db, "SELECT name FROM order_items ORDER BY line"), ["Thing 1", "Thing 9"]);
        assert_eq!(texts(&db, "SELECT id FROM charges"), ["ch_1"]);
        assert!(matches!(import(&db, &now, false)[..], [Verdict::There, Verdict::There]));
        // In the same call, too.
        import(&db, &[bad(3), row(3, json!({}))], false);
        assert_eq!(texts(&db, "SELECT id FROM imported_orders"), [id(2)]);
        assert_eq!(texts(&db, "SELECT id FROM orders ORDER BY id"), [id(1), id(3)]);
    }
}

#[test]
fn a_line_whose_product_is_unknown_is_named_after_the_products_id() {
    for db in both() {
        let none = |_: &BTreeSet<i64>| Ok(HashMap::from([(1, "Mug".to_owned())]));
        let verdicts = take(&db, &[row(1, json!({}))], "usd", none, false).unwrap();
        assert!(matches!(&verdicts[..], [Verdict::Changed(why)] if why.contains("no product 9")), "{verdicts:?}");
        assert_eq!(texts(&db, "SELECT name FROM order_items ORDER BY line"), ["Mug", "Product 9"]);
        // The order came before its product. A real product may have such a name, too.
        let rows = [row(1, json!({}))];
        let like_it = |_: &BTreeSet<i64>| Ok(HashMap::from([(9, "Product 9".to_owned())]));
        assert!(matches!(take(&db, &rows, "usd", like_it, false).unwrap()[..], [Verdict::There]));
        for dry_run in [true, false] {
            let verdicts = import(&db, &rows, dry_run);
            assert!(matches!(&verdicts[..], [Verdict::Changed(why)] if why.contains("names of their products")));
        }
        assert_eq!(texts(&db, "SELECT name FROM order_items ORDER BY line"), ["Mug", "Thing 9"]);
        assert!(matches!(import(&db, &rows, false)[..], [Verdict::There]));
    }
}

#[test]
fn a_charge_of_two_orders_is_reported_and_stays_with_the_first() {
    for db in both() {
        let paid = |n| row(n, json!({ "status": "PAID", "paid": true, "stripeChargeId": "ch_1" }));
        for (rows, other) in [(vec![paid(1), paid(2)], 1), (vec![paid(3)], 0)] {
            for dry_run in [true, false] {
                let verdicts = import(&db, &rows, dry_run);
                let Verdict::Changed(why) = &verdicts[other] else { panic!("{verdicts:?}") };
                assert!(why.contains(&format!("its charge ch_1 is that of order {}, too", id(1))), "{why}");
            }
        }
        assert_eq!(texts(&db, "SELECT order_id FROM charges"), [id(1)]);
        assert!(matches!(import(&db, &[paid(1), paid(2)], false)[..], [Verdict::There, Verdict::There]));
    }
}

#[test]
fn a_changed_receipt_comes_again_and_changed_lines_are_refused() {
    for db in both() {
        let paid =
            |receipt: &str| json!({ "status": "PAID", "paid": true, "stripeChargeId": "ch_1", "receiptUrl": receipt });
        import(&db, &[row(1, paid("https://pay.example/a")), row(2, json!({}))], false);
        let more = json!([
            { "productId": 1, "quantity": 2, "price": 10.0 }, { "productId": 9, "quantity": 1, "price": 0.5 },
            { "productId": 3, "quantity": 1, "price": 1.0 },
        ]);
        let again = [row(1, paid("https://pay.example/b")), row(2, json!({ "items": more, "totalAmount": 21.5 }))];
        let verdicts = import(&db, &again, false);
        let [Verdict::Changed(receipt), Verdict::Refused(lines)] = &verdicts[..] else { panic!("{verdicts:?}") };
        assert!(receipt.contains("its receipt is https://pay.example/b now"), "{receipt}");
        let both = "here they are 3 items for 2050 cents, and there 4 items for 2150 cents";
        assert!(lines.contains(both), "{lines}");
        assert_eq!(texts(&db, "SELECT receipt_url FROM orders WHERE status = 'PAID'"), ["https://pay.example/b"]);
        assert!(matches!(import(&db, &again[..1], false)[..], [Verdict::There]));
    }
}

#[test]
fn nothing_is_imported_while_the_catalogue_refuses_to_name_products() {
    for db in both() {
        let kept = json!({ "totalAmount": 0, "items": null });
        for row in [row(1, json!({})), row(2, json!({ "items": null })), row(3, kept)] {
            let examples = |_: &BTreeSet<i64>| Err("the catalogue has the example products and no others".to_owned());
            let error = take(&db, &[row], "usd", examples, false).unwrap_err();
            assert!(error.contains("example products"), "{error}");
        }
        assert_eq!(texts(&db, "SELECT id FROM orders UNION ALL SELECT id FROM imported_orders"), Vec::<String>::new());
    }
}

#[test]
fn an_order_that_has_changed_since_comes_again_unless_it_was_changed_here() {
    let paid = |charge: &str| {
        json!({
            "status": "PAID", "paid": true, "paidAt": "2030-02-27T16:00:00", "stripeChargeId": charge,
            "receiptUrl": "https://pay.example/r", "updatedAt": "2030-02-27T16:00:00",
        })
    };
    for db in both() {
        let before: Vec<String> = (1..=6).map(|n| row(n, json!({}))).collect();
        import(&db, &before, false);
        // Here, 3, 4 and 5 are cancelled, and later than the other system has changed 4.
        let cancelled = format!(
            "UPDATE orders SET status = 'CANCELLED', trace = NULL, updated_at = '2030-01-01T00:00:00.000Z' \
             WHERE id IN ('{}', '{}', '{}')",
            id(3),
            id(4),
            id(5)
        );
        db.query(&*cancelled, &[]).unwrap();
        let now = [
            row(1, paid("ch_1")),
            row(2, json!({ "status": "CANCELLED" })),
            row(3, paid("ch_3")),
            row(4, json!({ "updatedAt": "2029-01-01T00:00:00" })),
            row(5, json!({ "status": "DELIVERED", "updatedAt": "2031-01-01T00:00:00" })),
            row(6, json!({ "updatedAt": "2031-01-01T00:00:00" })),
        ];
        for dry_run in [true, false] {
            let verdicts = import(&db, &now, dry_run);
            let [
                Verdict::Changed(one),
                Verdict::Changed(two),
                Verdict::Refused(three),
                Verdict::There,
                Verdict::Refused(five),
                Verdict::There,
            ] = &verdicts[..]
            else {
                panic!("{verdicts:?}")
            };
            assert!(one.contains("it was PENDING when it was imported before, and is PAID now"), "{one}");
            assert!(two.contains("and is CANCELLED now"), "{two}");
            assert!(three.contains("here it is CANCELLED, and there PAID with the charge ch_3"), "{three}");
            assert!(five.contains("here it is CANCELLED, and there DELIVERED"), "{five}");
        }
        let statuses = ["PAID", "CANCELLED", "CANCELLED", "CANCELLED", "CANCELLED", "PENDING"];
        assert_eq!(texts(&db, "SELECT status FROM orders ORDER BY id"), statuses);
        assert_eq!(texts(&db, "SELECT id FROM charges"), ["ch_1"]);
        let order = crate::store::find(&db, &id(1), None).unwrap();
        assert_eq!((order.charge_id.as_deref(), order.updated_at.as_str()), (Some("ch_1"), "2030-02-27T16:00:00.000Z"));
        assert_eq!(texts(&db, "SELECT new FROM order_history WHERE trace = 'import' AND old = 'PENDING'").len(), 2);
        assert!(matches!(import(&db, &now, false)[..2], [Verdict::There, Verdict::There]));
        // Delivered there, after it was paid: the charge stays.
        let delivered = row(1, json!({ "status": "DELIVERED", "paid": true, "stripeChargeId": "ch_1" }));
        assert!(matches!(import(&db, &[delivered], false)[..], [Verdict::Changed(_)]));
        // A charge that is here is not given up.
        let unpaid = import(&db, &[row(1, json!({}))], false);
        assert!(matches!(&unpaid[..], [Verdict::Refused(why)] if why.contains("with the charge ch_1")), "{unpaid:?}");
    }
}
