//! Converts values from MySQL to the interface and back.

use super::{Column, DbDataType, DbValue, MAX_RESULT_BYTES, ParameterValue, Row};
use sqlx::error::BoxDynError;
use sqlx::{Arguments as _, Column as _, Decode, Row as _, Type, TypeInfo as _, ValueRef as _};
use sqlx_mysql::{MySql, MySqlArguments, MySqlColumn, MySqlRow, MySqlTypeInfo, MySqlValueRef};

/// The memory for a value's place in the row, without its own bytes.
const CELL_BYTES: usize = size_of::<DbValue>();

/// The interface's column.
pub(super) fn column(column: &MySqlColumn) -> Column {
    Column { name: column.name().to_owned(), data_type: data_type(column.type_info()) }
}

fn data_type(ty: &MySqlTypeInfo) -> DbDataType {
    let unsigned = <u64 as Type<MySql>>::compatible(ty);
    let pick = |signed, or_unsigned| if unsigned { or_unsigned } else { signed };
    match ty.name() {
        "BOOLEAN" | "TINYINT" | "TINYINT UNSIGNED" => pick(DbDataType::Int8, DbDataType::Uint8),
        "SMALLINT" | "SMALLINT UNSIGNED" => pick(DbDataType::Int16, DbDataType::Uint16),
        "INT" | "MEDIUMINT" | "INT UNSIGNED" | "MEDIUMINT UNSIGNED" => pick(DbDataType::Int32, DbDataType::Uint32),
        "BIGINT" | "BIGINT UNSIGNED" => pick(DbDataType::Int64, DbDataType::Uint64),
        "YEAR" => DbDataType::Uint16,
        "FLOAT" => DbDataType::Floating32,
        "DOUBLE" => DbDataType::Floating64,
        "DECIMAL" | "JSON" | "ENUM" | "SET" => DbDataType::Str,
        "CHAR" | "VARCHAR" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" | "BINARY" | "VARBINARY" | "TINYBLOB"
        | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => {
            // The type's name is the same for text with a binary collation and for bytes.
            if <str as Type<MySql>>::compatible(ty) { DbDataType::Str } else { DbDataType::Binary }
        }
        _ => DbDataType::Other,
    }
}

/// The values of a row, and their size in memory; the error says which column cannot be read, and why.
pub(super) fn read_row(row: &MySqlRow, columns: &[Column]) -> Result<(Row, usize), String> {
    let mut values = Vec::with_capacity(columns.len());
    let mut weight = 0;
    for (index, column) in columns.iter().enumerate() {
        let wrong = |error: &dyn std::fmt::Display| format!("column `{}`: {error}", column.name);
        let raw = row.try_get_raw(index).map_err(|error| wrong(&error))?;
        let value =
            if raw.is_null() { DbValue::DbNull } else { read(column.data_type, raw).map_err(|error| wrong(&error))? };
        weight += CELL_BYTES
            + match &value {
                DbValue::Str(text) => text.len(),
                DbValue::Binary(bytes) => bytes.len(),
                _ => 0,
            };
        if weight > MAX_RESULT_BYTES {
            return Err(format!("a row is larger than {} MiB", MAX_RESULT_BYTES >> 20));
        }
        values.push(value);
    }
    Ok((values, weight))
}

fn read(ty: DbDataType, raw: MySqlValueRef<'_>) -> Result<DbValue, BoxDynError> {
    fn get<'r, T: Decode<'r, MySql>>(raw: MySqlValueRef<'r>) -> Result<T, BoxDynError> {
        T::decode(raw)
    }
    Ok(match ty {
        DbDataType::Boolean => DbValue::Boolean(get(raw)?),
        DbDataType::Int8 => DbValue::Int8(get(raw)?),
        DbDataType::Int16 => DbValue::Int16(get(raw)?),
        DbDataType::Int32 => DbValue::Int32(get(raw)?),
        DbDataType::Int64 => DbValue::Int64(get(raw)?),
        DbDataType::Uint8 => DbValue::Uint8(get(raw)?),
        DbDataType::Uint16 => DbValue::Uint16(get(raw)?),
        DbDataType::Uint32 => DbValue::Uint32(get(raw)?),
        DbDataType::Uint64 => DbValue::Uint64(get(raw)?),
        DbDataType::Floating32 => DbValue::Floating32(get(raw)?),
        DbDataType::Floating64 => DbValue::Floating64(get(raw)?),
        DbDataType::Str => DbValue::Str(get(raw)?),
        DbDataType::Binary => DbValue::Binary(get(raw)?),
        DbDataType::Other => DbValue::Unsupported,
    })
}

/// The arguments of a statement.
///
/// # Errors
/// Which parameter cannot be sent.
pub(super) fn arguments(params: &[ParameterValue]) -> Result<MySqlArguments, String> {
    let mut arguments = MySqlArguments::default();
    for (index, value) in params.iter().enumerate() {
        let added = match value {
            ParameterValue::Boolean(value) => arguments.add(*value),
            ParameterValue::Int8(value) => arguments.add(*value),
            ParameterValue::Int16(value) => arguments.add(*value),
            ParameterValue::Int32(value) => arguments.add(*value),
            ParameterValue::Int64(value) => arguments.add(*value),
            ParameterValue::Uint8(value) => arguments.add(*value),
            ParameterValue::Uint16(value) => arguments.add(*value),
            ParameterValue::Uint32(value) => arguments.add(*value),
            ParameterValue::Uint64(value) => arguments.add(*value),
            ParameterValue::Floating32(value) => arguments.add(*value),
            ParameterValue::Floating64(value) => arguments.add(*value),
            ParameterValue::Str(value) => arguments.add(value.as_str()),
            ParameterValue::Binary(value) => arguments.add(value.as_slice()),
            ParameterValue::DbNull => arguments.add(None::<i32>),
        };
        added.map_err(|error| format!("parameter {}: {error}", index + 1))?;
    }
    Ok(arguments)
}
