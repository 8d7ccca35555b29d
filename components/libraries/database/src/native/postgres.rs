//! Replaces `spin:postgres` in native unit tests: sqlx with the types of the interface, as far as this library uses
//! them. As with the interface, PostgreSQL determines the types of a statement's parameters, and a value of another
//! kind is refused.

use crate::bindings::postgres::{Column, DbDataType, DbError, DbValue, Error, ParameterValue, QueryError, RowSet};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgConnection, PgDatabaseError, PgRow, PgSeverity, PgTypeInfo};
use sqlx::{
    Arguments, AssertSqlSafe, Connection, Decode, Either, Encode, Executor, Row, SqlSafeStr, Statement, TypeInfo,
    ValueRef,
};
use std::cell::RefCell;
use tokio::runtime::{Builder, Runtime};

/// Replaces the interface's `connection`.
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
    /// There are no grants in native code.
    pub(crate) fn open(_url: &str) -> Result<Postgres, Error> {
        Err(Error::ConnectionFailed("native code cannot open spin:postgres".into()))
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
        let mut session = self.session.borrow_mut();
        let sql = AssertSqlSafe(statement.to_owned()).into_sql_str();
        let statement = self.runtime.block_on(session.prepare_with(sql, &[])).map_err(error)?;
        let arguments = arguments(&statement, parameters)?;
        let rows = self.runtime.block_on(statement.query_with(arguments).fetch_all(&mut *session)).map_err(error)?;
        let column = |column: &sqlx::postgres::PgColumn| Column {
            name: sqlx::Column::name(column).to_owned(),
            data_type: DbDataType::Other(sqlx::Column::type_info(column).name().to_owned()),
        };
        let columns = rows.first().map(|row| row.columns().iter().map(column).collect()).unwrap_or_default();
        let values = |row: &PgRow| (0..row.len()).map(|column| value(row, column)).collect();
        Ok(RowSet { columns, rows: rows.iter().map(values).collect() })
    }
}

fn arguments(statement: &sqlx::postgres::PgStatement, values: &[ParameterValue]) -> Result<PgArguments, Error> {
    let Some(Either::Left(types)) = statement.parameters() else { panic!("PostgreSQL reports the parameter types") };
    if types.len() != values.len() {
        return Err(Error::BadParameter(format!(
            "the statement has {} parameters, but {} values were given",
            types.len(),
            values.len()
        )));
    }
    let mut arguments = PgArguments::default();
    for (value, ty) in values.iter().zip(types) {
        let bytes = bytes(value, ty.name()).ok_or_else(|| Error::BadParameter(format!("{value:?} is not a {ty}")))?;
        arguments.add(Parameter { bytes, ty: ty.clone() }).unwrap();
    }
    Ok(arguments)
}

/// A value in the binary form of a type, `Some(None)` for null; `None` for a value of another kind.
fn bytes(value: &ParameterValue, ty: &str) -> Option<Option<Vec<u8>>> {
    Some(Some(match (value, ty) {
        (ParameterValue::DbNull, _) => return Some(None),
        (ParameterValue::Int64(v), "INT8") => v.to_be_bytes().to_vec(),
        (ParameterValue::Int64(v), "INT4") => i32::try_from(*v).ok()?.to_be_bytes().to_vec(),
        (ParameterValue::Floating64(v), "FLOAT8") => v.to_be_bytes().to_vec(),
        (ParameterValue::Str(v), "TEXT") => v.clone().into_bytes(),
        (ParameterValue::Binary(v), "BYTEA") => v.clone(),
        _ => return None,
    }))
}

struct Parameter {
    bytes: Option<Vec<u8>>,
    ty: PgTypeInfo,
}

impl sqlx::Type<sqlx::Postgres> for Parameter {
    fn type_info() -> PgTypeInfo {
        // Never used: `produces` returns each parameter's type.
        PgTypeInfo::with_name("unknown")
    }
}

impl Encode<'_, sqlx::Postgres> for Parameter {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(bytes) = &self.bytes else { return Ok(IsNull::Yes) };
        buffer.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.ty.clone())
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
    if matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic) {
        return Error::ConnectionFailed(error.to_string());
    }
    Error::QueryFailed(QueryError::DbError(DbError {
        as_text: error.to_string(),
        severity: "ERROR".into(),
        code: error.code().to_owned(),
        message: error.message().to_owned(),
        detail: error.detail().map(str::to_owned),
        extras: Vec::new(),
    }))
}
