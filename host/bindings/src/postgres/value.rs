//! Converts values from PostgreSQL to the interface.
//!
//! Types are converted as in Spin, but without its losses: a decimal keeps all its digits, JSON keeps its numbers as
//! they were written, an empty range stays empty (as a range from 0 to 0 that excludes both, which PostgreSQL reads as
//! empty again), and 24:00 does not become 00:00. A value that the interface cannot represent (the date `infinity`, NaN
//! as a decimal, a two-dimensional array) is an error, never another value. Types that the interface does not have are
//! `unsupported`, with the bytes of PostgreSQL's binary format.

use super::numeric;
use super::wire::{BytesLeft, Malformed, Reader};
use super::{Column, DbDataType, DbValue, Interval, MAX_RESULT_BYTES, RangeBoundKind, Row};
use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Timelike as _, Utc};
use sqlx::Row as _;
use sqlx::postgres::{PgColumn, PgRow, PgTypeInfo};
use sqlx::{Column as _, TypeInfo as _, ValueRef as _};

/// The memory for a value's place in the row, without its own bytes.
const CELL_BYTES: usize = size_of::<DbValue>();

/// Seconds from 1970 to 2000, the epoch of PostgreSQL's timestamps.
pub(super) const EPOCH: i64 = 946_684_800;
const MICROS: i64 = 1_000_000;

/// Year, month, day, hour, minute, second, nanosecond.
type DateTuple = (i32, u8, u8, u8, u8, u8, u32);

/// A bound of a range.
type Bound<T> = Option<(T, RangeBoundKind)>;

/// The interface's column.
pub(super) fn column(column: &PgColumn) -> Column {
    Column { name: column.name().to_owned(), data_type: data_type(column.type_info()) }
}

/// The interface's type, by the fixed OIDs of PostgreSQL's own types.
fn data_type(ty: &PgTypeInfo) -> DbDataType {
    match ty.oid().map_or(0, |oid| oid.0) {
        16 => DbDataType::Boolean,
        17 => DbDataType::Binary,
        20 => DbDataType::Int64,
        21 => DbDataType::Int16,
        23 => DbDataType::Int32,
        25 | 1042 | 1043 => DbDataType::Str,
        700 => DbDataType::Floating32,
        701 => DbDataType::Floating64,
        1007 => DbDataType::ArrayInt32,
        1009 | 1014 | 1015 => DbDataType::ArrayStr,
        1016 => DbDataType::ArrayInt64,
        1082 => DbDataType::Date,
        1083 => DbDataType::Time,
        1114 | 1184 => DbDataType::Datetime,
        1186 => DbDataType::Interval,
        1231 => DbDataType::ArrayDecimal,
        1700 => DbDataType::Decimal,
        2950 => DbDataType::Uuid,
        3802 => DbDataType::Jsonb,
        3904 => DbDataType::RangeInt32,
        3906 => DbDataType::RangeDecimal,
        3926 => DbDataType::RangeInt64,
        _ => DbDataType::Other(name(ty)),
    }
}

/// A type's name as in PostgreSQL's catalogue: `_inet`, not sqlx's `INET[]`.
pub(super) fn name(ty: &PgTypeInfo) -> String {
    let name = ty.name().to_ascii_lowercase();
    match name.strip_suffix("[]") {
        Some(element) => format!("_{element}"),
        None => name,
    }
}

/// The values of a row, and their size in memory, at most [`MAX_RESULT_BYTES`]; the error says which column cannot be
/// read, and why.
pub(super) fn read_row(row: &PgRow, columns: &[Column]) -> Result<(Row, usize), String> {
    let mut values = Vec::with_capacity(columns.len());
    let mut budget = BytesLeft(MAX_RESULT_BYTES);
    for (index, column) in columns.iter().enumerate() {
        let wrong = |what: &dyn std::fmt::Display| format!("column `{}`: {what}", column.name);
        let unfit = |Malformed(what)| wrong(&what);
        budget.spend(CELL_BYTES).map_err(unfit)?;
        let raw = row.try_get_raw(index).map_err(|e| wrong(&e))?;
        values.push(if raw.is_null() {
            DbValue::DbNull
        } else {
            let bytes = raw.as_bytes().map_err(|e| wrong(&e))?;
            read(&column.data_type, bytes, &mut budget).map_err(unfit)?
        });
    }
    Ok((values, MAX_RESULT_BYTES - budget.0))
}

/// A value that is not NULL; its memory outside its cell counts against `budget`.
fn read(ty: &DbDataType, bytes: &[u8], budget: &mut BytesLeft) -> Result<DbValue, Malformed> {
    let mut reader = Reader::new(bytes);
    let value = match ty {
        DbDataType::Boolean => DbValue::Boolean(reader.i8()? != 0),
        DbDataType::Int8 => DbValue::Int8(reader.i8()?),
        DbDataType::Int16 => DbValue::Int16(reader.i16()?),
        DbDataType::Int32 => DbValue::Int32(reader.i32()?),
        DbDataType::Int64 => DbValue::Int64(reader.i64()?),
        DbDataType::Floating32 => DbValue::Floating32(reader.f32()?),
        DbDataType::Floating64 => DbValue::Floating64(reader.f64()?),
        DbDataType::Date => DbValue::Date(date(reader.i32()?)?),
        DbDataType::Time => DbValue::Time(time(reader.i64()?)?),
        DbDataType::Datetime | DbDataType::Timestamp => DbValue::Datetime(datetime(reader.i64()?)?),
        DbDataType::Interval => {
            let (micros, days, months) = (reader.i64()?, reader.i32()?, reader.i32()?);
            if matches!((micros, days, months), (i64::MAX, i32::MAX, i32::MAX) | (i64::MIN, i32::MIN, i32::MIN)) {
                return Err(INFINITE);
            }
            DbValue::Interval(Interval { micros, days, months })
        }
        DbDataType::Str => return Ok(DbValue::Str(text(bytes, budget)?)),
        DbDataType::Binary => return Ok(DbValue::Binary(copy(bytes, budget)?)),
        DbDataType::Uuid => {
            let uuid = uuid::Uuid::from_slice(bytes).map_err(|_| Malformed("a UUID that does not have 16 bytes"))?;
            budget.spend(uuid::fmt::Hyphenated::LENGTH)?;
            return Ok(DbValue::Uuid(uuid.to_string()));
        }
        DbDataType::Jsonb => match bytes.split_first() {
            Some((1, json)) => return Ok(DbValue::Jsonb(copy(json, budget)?)),
            _ => return Err(Malformed("JSONB of an unknown version")),
        },
        DbDataType::Decimal => return Ok(DbValue::Decimal(numeric::read(bytes, budget)?)),
        DbDataType::RangeInt32 => return Ok(DbValue::RangeInt32(range(bytes, budget, 0, int32)?)),
        DbDataType::RangeInt64 => return Ok(DbValue::RangeInt64(range(bytes, budget, 0, int64)?)),
        DbDataType::RangeDecimal => {
            return Ok(DbValue::RangeDecimal(range(bytes, budget, "0".to_owned(), numeric::read)?));
        }
        DbDataType::ArrayInt32 => return Ok(DbValue::ArrayInt32(array(bytes, budget, int32)?)),
        DbDataType::ArrayInt64 => return Ok(DbValue::ArrayInt64(array(bytes, budget, int64)?)),
        DbDataType::ArrayDecimal => return Ok(DbValue::ArrayDecimal(array(bytes, budget, numeric::read)?)),
        DbDataType::ArrayStr => return Ok(DbValue::ArrayStr(array(bytes, budget, text)?)),
        DbDataType::Other(_) => return Ok(DbValue::Unsupported(copy(bytes, budget)?)),
    };
    reader.end(value)
}

const INFINITE: Malformed = Malformed("infinity, which is not a time");
const TOO_FAR: Malformed = Malformed("a time that is too far away");

fn int32(bytes: &[u8], _: &mut BytesLeft) -> Result<i32, Malformed> {
    let mut reader = Reader::new(bytes);
    let value = reader.i32()?;
    reader.end(value)
}

fn int64(bytes: &[u8], _: &mut BytesLeft) -> Result<i64, Malformed> {
    let mut reader = Reader::new(bytes);
    let value = reader.i64()?;
    reader.end(value)
}

fn copy(bytes: &[u8], budget: &mut BytesLeft) -> Result<Vec<u8>, Malformed> {
    budget.spend(bytes.len())?;
    Ok(bytes.to_vec())
}

fn text(bytes: &[u8], budget: &mut BytesLeft) -> Result<String, Malformed> {
    budget.spend(bytes.len())?;
    Ok(std::str::from_utf8(bytes).map_err(|_| Malformed("text that is not UTF-8"))?.to_owned())
}

/// A date from the days since 2000.
fn date(days: i32) -> Result<(i32, u8, u8), Malformed> {
    if matches!(days, i32::MIN | i32::MAX) {
        return Err(INFINITE);
    }
    let epoch = NaiveDate::from_ymd_opt(2000, 1, 1).ok_or(TOO_FAR)?;
    let date = epoch.checked_add_signed(TimeDelta::days(days.into())).ok_or(TOO_FAR)?;
    Ok((date.year(), small(date.month()), small(date.day())))
}

/// A time of day from the microseconds since midnight; 24:00 is valid.
fn time(micros: i64) -> Result<(u8, u8, u8, u32), Malformed> {
    let seconds = u32::try_from(micros / MICROS).map_err(|_| TOO_FAR)?;
    let nanos = u32::try_from(micros % MICROS).map_err(|_| TOO_FAR)? * 1_000;
    Ok((u8::try_from(seconds / 3600).map_err(|_| TOO_FAR)?, small(seconds / 60 % 60), small(seconds % 60), nanos))
}

/// A timestamp from the microseconds since 2000.
fn datetime(micros: i64) -> Result<DateTuple, Malformed> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Err(INFINITE);
    }
    let nanos = u32::try_from(micros.rem_euclid(MICROS)).map_err(|_| TOO_FAR)? * 1_000;
    let at = DateTime::<Utc>::from_timestamp(micros.div_euclid(MICROS) + EPOCH, nanos).ok_or(TOO_FAR)?;
    let (hour, minute, second) = (small(at.hour()), small(at.minute()), small(at.second()));
    Ok((at.year(), small(at.month()), small(at.day()), hour, minute, second, at.nanosecond()))
}

/// A part of a date or time, always below 256.
fn small(part: u32) -> u8 {
    u8::try_from(part).unwrap_or(u8::MAX)
}

/// A range; an empty one has `zero` at both ends.
fn range<T: Clone>(
    bytes: &[u8],
    budget: &mut BytesLeft,
    zero: T,
    read: impl Fn(&[u8], &mut BytesLeft) -> Result<T, Malformed>,
) -> Result<(Bound<T>, Bound<T>), Malformed> {
    const EMPTY: i8 = 0x01;
    let mut reader = Reader::new(bytes);
    let flags = reader.i8()?;
    if flags & EMPTY != 0 {
        let end = Some((zero, RangeBoundKind::Exclusive));
        return reader.end((end.clone(), end));
    }
    let mut bound = |inclusive: i8, infinite: i8| -> Result<Bound<T>, Malformed> {
        if flags & infinite != 0 {
            return Ok(None);
        }
        let kind = if flags & inclusive != 0 { RangeBoundKind::Inclusive } else { RangeBoundKind::Exclusive };
        let piece = reader.piece()?.ok_or(Malformed("a range with NULL at its end"))?;
        Ok(Some((read(piece, budget)?, kind)))
    };
    let both = (bound(0x02, 0x08)?, bound(0x04, 0x10)?);
    reader.end(both)
}

/// An array of one dimension, or an empty one.
fn array<T>(
    bytes: &[u8],
    budget: &mut BytesLeft,
    read: impl Fn(&[u8], &mut BytesLeft) -> Result<T, Malformed>,
) -> Result<Vec<Option<T>>, Malformed> {
    let mut reader = Reader::new(bytes);
    let (dimensions, _has_null, _element) = (reader.i32()?, reader.i32()?, reader.u32()?);
    match dimensions {
        0 => return reader.end(Vec::new()),
        1 => {}
        _ => return Err(Malformed("an array of several dimensions")),
    }
    let (length, _first_index) = (reader.i32()?, reader.i32()?);
    // The count from the wire sets no capacity, because it may be false.
    let mut values = Vec::new();
    for _ in 0..length {
        budget.spend(size_of::<Option<T>>())?;
        values.push(reader.piece()?.map(|piece| read(piece, budget)).transpose()?);
    }
    reader.end(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_time_is_an_error() {
        for days in [i32::MAX, i32::MIN, i32::MAX - 1, i32::MIN + 1] {
            assert!(date(days).is_err());
        }
        for micros in [i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1] {
            assert!(datetime(micros).is_err());
        }
        assert_eq!(time(86_400 * MICROS), Ok((24, 0, 0, 0)));
        assert!(time(-1).is_err());
        assert!(time(i64::MAX).is_err());
        assert_eq!(datetime(-1), Ok((1999, 12, 31, 23, 59, 59, 999_999_000)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(oid in prop::sample::select(vec![
            16_u32, 17, 20, 21, 23, 25, 700, 701, 1007, 1009, 1016, 1082, 1083, 1114, 1184, 1186, 1231, 1700, 2950, 3802,
            3904, 3906, 3926, 0,
        ]), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let ty = data_type(&PgTypeInfo::with_oid(sqlx::postgres::types::Oid(oid)));
            let _ = read(&ty, &bytes, &mut BytesLeft(999));
        }
    }

    #[test]
    fn many_elements_of_few_bytes_are_refused_before_they_take_memory() {
        // One dimension with `count` NULLs.
        let nulls = |count: i32| {
            let head = [1_i32, 1, 0, count, 1].into_iter().chain((0..count).map(|_| -1));
            head.flat_map(i32::to_be_bytes).collect::<Vec<_>>()
        };
        for (ty, each) in [(DbDataType::ArrayStr, size_of::<Option<String>>()), (DbDataType::ArrayInt64, 16)] {
            let mut budget = BytesLeft(10 * each);
            assert!(read(&ty, &nulls(10), &mut budget).is_ok());
            assert_eq!(budget.0, 0);
            assert_eq!(read(&ty, &nulls(11), &mut BytesLeft(10 * each)), Err(super::super::wire::TOO_LARGE));
        }
    }
}
