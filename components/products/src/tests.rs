//! The statements against a real SQLite and a real PostgreSQL with the component's own migrations and examples.

use crate::bindings::catalog::{Error, Money, Page, Product};
use crate::{cents, changes, key, name, names, next_page, page_of, rows, sql};
use souk_database::{Database, Dialect, Row, Rows, Statement, Value};
use souk_test::postgres;

struct Catalogue(Database);

/// One catalogue in each kind of database.
fn both() -> [Catalogue; 2] {
    let sqlite = [
        include_str!("../migrations/sqlite/0001_products.sql"),
        include_str!("../migrations/sqlite/0003_counts.sql"),
        include_str!("../migrations/sqlite/0004_history.sql"),
        include_str!("../migrations/sqlite/0005_levels.sql"),
        include_str!("../seed/add.sql"),
    ];
    let postgres = [
        include_str!("../migrations/postgres/0001_products.sql"),
        include_str!("../migrations/postgres/0003_counts.sql"),
        include_str!("../migrations/postgres/0004_history.sql"),
        include_str!("../migrations/postgres/0005_levels.sql"),
        include_str!("../seed/add.sql"),
        include_str!("../seed/postgres/add.sql"),
    ];
    let server = postgres::Postgres::shared();
    [Catalogue(Database::in_memory(&sqlite)), Catalogue(Database::postgres(&server.database(), &postgres))]
}

impl Catalogue {
    fn query<'a>(&self, statement: impl Into<Statement<'a>>, parameters: &[Value]) -> Rows {
        self.0.query(statement, parameters).unwrap()
    }

    fn get(&self, id: i64) -> Result<Product, Error> {
        rows::one(self.query(sql::GET, &[Value::Integer(id)]))
    }

    fn page(&self, limit: i64, offset: i64) -> Page {
        page_of(&self.0, limit, offset).unwrap()
    }
}

fn ids(products: &[Product]) -> Vec<u64> {
    products.iter().map(|p| p.id).collect()
}

#[test]
fn the_seed_has_47_products_with_the_recorded_first_one() {
    for db in both() {
        let first = db.get(1).unwrap();
        assert_eq!((first.id, first.name.as_str(), first.price.cents, first.available), (1, "Teclado", 7525, true));
        assert_eq!(first.created_at, "2024-02-27T15:50:27.545Z");
        assert_eq!(first.updated_at, first.created_at);
        assert_eq!(db.page(1, 0).total, 47);
    }
}

#[test]
fn both_databases_get_the_same_examples_and_the_removal_keeps_changed_ones() {
    let removes = [include_str!("../seed/sqlite/remove.sql"), include_str!("../seed/postgres/remove.sql")];
    for (db, remove) in both().into_iter().zip(removes) {
        rows::one(db.query(sql::UPDATE, &[2.into(), "Rat".into(), Value::Null, Value::Null, Value::Null])).unwrap();
        rows::one(db.query(sql::CREATE, &["Lamp".into(), 1.into(), Value::Null, Value::Null])).unwrap();
        db.query(remove, &[]);
        assert_eq!(ids(&db.page(100, 0).products), [2, 48]);
    }
}

#[test]
fn a_created_product_gets_the_next_id_and_one_time_for_both_dates() {
    for db in both() {
        let lamp = rows::one(
            db.query(sql::CREATE, &[Value::Text("Lamp".into()), Value::Integer(1999), Value::Null, Value::Null]),
        )
        .unwrap();
        assert_eq!((lamp.id, lamp.name.as_str(), lamp.price.cents, lamp.available), (48, "Lamp", 1999, true));
        assert_eq!(lamp.created_at, lamp.updated_at);
        assert_eq!((lamp.created_at.len(), lamp.created_at.ends_with('Z')), (24, true));
        assert_eq!(db.get(48).unwrap().created_at, lamp.created_at);
    }
}

#[test]
fn a_page_has_its_products_by_id_and_the_total() {
    for db in both() {
        let page = db.page(3, 3);
        assert_eq!((ids(&page.products), page.total), (vec![4, 5, 6], 47));
        assert_eq!(db.page(10, 10_000).products.len(), 0);
        assert_eq!(rows::count(db.query(sql::COUNT, &[])).unwrap(), 47);
        let last = db.page(10, 40);
        assert_eq!(last.products.len(), 7);
    }
}

#[test]
fn the_page_of_an_empty_catalogue_is_empty() {
    for db in both() {
        db.query("DELETE FROM products", &[]);
        assert_eq!(db.page(10, 0).products.len(), 0);
        assert_eq!(rows::count(db.query(sql::COUNT, &[])).unwrap(), 0);
    }
}

#[test]
fn an_update_changes_only_what_it_names_and_moves_the_date() {
    for db in both() {
        let before = db.get(2).unwrap();
        let after = rows::one(
            db.query(sql::UPDATE, &[Value::Integer(2), Value::Null, Value::Integer(1), Value::Null, Value::Null]),
        )
        .unwrap();
        assert_eq!((after.name.as_str(), after.price.cents), ("Mouse", 1));
        assert_eq!(after.created_at, before.created_at);
        assert!(after.updated_at > before.updated_at);
        let renamed = rows::one(db.query(
            sql::UPDATE,
            &[Value::Integer(2), Value::Text("Rat".into()), Value::Null, Value::Null, Value::Null],
        ));
        assert_eq!(renamed.map(|p| (p.name, p.price.cents)).unwrap(), ("Rat".to_owned(), 1));
    }
}

#[test]
fn a_deleted_product_is_neither_read_listed_counted_changed_nor_deleted_again() {
    for db in both() {
        let gone = rows::one(db.query(sql::DELETE, &[Value::Integer(1), Value::Null, Value::Null])).unwrap();
        assert!(!gone.available);
        assert!(matches!(db.get(1), Err(Error::NotFound)));
        let page = db.page(1, 0);
        assert_eq!((ids(&page.products), page.total), (vec![2], 46));
        let update =
            db.query(sql::UPDATE, &[Value::Integer(1), Value::Text("x".into()), Value::Null, Value::Null, Value::Null]);
        assert!(matches!(rows::one(update), Err(Error::NotFound)));
        assert!(matches!(
            rows::one(db.query(sql::DELETE, &[Value::Integer(1), Value::Null, Value::Null])),
            Err(Error::NotFound)
        ));
    }
}

#[test]
fn a_deleted_product_is_listed_as_deleted_and_comes_back_as_it_was() {
    for db in both() {
        let before = db.get(3).unwrap();
        for id in [3, 1] {
            rows::one(db.query(sql::DELETE, &[Value::Integer(id), "7".into(), Value::Null])).unwrap();
        }
        assert_eq!(ids(&crate::listed(&db.0, sql::LIST_DELETED, 0, 10).unwrap().products), [1, 3]);
        assert_eq!(crate::listed(&db.0, sql::LIST_DELETED, 0, 1).unwrap().next, Some(1));
        let restored = changes::restore(&db.0, Some("7".into()), 3).unwrap();
        assert_eq!((restored.name, restored.price.cents, restored.available), (before.name, before.price.cents, true));
        let again = changes::restore(&db.0, None, 3).unwrap();
        assert_eq!(again.updated_at, restored.updated_at, "an available product stays as it is");
        assert!(matches!(changes::restore(&db.0, None, 9999), Err(Error::NotFound)));
        assert_eq!(db.page(1, 0).total, 46);
    }
}

#[test]
fn each_change_of_a_product_says_who_made_it() {
    for db in both() {
        let by = |name: &str| [name.into(), "req-1".into()];
        let price = [Value::Integer(2), Value::Null, Value::Integer(99)];
        rows::one(db.query(sql::UPDATE, &[price.as_slice(), &by("7")].concat())).unwrap();
        // A change of the name is not in the history.
        let name = [Value::Integer(2), "Rat".into(), Value::Null];
        rows::one(db.query(sql::UPDATE, &[name.as_slice(), &by("8")].concat())).unwrap();
        rows::one(db.query(sql::DELETE, &[[Value::Integer(2)].as_slice(), &by("9")].concat())).unwrap();
        changes::restore(&db.0, None, 2).unwrap();
        let line = |change: &crate::bindings::changes::Change| {
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            format!(
                "{:?} {} {} {} {}",
                change.what,
                text(&change.by),
                text(&change.trace),
                text(&change.from),
                change.to
            )
        };
        let history: Vec<String> = changes::history(&db.0, 2).unwrap().iter().map(line).collect();
        assert_eq!(
            history,
            [
                "What::Available - - false true",
                "What::Available 9 req-1 true false",
                "What::Price 7 req-1 15000 99",
                "What::Price - - - 15000",
            ]
        );
        assert!(matches!(changes::history(&db.0, 9999), Err(Error::NotFound)));
    }
}

#[test]
fn validate_finds_only_available_products() {
    for db in both() {
        db.query(sql::DELETE, &[Value::Integer(2), Value::Null, Value::Null]);
        let found = rows::all(db.query(sql::VALIDATE, &[Value::Text("[3,2,1,9999]".into())])).unwrap();
        assert_eq!(ids(&found), [1, 3]);
    }
}

#[test]
fn the_id_of_the_newest_product_is_not_given_again() {
    for db in both() {
        db.query("DELETE FROM products WHERE id = 47", &[]);
        let next =
            rows::one(db.query(sql::CREATE, &[Value::Text("x".into()), Value::Integer(0), Value::Null, Value::Null]))
                .unwrap();
        assert_eq!(next.id, 48);
    }
}

#[test]
fn the_list_neither_sorts_nor_counts_rows() {
    let [sqlite, postgres] = both();
    let plan = format!("EXPLAIN QUERY PLAN {}", sql::LIST.text(Dialect::Sqlite));
    let step = |mut row: Row| (row.integer::<i64>(), row.integer::<i64>(), row.integer::<i64>(), row.text()).3.unwrap();
    let steps: Vec<String> = sqlite.query(&*plan, &[10, 0, 0].map(Value::Integer)).map(step).collect();
    assert!(steps.iter().all(|step| !step.contains("TEMP B-TREE")), "{steps:?}");
    assert!(steps.iter().any(|step| step.contains("INDEX products_available")), "{steps:?}");
    // Enough products for PostgreSQL to use the index; most of them are deleted.
    postgres.query("INSERT INTO products (name, price_cents, available) SELECT 'x', 1, n % 50 = 0 FROM generate_series(1, 20000) n", &[]);
    postgres.query("VACUUM ANALYZE products", &[]);
    let plan = format!("EXPLAIN {}", sql::LIST.text(Dialect::Postgres));
    let steps: Vec<String> =
        postgres.query(&*plan, &[10, 0, 0].map(Value::Integer)).map(|mut row| row.text().unwrap()).collect();
    assert!(steps.iter().all(|step| !step.contains("Sort")), "{steps:?}");
    assert!(steps.iter().any(|step| step.contains("products_available")), "{steps:?}");
    assert!(steps.iter().all(|step| !step.contains("Seq Scan on products")), "{steps:?}");
}

#[test]
fn the_counts_follow_every_change_of_the_rows() {
    for db in both() {
        let sqlite = db.0.dialect() == Dialect::Sqlite;
        let [no, yes] = if sqlite { ["0", "1"] } else { ["false", "true"] };
        let numbers = if sqlite {
            "WITH RECURSIVE numbers (n) AS (SELECT 48 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5000) \
             INSERT INTO products (id, name, price_cents, available) SELECT n, 'x', 1, n % 3 <> 0 FROM numbers"
        } else {
            "INSERT INTO products (id, name, price_cents, available) \
             SELECT n, 'x', 1, n % 3 <> 0 FROM generate_series(48, 5000) AS numbers (n)"
        };
        let changes = [
            numbers.to_owned(),
            format!("UPDATE products SET available = {no} WHERE id % 7 = 0"),
            format!("UPDATE products SET available = {yes} WHERE id BETWEEN 1000 AND 3000"),
            "UPDATE products SET name = 'y', price_cents = 2 WHERE id % 2 = 0".to_owned(),
            "DELETE FROM products WHERE id % 11 = 0".to_owned(),
            "DELETE FROM products WHERE id BETWEEN 1024 AND 2047".to_owned(),
        ];
        for change in &changes {
            db.query(&**change, &[]);
            let counted = rows::count(db.query("SELECT count(*) FROM products WHERE available = true", &[])).unwrap();
            assert_eq!(rows::count(db.query(sql::COUNT, &[])).unwrap(), counted, "{change}");
            let blocks = "SELECT count(*) FROM (SELECT shift, block, sum(available) AS available FROM product_blocks \
                 GROUP BY shift, block) AS blocks WHERE available <> \
                 (SELECT count(*) FROM products WHERE id >> shift = block AND products.available = true)";
            assert_eq!(rows::count(db.query(blocks, &[])).unwrap(), 0, "{change}");
            let blocks = "SELECT count(*) FROM (SELECT sum(available) AS available FROM product_blocks GROUP BY shift) AS levels \
                 WHERE available <> (SELECT sum(available) FROM product_total)";
            assert_eq!(rows::count(db.query(blocks, &[])).unwrap(), 0, "{change}");
        }
    }
}

#[test]
fn a_page_far_down_is_the_same_by_page_number_and_by_the_product_before_it() {
    for db in both() {
        let numbers = if db.0.dialect() == Dialect::Sqlite {
            "WITH RECURSIVE numbers (n) AS (SELECT 48 UNION ALL SELECT n + 1 FROM numbers WHERE n < 6000) \
             INSERT INTO products (id, name, price_cents, available) SELECT n * 2, 'x', 1, n % 5 <> 0 FROM numbers"
        } else {
            "INSERT INTO products (id, name, price_cents, available) \
             SELECT n * 2, 'x', 1, n % 5 <> 0 FROM generate_series(48, 6000) AS numbers (n)"
        };
        db.query(numbers, &[]);
        let (mut after, mut offset) = (0, 0);
        loop {
            let by_product = next_page(&db.0, after, 300).unwrap();
            let by_number = db.page(300, offset);
            assert_eq!(ids(&by_product.products), ids(&by_number.products), "from {offset} on");
            offset += 300;
            match by_product.next {
                Some(next) => after = next as i64,
                None => break,
            }
        }
        let total = db.page(1, 0).total;
        assert!(offset as u64 >= total && (offset as u64) < total + 300);
        // Past the end, and far past it.
        for past in [offset, 1_000_000, i64::MAX / 2] {
            let page = db.page(10, past);
            assert_eq!((page.products.len(), page.total), (0, total));
        }
        assert_eq!(next_page(&db.0, i64::MAX, 1).unwrap().products.len(), 0);
    }
}

#[test]
fn a_page_far_down_is_found_whatever_the_distances_between_the_ids() {
    for db in both() {
        let numbers = match db.0.dialect() {
            Dialect::Sqlite => {
                "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 40) \
                 INSERT INTO products (id, name, price_cents) SELECT (1 << n) + n * 1000, 'x', 1 FROM numbers"
            }
            Dialect::Postgres => {
                "INSERT INTO products (id, name, price_cents) SELECT (1::bigint << n) + n * 1000, 'x', 1 \
                 FROM generate_series(1, 40) AS numbers (n)"
            }
        };
        db.query(numbers, &[]);
        let all = ids(&db.page(1000, 0).products);
        assert_eq!(all.len(), 87);
        for (offset, id) in all.iter().enumerate() {
            let place = rows::place(db.query(sql::SEEK, &[Value::Integer(offset as i64)])).unwrap();
            let (start, before) = place.unwrap();
            assert!(
                start <= *id as i64 && before <= offset as i64 && offset as i64 - before < 64,
                "{offset}: {place:?}"
            );
            assert_eq!(all.iter().position(|id| *id as i64 >= start), Some(before as usize), "{offset}");
        }
        assert_eq!(rows::place(db.query(sql::SEEK, &[Value::Integer(87)])).unwrap(), None);
    }
}

#[test]
fn the_schema_refuses_what_the_contract_rules_out() {
    for db in both() {
        let mut rows = vec!["('', 1)", "('a', -1)", "('a', 1000000000001)", "('a', '1,5')", "(NULL, 1)"];
        if db.0.dialect() == Dialect::Sqlite {
            // PostgreSQL rounds a constant in a statement; parameters are integers.
            rows.push("('a', 1.5)");
        }
        for row in rows {
            let insert = format!("INSERT INTO products (name, price_cents) VALUES {row}");
            assert!(db.0.query(&*insert, &[]).is_err(), "{row} was stored");
        }
    }
}

#[test]
fn arguments_outside_the_contract_are_refused() {
    assert!(matches!(name("a\0b".into()), Err(Error::Invalid(_))));
    assert!(matches!(name(String::new()), Err(Error::Invalid(text)) if text == "name should not be empty"));
    for taken in [" ", &"a".repeat(100_000)] {
        assert_eq!(name(taken.into()).unwrap(), taken);
    }
    assert!(matches!(cents(Money { cents: 1_000_000_000_000 }), Ok(Value::Integer(1_000_000_000_000))));
    assert!(matches!(cents(Money { cents: 1_000_000_000_001 }), Err(Error::Invalid(_))));
    assert!(matches!(cents(Money { cents: u64::MAX }), Err(Error::Invalid(_))));
    assert!(matches!(key(u64::MAX), Err(Error::NotFound)));
}

#[test]
fn a_row_of_another_shape_is_an_internal_error_and_not_a_panic() {
    let short = rows::product(&mut Row::new(vec![Value::Integer(1)]));
    assert!(matches!(short.map_err(Error::from), Err(Error::Internal(_))));
    let negative = vec![
        Value::Integer(-1),
        Value::Text("a".into()),
        Value::Integer(1),
        Value::Integer(1),
        Value::Text("t".into()),
        Value::Text("t".into()),
    ];
    assert_eq!(rows::product(&mut Row::new(negative)).map(|p| p.id), Err(souk_database::Error::Internal));
}

mod import;

#[test]
fn names_are_not_looked_up_in_a_catalogue_that_has_only_the_examples() {
    for db in both() {
        for ids in [vec![1], Vec::new()] {
            let refused = names::look_up(&db.0, ids);
            assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains("souk seed --remove")), "{refused:?}");
        }
        db.query("INSERT INTO products (name, price_cents) VALUES ('Lamp', 1)", &[]);
        assert_eq!(names::look_up(&db.0, vec![1]).unwrap().len(), 1);
    }
}

#[test]
fn names_are_those_of_deleted_products_too() {
    for db in both() {
        db.query(sql::DELETE, &[Value::Integer(2), Value::Null, Value::Null]);
        let found = names::look_up(&db.0, vec![u64::MAX, 2, 1, 999_999, 2]).unwrap();
        let found: Vec<_> = found.iter().map(|named| (named.id, named.name.as_str())).collect();
        assert_eq!(found, [(1, "Teclado"), (2, "Mouse")]);
        assert!(names::look_up(&db.0, Vec::new()).unwrap().is_empty());
        assert!(names::look_up(&db.0, (0..1000).collect()).is_ok());
        assert!(matches!(names::look_up(&db.0, (0..1001).collect()), Err(Error::Invalid(_))));
    }
}
