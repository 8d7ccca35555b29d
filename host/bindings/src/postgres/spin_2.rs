//! `fermyon:spin/postgres@2.0.0`, the oldest interface: the same connections, with the types that PostgreSQL and MySQL
//! share.
//!
//! Columns whose types this version cannot represent are `other`, and their values `unsupported`.

use super::host::{Handle, Postgres, View};
use super::{Column, DbDataType, DbValue, Error, ParameterValue, RowSet};
use crate::Ctx;
use crate::rdbms_2::types as rdbms;
use wasmtime::component::{Linker, Resource};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/fermyon-spin@2.0.0",
        inline: "package souk:bindings; world postgres { import fermyon:spin/postgres@2.0.0; }",
        world: "souk:bindings/postgres",
        imports: { default: async | trappable },
        with: {
            "fermyon:spin/rdbms-types": crate::rdbms_2::types,
            "fermyon:spin/postgres.connection": super::super::host::Handle,
        },
    });
}
use generated::fermyon::spin::postgres as wit;

pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Ctx, Postgres>(linker, View::of)
}

type Answer<T> = wasmtime::Result<Result<T, rdbms::Error>>;

impl wit::Host for View<'_> {}

impl wit::HostConnection for View<'_> {
    async fn open(&mut self, address: String) -> Answer<Resource<Handle>> {
        Ok(self.open_text(&address).await?.map_err(Into::into))
    }

    async fn query(
        &mut self,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<rdbms::ParameterValue>,
    ) -> Answer<rdbms::RowSet> {
        let params = match parameters(params) {
            Ok(params) => params,
            Err(error) => return Ok(Err(error)),
        };
        let result = self.run_query(&handle, statement, params).await?;
        Ok(result.map(Into::into).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<rdbms::ParameterValue>,
    ) -> Answer<u64> {
        let params = match parameters(params) {
            Ok(params) => params,
            Err(error) => return Ok(Err(error)),
        };
        Ok(self.run(&handle, statement, params).await?.map_err(Into::into))
    }

    async fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

/// PostgreSQL has no unsigned types, so an unsigned number is sent as a signed type that can hold it.
fn parameters(params: Vec<rdbms::ParameterValue>) -> Result<Vec<ParameterValue>, rdbms::Error> {
    let parameter = |value| {
        Ok(match value {
            rdbms::ParameterValue::Boolean(value) => ParameterValue::Boolean(value),
            rdbms::ParameterValue::Int8(value) => ParameterValue::Int8(value),
            rdbms::ParameterValue::Int16(value) => ParameterValue::Int16(value),
            rdbms::ParameterValue::Int32(value) => ParameterValue::Int32(value),
            rdbms::ParameterValue::Int64(value) => ParameterValue::Int64(value),
            rdbms::ParameterValue::Uint8(value) => ParameterValue::Int16(value.into()),
            rdbms::ParameterValue::Uint16(value) => ParameterValue::Int32(value.into()),
            rdbms::ParameterValue::Uint32(value) => ParameterValue::Int64(value.into()),
            rdbms::ParameterValue::Uint64(value) => ParameterValue::Int64(value.try_into().map_err(|_| {
                rdbms::Error::BadParameter(format!("{value} is larger than any integer of PostgreSQL"))
            })?),
            rdbms::ParameterValue::Floating32(value) => ParameterValue::Floating32(value),
            rdbms::ParameterValue::Floating64(value) => ParameterValue::Floating64(value),
            rdbms::ParameterValue::Str(value) => ParameterValue::Str(value),
            rdbms::ParameterValue::Binary(value) => ParameterValue::Binary(value),
            rdbms::ParameterValue::DbNull => ParameterValue::DbNull,
        })
    };
    params.into_iter().map(parameter).collect()
}

impl From<Error> for rdbms::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionFailed(text) => rdbms::Error::ConnectionFailed(text),
            Error::BadParameter(text) => rdbms::Error::BadParameter(text),
            Error::QueryFailed(error) => rdbms::Error::QueryFailed(super::error::text(error)),
            Error::ValueConversionFailed(text) => rdbms::Error::ValueConversionFailed(text),
            Error::Other(text) => rdbms::Error::Other(text),
        }
    }
}

impl From<RowSet> for rdbms::RowSet {
    fn from(result: RowSet) -> Self {
        let row = |row: Vec<DbValue>| row.into_iter().map(Into::into).collect();
        rdbms::RowSet {
            columns: result.columns.into_iter().map(Into::into).collect(),
            rows: result.rows.into_iter().map(row).collect(),
        }
    }
}

impl From<Column> for rdbms::Column {
    fn from(column: Column) -> Self {
        let data_type = match column.data_type {
            DbDataType::Boolean => rdbms::DbDataType::Boolean,
            DbDataType::Int8 => rdbms::DbDataType::Int8,
            DbDataType::Int16 => rdbms::DbDataType::Int16,
            DbDataType::Int32 => rdbms::DbDataType::Int32,
            DbDataType::Int64 => rdbms::DbDataType::Int64,
            DbDataType::Floating32 => rdbms::DbDataType::Floating32,
            DbDataType::Floating64 => rdbms::DbDataType::Floating64,
            DbDataType::Str => rdbms::DbDataType::Str,
            DbDataType::Binary => rdbms::DbDataType::Binary,
            _ => rdbms::DbDataType::Other,
        };
        rdbms::Column { name: column.name, data_type }
    }
}

impl From<DbValue> for rdbms::DbValue {
    fn from(value: DbValue) -> Self {
        match value {
            DbValue::Boolean(value) => rdbms::DbValue::Boolean(value),
            DbValue::Int8(value) => rdbms::DbValue::Int8(value),
            DbValue::Int16(value) => rdbms::DbValue::Int16(value),
            DbValue::Int32(value) => rdbms::DbValue::Int32(value),
            DbValue::Int64(value) => rdbms::DbValue::Int64(value),
            DbValue::Floating32(value) => rdbms::DbValue::Floating32(value),
            DbValue::Floating64(value) => rdbms::DbValue::Floating64(value),
            DbValue::Str(value) => rdbms::DbValue::Str(value),
            DbValue::Binary(value) => rdbms::DbValue::Binary(value),
            DbValue::DbNull => rdbms::DbValue::DbNull,
            _ => rdbms::DbValue::Unsupported,
        }
    }
}
