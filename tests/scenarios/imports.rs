//! Import of the data of the NestJS system that the store replaces: one command for each kind of data, while the store
//! runs.

use crate::harness::App;
use crate::harness::app::texts;
use crate::harness::database::Database;
use crate::harness::mongodb::MongoDb;
use crate::harness::nats::Nats;
use crate::harness::postgres::{self, Postgres};
use crate::harness::store::{PASSWORD, Shop, token};
use crate::scenarios::nest::{Node, cmd};
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;

/// The tables of Prisma's migrations.
const ORDERS: &str = r#"
CREATE TYPE "OrderStatus" AS ENUM ('PENDING', 'PAID', 'DELIVERED', 'CANCELLED');
CREATE TABLE "Order" (id TEXT PRIMARY KEY, "totalAmount" DOUBLE PRECISION NOT NULL, "totalItems" INTEGER NOT NULL,
    status "OrderStatus" NOT NULL DEFAULT 'PENDING', paid BOOLEAN NOT NULL DEFAULT false, "paidAt" TIMESTAMP(3),
    "stripeChargeId" TEXT, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMP(3) NOT NULL);
CREATE TABLE "OrderItem" (id TEXT PRIMARY KEY, "productId" INTEGER NOT NULL, quantity INTEGER NOT NULL,
    price DOUBLE PRECISION NOT NULL, "orderId" TEXT REFERENCES "Order" (id));
CREATE TABLE "OrderReceipt" (id TEXT PRIMARY KEY, "receiptUrl" TEXT NOT NULL, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT now(),
    "updatedAt" TIMESTAMP(3) NOT NULL DEFAULT now(), "orderId" TEXT UNIQUE NOT NULL REFERENCES "Order" (id));"#;

const PRODUCTS: &str = r#"
CREATE TABLE "Product" (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, price REAL NOT NULL,
    available BOOLEAN NOT NULL DEFAULT true, "createdAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" DATETIME NOT NULL);"#;

/// The hash of [`PASSWORD`] in the NestJS system: bcrypt, cost 10.
const HASH: &str = "$2b$10$abcdefghijklmnopqrstuuYANcCJwYc6GF9It1Cx3Pg8BsGWUFAVS";

/// The store without example data, as for an import, on this kind of database.
async fn empty(database: Database) -> Shop {
    Shop::of(database.configure(App::store_alone().variable("seed", "false"))).await
}

/// Runs `souk import`; returns its output, and whether it refused no row.
async fn import(shop: &Shop, arguments: &[&str]) -> (String, bool) {
    let refusals = shop.app.path("refused.jsonl").display().to_string();
    let output = shop.app.souk("import", &[arguments, &["--refusals", &refusals]].concat()).await;
    let (said, err) = texts(&output);
    assert!(!said.is_empty(), "{arguments:?}: {err}");
    (said, output.status.success())
}

/// The lines about rows that were refused or changed.
fn refusals(shop: &Shop) -> String {
    std::fs::read_to_string(shop.app.path("refused.jsonl")).unwrap()
}

fn sqlite(path: &Path, rows: &str) -> String {
    rusqlite::Connection::open(path).unwrap().execute_batch(&format!("{PRODUCTS}{rows}")).unwrap();
    path.display().to_string()
}

async fn users(server: &MongoDb, users: &[(&str, &str)]) -> String {
    use mongodb::bson::{Document, doc, oid::ObjectId};
    let url = server.database();
    let database = mongodb::Client::with_uri_str(&url).await.unwrap().default_database().unwrap();
    let documents = users.iter().map(|(email, name)| {
        doc! { "_id": ObjectId::new(), "email": *email, "name": *name, "password": HASH }
    });
    database.collection::<Document>("User").insert_many(documents).await.unwrap();
    url
}

#[tokio::test]
async fn a_whole_shop_moves_in_with_its_users_products_and_orders() {
    for database in [Database::Sqlite, Database::Postgres] {
        let shop = empty(database).await;
        let listed = texts(&shop.app.souk("import", &[]).await).0;
        for kind in ["users (auth)", "products (products)", "orders (orders)"] {
            assert!(listed.contains(kind), "{listed}");
        }

        let server = MongoDb::start();
        // Another database of the server, for which MongoDB reports no error.
        let nothing = shop.app.souk_with_input(&server.database(), "import", &["users", "@-"]).await;
        assert!(!nothing.status.success(), "{nothing:?}");
        let nothing = texts(&nothing);
        assert!(nothing.0.contains(": 0 rows in ") && nothing.1.contains("has no users"), "{nothing:?}");
        let from =
            users(&server, &[("Ann@example.com", "Ann"), ("bob@example.com", "Bob"), ("BOB@example.com", "x")]).await;
        let (said, clean) = import(&shop, &["users", &from, "--dry-run"]).await;
        assert!(said.contains("1 imported, 0 imported with changes, 0 existed already, 2 refused") && !clean, "{said}");
        assert_eq!(shop.accounts().await.len(), 0);
        for expected in [
            "1 imported, 0 imported with changes, 0 existed already, 2 refused",
            "0 imported, 0 imported with changes, 1 existed already, 2 refused",
        ] {
            let (said, _) = import(&shop, &["users", &from]).await;
            assert!(said.contains(expected), "{said}");
        }
        // If two accounts have the same e-mail in different case, only the operator knows whose it is.
        let refused = refusals(&shop);
        for (row, other) in [(2, 3), (3, 2)] {
            let line = refused.lines().find(|line| line.contains(&format!("\"row\":{row}"))).unwrap_or(&refused);
            let why = format!("row {other} has the same `email`, without regard to letter case");
            assert!(line.contains(&why), "{refused}");
        }
        let decided = shop.app.path("decided.jsonl");
        let bob = format!(
            r#"{{"_id":{{"$oid":"6b039ba0047006a81039975f"}},"email":"bob@example.com","name":"Bob","password":"{HASH}"}}"#
        );
        std::fs::write(&decided, bob).unwrap();
        let (said, clean) = import(&shop, &["users", decided.to_str().unwrap()]).await;
        assert!(said.contains("1 imported, 0 imported with changes, 0 existed already, 0 refused") && clean, "{said}");
        shop.login("ann@example.com", PASSWORD).await.expect(201);

        let file = sqlite(
            &shop.app.path("dev.db"),
            "INSERT INTO Product VALUES (5, 'Mug', 1.5, 1, 1709049027545, 1709049027545), \
             (8, 'Gone', 7, 0, '2024-02-27 15:50:27', '2024-02-27 15:50:27');",
        );
        let (said, clean) = import(&shop, &["products", &file]).await;
        assert!(said.contains("2 imported, 0 imported with changes, 0 existed already, 0 refused") && clean, "{said}");
        // As into a container, which has no such file.
        let input = std::fs::File::open(&file).unwrap();
        let again = texts(&shop.app.souk_with_file(input, "import", &["products", "-"]).await).0;
        assert!(again.contains("from the standard input: 2 rows") && again.contains("2 existed already"), "{again}");
        assert_eq!(shop.get("/api/products/5", "").await.expect(200)["name"], "Mug");
        shop.get("/api/products/8", "").await.expect(404);

        let orders = Postgres::shared().database();
        let rows = r#"
            INSERT INTO "Order" VALUES
                ('6f0c1c5e-8f0a-4d1e-9d8e-000000000001', 3, 2, 'PAID', true, '2024-03-01 10:00:00', 'ch_old', '2024-03-01 09:00:00.5', '2024-03-01 10:00:00'),
                ('6f0c1c5e-8f0a-4d1e-9d8e-000000000002', 7, 3, 'DELIVERED', false, NULL, NULL, '2024-03-02', '2024-03-02'),
                ('6f0c1c5e-8f0a-4d1e-9d8e-000000000003', 0, 1, 'PENDING', false, NULL, NULL, '2024-03-03', '2024-03-03');
            INSERT INTO "OrderItem" VALUES
                ('a', 5, 2, 1.5, '6f0c1c5e-8f0a-4d1e-9d8e-000000000001'),
                ('b', 5, 2, 1.5, '6f0c1c5e-8f0a-4d1e-9d8e-000000000002'),
                ('c', 8, 1, 7, '6f0c1c5e-8f0a-4d1e-9d8e-000000000002');
            INSERT INTO "OrderReceipt" (id, "receiptUrl", "orderId") VALUES ('r', 'https://pay.example/r', '6f0c1c5e-8f0a-4d1e-9d8e-000000000001');"#;
        Postgres::shared().psql(postgres::name_of(&orders), &format!("{ORDERS}{rows}"));
        let (said, clean) = import(&shop, &["orders", &format!("{orders}?schema=public")]).await;
        assert!(said.contains("1 imported, 2 imported with changes, 0 existed already, 0 refused") && clean, "{said}");
        assert!(!said.contains(&orders), "{said}");
        assert!(
            refusals(&shop).contains("its total was 7") && refusals(&shop).contains("imported_orders"),
            "{}",
            refusals(&shop)
        );
        let (said, _) = import(&shop, &["orders", &orders]).await;
        assert!(said.contains("0 imported, 0 imported with changes, 3 existed already"), "{said}");
        // Until the switch the other system goes on selling.
        let delivered = r#"UPDATE "Order" SET status = 'DELIVERED', "updatedAt" = now() WHERE status = 'PAID'"#;
        Postgres::shared().psql(postgres::name_of(&orders), delivered);
        let (said, clean) = import(&shop, &["orders", &orders]).await;
        assert!(said.contains("0 imported, 1 imported with changes, 2 existed already, 0 refused") && clean, "{said}");
        assert!(refusals(&shop).contains("it was PAID when it was imported before, and is DELIVERED now"));
        let admin = shop.admin().await;
        let order = shop.order_by_id(&admin, "6f0c1c5e-8f0a-4d1e-9d8e-000000000001").await;
        assert_eq!((&order["status"], &order["totalAmount"]), (&"DELIVERED".into(), &3.into()), "{order}");
        // A product that is not sold any more keeps its name.
        let order = shop.order_by_id(&admin, "6f0c1c5e-8f0a-4d1e-9d8e-000000000002").await;
        let names: Vec<_> = order["OrderItem"].as_array().unwrap().iter().map(|line| &line["name"]).collect();
        assert_eq!(names, ["Mug", "Gone"], "{order}");
        assert_eq!(shop.get("/api/orders", &admin).await.expect(200)["pagination"]["totalRecords"], 2);
        // The store continues after the imported ids.
        let customer = token(&shop.login("bob@example.com", PASSWORD).await);
        shop.order(&customer, &[(5, 1)]).await;
        let lamp = serde_json::json!({ "name": "Lamp", "price": 3 });
        assert_eq!(shop.post("/api/products", &admin, lamp).await.expect(201)["id"], 9);
    }
}

#[tokio::test]
async fn example_products_block_imports_of_products_and_orders_and_the_error_names_them() {
    let shop = Shop::of(App::store_alone()).await;
    let file = sqlite(&shop.app.path("dev.db"), "INSERT INTO Product VALUES (5, 'Mug', 1.5, 1, 0, 0);");
    // Its line would get the name of an example, and then the example could not be removed.
    let order = json!({
        "id": "6f0c1c5e-8f0a-4d1e-9d8e-000000000001", "totalAmount": 3, "totalItems": 2, "status": "PENDING",
        "paid": false, "createdAt": "2024-03-01T09:00:00", "updatedAt": "2024-03-01T10:00:00",
        "items": [{ "productId": 5, "quantity": 2, "price": 1.5 }],
    });
    let orders = shop.app.path("orders.jsonl");
    std::fs::write(&orders, order.to_string()).unwrap();
    for arguments in [["products", &file], ["orders", orders.to_str().unwrap()]] {
        let output = shop.app.souk("import", &arguments).await;
        let (_, err) = texts(&output);
        assert!(!output.status.success() && err.contains("souk seed --remove"), "{err}");
    }
    let other = Postgres::shared().database();
    for (arguments, expected) in [
        (["nothing", &file], "no component imports `nothing`"),
        (["nothing", "/nowhere"], "no component imports `nothing`"),
        (["orders", &other], "\n  fix: name the database of that system"),
        (["orders", &file], "orders cannot be read from there"),
        (
            ["users", "mongodb+srv://ann:s3cret@store.invalid/AuthDB"],
            "mongodb+srv://store.invalid/AuthDB: DNS has no servers",
        ),
        (["users", "mongodb+srv://ann:s3cret@a.example:1/AuthDB"], "takes one name"),
        (["users", "/nowhere"], "cannot be read"),
    ] {
        let (_, err) = texts(&shop.app.souk("import", &arguments).await);
        assert!(err.contains(expected) && err.contains("fix: ") && !err.contains("s3cret"), "{err}");
    }
    // No order was stored, so the fix works, and the line gets the name of the shop's own product.
    let Shop { app, host, .. } = shop;
    host.stop().await;
    let removed = app.souk("seed", &["--remove"]).await;
    assert!(removed.status.success(), "{removed:?}");
    let shop = Shop::of(app.variable("seed", "false")).await;
    import(&shop, &["products", &file]).await;
    import(&shop, &["orders", orders.to_str().unwrap()]).await;
    let order = shop.order_by_id(&shop.admin().await, "6f0c1c5e-8f0a-4d1e-9d8e-000000000001").await;
    assert_eq!(order["OrderItem"][0]["name"], "Mug", "{order}");
    // There are no examples any more, so there is nothing that orders could need.
    let Shop { app, host, .. } = shop;
    host.stop().await;
    let removed = app.souk("seed", &["--remove"]).await;
    assert!(removed.status.success(), "{removed:?}");
    let mug = Shop::of(app).await.get("/api/products/5", "").await.expect(200);
    assert_eq!(mug["name"], "Mug");
}

#[tokio::test]
async fn a_password_that_the_other_system_changes_comes_again_until_the_user_logs_in_here() {
    let shop = empty(Database::Sqlite).await;
    let file = shop.app.path("users.jsonl");
    let other = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    let write = |hash: &str| {
        let id = "6b039ba0047006a81039975f";
        let row = json!({ "_id": id, "email": "ann@example.com", "name": "Ann", "password": hash });
        std::fs::write(&file, row.to_string()).unwrap();
    };
    for (hash, dry_run, expected) in [
        (other, false, "1 imported, 0 imported with changes, 0 existed already, 0 refused"),
        (other, false, "0 imported, 0 imported with changes, 1 existed already, 0 refused"),
        (HASH, true, "0 imported, 1 imported with changes, 0 existed already, 0 refused"),
        (HASH, false, "0 imported, 1 imported with changes, 0 existed already, 0 refused"),
        (HASH, false, "0 imported, 0 imported with changes, 1 existed already, 0 refused"),
    ] {
        write(hash);
        let arguments = ["users", file.to_str().unwrap(), "--dry-run"];
        let (said, clean) = import(&shop, &arguments[..if dry_run { 3 } else { 2 }]).await;
        assert!(said.contains(expected) && clean, "{said}");
    }
    shop.login("ann@example.com", PASSWORD).await.expect(201);
    // The hash here is a stronger one of the same password now.
    write(other);
    let (said, _) = import(&shop, &["users", file.to_str().unwrap()]).await;
    assert!(said.contains("1 existed already"), "{said}");
    shop.login("ann@example.com", PASSWORD).await.expect(201);
}

#[tokio::test]
async fn the_file_of_refused_rows_does_not_replace_the_rows() {
    let shop = empty(Database::Sqlite).await;
    let (file, link) = (shop.app.path("users-refused.jsonl"), shop.app.path("link.jsonl"));
    let row = "{\"row\":1,\"refused\":\"why\",\"value\":{}}\n";
    std::fs::write(&file, row).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let file = file.display().to_string();
    let output = shop.app.souk("import", &["users", &file, "--refusals", link.to_str().unwrap()]).await;
    let (_, err) = texts(&output);
    assert!(!output.status.success() && err.contains("link.jsonl has the rows") && err.contains("fix: "), "{err}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), row);
}

#[tokio::test]
async fn thousands_of_users_of_an_export_come_in_while_customers_log_in() {
    const USERS: usize = 3000;
    let shop = empty(Database::Sqlite).await;
    let mut lines = String::new();
    for n in 0..USERS {
        let _ = writeln!(
            lines,
            r#"{{"_id":{{"$oid":"{n:024x}"}},"email":"user{n}@example.com","name":"User {n}","password":"{HASH}","__v":0}}"#
        );
    }
    let file = shop.app.path("users.jsonl");
    std::fs::write(&file, lines).unwrap();
    shop.register("before@example.com").await.expect(201);
    let logins = async {
        for _ in 0..5 {
            shop.login("before@example.com", PASSWORD).await.expect(201);
        }
    };
    let from = file.display().to_string();
    let arguments = ["users", &from];
    let ((said, clean), ()) = futures::future::join(import(&shop, &arguments), logins).await;
    assert!(
        clean && said.contains(&format!("{USERS} imported, 0 imported with changes, 0 existed already, 0 refused")),
        "{said}"
    );
    assert_eq!(shop.accounts().await.len(), USERS + 1);
    shop.login("user2999@example.com", PASSWORD).await.expect(201);
    // The same file as an array, which `mongoexport --jsonArray` writes in one line.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("[{}]\n", text.trim_end().replace('\n', ","))).unwrap();
    let (said, _) = import(&shop, &arguments).await;
    assert!(said.contains(&format!("{USERS} existed already")), "{said}");
}

// As docs/replace-a-nestjs-service.md replaces the first service.
#[tokio::test]
async fn the_products_of_a_replaced_nest_service_are_imported_into_the_host_in_its_place() {
    let nats = Nats::start();
    let app = App::nest("products").variable("seed", "false").argument("--nats").argument(nats.url());
    let _host = app.start().await;
    let rows = "INSERT INTO Product VALUES (1, 'Mug', 1.5, 1, 1709049027545, 1709049027545);";
    let file = sqlite(&app.path("dev.db"), rows);
    let refusals = app.path("refused.jsonl").display().to_string();
    let output = app.souk("import", &["products", &file, "--refusals", &refusals]).await;
    let (said, err) = texts(&output);
    assert!(output.status.success() && said.contains("1 imported"), "{said}{err}");
    let mut client = Node::client(&nats, cmd("find_one_product")).await;
    let mug = client.send(cmd("find_one_product"), json!({ "id": "1" })).await.unwrap();
    assert_eq!((&mug["name"], &mug["price"]), (&json!("Mug"), &json!(1.5)));
}
