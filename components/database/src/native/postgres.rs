//! In place of `spin:postgres`: sqlx with the types of the interface, as far as this library uses them. Parameters are
//! declared as the interface's bindings do: by the value, and not at all for null.

use crate::bindings::postgres::{Column, DbDataType, DbError, DbValue, Error, ParameterValue, QueryError, RowSet};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgConnection, PgDatabaseError, PgRow, PgTypeInfo};
use sqlx::{AssertSqlSafe, Connection, Decode, Encode, Executor, Row, TypeInfo, ValueRef};
use std::cell::RefCell;
use tokio::runtime::{Builder, Runtime};

/// In place of the interface's `connection`.
pub(crate) struct Postgres {
    runtime: Runtime,
    session: RefCell<PgConnection>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Postgres")
    }
}

impl Postgres {
    /// Nobody grants anything here.
    pub(crate) fn open(_url: &str) -> Result<Postgres, Error> {
        Err(Error::ConnectionFailed("there is no spin:postgres on this machine".into()))
    }

    pub(crate) fn with(url: &str, migrations: &[&str]) -> Postgres {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut session = runtime.block_on(PgConnection::connect(url)).unwrap();
        for migration in migrations {
            runtime.block_on(session.execute(sqlx::raw_sql(AssertSqlSafe(*migration)))).unwrap();
        }
        Postgres { runtime, session: RefCell::new(session) }
    }

    pub(crate) fn query(&self, statement: &str, parameters: &[ParameterValue]) -> Result<RowSet, Error> {
        let mut query = sqlx::query::<sqlx::Postgres>(AssertSqlSafe(statement.to_owned()));
        for parameter in parameters {
            query = bound(query, parameter);
        }
        let mut session = self.session.borrow_mut();
        let rows = self.runtime.block_on(query.fetch_all(&mut *session)).map_err(error)?;
        let column = |column: &sqlx::postgres::PgColumn| Column {
            name: sqlx::Column::name(column).to_owned(),
            data_type: DbDataType::Other(sqlx::Column::type_info(column).name().to_owned()),
        };
        let columns = rows.first().map(|row| row.columns().iter().map(column).collect()).unwrap_or_default();
        let values = |row: &PgRow| (0..row.len()).map(|column| value(row, column)).collect();
        Ok(RowSet { columns, rows: rows.iter().map(values).collect() })
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, PgArguments>;

fn bound<'q>(query: Query<'q>, parameter: &ParameterValue) -> Query<'q> {
    match parameter {
        ParameterValue::Int64(integer) => query.bind(*integer),
        ParameterValue::Floating64(real) => query.bind(*real),
        ParameterValue::Str(text) => query.bind(text.clone()),
        ParameterValue::Binary(bytes) => query.bind(bytes.clone()),
        ParameterValue::DbNull => query.bind(Null),
        other => panic!("the library gives no such parameter: {other:?}"),
    }
}

/// Null without a type.
struct Null;

impl sqlx::Type<sqlx::Postgres> for Null {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, sqlx::Postgres> for Null {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

fn value(row: &PgRow, column: usize) -> DbValue {
    let raw = row.try_get_raw(column).unwrap();
    if raw.is_null() {
        return DbValue::DbNull;
    }
    fn read<'r, T: Decode<'r, sqlx::Postgres>>(raw: sqlx::postgres::PgValueRef<'r>) -> T {
        T::decode(raw).unwrap()
    }
    match raw.type_info().name().to_owned().as_str() {
        "BOOL" => DbValue::Boolean(read(raw)),
        "INT2" => DbValue::Int16(read(raw)),
        "INT4" => DbValue::Int32(read(raw)),
        "INT8" => DbValue::Int64(read(raw)),
        "FLOAT4" => DbValue::Floating32(read(raw)),
        "FLOAT8" => DbValue::Floating64(read(raw)),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" => DbValue::Str(read(raw)),
        "BYTEA" => DbValue::Binary(read(raw)),
        _ => DbValue::Unsupported(Vec::new()),
    }
}

fn error(error: sqlx::Error) -> Error {
    let sqlx::Error::Database(error) = error else { return Error::ConnectionFailed(error.to_string()) };
    let error = error.downcast::<PgDatabaseError>();
    Error::QueryFailed(QueryError::DbError(DbError {
        as_text: error.to_string(),
        severity: format!("{:?}", error.severity()).to_uppercase(),
        code: error.code().to_owned(),
        message: error.message().to_owned(),
        detail: error.detail().map(str::to_owned),
        extras: Vec::new(),
    }))
}
