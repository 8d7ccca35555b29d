//! `fermyon:spin/sqlite@2.0.0`, which SDKs for WASI 0.2 import: the databases of `spin:sqlite`, where each statement
//! returns its result as one value.

use super::host::{Handle, Sqlite, View};
use super::{Error, QueryResult, Value};
use crate::Ctx;
use wasmtime::component::{Linker, Resource};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/fermyon-spin@2.0.0",
        inline: "package souk:bindings; world sqlite { import fermyon:spin/sqlite@2.0.0; }",
        world: "souk:bindings/sqlite",
        imports: { default: async | trappable },
        with: { "fermyon:spin/sqlite.connection": super::super::host::Handle },
    });
}
use generated::fermyon::spin::sqlite as wit;

pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Ctx, Sqlite>(linker, View::of)
}

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl wit::Host for View<'_> {}

impl wit::HostConnection for View<'_> {
    async fn open(&mut self, label: String) -> Answer<Resource<Handle>> {
        Ok(self.open_label(&label)?.map_err(Into::into))
    }

    async fn execute(
        &mut self,
        handle: Resource<Handle>,
        sql: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<wit::QueryResult> {
        let parameters = parameters.into_iter().map(Into::into).collect();
        let result = self.run(&handle, sql, parameters).await?;
        Ok(result.map(Into::into).map_err(Into::into))
    }

    async fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.close(handle)
    }
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSuchDatabase => wit::Error::NoSuchDatabase,
            Error::AccessDenied => wit::Error::AccessDenied,
            Error::InvalidConnection => wit::Error::InvalidConnection,
            Error::DatabaseFull => wit::Error::DatabaseFull,
            Error::Io(text) => wit::Error::Io(text),
        }
    }
}

impl From<wit::Value> for Value {
    fn from(value: wit::Value) -> Self {
        match value {
            wit::Value::Integer(n) => Value::Integer(n),
            wit::Value::Real(x) => Value::Real(x),
            wit::Value::Text(text) => Value::Text(text),
            wit::Value::Blob(bytes) => Value::Blob(bytes),
            wit::Value::Null => Value::Null,
        }
    }
}

impl From<Value> for wit::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Integer(n) => wit::Value::Integer(n),
            Value::Real(x) => wit::Value::Real(x),
            Value::Text(text) => wit::Value::Text(text),
            Value::Blob(bytes) => wit::Value::Blob(bytes),
            Value::Null => wit::Value::Null,
        }
    }
}

impl From<QueryResult> for wit::QueryResult {
    fn from(result: QueryResult) -> Self {
        let row = |values: Vec<Value>| wit::RowResult { values: values.into_iter().map(Into::into).collect() };
        wit::QueryResult {
            columns: result.columns,
            rows: result.rows.into_iter().map(|result| row(result.values)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Database;
    use crate::tests::ctx;
    use wit::HostConnection as _;

    #[tokio::test]
    async fn the_older_interface_reads_and_writes_the_same_database() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("shop.db"), "default", 1 << 20).unwrap();
        let granted = std::collections::BTreeMap::from([("default".to_owned(), database)]);
        let mut ctx = ctx(|grants| grants.sqlite = granted.into());
        let mut view = View::of(&mut ctx);
        assert!(matches!(view.open("other".into()).await.unwrap(), Err(wit::Error::AccessDenied)));
        let connection = view.open("default".into()).await.unwrap().unwrap();
        let again = || Resource::new_borrow(connection.rep());
        view.execute(again(), "CREATE TABLE t (a, b, c, d, e)".into(), vec![]).await.unwrap().unwrap();
        let row = || {
            [
                wit::Value::Integer(1),
                wit::Value::Real(0.5),
                wit::Value::Text("x".into()),
                wit::Value::Blob(vec![7]),
                wit::Value::Null,
            ]
        };
        view.execute(again(), "INSERT INTO t VALUES (?, ?, ?, ?, ?)".into(), row().into()).await.unwrap().unwrap();
        let result = view.execute(again(), "SELECT * FROM t".into(), vec![]).await.unwrap().unwrap();
        assert_eq!(result.columns, ["a", "b", "c", "d", "e"]);
        assert_eq!(format!("{:?}", result.rows[0].values), format!("{:?}", row()));
        view.drop(connection).await.unwrap();
        assert_eq!(ctx.sqlite.connections, 0);
    }

    #[tokio::test]
    async fn a_statement_that_does_not_fit_the_tables_is_in_the_log_and_a_violated_constraint_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("shop.db"), "default", 1 << 20).unwrap();
        let granted = std::collections::BTreeMap::from([("default".to_owned(), database)]);
        let mut ctx = ctx(|grants| grants.sqlite = granted.into());
        let log = crate::tests::Log::capture();
        let mut view = View::of(&mut ctx);
        assert!(view.open("other".into()).await.unwrap().is_err());
        let expected = "component `tested` was refused the database \"other\"; to allow it add it to sqlite_databases of \
                        [component.tested] in the manifest";
        assert!(log.lines().last().is_some_and(|line| line.contains(expected)), "{:?}", log.lines());
        let connection = view.open("default".into()).await.unwrap().unwrap();
        let again = || Resource::new_borrow(connection.rep());
        view.execute(again(), "CREATE TABLE t (a PRIMARY KEY)".into(), vec![]).await.unwrap().unwrap();
        for (statement, why) in [
            ("SELECT colour FROM t", "no such column: colour"),
            ("SELECT * FROM nowhere", "no such table: nowhere"),
            ("SELECT none(1)", "no such function: none"),
            ("SELEKT 1", "near \"SELEKT\": syntax error"),
            ("SELECT (", "incomplete input"),
            ("INSERT INTO t VALUES (1, 2)", "table t has 1 columns but 2 values were supplied"),
            ("ATTACH 'x' AS y", "not authorized"),
        ] {
            view.execute(again(), statement.into(), vec![]).await.unwrap().unwrap_err();
            let line = log.lines().pop().unwrap_or_default();
            let expected = format!("component `tested` ran a statement that SQLite rejected: {why}");
            assert!(line.contains(&expected), "{statement}: {line}");
        }
        let before = log.lines().len();
        view.execute(again(), "INSERT INTO t VALUES (1)".into(), vec![]).await.unwrap().unwrap();
        view.execute(again(), "INSERT INTO t VALUES (1)".into(), vec![]).await.unwrap().unwrap_err();
        assert_eq!(log.lines().len(), before, "{:?}", log.lines());
    }
}
