//! The binding on a real MariaDB, through the older interface, because a test can call its functions without a guest.

use super::spin_2::wit::HostConnection;
use crate::Ctx;
use crate::boundary::Boundaries;
use crate::outbound::Dialer;
use crate::outbound::tests::allow;
use crate::rdbms_2::types::{DbDataType, DbValue, Error, ParameterValue, RowSet};
use crate::tests::ctx;
use crate::trace::{Attribute, Filter, Tracer};
use souk_test::mariadb::{MariaDb, PASSWORD};
use wasmtime::component::Resource;

type Handle = Resource<super::host::Handle>;

/// An instance that may reach what `entries` allow.
fn reaching(entries: &[&str]) -> Ctx {
    ctx(|grants| grants.outbound = Dialer::default().grant(&allow(entries)))
}

const LOOPBACK: &[&str] = &["mysql://127.0.0.1:*"];

async fn open(ctx: &mut Ctx, url: &str) -> Handle {
    ctx.open(url.to_owned()).await.unwrap().unwrap()
}

async fn query(ctx: &mut Ctx, c: &Handle, sql: &str, params: Vec<ParameterValue>) -> Result<RowSet, Error> {
    ctx.query(Resource::new_borrow(c.rep()), sql.to_owned(), params).await.unwrap()
}

async fn run(ctx: &mut Ctx, c: &Handle, sql: &str) {
    ctx.execute(Resource::new_borrow(c.rep()), sql.to_owned(), vec![]).await.unwrap().unwrap();
}

#[tokio::test]
async fn every_type_goes_there_and_comes_back() {
    let mut ctx = reaching(LOOPBACK);
    let c = open(&mut ctx, &MariaDb::shared().database()).await;
    for (ty, value, expected, data_type) in [
        ("TINYINT(1)", ParameterValue::Boolean(true), DbValue::Int8(1), DbDataType::Int8),
        ("TINYINT", ParameterValue::Int8(-8), DbValue::Int8(-8), DbDataType::Int8),
        ("SMALLINT", ParameterValue::Int16(-16), DbValue::Int16(-16), DbDataType::Int16),
        ("MEDIUMINT", ParameterValue::Int32(-24), DbValue::Int32(-24), DbDataType::Int32),
        ("INT", ParameterValue::Int32(-32), DbValue::Int32(-32), DbDataType::Int32),
        ("BIGINT", ParameterValue::Int64(i64::MIN), DbValue::Int64(i64::MIN), DbDataType::Int64),
        ("TINYINT UNSIGNED", ParameterValue::Uint8(200), DbValue::Uint8(200), DbDataType::Uint8),
        ("SMALLINT UNSIGNED", ParameterValue::Uint16(60_000), DbValue::Uint16(60_000), DbDataType::Uint16),
        ("INT UNSIGNED", ParameterValue::Uint32(u32::MAX), DbValue::Uint32(u32::MAX), DbDataType::Uint32),
        ("BIGINT UNSIGNED", ParameterValue::Uint64(u64::MAX), DbValue::Uint64(u64::MAX), DbDataType::Uint64),
        ("FLOAT", ParameterValue::Floating32(0.5), DbValue::Floating32(0.5), DbDataType::Floating32),
        ("DOUBLE", ParameterValue::Floating64(0.1), DbValue::Floating64(0.1), DbDataType::Floating64),
        ("VARCHAR(9)", ParameterValue::Str("häß".into()), DbValue::Str("häß".into()), DbDataType::Str),
        ("LONGTEXT", ParameterValue::Str("x".into()), DbValue::Str("x".into()), DbDataType::Str),
        ("TEXT COLLATE utf8mb4_bin", ParameterValue::Str("x".into()), DbValue::Str("x".into()), DbDataType::Str),
        ("BLOB", ParameterValue::Binary(vec![0, 255]), DbValue::Binary(vec![0, 255]), DbDataType::Binary),
        ("DECIMAL(9,2)", ParameterValue::Str("1.20".into()), DbValue::Str("1.20".into()), DbDataType::Str),
        ("DATE", ParameterValue::Str("2026-01-02".into()), DbValue::Unsupported, DbDataType::Other),
        ("INT", ParameterValue::DbNull, DbValue::DbNull, DbDataType::Int32),
    ] {
        run(&mut ctx, &c, &format!("CREATE OR REPLACE TABLE t (v {ty})")).await;
        query(&mut ctx, &c, "INSERT INTO t VALUES (?)", vec![value]).await.unwrap();
        let result = query(&mut ctx, &c, "SELECT v FROM t", vec![]).await.unwrap();
        assert_eq!((&result.rows[0][0], result.columns[0].data_type), (&expected, data_type), "{ty}");
    }
    run(&mut ctx, &c, "DELETE FROM t").await;
    let none = query(&mut ctx, &c, "SELECT v AS name FROM t", vec![]).await.unwrap();
    assert!(none.rows.is_empty() && none.columns[0].name == "name", "{none:?}");
}

#[tokio::test]
async fn each_mistake_has_its_own_error_and_the_connection_stays_usable() {
    let mut ctx = reaching(LOOPBACK);
    let c = open(&mut ctx, &MariaDb::shared().database()).await;
    let syntax = query(&mut ctx, &c, "SELEC 1", vec![]).await.unwrap_err();
    assert!(matches!(&syntax, Error::QueryFailed(text) if text.contains("SQL syntax")), "{syntax:?}");
    let count = query(&mut ctx, &c, "SELECT ?", vec![]).await.unwrap_err();
    assert!(matches!(&count, Error::BadParameter(text) if text.contains("has 1 parameters")), "{count:?}");
    let long = query(&mut ctx, &c, &format!("SELECT '{}'", "x".repeat(1 << 20)), vec![]).await.unwrap_err();
    assert!(matches!(&long, Error::QueryFailed(text) if text.contains("longer")), "{long:?}");
    // `||` is OR, as usual in MySQL: the host sets no SQL mode.
    let or = query(&mut ctx, &c, "SELECT 0 || 1", vec![]).await.unwrap();
    assert_eq!(format!("{:?}", or.rows[0][0]), "DbValue::Int32(1)");
    let large = "SELECT REPEAT('x', 1000000) FROM seq_1_to_20";
    let large = query(&mut ctx, &c, large, vec![]).await.unwrap_err();
    assert!(matches!(&large, Error::ValueConversionFailed(text) if text.contains("16 MiB")), "{large:?}");
    assert_eq!(query(&mut ctx, &c, "SELECT REPEAT('x', 8000000)", vec![]).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn a_row_that_the_driver_would_hold_without_a_bound_ends_its_connection_alone() {
    let mut ctx = reaching(LOOPBACK);
    let url = MariaDb::shared().database();
    let (c, other) = (open(&mut ctx, &url).await, open(&mut ctx, &url).await);
    // Four columns, because the server bounds each value.
    let sql = "SELECT REPEAT('x', 8000000), REPEAT('x', 8000000), REPEAT('x', 8000000), REPEAT('x', 8000000)";
    let large = query(&mut ctx, &c, sql, vec![]).await.unwrap_err();
    assert!(matches!(&large, Error::QueryFailed(text) if text.contains("a row has more than 20 MiB")), "{large:?}");
    let lost = query(&mut ctx, &c, "SELECT 1", vec![]).await.unwrap_err();
    assert!(matches!(&lost, Error::ConnectionFailed(why) if why.contains("open another")), "{lost:?}");
    assert_eq!(query(&mut ctx, &other, "SELECT 1", vec![]).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn a_statement_is_measured_and_is_a_span_without_its_values() {
    let tracer = Tracer::sampled(1.0, true);
    let boundaries = Boundaries::measured().unwrap().traced(tracer.clone());
    let mut ctx = ctx(|grants| {
        grants.outbound = Dialer::default().grant(&allow(LOOPBACK));
        grants.boundaries = boundaries.of_component("shop");
    });
    ctx.call.span = tracer.root(None);
    let c = open(&mut ctx, &MariaDb::shared().database()).await;
    query(&mut ctx, &c, r#"SELECT "secret" FROM seq_1_to_2"#, vec![]).await.unwrap();
    ctx.execute(Resource::new_borrow(c.rep()), "DELETE FROM missing".to_owned(), vec![]).await.unwrap().unwrap_err();
    let trace = tracer.list(&Filter::default(), 1).remove(0).trace.to_string();
    let spans = tracer.find(&trace).unwrap().spans;
    let [good, bad] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&*good.name, good.text("db.query.text")), ("SELECT", Some("SELECT ? FROM seq_1_to_2")));
    assert!(good.attributes.contains(&("db.response.returned_rows", Attribute::Number(2))), "{good:?}");
    assert_eq!((&*bad.name, bad.error.as_deref()), ("DELETE", Some("query-failed")));
    let measured = prometheus::TextEncoder::new().encode_to_string(&boundaries.registry().unwrap().gather()).unwrap();
    assert!(measured.contains(r#"db_system_name="mysql",error_type="query-failed""#), "{measured}");
}

#[tokio::test]
async fn a_dropped_connection_rolls_back_and_an_instance_that_holds_one_serves_no_other_call() {
    let url = MariaDb::shared().database();
    let mut ctx = reaching(LOOPBACK);
    assert!(ctx.end());
    let c = open(&mut ctx, &url).await;
    run(&mut ctx, &c, "CREATE TABLE t (n INT)").await;
    run(&mut ctx, &c, "START TRANSACTION").await;
    run(&mut ctx, &c, "INSERT INTO t VALUES (1)").await;
    assert!(!ctx.end(), "its transaction would become another call's");
    HostConnection::drop(&mut ctx, c).await.unwrap();
    assert!(ctx.end());
    let other = open(&mut ctx, &url).await;
    // The query waits for the row's lock, which the server releases when it rolls back.
    let count = query(&mut ctx, &other, "SELECT COUNT(*) FROM t FOR UPDATE", vec![]).await.unwrap();
    assert_eq!(count.rows[0][0], DbValue::Int64(0));
}

#[tokio::test]
async fn a_server_that_was_not_granted_or_is_away_is_reported_without_a_password() {
    let url = MariaDb::shared().database();
    let port = MariaDb::shared().port();
    for (entries, address) in [
        (&["mysql://127.0.0.1:1"][..], url.clone()),
        (&["redis://127.0.0.1:*"], url.clone()),
        (&[], url.clone()),
        (LOOPBACK, "mysql://u:geheim@127.0.0.1:1/x".to_owned()),
        (LOOPBACK, format!("mysql://u:geheim@127.0.0.1:{port}/x")),
        (LOOPBACK, url.replace("127.0.0.1", "localhost")),
    ] {
        let error = reaching(entries).open(address.clone()).await.unwrap().unwrap_err();
        let Error::ConnectionFailed(why) = &error else { panic!("{address}: {error:?}") };
        assert!(why.contains("mysql://") && !why.contains("geheim") && !why.contains(PASSWORD), "{why}");
    }
    let parameter = reaching(LOOPBACK).open(format!("{url}?ssl-ca=/etc/passwd")).await.unwrap().unwrap_err();
    assert!(matches!(parameter, Error::BadParameter(_)), "{parameter:?}");
}

#[tokio::test]
async fn a_server_that_was_killed_costs_its_connections_and_new_ones_find_it_again() {
    let (mut server, url) = tokio::task::spawn_blocking(|| {
        let server = MariaDb::start();
        let url = server.database();
        (server, url)
    })
    .await
    .unwrap();
    let mut ctx = reaching(LOOPBACK);
    let c = open(&mut ctx, &url).await;
    run(&mut ctx, &c, "CREATE TABLE t (n INT)").await;
    let mut server = tokio::task::spawn_blocking(move || {
        server.kill();
        server
    })
    .await
    .unwrap();
    let gone = query(&mut ctx, &c, "SELECT 1", vec![]).await.unwrap_err();
    assert!(matches!(gone, Error::ConnectionFailed(_)), "{gone:?}");
    let refused = ctx.open(url.clone()).await.unwrap().unwrap_err();
    assert!(matches!(&refused, Error::ConnectionFailed(why) if why.contains("refused")), "{refused:?}");
    tokio::task::spawn_blocking(move || {
        server.resume();
        server
    })
    .await
    .unwrap();
    let lost = query(&mut ctx, &c, "SELECT 1", vec![]).await.unwrap_err();
    assert!(matches!(&lost, Error::ConnectionFailed(why) if why.contains("open another")), "{lost:?}");
}
