//! Import of products, on both databases.

use super::{both, ids};
use crate::bindings::imports::Verdict;
use crate::import::take;
use souk_database::{Statement, Value};

#[test]
fn imported_products_keep_their_ids_and_new_ids_follow_them() {
    for db in both() {
        let rows: Vec<String> = (900..903)
            .map(|n| format!(r#"{{"id":{n},"name":"Old {n}","price":1.25,"available":{},"createdAt":0}}"#, n % 2))
            .collect();
        let error = take(&db.0, &rows, false).unwrap_err();
        assert!(error.contains("souk seed --remove"), "{error}");
        db.query("DELETE FROM products WHERE id > 1", &[]);
        db.query("UPDATE products SET updated_at = '2025-01-01T00:00:00.000Z'", &[]);
        assert!(take(&db.0, &rows, true).unwrap().iter().all(|one| matches!(one, Verdict::Taken)));
        assert!(take(&db.0, &rows, false).unwrap().iter().all(|one| matches!(one, Verdict::Taken)));
        // As if it had been killed between the rows and the sequence.
        db.query(Statement::each("SELECT 1", "SELECT setval(pg_get_serial_sequence('products', 'id'), 47)"), &[]);
        assert!(take(&db.0, &rows, false).unwrap().iter().all(|one| matches!(one, Verdict::There)));
        assert_eq!(ids(&db.page(10, 0).products), [1, 901]);
        assert_eq!((db.page(10, 0).total, db.get(901).unwrap().price.cents), (2, 125));
        let taken = [r#"{"id":901,"name":"Another","price":1,"createdAt":1}"#.to_owned()];
        assert!(matches!(&take(&db.0, &taken, false).unwrap()[..], [Verdict::Refused(why)] if why.contains("Old 901")));
        let next = [Value::Text("New".into()), Value::Integer(1), Value::Null, Value::Null];
        assert_eq!(crate::rows::one(db.query(crate::sql::CREATE, &next)).unwrap().id, 903);
    }
}

#[test]
fn a_product_that_has_changed_since_comes_again_unless_it_was_changed_here() {
    let row = |id: i64, name: &str, price: f64, available: bool, day: u8| {
        format!(
            r#"{{"id":{id},"name":"{name}","price":{price},"available":{available},"createdAt":0,"updatedAt":"2030-01-{day:02} 00:00:00"}}"#
        )
    };
    for db in both() {
        db.query("DELETE FROM products", &[]);
        let before: Vec<String> = (1..=9).map(|id| row(id, "Mug", 1.5, id != 9, 1)).collect();
        take(&db.0, &before, false).unwrap();
        // Here, products get another price, later than the other system changes 4; 7 gets another name; 8 and 9 change
        // their availability.
        let here = "trace = NULL, updated_at = '2030-01-10T00:00:00.000Z' WHERE id";
        for change in ["price_cents = 800", "price_cents = 900"] {
            let change = format!("UPDATE products SET {change}, {here} IN (3, 4, 5, 6)");
            db.query(change.as_str(), &[]);
        }
        for change in [format!("name = 'Pot', {here} = 7"), format!("available = NOT available, {here} IN (8, 9)")] {
            let change = format!("UPDATE products SET {change}");
            db.query(change.as_str(), &[]);
        }
        let now = [
            row(1, "Cup", 2.0, true, 5),
            row(2, "Mug", 1.5, false, 1),
            row(3, "Mug", 3.0, true, 20),
            row(4, "Mug", 3.0, true, 5),
            // Somebody's SQL has not set the time.
            row(5, "Mug", 1.5, false, 1),
            // Nothing has changed there.
            row(6, "Mug", 1.5, true, 20),
            row(7, "Mug", 1.5, true, 1),
            row(8, "Mug", 1.5, true, 1),
            row(9, "Mug", 1.5, false, 1),
        ];
        for dry_run in [true, false] {
            let verdicts = take(&db.0, &now, dry_run).unwrap();
            let [
                Verdict::Changed(one),
                Verdict::Changed(two),
                Verdict::Refused(three),
                Verdict::Refused(four),
                Verdict::Refused(five),
                Verdict::There,
                Verdict::Refused(seven),
                Verdict::There,
                Verdict::There,
            ] = &verdicts[..]
            else {
                panic!("{verdicts:?}")
            };
            assert!(one.contains("\"Mug\" for 150 cents") && one.contains("\"Cup\" for 200 cents now"), "{one}");
            assert!(two.contains("not available now"), "{two}");
            for why in [three, four] {
                let both = "it has changed on both sides: here it is \"Mug\" for 900 cents, and there \"Mug\" for 300";
                assert!(why.starts_with(both), "{why}");
            }
            assert!(five.contains("on both sides") && five.ends_with("\"Mug\" for 150 cents, not available"), "{five}");
            assert!(seven.contains("here it is \"Pot\"") && seven.contains("there \"Mug\""), "{seven}");
        }
        assert_eq!(ids(&db.page(10, 0).products), [1, 3, 4, 5, 6, 7, 9]);
        let prices: Vec<_> = db.page(10, 0).products.into_iter().map(|product| product.price.cents).collect();
        assert_eq!(prices, [200, 900, 900, 900, 900, 150, 150]);
        assert!(matches!(take(&db.0, &now, false).unwrap()[..2], [Verdict::There, Verdict::There]));
    }
}

#[test]
fn a_catalogue_that_began_with_the_examples_is_imported_again_and_stays() {
    let removes = [include_str!("../../seed/sqlite/remove.sql"), include_str!("../../seed/postgres/remove.sql")];
    for (db, remove) in both().into_iter().zip(removes) {
        let product = |p: super::Product| {
            format!(
                r#"{{"id":{},"name":"{}","price":{},"createdAt":"{}"}}"#,
                p.id,
                p.name,
                p.price.cents as f64 / 100.0,
                p.created_at
            )
        };
        let mut rows: Vec<String> = db.page(100, 0).products.into_iter().map(product).collect();
        db.query(remove, &[]);
        assert!(take(&db.0, &rows, false).unwrap().iter().all(|one| matches!(one, Verdict::Taken)));
        rows.push(r#"{"id":48,"name":"Lamp","price":1,"createdAt":0}"#.to_owned());
        let again = take(&db.0, &rows, false).unwrap();
        assert!(again[..47].iter().all(|one| matches!(one, Verdict::There)), "{again:?}");
        assert!(matches!(again[47], Verdict::Taken), "{again:?}");
        db.query(remove, &[]);
        assert_eq!(ids(&db.page(100, 0).products).len(), 48);
    }
}

#[test]
fn a_batch_of_an_import_counts_no_more_products_than_one_beyond_the_examples() {
    for db in both() {
        db.query("INSERT INTO products (name, price_cents) SELECT name, 1 FROM products", &[]);
        assert_eq!(db.query(crate::sql::EXAMPLES, &[]).next().unwrap().integer::<i64>().unwrap(), 48);
    }
}
