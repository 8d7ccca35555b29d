//! `spin:postgres@3.0.0`, which SDKs for WASI 0.2 import: the same connections, with fewer types and with errors that
//! are only text.
//!
//! Columns whose types this version cannot represent are `other`, and their values `unsupported`.

use super::host::{Handle, Postgres, View};
use super::{Column, DbDataType, DbValue, Error, ParameterValue, RowSet};
use crate::Ctx;
use wasmtime::component::{Linker, Resource};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/spin-postgres@3.0.0",
        inline: "package souk:bindings; world postgres { import spin:postgres/postgres@3.0.0; }",
        world: "souk:bindings/postgres",
        imports: { default: async | trappable },
        with: { "spin:postgres/postgres.connection": super::super::host::Handle },
        additional_derives: [PartialEq],
    });
}
pub(super) use generated::spin::postgres::postgres as wit;

pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Ctx, Postgres>(linker, View::of)
}

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl wit::Host for View<'_> {}

impl wit::HostConnection for View<'_> {
    async fn open(&mut self, address: String) -> Answer<Resource<Handle>> {
        Ok(self.open_text(&address).await?.map_err(Into::into))
    }

    async fn query(
        &mut self,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<wit::ParameterValue>,
    ) -> Answer<wit::RowSet> {
        let params = params.into_iter().map(Into::into).collect();
        let result = self.run_query(&handle, statement, params).await?;
        Ok(result.map(Into::into).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<wit::ParameterValue>,
    ) -> Answer<u64> {
        let params = params.into_iter().map(Into::into).collect();
        Ok(self.run(&handle, statement, params).await?.map_err(Into::into))
    }

    async fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionFailed(text) => wit::Error::ConnectionFailed(text),
            Error::BadParameter(text) => wit::Error::BadParameter(text),
            Error::QueryFailed(error) => wit::Error::QueryFailed(super::error::text(error)),
            Error::ValueConversionFailed(text) => wit::Error::ValueConversionFailed(text),
            Error::Other(text) => wit::Error::Other(text),
        }
    }
}

impl From<wit::ParameterValue> for ParameterValue {
    fn from(value: wit::ParameterValue) -> Self {
        match value {
            wit::ParameterValue::Boolean(value) => ParameterValue::Boolean(value),
            wit::ParameterValue::Int8(value) => ParameterValue::Int8(value),
            wit::ParameterValue::Int16(value) => ParameterValue::Int16(value),
            wit::ParameterValue::Int32(value) => ParameterValue::Int32(value),
            wit::ParameterValue::Int64(value) => ParameterValue::Int64(value),
            wit::ParameterValue::Floating32(value) => ParameterValue::Floating32(value),
            wit::ParameterValue::Floating64(value) => ParameterValue::Floating64(value),
            wit::ParameterValue::Str(value) => ParameterValue::Str(value),
            wit::ParameterValue::Binary(value) => ParameterValue::Binary(value),
            wit::ParameterValue::Date(value) => ParameterValue::Date(value),
            wit::ParameterValue::Time(value) => ParameterValue::Time(value),
            wit::ParameterValue::Datetime(value) => ParameterValue::Datetime(value),
            wit::ParameterValue::Timestamp(value) => ParameterValue::Timestamp(value),
            wit::ParameterValue::DbNull => ParameterValue::DbNull,
        }
    }
}

impl From<RowSet> for wit::RowSet {
    fn from(result: RowSet) -> Self {
        let row = |row: Vec<DbValue>| row.into_iter().map(Into::into).collect();
        wit::RowSet {
            columns: result.columns.into_iter().map(Into::into).collect(),
            rows: result.rows.into_iter().map(row).collect(),
        }
    }
}

impl From<Column> for wit::Column {
    fn from(column: Column) -> Self {
        let data_type = match column.data_type {
            DbDataType::Boolean => wit::DbDataType::Boolean,
            DbDataType::Int8 => wit::DbDataType::Int8,
            DbDataType::Int16 => wit::DbDataType::Int16,
            DbDataType::Int32 => wit::DbDataType::Int32,
            DbDataType::Int64 => wit::DbDataType::Int64,
            DbDataType::Floating32 => wit::DbDataType::Floating32,
            DbDataType::Floating64 => wit::DbDataType::Floating64,
            DbDataType::Str => wit::DbDataType::Str,
            DbDataType::Binary => wit::DbDataType::Binary,
            DbDataType::Date => wit::DbDataType::Date,
            DbDataType::Time => wit::DbDataType::Time,
            DbDataType::Datetime => wit::DbDataType::Datetime,
            DbDataType::Timestamp => wit::DbDataType::Timestamp,
            _ => wit::DbDataType::Other,
        };
        wit::Column { name: column.name, data_type }
    }
}

impl From<DbValue> for wit::DbValue {
    fn from(value: DbValue) -> Self {
        match value {
            DbValue::Boolean(value) => wit::DbValue::Boolean(value),
            DbValue::Int8(value) => wit::DbValue::Int8(value),
            DbValue::Int16(value) => wit::DbValue::Int16(value),
            DbValue::Int32(value) => wit::DbValue::Int32(value),
            DbValue::Int64(value) => wit::DbValue::Int64(value),
            DbValue::Floating32(value) => wit::DbValue::Floating32(value),
            DbValue::Floating64(value) => wit::DbValue::Floating64(value),
            DbValue::Str(value) => wit::DbValue::Str(value),
            DbValue::Binary(value) => wit::DbValue::Binary(value),
            DbValue::Date(value) => wit::DbValue::Date(value),
            DbValue::Time(value) => wit::DbValue::Time(value),
            DbValue::Datetime(value) => wit::DbValue::Datetime(value),
            DbValue::Timestamp(value) => wit::DbValue::Timestamp(value),
            DbValue::DbNull => wit::DbValue::DbNull,
            _ => wit::DbValue::Unsupported,
        }
    }
}
