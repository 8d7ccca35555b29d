//! `fermyon:spin/mysql@2.0.0`, which SDKs for WASI 0.2 import: the same connections, each result as one value.

use super::host::{Handle, run};
use super::{Connection, DbDataType, DbValue, Error, ParameterValue};
use crate::Ctx;
use std::sync::Arc;
use wasmtime::component::{HasSelf, Linker, Resource};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/fermyon-spin@2.0.0",
        inline: "package souk:bindings; world mysql { import fermyon:spin/mysql@2.0.0; }",
        world: "souk:bindings/mysql",
        imports: { default: async | trappable },
        with: {
            "fermyon:spin/rdbms-types": crate::rdbms_2::types,
            "fermyon:spin/mysql.connection": super::super::host::Handle,
        },
    });
}
use crate::rdbms_2::types as rdbms;
pub(super) use generated::fermyon::spin::mysql as wit;

pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)
}

type Answer<T> = wasmtime::Result<Result<T, rdbms::Error>>;

impl wit::Host for Ctx {}

impl wit::HostConnection for Ctx {
    async fn open(&mut self, address: String) -> Answer<Resource<Handle>> {
        let opened = match self.mysql_permit(&address) {
            Ok((address, permit, database)) => Connection::open(&address, permit, database).await,
            Err(error) => Err(error),
        };
        Ok(match opened {
            Ok(connection) => Ok(self.table.push(Arc::new(connection))?),
            Err(error) => Err(error.into()),
        })
    }

    async fn query(
        &mut self,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<rdbms::ParameterValue>,
    ) -> Answer<rdbms::RowSet> {
        let params = params.into_iter().map(Into::into).collect();
        let begun = self.mysql(&handle, &statement)?;
        let result = run(begun, statement, params).await;
        Ok(result.map_err(Into::into).map(|result| rdbms::RowSet {
            columns: result
                .columns
                .into_iter()
                .map(|column| rdbms::Column { name: column.name, data_type: column.data_type.into() })
                .collect(),
            rows: result.rows.into_iter().map(|row| row.into_iter().map(Into::into).collect()).collect(),
        }))
    }

    async fn execute(
        &mut self,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<rdbms::ParameterValue>,
    ) -> Answer<()> {
        let params = params.into_iter().map(Into::into).collect();
        let begun = self.mysql(&handle, &statement)?;
        Ok(run(begun, statement, params).await.map(drop).map_err(Into::into))
    }

    async fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl From<Error> for rdbms::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionFailed(text) => rdbms::Error::ConnectionFailed(text),
            Error::BadParameter(text) => rdbms::Error::BadParameter(text),
            Error::QueryFailed(text) => rdbms::Error::QueryFailed(text),
            Error::ValueConversionFailed(text) => rdbms::Error::ValueConversionFailed(text),
            Error::Other(text) => rdbms::Error::Other(text),
        }
    }
}

impl From<rdbms::ParameterValue> for ParameterValue {
    fn from(value: rdbms::ParameterValue) -> Self {
        match value {
            rdbms::ParameterValue::Boolean(value) => ParameterValue::Boolean(value),
            rdbms::ParameterValue::Int8(value) => ParameterValue::Int8(value),
            rdbms::ParameterValue::Int16(value) => ParameterValue::Int16(value),
            rdbms::ParameterValue::Int32(value) => ParameterValue::Int32(value),
            rdbms::ParameterValue::Int64(value) => ParameterValue::Int64(value),
            rdbms::ParameterValue::Uint8(value) => ParameterValue::Uint8(value),
            rdbms::ParameterValue::Uint16(value) => ParameterValue::Uint16(value),
            rdbms::ParameterValue::Uint32(value) => ParameterValue::Uint32(value),
            rdbms::ParameterValue::Uint64(value) => ParameterValue::Uint64(value),
            rdbms::ParameterValue::Floating32(value) => ParameterValue::Floating32(value),
            rdbms::ParameterValue::Floating64(value) => ParameterValue::Floating64(value),
            rdbms::ParameterValue::Str(value) => ParameterValue::Str(value),
            rdbms::ParameterValue::Binary(value) => ParameterValue::Binary(value),
            rdbms::ParameterValue::DbNull => ParameterValue::DbNull,
        }
    }
}

impl From<DbDataType> for rdbms::DbDataType {
    fn from(ty: DbDataType) -> Self {
        match ty {
            DbDataType::Boolean => rdbms::DbDataType::Boolean,
            DbDataType::Int8 => rdbms::DbDataType::Int8,
            DbDataType::Int16 => rdbms::DbDataType::Int16,
            DbDataType::Int32 => rdbms::DbDataType::Int32,
            DbDataType::Int64 => rdbms::DbDataType::Int64,
            DbDataType::Uint8 => rdbms::DbDataType::Uint8,
            DbDataType::Uint16 => rdbms::DbDataType::Uint16,
            DbDataType::Uint32 => rdbms::DbDataType::Uint32,
            DbDataType::Uint64 => rdbms::DbDataType::Uint64,
            DbDataType::Floating32 => rdbms::DbDataType::Floating32,
            DbDataType::Floating64 => rdbms::DbDataType::Floating64,
            DbDataType::Str => rdbms::DbDataType::Str,
            DbDataType::Binary => rdbms::DbDataType::Binary,
            DbDataType::Other => rdbms::DbDataType::Other,
        }
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
            DbValue::Uint8(value) => rdbms::DbValue::Uint8(value),
            DbValue::Uint16(value) => rdbms::DbValue::Uint16(value),
            DbValue::Uint32(value) => rdbms::DbValue::Uint32(value),
            DbValue::Uint64(value) => rdbms::DbValue::Uint64(value),
            DbValue::Floating32(value) => rdbms::DbValue::Floating32(value),
            DbValue::Floating64(value) => rdbms::DbValue::Floating64(value),
            DbValue::Str(value) => rdbms::DbValue::Str(value),
            DbValue::Binary(value) => rdbms::DbValue::Binary(value),
            DbValue::DbNull => rdbms::DbValue::DbNull,
            DbValue::Unsupported => rdbms::DbValue::Unsupported,
        }
    }
}
