//! The binding on a real PostgreSQL.

use super::*;
use crate::outbound::tests::allow;
use crate::tests::{ctx, store};
use proptest::prelude::*;
use tokio::runtime::Runtime;
use tokio::time::Instant;

mod sessions;
mod values;

use souk_test::postgres::{PASSWORD, Postgres, USER, name_of};

/// A component that may reach any port of 127.0.0.1.
pub(super) fn granted() -> Granted {
    reaching("postgres://127.0.0.1:*", &Arc::default())
}

/// A component that may reach what `entry` allows, through `pools`.
fn reaching(entry: &str, pools: &Arc<Pools>) -> Granted {
    pools.grant(&allow(&[entry]))
}

/// A database of its own, and a component that may reach it.
pub(super) struct Fixture {
    pub url: String,
    pub granted: Granted,
    pub transactions: Arc<AtomicUsize>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Fixture { url: Postgres::shared().database(), granted: granted(), transactions: Arc::default() }
    }

    pub(super) async fn with(sql: &str) -> Self {
        let fixture = Fixture::new();
        ok(&fixture.connect(), sql).await;
        fixture
    }

    pub(super) fn connect(&self) -> Connection {
        connect(&self.granted, &self.url, &self.transactions)
    }

    /// The output of `psql`, which does not use the code under test.
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
    granted.connection(&Address::parse(url).unwrap(), transactions.clone(), UnreadRows::default(), "trace").unwrap()
}

/// Waits until `check` is true.
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

/// The SQLSTATE of an error from PostgreSQL.
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
    let error = f.granted.connection(&not_granted, Arc::default(), UnreadRows::default(), "trace").err().unwrap();
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
    // A name that leads to an address that only an entry for the address grants.
    let anywhere = reaching("postgres://*:*", &Arc::default());
    let error = connect(&anywhere, &f.url, &f.transactions).check().await.unwrap_err();
    assert!(matches!(error, Error::Other(_)), "{error:?}");
}

/// The number of idle connections in the pool of `url`.
pub(super) fn granted_idle(granted: &Granted, url: &str) -> usize {
    granted.pools().pool(&Address::parse(url).unwrap()).unwrap().idle_connections()
}

#[tokio::test]
async fn a_pool_has_a_bound_and_those_who_wait_get_their_turn() {
    let f = Fixture::new();
    // Each belongs to its own instance.
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
    // Dropping a stream ends its query.
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
    // A short result is complete at once, and so are its errors and changes.
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
    // A change is made even if it returns too many rows.
    error(&c, "INSERT INTO t SELECT n FROM generate_series(1, 1000) AS n RETURNING repeat('x', 40000)").await;
    assert_eq!(number(&c, "SELECT count(*) FROM t").await, 1003);
}

#[tokio::test]
async fn a_statement_that_was_prepared_before_its_table_changed_is_prepared_again() {
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
    let (pools, url) = (Arc::default(), Postgres::shared().database());
    let f = Fixture { url, granted: reaching("postgres://127.0.0.1:*", &pools), transactions: Arc::default() };
    let neighbour = reaching("postgres://127.0.0.1:*", &pools);
    let pid = number(&f.connect(), "SELECT pg_backend_pid()").await;
    let other = connect(&neighbour, &f.url, &f.transactions);
    assert_eq!(number(&other, "SELECT pg_backend_pid()").await, pid);
    let differs = connect(&neighbour, &format!("{}?application_name=x", f.url), &f.transactions);
    assert_ne!(number(&differs, "SELECT pg_backend_pid()").await, pid);
    // A component does not get a pooled connection to an address that only another component's grants allow.
    let narrow = reaching("postgres://*:*", &pools);
    let refused = error(&connect(&narrow, &f.url, &f.transactions), "SELECT 1").await;
    assert!(matches!(refused, Error::Other(_)), "{refused:?}");
}

#[tokio::test]
async fn a_guests_functions_open_builders_and_connections_within_their_bounds() {
    use super::bindings::spin::postgres::postgres::{HostConnection, HostConnectionBuilder};
    use wasmtime::component::Resource;
    let url = Postgres::shared().database();
    let mut ctx = ctx(|grants| grants.postgres = granted());
    let mut view = host::View::of(&mut ctx);
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
    let mut view = host::View::of(&mut ctx);
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
