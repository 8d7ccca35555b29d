//! Converts values from the interface to PostgreSQL.
//!
//! PostgreSQL reports the types of a statement's parameters, and each value is sent as that type. So NULL fits every
//! parameter, and one prepared statement serves all values. A value fits the same types as in Spin; in addition, an
//! integer fits every integer type that can hold it, and text fits an `enum`. Other values are refused before the
//! statement runs.

use super::value::EPOCH;
use super::wire::{put_null, put_piece};
use super::{ParameterValue, RangeBoundKind, numeric, value};
use chrono::{NaiveDate, NaiveTime};
use sqlx::Postgres;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgTypeKind};

const MICROS: i64 = 1_000_000;

/// The bytes that these values take.
pub(super) fn weight(params: &[ParameterValue]) -> usize {
    params.iter().map(|param| size_of::<ParameterValue>() + inner_bytes(param)).sum()
}

fn inner_bytes(param: &ParameterValue) -> usize {
    match param {
        ParameterValue::Str(text) | ParameterValue::Uuid(text) | ParameterValue::Decimal(text) => text.len(),
        ParameterValue::Binary(bytes) | ParameterValue::Jsonb(bytes) => bytes.len(),
        ParameterValue::ArrayInt32(all) => size_of_val(all.as_slice()),
        ParameterValue::ArrayInt64(all) => size_of_val(all.as_slice()),
        ParameterValue::ArrayStr(all) | ParameterValue::ArrayDecimal(all) => {
            all.iter().map(|text| size_of::<Option<String>>() + text.as_ref().map_or(0, String::len)).sum()
        }
        ParameterValue::RangeDecimal((low, high)) => low.iter().chain(high).map(|(bound, _)| bound.len()).sum(),
        _ => 0,
    }
}

/// A value in the binary form of the type that the statement expects.
pub(super) struct Parameter {
    /// `None` for NULL.
    bytes: Option<Vec<u8>>,
    ty: PgTypeInfo,
}

impl Parameter {
    /// The value for a parameter of type `ty`; `Err` says why it does not fit.
    pub(super) fn new(value: &ParameterValue, ty: &PgTypeInfo) -> Result<Self, String> {
        let bytes = match value {
            ParameterValue::DbNull => None,
            value => {
                let mut bytes = Vec::new();
                write(value, ty, &mut bytes)?;
                Some(bytes)
            }
        };
        Ok(Parameter { bytes, ty: ty.clone() })
    }

    /// Its bytes in the message.
    pub(super) fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }
}

impl sqlx::Type<Postgres> for Parameter {
    fn type_info() -> PgTypeInfo {
        // Never used: `produces` returns the type of each value.
        PgTypeInfo::with_name("unknown")
    }
}

impl sqlx::Encode<'_, Postgres> for Parameter {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(bytes) = &self.bytes else { return Ok(IsNull::Yes) };
        buffer.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.ty.clone())
    }
}

/// The type whose binary form is used: for a domain, the type that it restricts.
fn base(ty: &PgTypeInfo) -> &PgTypeInfo {
    match ty.kind() {
        PgTypeKind::Domain(inner) => base(inner),
        _ => ty,
    }
}

fn oid(ty: &PgTypeInfo) -> u32 {
    ty.oid().map_or(0, |oid| oid.0)
}

/// Whether the type's binary form is its text.
fn is_text(ty: &PgTypeInfo) -> bool {
    let ty = base(ty);
    // `name`, `text`, `unknown`, `bpchar` and `varchar`; enums, and `citext`, the extension for case-insensitive text.
    matches!(oid(ty), 19 | 25 | 705 | 1042 | 1043)
        || matches!(ty.kind(), PgTypeKind::Enum(_))
        || value::name(ty) == "citext"
}

fn write(value: &ParameterValue, ty: &PgTypeInfo, out: &mut Vec<u8>) -> Result<(), String> {
    let ty = base(ty);
    let oid = oid(ty);
    match (value, oid) {
        (ParameterValue::Boolean(v), 16) => out.push(u8::from(*v)),
        (ParameterValue::Int8(v), _) => integer((*v).into(), ty, "int8", out)?,
        (ParameterValue::Int16(v), _) => integer((*v).into(), ty, "int16", out)?,
        (ParameterValue::Int32(v), _) => integer((*v).into(), ty, "int32", out)?,
        (ParameterValue::Int64(v), _) => integer(*v, ty, "int64", out)?,
        (ParameterValue::Floating32(v), 700) => out.extend(v.to_be_bytes()),
        (ParameterValue::Floating32(v), 701) => out.extend(f64::from(*v).to_be_bytes()),
        (ParameterValue::Floating64(v), 701) => out.extend(v.to_be_bytes()),
        (ParameterValue::Str(v), _) if is_text(ty) => out.extend(v.as_bytes()),
        (ParameterValue::Binary(v), 17) => out.extend(v),
        (ParameterValue::Date((year, month, day)), 1082) => {
            let days = date(*year, *month, *day)?;
            out.extend(i32::try_from(days).map_err(|_| "the date is too far away".to_owned())?.to_be_bytes());
        }
        (ParameterValue::Time((hour, minute, second, nanos)), 1083) => {
            out.extend(time(*hour, *minute, *second, *nanos)?.to_be_bytes());
        }
        (ParameterValue::Datetime((year, month, day, hour, minute, second, nanos)), 1114 | 1184) => {
            let micros = date(*year, *month, *day)? * 86_400 * MICROS + time(*hour, *minute, *second, *nanos)?;
            out.extend(micros.to_be_bytes());
        }
        (ParameterValue::Timestamp(v), 1114 | 1184) => {
            let micros = v.checked_sub(EPOCH).and_then(|v| v.checked_mul(MICROS));
            out.extend(micros.ok_or_else(|| format!("the timestamp {v} is too far away"))?.to_be_bytes());
        }
        (ParameterValue::Uuid(v), 2950) => {
            out.extend(uuid::Uuid::parse_str(v).map_err(|_| format!("`{v}` is not a UUID"))?.into_bytes());
        }
        (ParameterValue::Jsonb(v), 114 | 3802) => {
            serde_json::from_slice::<serde::de::IgnoredAny>(v).map_err(|e| format!("it is not JSON: {e}"))?;
            if oid == 3802 {
                out.push(1);
            }
            out.extend(v);
        }
        (ParameterValue::Decimal(v), 1700) => decimal(v, out)?,
        (ParameterValue::RangeInt32(v), 3904) => range(v, out, |v, out| put(out, &v.to_be_bytes()))?,
        (ParameterValue::RangeInt64(v), 3926) => range(v, out, |v, out| put(out, &v.to_be_bytes()))?,
        (ParameterValue::RangeDecimal(v), 3906) => range(v, out, |v, out| decimal(v, out))?,
        (ParameterValue::ArrayInt32(v), 1007) => array(v, 23, out, |v, out| put(out, &v.to_be_bytes()))?,
        (ParameterValue::ArrayInt64(v), 1016) => array(v, 20, out, |v, out| put(out, &v.to_be_bytes()))?,
        (ParameterValue::ArrayDecimal(v), 1231) => array(v, 1700, out, |v, out| decimal(v, out))?,
        (ParameterValue::ArrayStr(v), _) => match ty.kind() {
            PgTypeKind::Array(element) if is_text(element) => {
                array(v, self::oid(element), out, |v, out| put(out, v.as_bytes()))?;
            }
            _ => return Err(mismatch("array-str", ty)),
        },
        (ParameterValue::Interval(v), 1186) => {
            out.extend(v.micros.to_be_bytes());
            out.extend(v.days.to_be_bytes());
            out.extend(v.months.to_be_bytes());
        }
        (value, _) => return Err(mismatch(case(value), ty)),
    }
    Ok(())
}

fn mismatch(case: &str, ty: &PgTypeInfo) -> String {
    format!("it is {case}, and the statement wants {}; cast it in the statement, or give another type", value::name(ty))
}

/// The name of a value's case.
fn case(value: &ParameterValue) -> &'static str {
    match value {
        ParameterValue::Boolean(_) => "boolean",
        ParameterValue::Int8(_) => "int8",
        ParameterValue::Int16(_) => "int16",
        ParameterValue::Int32(_) => "int32",
        ParameterValue::Int64(_) => "int64",
        ParameterValue::Floating32(_) => "floating32",
        ParameterValue::Floating64(_) => "floating64",
        ParameterValue::Str(_) => "str",
        ParameterValue::Binary(_) => "binary",
        ParameterValue::Date(_) => "date",
        ParameterValue::Time(_) => "time",
        ParameterValue::Datetime(_) => "datetime",
        ParameterValue::Timestamp(_) => "timestamp",
        ParameterValue::Uuid(_) => "uuid",
        ParameterValue::Jsonb(_) => "jsonb",
        ParameterValue::Decimal(_) => "decimal",
        ParameterValue::RangeInt32(_) => "range-int32",
        ParameterValue::RangeInt64(_) => "range-int64",
        ParameterValue::RangeDecimal(_) => "range-decimal",
        ParameterValue::ArrayInt32(_) => "array-int32",
        ParameterValue::ArrayInt64(_) => "array-int64",
        ParameterValue::ArrayDecimal(_) => "array-decimal",
        ParameterValue::ArrayStr(_) => "array-str",
        ParameterValue::Interval(_) => "interval",
        ParameterValue::DbNull => "db-null",
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), String> {
    out.extend(bytes);
    Ok(())
}

fn integer(v: i64, ty: &PgTypeInfo, case: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let large = |_| format!("{v} is too large for {}", value::name(ty));
    match oid(ty) {
        // The type "char", which has one byte.
        18 => out.extend(i8::try_from(v).map_err(large)?.to_be_bytes()),
        21 => out.extend(i16::try_from(v).map_err(large)?.to_be_bytes()),
        23 => out.extend(i32::try_from(v).map_err(large)?.to_be_bytes()),
        26 => out.extend(u32::try_from(v).map_err(large)?.to_be_bytes()),
        20 => out.extend(v.to_be_bytes()),
        _ => return Err(mismatch(case, ty)),
    }
    Ok(())
}

fn decimal(v: &str, out: &mut Vec<u8>) -> Result<(), String> {
    numeric::write(v, out).ok_or_else(|| "it is not a decimal such as -12.50, or is too large".to_owned())
}

/// Days since 2000.
fn date(year: i32, month: u8, day: u8) -> Result<i64, String> {
    let wrong = || format!("{year}-{month}-{day} is not a date");
    let date = NaiveDate::from_ymd_opt(year, month.into(), day.into()).ok_or_else(wrong)?;
    let epoch = NaiveDate::from_ymd_opt(2000, 1, 1).ok_or_else(wrong)?;
    Ok(date.signed_duration_since(epoch).num_days())
}

/// Microseconds since midnight. Fractions of a microsecond are cut off, because PostgreSQL cannot store them.
fn time(hour: u8, minute: u8, second: u8, nanos: u32) -> Result<i64, String> {
    let midnight = (hour, minute, second, nanos) == (24, 0, 0, 0);
    // chrono would accept more than 999,999,999 ns as a leap second.
    let valid = nanos < 1_000_000_000 && NaiveTime::from_hms_opt(hour.into(), minute.into(), second.into()).is_some();
    if !valid && !midnight {
        return Err(format!("{hour}:{minute}:{second} and {nanos} ns is not a time of day"));
    }
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Ok(seconds * MICROS + i64::from(nanos / 1_000))
}

type Bounds<T> = (Option<(T, RangeBoundKind)>, Option<(T, RangeBoundKind)>);

fn range<T>(
    (from, to): &Bounds<T>,
    out: &mut Vec<u8>,
    write: impl Fn(&T, &mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    let flag = |bound: &Option<(T, RangeBoundKind)>, inclusive: u8, infinite: u8| match bound {
        Some((_, RangeBoundKind::Inclusive)) => inclusive,
        Some((_, RangeBoundKind::Exclusive)) => 0,
        None => infinite,
    };
    out.push(flag(from, 0x02, 0x08) | flag(to, 0x04, 0x10));
    for (bound, _) in [from, to].into_iter().flatten() {
        put_piece(out, |out| write(bound, out))?;
    }
    Ok(())
}

fn array<T>(
    values: &[Option<T>],
    element: u32,
    out: &mut Vec<u8>,
    write: impl Fn(&T, &mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    let length = i32::try_from(values.len()).map_err(|_| "it has too many values".to_owned())?;
    out.extend(i32::from(length > 0).to_be_bytes());
    out.extend(i32::from(values.iter().any(Option::is_none)).to_be_bytes());
    out.extend(element.to_be_bytes());
    if length > 0 {
        out.extend(length.to_be_bytes());
        out.extend(1_i32.to_be_bytes());
    }
    for value in values {
        match value {
            Some(value) => put_piece(out, |out| write(value, out))?,
            None => put_null(out),
        }
    }
    Ok(())
}
