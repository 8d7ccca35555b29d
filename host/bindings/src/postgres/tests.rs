//! The binding on a real PostgreSQL.

use super::*;
use crate::tests::{ctx, store};
use proptest::prelude::*;
use std::time::Instant;
use tokio::runtime::Runtime;

use souk_test::postgres::{PASSWORD, Postgres, USER, name_of};

/// A component that may reach any port of 127.0.0.1.
pub(super) fn granted() -> Granted {
    let entry = AllowedHost::parse("postgres://127.0.0.1:*", "").unwrap();
    Granted::new(vec![entry], Arc::default())
}

/// A database of its own, and a component that may reach it.
pub(super) struct Fixture {
    pub url: String,
    pub granted: Granted,
    pub transactions: Arc<AtomicUsize>,
}

impl Fixture {
    pub fn new() -> Self {
        Fixture { url: Postgres::shared().database(), granted: granted(), transactions: Arc::default() }
    }

    pub async fn with(sql: &str) -> Self {
        let fixture = Fixture::new();
        ok(&fixture.connect(), sql).await;
        fixture
    }

    pub fn connect(&self) -> Connection {
        connect(&self.granted, &self.url, &self.transactions)
    }

    /// What the server says, by a way of its own.
    fn psql(&self, sql: &str) -> String {
        Postgres::shared().psql(name_of(&self.url), sql)
    }

    /// The server's sessions of this database.
    fn sessions(&self) -> usize {
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.psql(sql).parse().unwrap()
    }
}

pub(super) fn connect(granted: &Granted, url: &str, transactions: &Arc<AtomicUsize>) -> Connection {
    granted.connection(&Address::parse(url).unwrap(), transactions.clone(), Arc::default()).unwrap()
}

/// Waits for what others do.
pub(super) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) async fn ok(connection: &Connection, sql: &str) -> RowSet {
    connection.query(sql.to_owned(), vec![]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"))
}

pub(super) async fn error(connection: &Connection, sql: &str) -> Error {
    connection.query(sql.to_owned(), vec![]).await.map(drop).expect_err(sql)
}

/// The SQLSTATE of an error that is PostgreSQL's.
pub(super) fn state(error: &Error) -> &str {
    match error {
        Error::QueryFailed(QueryError::DbError(e)) => &e.code,
        other => panic!("not PostgreSQL's: {other:?}"),
    }
}

fn failed_to_connect(error: &Error) -> bool {
    matches!(error, Error::ConnectionFailed(_))
}

/// The only value of a result.
fn only(rows: &RowSet) -> &DbValue {
    match rows.rows.as_slice() {
        [row] if row.len() == 1 => &row[0],
        _ => panic!("not one value: {rows:?}"),
    }
}

pub(super) async fn text(connection: &Connection, sql: &str) -> String {
    match only(&ok(connection, sql).await) {
        DbValue::Str(text) => text.clone(),
        other => panic!("{sql}: {other:?}"),
    }
}

pub(super) async fn number(connection: &Connection, sql: &str) -> i64 {
    match only(&ok(connection, sql).await) {
        DbValue::Int64(n) => *n,
        DbValue::Int32(n) => (*n).into(),
        other => panic!("{sql}: {other:?}"),
    }
}

const INCLUSIVE: RangeBoundKind = RangeBoundKind::Inclusive;
const EXCLUSIVE: RangeBoundKind = RangeBoundKind::Exclusive;

/// Sends a value as a parameter of type `ty` and gives what comes back, with PostgreSQL's own text of it.
async fn there_and_back(
    c: &Connection,
    ty: &str,
    value: ParameterValue,
) -> Result<(DbDataType, DbValue, String), Error> {
    let sql = format!("SELECT v, v::text FROM (SELECT $1::{ty} AS v) x");
    let rows = c.query(sql, vec![value]).await?;
    let data_type = rows.columns[0].data_type.clone();
    let text = match &rows.rows[0][1] {
        DbValue::Str(text) => text.clone(),
        other => format!("{other:?}"),
    };
    Ok((data_type, rows.rows[0][0].clone(), text))
}

#[tokio::test]
async fn every_type_of_the_interface_goes_there_and_comes_back() {
    use DbValue as D;
    use ParameterValue as P;
    let f = Fixture::new();
    let c = f.connect();
    let s = |text: &str| text.to_owned();
    let interval = Interval { micros: 3_600_000_001, days: 2, months: -14 };
    for (ty, sent, data_type, back, as_text) in [
        ("bool", P::Boolean(true), DbDataType::Boolean, D::Boolean(true), "true"),
        ("int2", P::Int16(-3), DbDataType::Int16, D::Int16(-3), "-3"),
        ("int4", P::Int32(i32::MIN), DbDataType::Int32, D::Int32(i32::MIN), "-2147483648"),
        ("int8", P::Int64(i64::MAX), DbDataType::Int64, D::Int64(i64::MAX), "9223372036854775807"),
        ("int8", P::Int32(7), DbDataType::Int64, D::Int64(7), "7"),
        ("int2", P::Int64(7), DbDataType::Int16, D::Int16(7), "7"),
        ("float4", P::Floating32(1.5), DbDataType::Floating32, D::Floating32(1.5), "1.5"),
        ("float8", P::Floating64(0.1), DbDataType::Floating64, D::Floating64(0.1), "0.1"),
        ("float8", P::Floating32(0.5), DbDataType::Floating64, D::Floating64(0.5), "0.5"),
        ("text", P::Str(s("grüße")), DbDataType::Str, D::Str(s("grüße")), "grüße"),
        ("varchar(9)", P::Str(s("a")), DbDataType::Str, D::Str(s("a")), "a"),
        ("char(3)", P::Str(s("a")), DbDataType::Str, D::Str(s("a  ")), "a"),
        ("bytea", P::Binary(vec![0, 255]), DbDataType::Binary, D::Binary(vec![0, 255]), "\\x00ff"),
        ("date", P::Date((2024, 2, 29)), DbDataType::Date, D::Date((2024, 2, 29)), "2024-02-29"),
        ("date", P::Date((-43, 3, 15)), DbDataType::Date, D::Date((-43, 3, 15)), "0044-03-15 BC"),
        (
            "time",
            P::Time((23, 59, 59, 999_999_000)),
            DbDataType::Time,
            D::Time((23, 59, 59, 999_999_000)),
            "23:59:59.999999",
        ),
        ("time", P::Time((24, 0, 0, 0)), DbDataType::Time, D::Time((24, 0, 0, 0)), "24:00:00"),
        (
            "timestamp",
            P::Datetime((1999, 12, 31, 23, 59, 59, 1_000)),
            DbDataType::Datetime,
            D::Datetime((1999, 12, 31, 23, 59, 59, 1_000)),
            "1999-12-31 23:59:59.000001",
        ),
        (
            "timestamptz",
            P::Datetime((2024, 7, 1, 12, 0, 0, 0)),
            DbDataType::Datetime,
            D::Datetime((2024, 7, 1, 12, 0, 0, 0)),
            "2024-07-01 12:00:00+00",
        ),
        (
            "timestamptz",
            P::Timestamp(0),
            DbDataType::Datetime,
            D::Datetime((1970, 1, 1, 0, 0, 0, 0)),
            "1970-01-01 00:00:00+00",
        ),
        (
            "uuid",
            P::Uuid(s("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")),
            DbDataType::Uuid,
            D::Uuid(s("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
        (
            "jsonb",
            P::Jsonb(br#"{"a":12345678901234567890.10}"#.to_vec()),
            DbDataType::Jsonb,
            D::Jsonb(br#"{"a": 12345678901234567890.10}"#.to_vec()),
            r#"{"a": 12345678901234567890.10}"#,
        ),
        ("numeric", P::Decimal(s("-12.50")), DbDataType::Decimal, D::Decimal(s("-12.50")), "-12.50"),
        ("numeric", P::Decimal(s("0.000")), DbDataType::Decimal, D::Decimal(s("0.000")), "0.000"),
        (
            "int4range",
            P::RangeInt32((Some((1, INCLUSIVE)), Some((5, INCLUSIVE)))),
            DbDataType::RangeInt32,
            D::RangeInt32((Some((1, INCLUSIVE)), Some((6, EXCLUSIVE)))),
            "[1,6)",
        ),
        (
            "int4range",
            P::RangeInt32((Some((0, EXCLUSIVE)), Some((0, EXCLUSIVE)))),
            DbDataType::RangeInt32,
            D::RangeInt32((Some((0, EXCLUSIVE)), Some((0, EXCLUSIVE)))),
            "empty",
        ),
        (
            "int8range",
            P::RangeInt64((None, Some((9, EXCLUSIVE)))),
            DbDataType::RangeInt64,
            D::RangeInt64((None, Some((9, EXCLUSIVE)))),
            "(,9)",
        ),
        ("int8range", P::RangeInt64((None, None)), DbDataType::RangeInt64, D::RangeInt64((None, None)), "(,)"),
        (
            "numrange",
            P::RangeDecimal((Some((s("1.50"), EXCLUSIVE)), Some((s("2"), INCLUSIVE)))),
            DbDataType::RangeDecimal,
            D::RangeDecimal((Some((s("1.50"), EXCLUSIVE)), Some((s("2"), INCLUSIVE)))),
            "(1.50,2]",
        ),
        (
            "int4[]",
            P::ArrayInt32(vec![Some(1), None]),
            DbDataType::ArrayInt32,
            D::ArrayInt32(vec![Some(1), None]),
            "{1,NULL}",
        ),
        ("int8[]", P::ArrayInt64(vec![]), DbDataType::ArrayInt64, D::ArrayInt64(vec![]), "{}"),
        (
            "numeric[]",
            P::ArrayDecimal(vec![Some(s("1.0")), None]),
            DbDataType::ArrayDecimal,
            D::ArrayDecimal(vec![Some(s("1.0")), None]),
            "{1.0,NULL}",
        ),
        (
            "text[]",
            P::ArrayStr(vec![Some(s("")), None, Some(s("a,b"))]),
            DbDataType::ArrayStr,
            D::ArrayStr(vec![Some(s("")), None, Some(s("a,b"))]),
            r#"{"",NULL,"a,b"}"#,
        ),
        (
            "interval",
            P::Interval(interval),
            DbDataType::Interval,
            D::Interval(interval),
            "-1 years -2 mons +2 days 01:00:00.000001",
        ),
        ("\"char\"", P::Int8(65), DbDataType::Other(s("\"char\"")), D::Unsupported(vec![65]), "A"),
        ("json", P::Jsonb(b"[1]".to_vec()), DbDataType::Other(s("json")), D::Unsupported(b"[1]".to_vec()), "[1]"),
    ] {
        let sent_text = format!("{ty}: {sent:?}");
        let answer = there_and_back(&c, ty, sent).await.unwrap_or_else(|e| panic!("{sent_text}: {e:?}"));
        assert_eq!(answer, (data_type.clone(), back, s(as_text)), "{sent_text}");
        let null = there_and_back(&c, ty, P::DbNull).await.unwrap();
        assert_eq!((null.0, null.1), (data_type, D::DbNull), "{ty}");
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_refused_and_the_transaction_goes_on() {
    use ParameterValue as P;
    let f = Fixture::new();
    let c = f.connect();
    ok(&c, "BEGIN").await;
    let s = |text: &str| text.to_owned();
    for (ty, value) in [
        ("int2", P::Int32(40_000)),
        ("int4", P::Int64(i64::MAX)),
        ("int4", P::Str(s("1"))),
        ("text", P::Int32(1)),
        ("float4", P::Floating64(0.1)),
        ("date", P::Date((2023, 2, 31))),
        ("date", P::Date((i32::MAX, 1, 1))),
        ("time", P::Time((24, 0, 1, 0))),
        ("time", P::Time((1, 1, 1, 1_000_000_000))),
        ("timestamp", P::Datetime((2024, 13, 1, 0, 0, 0, 0))),
        ("timestamptz", P::Timestamp(i64::MAX)),
        ("uuid", P::Uuid(s("no"))),
        ("jsonb", P::Jsonb(b"{".to_vec())),
        ("numeric", P::Decimal(s("1e5"))),
        ("numrange", P::RangeDecimal((Some((s("x"), INCLUSIVE)), None))),
        ("numeric[]", P::ArrayDecimal(vec![Some(s(""))])),
        ("uuid[]", P::ArrayStr(vec![])),
    ] {
        let shown = format!("{ty}: {value:?}");
        let error = there_and_back(&c, ty, value).await.expect_err(&shown);
        assert!(
            matches!(&error, Error::BadParameter(what) if what.starts_with("parameter $1: ")),
            "{shown}: {error:?}"
        );
    }
    let missing = c.query("SELECT $1::int4, $2::int4".into(), vec![P::Int32(1)]).await.unwrap_err();
    assert!(matches!(missing, Error::BadParameter(_)), "{missing:?}");
    for sql in [
        "SELECT 'infinity'::date",
        "SELECT '-infinity'::timestamp",
        "SELECT 'NaN'::numeric",
        "SELECT '{{1},{2}}'::int4[]",
    ] {
        let error = error(&c, sql).await;
        assert!(
            matches!(&error, Error::ValueConversionFailed(what) if what.starts_with("column `")),
            "{sql}: {error:?}"
        );
    }
    assert!(text(&c, "SELECT 'still here'").await.contains("still"));
    assert_eq!(f.transactions.load(Ordering::Acquire), 1);
    // Even a mistake of the host's side in the statement that would end it.
    c.execute("COMMIT".into(), vec![P::Int32(1)]).await.unwrap_err();
    assert_eq!(f.transactions.load(Ordering::Acquire), 1);
    ok(&c, "COMMIT").await;
    assert_eq!(f.transactions.load(Ordering::Acquire), 0);
}

#[tokio::test]
async fn enums_domains_and_types_that_are_not_known() {
    let f = Fixture::with("CREATE TYPE mood AS ENUM ('good', 'bad')").await;
    let c = f.connect();
    ok(&c, "CREATE DOMAIN cents AS int8 CHECK (value >= 0)").await;
    ok(&c, "CREATE TABLE t (mood mood, price cents, at inet)").await;
    let sql = "INSERT INTO t VALUES ($1, $2, '10.0.0.1')";
    let given = vec![ParameterValue::Str("good".into()), ParameterValue::Int32(5)];
    assert_eq!(c.execute(sql.into(), given).await, Ok(1));
    let rows = ok(&c, "SELECT mood, price, at FROM t").await;
    assert_eq!(rows.columns[0].data_type, DbDataType::Other("mood".into()));
    assert_eq!(rows.columns[2].data_type, DbDataType::Other("inet".into()));
    let expected = [
        DbValue::Unsupported(b"good".to_vec()),
        DbValue::Int64(5),
        DbValue::Unsupported(vec![2, 32, 0, 4, 10, 0, 0, 1]),
    ];
    assert_eq!(rows.rows[0], expected);
    let negative = vec![ParameterValue::DbNull, ParameterValue::Int64(-1)];
    assert_eq!(state(&c.execute(sql.into(), negative).await.unwrap_err()), "23514");
}

#[test]
fn values_survive_a_round_trip() {
    let runtime = Runtime::new().unwrap();
    let f = Fixture::new();
    let c = f.connect();
    let date = (-4000_i32..9999, 1_u8..13, 1_u8..29);
    let time = (0_u8..24, 0_u8..60, 0_u8..60, (0_u32..1_000_000).prop_map(|micros| micros * 1_000));
    let decimal = "-?[1-9][0-9]{0,30}(\\.[0-9]{1,30})?";
    let value = prop_oneof![
        any::<bool>().prop_map(|v| ("bool", ParameterValue::Boolean(v), DbValue::Boolean(v))),
        any::<i16>().prop_map(|v| ("int2", ParameterValue::Int16(v), DbValue::Int16(v))),
        any::<i32>().prop_map(|v| ("int4", ParameterValue::Int32(v), DbValue::Int32(v))),
        any::<i64>().prop_map(|v| ("int8", ParameterValue::Int64(v), DbValue::Int64(v))),
        any::<f32>().prop_map(|v| ("float4", ParameterValue::Floating32(v), DbValue::Floating32(v))),
        any::<f64>().prop_map(|v| ("float8", ParameterValue::Floating64(v), DbValue::Floating64(v))),
        "[^\0]{0,40}".prop_map(|v| ("text", ParameterValue::Str(v.clone()), DbValue::Str(v))),
        any::<Vec<u8>>().prop_map(|v| ("bytea", ParameterValue::Binary(v.clone()), DbValue::Binary(v))),
        date.clone().prop_map(|v| ("date", ParameterValue::Date(v), DbValue::Date(v))),
        time.clone().prop_map(|v| ("time", ParameterValue::Time(v), DbValue::Time(v))),
        (date, time).prop_map(|((y, m, d), (h, min, s, ns))| {
            let v = (y, m, d, h, min, s, ns);
            ("timestamp", ParameterValue::Datetime(v), DbValue::Datetime(v))
        }),
        decimal.prop_map(|v| ("numeric", ParameterValue::Decimal(v.clone()), DbValue::Decimal(v))),
        any::<Vec<Option<i32>>>().prop_map(|v| (
            "int4[]",
            ParameterValue::ArrayInt32(v.clone()),
            DbValue::ArrayInt32(v)
        )),
        any::<Vec<Option<i64>>>().prop_map(|v| (
            "int8[]",
            ParameterValue::ArrayInt64(v.clone()),
            DbValue::ArrayInt64(v)
        )),
        prop::collection::vec(prop::option::of("[^\0]{0,9}"), 0..9).prop_map(|v| (
            "text[]",
            ParameterValue::ArrayStr(v.clone()),
            DbValue::ArrayStr(v)
        )),
        (any::<i32>(), any::<i32>(), any::<i32>()).prop_map(|(micros, days, months)| {
            let v = Interval { micros: micros.into(), days, months };
            ("interval", ParameterValue::Interval(v), DbValue::Interval(v))
        }),
        (-1000_i64..0, 1_i64..1000).prop_map(|(from, to)| {
            let v = (Some((from, INCLUSIVE)), Some((to, EXCLUSIVE)));
            ("int8range", ParameterValue::RangeInt64(v), DbValue::RangeInt64(v))
        }),
    ];
    proptest!(ProptestConfig::with_cases(400), |((ty, sent, expected) in value)| {
        let (_, back, _) = runtime.block_on(there_and_back(&c, ty, sent)).unwrap();
        // NaN is not equal to itself.
        prop_assert_eq!(format!("{back:?}"), format!("{expected:?}"));
    });
}

#[tokio::test]
async fn an_error_of_postgresql_comes_with_all_that_it_says() {
    let f = Fixture::with("CREATE TABLE t (id int4 CONSTRAINT only_once UNIQUE)").await;
    let c = f.connect();
    ok(&c, "INSERT INTO t VALUES (1)").await;
    let Error::QueryFailed(QueryError::DbError(e)) = error(&c, "INSERT INTO t VALUES (1)").await else { panic!() };
    assert_eq!((e.severity.as_str(), e.code.as_str()), ("ERROR", "23505"));
    assert!(e.message.contains("only_once"), "{e:?}");
    assert_eq!(e.detail.as_deref(), Some("Key (id)=(1) already exists."));
    assert!(e.as_text.contains(&e.message) && e.as_text.contains("23505"), "{e:?}");
    for (name, value) in [("constraint", "only_once"), ("table", "t"), ("schema", "public")] {
        assert!(e.extras.contains(&(name.to_owned(), value.to_owned())), "{name}: {e:?}");
    }
    for (sql, code) in [
        ("SELEC 1", "42601"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT 1; SELECT 2", "42601"),
    ] {
        assert_eq!(state(&error(&c, sql).await), code, "{sql}");
    }
    assert!(matches!(error(&c, "COPY t TO STDOUT").await, Error::QueryFailed(QueryError::Text(_))));
    assert!(matches!(error(&c, "SELECT 'a\0b'").await, Error::QueryFailed(QueryError::Text(_))));
    let zero = c.query("SELECT $1::text".into(), vec![ParameterValue::Str("a\0b".into())]).await.unwrap_err();
    assert_eq!(state(&zero), "22021");
    assert_eq!(number(&c, "SELECT count(*) FROM t").await, 1);
}

#[tokio::test]
async fn what_was_not_granted_or_does_not_exist_is_told_by_its_case_and_shows_no_password() {
    let f = Fixture::new();
    let not_granted = Address::parse(&format!("postgres://{USER}:geheim@192.0.2.1/x")).unwrap();
    let error = f.granted.connection(&not_granted, Arc::default(), Arc::default()).err().unwrap();
    assert!(matches!(&error, Error::Other(_)) && !format!("{error:?}").contains("geheim"), "{error:?}");
    let port = Postgres::shared().port();
    for (url, code) in [
        (format!("postgres://{USER}:geheim@127.0.0.1:{port}/postgres"), Some("28P01")),
        (Postgres::shared().url("nowhere"), Some("3D000")),
        (format!("postgres://{USER}:geheim@127.0.0.1:1/x"), None),
    ] {
        let c = connect(&f.granted, &url, &f.transactions);
        let error = c.check().await.unwrap_err();
        assert!(!format!("{error:?}").contains("geheim") && !format!("{error:?}").contains(PASSWORD), "{error:?}");
        match code {
            Some(code) => assert_eq!(state(&error), code),
            None => assert!(failed_to_connect(&error), "{error:?}"),
        }
    }
    // A name that leads to a place which only an entry for an address grants.
    let entry = AllowedHost::parse("postgres://*:*", "").unwrap();
    let anywhere = Granted::new(vec![entry], Arc::default());
    let error = connect(&anywhere, &f.url, &f.transactions).check().await.unwrap_err();
    assert!(matches!(error, Error::Other(_)), "{error:?}");
}

#[tokio::test]
async fn a_transaction_is_kept_until_it_ends_and_a_dropped_one_is_rolled_back() {
    let f = Fixture::with("CREATE TABLE t (n int4)").await;
    let (c, other) = (f.connect(), f.connect());
    ok(&c, "BEGIN").await;
    ok(&c, "INSERT INTO t VALUES (1)").await;
    assert_eq!(f.transactions.load(Ordering::Acquire), 1);
    assert_eq!(number(&other, "SELECT count(*) FROM t").await, 0);
    assert_eq!(number(&c, "SELECT count(*) FROM t").await, 1);
    ok(&c, "COMMIT").await;
    assert_eq!(f.transactions.load(Ordering::Acquire), 0);
    assert_eq!(number(&other, "SELECT count(*) FROM t").await, 1);

    ok(&c, "START TRANSACTION").await;
    ok(&c, "DELETE FROM t").await;
    drop(c);
    assert_eq!(f.transactions.load(Ordering::Acquire), 0);
    assert_eq!(number(&other, "SELECT count(*) FROM t").await, 1);
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    eventually("the transaction is rolled back", || f.psql(idle) == "0").await;
}

#[tokio::test]
async fn a_transaction_that_failed_stays_until_the_guest_ends_it() {
    let f = Fixture::with("CREATE TABLE t (n int4 UNIQUE DEFERRABLE INITIALLY DEFERRED)").await;
    let c = f.connect();
    let open = || f.transactions.load(Ordering::Acquire);
    ok(&c, "BEGIN").await;
    assert_eq!(state(&error(&c, "SELECT 1/0").await), "22012");
    assert_eq!(state(&error(&c, "SELECT 1").await), "25P02");
    assert_eq!(open(), 1);
    ok(&c, "ROLLBACK").await;
    assert_eq!(open(), 0);
    // A COMMIT that PostgreSQL does not understand ends nothing.
    ok(&c, "BEGIN").await;
    assert_eq!(state(&error(&c, "COMMIT PLEASE").await), "42601");
    assert_eq!((open(), state(&error(&c, "SELECT 1").await)), (1, "25P02"));
    ok(&c, "ROLLBACK").await;
    // One that fails has ended it.
    ok(&c, "BEGIN").await;
    ok(&c, "INSERT INTO t VALUES (1), (1)").await;
    assert_eq!(state(&error(&c, "COMMIT").await), "23505");
    assert_eq!(open(), 0);
    // A savepoint and a chain stay inside, however it is written.
    ok(&c, " ;; /* now */ begin").await;
    assert_eq!(open(), 1);
    ok(&c, "SAVEPOINT a").await;
    ok(&c, "INSERT INTO t VALUES (2)").await;
    ok(&c, "ROLLBACK TO a").await;
    assert_eq!(open(), 1);
    ok(&c, "COMMIT AND CHAIN").await;
    assert_eq!(open(), 1);
    ok(&c, "COMMIT").await;
    assert_eq!((open(), number(&c, "SELECT count(*) FROM t").await), (0, 0));
}

#[tokio::test]
async fn a_cancelled_statement_ends_on_the_server_and_takes_its_transaction_with_it() {
    let f = Fixture::with("CREATE TABLE t (n int4)").await;
    let c = f.connect();
    ok(&c, "BEGIN").await;
    ok(&c, "INSERT INTO t VALUES (1)").await;
    let sleep = c.query("SELECT pg_sleep(600)".into(), vec![]);
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%' AND state = 'active'
                  AND datname = current_database()";
    tokio::select! {
        _ = sleep => panic!("it sleeps for long"),
        () = eventually("it sleeps", || f.psql(asleep) == "1") => {}
    }
    assert!(failed_to_connect(&error(&c, "INSERT INTO t VALUES (2)").await));
    assert!(failed_to_connect(&error(&c, "COMMIT").await));
    assert_eq!(f.transactions.load(Ordering::Acquire), 1);
    ok(&c, "ROLLBACK").await;
    assert_eq!(f.transactions.load(Ordering::Acquire), 0);
    assert_eq!(number(&c, "SELECT count(*) FROM t").await, 0);
    eventually("the server notices", || f.psql(asleep) == "0").await;
}

#[tokio::test]
async fn nothing_of_a_session_passes_to_the_next_guest() {
    let f = Fixture::with("CREATE TABLE t (n int4)").await;
    let (one, two) = (f.connect(), f.connect());
    for sql in [
        "SET application_name = 'mine'",
        "SELECT set_config('application_name', 'mine', false)",
        "CREATE TEMP TABLE secret AS SELECT 1 AS n",
        "SELECT 1 AS n INTO TEMP secret",
        "LISTEN mine",
        "SELECT pg_advisory_lock(5)::text",
        "PREPARE mine AS SELECT 1",
        "DO $$ BEGIN PERFORM set_config('application_name', 'mine', false); END $$",
    ] {
        for begin in ["SELECT 1", "BEGIN"] {
            ok(&one, begin).await;
            ok(&one, sql).await;
            if begin == "BEGIN" {
                ok(&one, "COMMIT").await;
            }
            assert_ne!(text(&two, "SELECT current_setting('application_name')").await, "mine", "{sql}");
            // By its bare name a session finds its own temporary tables alone; those of one that ends may outlive it.
            assert_eq!(number(&two, "SELECT count(to_regclass('secret'))").await, 0, "{sql}");
            assert_eq!(number(&two, "SELECT count(*) FROM pg_listening_channels()").await, 0, "{sql}");
            assert_eq!(
                number(&two, "SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'").await,
                0,
                "{sql}"
            );
            eventually("the lock is gone", || f.psql("SELECT pg_try_advisory_lock(5)") == "t").await;
        }
    }
    // What belongs to a transaction does not cost the session.
    let before = number(&one, "SELECT pg_backend_pid()").await;
    ok(&one, "BEGIN").await;
    ok(&one, "SET LOCAL application_name = 'mine'").await;
    assert_eq!(text(&one, "SELECT current_setting('application_name')").await, "mine");
    ok(&one, "COMMIT").await;
    assert_eq!(number(&two, "SELECT pg_backend_pid()").await, before);
    assert_ne!(text(&two, "SELECT current_setting('application_name')").await, "mine");
}

#[tokio::test]
async fn a_server_that_was_killed_costs_errors_while_it_is_away_and_none_afterwards() {
    let mut server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let url = server.database();
    let (granted, transactions) = (granted(), Arc::default());
    let c = connect(&granted, &url, &transactions);
    let held = connect(&granted, &url, &transactions);
    ok(&c, "CREATE TABLE t (n int4)").await;
    ok(&held, "BEGIN").await;
    ok(&held, "INSERT INTO t VALUES (1)").await;
    ok(&c, "SELECT 1").await;
    server.kill();
    let error_when_away = error(&c, "SELECT 1").await;
    assert!(failed_to_connect(&error_when_away), "{error_when_away:?}");
    server.resume();
    ok(&c, "INSERT INTO t VALUES (2)").await;
    // The transaction is gone, and what follows in it must not be done without it.
    assert!(failed_to_connect(&error(&held, "INSERT INTO t VALUES (3)").await));
    assert!(failed_to_connect(&error(&held, "INSERT INTO t VALUES (4)").await));
    ok(&held, "ROLLBACK").await;
    assert_eq!(number(&held, "SELECT n FROM t").await, 2);
    // Sessions that the server ended while they were idle cost nothing either.
    let (idle, used) = (granted_idle(&granted, &url), Instant::now());
    server.psql(name_of(&url), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
    assert!(idle > 0);
    eventually("they were idle for long enough to be asked", || used.elapsed() > PING_AFTER).await;
    ok(&c, "INSERT INTO t VALUES (5)").await;
    assert_eq!(number(&c, "SELECT count(*) FROM t").await, 2);
    drop(c);
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}

/// How many connections lie idle in the pool of `url`.
pub(super) fn granted_idle(granted: &Granted, url: &str) -> usize {
    granted.pools.pool(&Address::parse(url).unwrap()).unwrap().idle_connections()
}

#[tokio::test]
async fn a_pool_has_a_bound_and_those_who_wait_get_their_turn() {
    let f = Fixture::new();
    // Each of an instance of its own.
    let holders: Vec<_> = (0..MAX_POOL_CONNECTIONS).map(|_| connect(&f.granted, &f.url, &Arc::default())).collect();
    for holder in &holders {
        ok(holder, "BEGIN").await;
    }
    assert_eq!(f.sessions(), MAX_POOL_CONNECTIONS);
    let waiting = f.connect();
    let refused = error(&waiting, "SELECT 1").await;
    assert!(matches!(&refused, Error::ConnectionFailed(what) if what.contains("was free")), "{refused:?}");
    let (answer, ()) = tokio::join!(waiting.query("SELECT 1".into(), vec![]), async {
        ok(&holders[0], "COMMIT").await;
    });
    answer.unwrap();
    assert_eq!(f.sessions(), MAX_POOL_CONNECTIONS);
}

#[tokio::test]
async fn a_stream_gives_more_than_a_result_may_hold_and_a_dropped_one_ends_its_query() {
    let f = Fixture::new();
    let c = f.connect();
    // 40 MiB.
    let sql = "SELECT n, repeat('x', 40000) FROM generate_series(1, 1000) AS n";
    let too_large = error(&c, sql).await;
    assert!(
        matches!(&too_large, Error::QueryFailed(QueryError::Text(what)) if what.contains("larger than")),
        "{too_large:?}"
    );
    let mut stream = c.query_stream(sql.into(), vec![]).await.unwrap();
    assert_eq!(stream.take_columns().len(), 2);
    assert!(!stream.is_ready());
    let mut seen = 0;
    while let Some(rows) = stream.next(7).await {
        for row in rows.unwrap() {
            seen += 1;
            assert_eq!(row[0], DbValue::Int32(seen));
        }
    }
    assert_eq!(seen, 1000);
    // An error after the first rows comes after them.
    let sql = "SELECT 1 / (1000 - n), repeat('x', 40000) FROM generate_series(1, 1000) AS n";
    let mut stream = c.query_stream(sql.into(), vec![]).await.unwrap();
    let mut last = None;
    while let Some(rows) = stream.next(usize::MAX).await {
        last = Some(rows);
    }
    assert_eq!(state(&last.unwrap().unwrap_err()), "22012");
    // No row is larger than a result.
    let sql = format!("SELECT repeat('x', {MAX_RESULT_BYTES})");
    assert!(matches!(c.query_stream(sql, vec![]).await.err().unwrap(), Error::ValueConversionFailed(_)));
    // One that is dropped leaves no query behind.
    let mut stream = c
        .query_stream("SELECT n, repeat('x', 40000) FROM generate_series(1, 100000000) AS n".into(), vec![])
        .await
        .unwrap();
    stream.next(1).await.unwrap().unwrap();
    let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%100000000%' AND state = 'active'
                  AND datname = current_database() AND pid <> pg_backend_pid()";
    assert_eq!(f.psql(active), "1");
    drop(stream);
    eventually("the query ends", || f.psql(active) == "0").await;
    // A short one is there at once; errors and changes come with it.
    let mut stream = c.query_stream("SELECT n FROM generate_series(1, 3) AS n".into(), vec![]).await.unwrap();
    assert!(stream.is_ready());
    assert_eq!(stream.next(9).await.unwrap().unwrap().len(), 3);
    assert!(stream.next(9).await.is_none());
    let early =
        c.query_stream("SELECT 1 / (2 - n) FROM generate_series(1, 3) AS n".into(), vec![]).await.err().unwrap();
    assert_eq!(state(&early), "22012");
}

#[tokio::test]
async fn rows_in_a_transaction_are_read_whole_and_what_is_too_large_leaves_it_open() {
    let f = Fixture::with("CREATE TABLE t (n int4)").await;
    let c = f.connect();
    ok(&c, "BEGIN").await;
    let mut returned = c.query_stream("INSERT INTO t VALUES (1), (2) RETURNING n".into(), vec![]).await.unwrap();
    assert!(returned.is_ready());
    ok(&c, "INSERT INTO t VALUES (3)").await;
    assert_eq!(returned.next(9).await.unwrap().unwrap().len(), 2);
    error(&c, "SELECT repeat('x', 40000) FROM generate_series(1, 1000)").await;
    ok(&c, "COMMIT").await;
    assert_eq!(number(&c, "SELECT count(*) FROM t").await, 3);
    // A change whose rows are too many has still been made.
    error(&c, "INSERT INTO t SELECT n FROM generate_series(1, 1000) AS n RETURNING repeat('x', 40000)").await;
    assert_eq!(number(&c, "SELECT count(*) FROM t").await, 1003);
}

#[tokio::test]
async fn a_statement_that_was_prepared_before_its_table_changed_is_prepared_anew() {
    let f = Fixture::with("CREATE TABLE t (n int4)").await;
    let c = f.connect();
    for _ in 0..2 {
        assert_eq!(ok(&c, "SELECT * FROM t").await.columns.len(), 1);
    }
    f.psql("ALTER TABLE t ADD COLUMN m int4");
    assert_eq!(ok(&c, "SELECT * FROM t").await.columns.len(), 2);
    f.psql("ALTER TABLE t ADD COLUMN o int4");
    let mut stream = c.query_stream("SELECT * FROM t".into(), vec![]).await.unwrap();
    assert_eq!(stream.take_columns().len(), 3);
}

#[tokio::test]
async fn statements_are_kept_prepared_up_to_a_bound() {
    let f = Fixture::new();
    let c = f.connect();
    for n in 0..3 * CACHED_STATEMENTS {
        assert_eq!(number(&c, &format!("SELECT {n}")).await, i64::try_from(n).unwrap());
    }
    let kept = number(&c, "SELECT count(*) FROM pg_prepared_statements").await;
    assert!(kept <= i64::try_from(CACHED_STATEMENTS).unwrap(), "{kept}");
    let before = number(&c, "SELECT pg_backend_pid()").await;
    ok(&c, &format!("SELECT '{}'", "x".repeat(CACHED_STATEMENT_BYTES))).await;
    assert_ne!(number(&c, "SELECT pg_backend_pid()").await, before, "a long statement was kept");
    let too_long = error(&c, &format!("SELECT '{}'", "x".repeat(MAX_STATEMENT_BYTES))).await;
    assert!(matches!(too_long, Error::QueryFailed(QueryError::Text(_))), "{too_long:?}");
}

#[tokio::test]
async fn components_with_the_same_address_share_a_pool_and_others_do_not() {
    let f = Fixture::new();
    let entry = AllowedHost::parse("postgres://127.0.0.1:*", "").unwrap();
    let neighbour = Granted::new(vec![entry.clone()], f.granted.pools.clone());
    let pid = number(&f.connect(), "SELECT pg_backend_pid()").await;
    let other = connect(&neighbour, &f.url, &f.transactions);
    assert_eq!(number(&other, "SELECT pg_backend_pid()").await, pid);
    let differs = connect(&neighbour, &format!("{}?application_name=x", f.url), &f.transactions);
    assert_ne!(number(&differs, "SELECT pg_backend_pid()").await, pid);
    // A connection that leads where only the other's grants go is not handed on.
    let narrow = Granted::new(vec![AllowedHost::parse("postgres://*:*", "").unwrap()], f.granted.pools.clone());
    let refused = error(&connect(&narrow, &f.url, &f.transactions), "SELECT 1").await;
    assert!(matches!(refused, Error::Other(_)), "{refused:?}");
}

#[tokio::test]
async fn a_guests_functions_open_builders_and_connections_within_their_bounds() {
    use super::bindings::spin::postgres::postgres::{HostConnection, HostConnectionBuilder};
    use wasmtime::component::Resource;
    let url = Postgres::shared().database();
    let mut ctx = ctx(|grants| grants.postgres = granted());
    let mut view = host::View { table: &mut ctx.table, grants: &ctx.grants, state: &mut ctx.postgres };
    let unreadable = view.open("nonsense".into()).await.unwrap().err().unwrap();
    assert!(matches!(unreadable, Error::BadParameter(_)), "{unreadable:?}");
    let elsewhere = view.open("postgres://u@192.0.2.1/x".into()).await.unwrap().err().unwrap();
    assert!(matches!(elsewhere, Error::Other(_)), "{elsewhere:?}");
    let builder = HostConnectionBuilder::new(&mut view, url.clone()).unwrap();
    let unfit = view.set_ca_root(Resource::new_borrow(builder.rep()), "no".into()).unwrap();
    assert!(matches!(unfit, Err(Error::BadParameter(_))), "{unfit:?}");
    let c = view.build(builder).await.unwrap().unwrap();
    let borrow = || Resource::new_borrow(c.rep());
    assert_eq!(view.execute(borrow(), "SELECT 1".into(), vec![]).await.unwrap(), Ok(1));
    view.query(borrow(), "BEGIN".into(), vec![]).await.unwrap().unwrap();
    assert!(!ctx.end(), "an instance with an open transaction would serve another call");
    let mut view = host::View { table: &mut ctx.table, grants: &ctx.grants, state: &mut ctx.postgres };
    HostConnection::drop(&mut view, c).unwrap();
    for _ in 0..MAX_CONNECTIONS {
        view.open(url.clone()).await.unwrap().unwrap();
    }
    let one_more = view.open(url).await.unwrap().err().unwrap();
    assert!(matches!(one_more, Error::Other(_)), "{one_more:?}");
    assert!(ctx.end());
}

#[tokio::test]
async fn guests_of_all_versions_since_4_0_are_linked() {
    for version in ["4.0.0", "4.1.0", "4.2.0"] {
        let text = format!(
            r#"(component
              (import "spin:postgres/postgres@{version}" (instance
                (export "connection" (type (sub resource)))))
            )"#
        );
        let store = store(ctx(|_| {}));
        let component = wasmtime::component::Component::new(store.engine(), wat::parse_str(text).unwrap()).unwrap();
        let mut linker = Linker::new(store.engine());
        add_to_linker(&mut linker).unwrap();
        linker.instantiate_pre(&component).unwrap_or_else(|e| panic!("{version}: {e:#}"));
    }
}
