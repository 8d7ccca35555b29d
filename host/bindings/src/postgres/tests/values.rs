//! Values of every type, sent and read back.

use super::*;

/// Sends a value as a parameter of type `ty`; returns the value that comes back, and PostgreSQL's text of it.
async fn there_and_back(
    c: &Connection,
    ty: &str,
    value: ParameterValue,
) -> Result<(DbDataType, DbValue, String), Error> {
    let sql = format!("SELECT v, v::text FROM (SELECT $1::{ty} AS v) x");
    let rows = c.query(sql, vec![value]).await?;
    let data_type = rows.columns[0].data_type.clone();
    let text = match &rows.rows[0][1] {
        DbValue::Str(text) => text.clone(),
        other => format!("{other:?}"),
    };
    Ok((data_type, rows.rows[0][0].clone(), text))
}

#[tokio::test]
async fn every_type_of_the_interface_goes_there_and_comes_back() {
    use DbValue as D;
    use ParameterValue as P;
    let f = Fixture::new();
    let c = f.connect();
    let s = |text: &str| text.to_owned();
    let interval = Interval { micros: 3_600_000_001, days: 2, months: -14 };
    for (ty, sent, data_type, back, as_text) in [
        ("bool", P::Boolean(true), DbDataType::Boolean, D::Boolean(true), "true"),
        ("int2", P::Int16(-3), DbDataType::Int16, D::Int16(-3), "-3"),
        ("int4", P::Int32(i32::MIN), DbDataType::Int32, D::Int32(i32::MIN), "-2147483648"),
        ("int8", P::Int64(i64::MAX), DbDataType::Int64, D::Int64(i64::MAX), "9223372036854775807"),
        ("int8", P::Int32(7), DbDataType::Int64, D::Int64(7), "7"),
        ("int2", P::Int64(7), DbDataType::Int16, D::Int16(7), "7"),
        ("float4", P::Floating32(1.5), DbDataType::Floating32, D::Floating32(1.5), "1.5"),
        ("float8", P::Floating64(0.1), DbDataType::Floating64, D::Floating64(0.1), "0.1"),
        ("float8", P::Floating32(0.5), DbDataType::Floating64, D::Floating64(0.5), "0.5"),
        ("text", P::Str(s("grüße")), DbDataType::Str, D::Str(s("grüße")), "grüße"),
        ("varchar(9)", P::Str(s("a")), DbDataType::Str, D::Str(s("a")), "a"),
        ("char(3)", P::Str(s("a")), DbDataType::Str, D::Str(s("a  ")), "a"),
        ("bytea", P::Binary(vec![0, 255]), DbDataType::Binary, D::Binary(vec![0, 255]), "\\x00ff"),
        ("date", P::Date((2024, 2, 29)), DbDataType::Date, D::Date((2024, 2, 29)), "2024-02-29"),
        ("date", P::Date((-43, 3, 15)), DbDataType::Date, D::Date((-43, 3, 15)), "0044-03-15 BC"),
        (
            "time",
            P::Time((23, 59, 59, 999_999_000)),
            DbDataType::Time,
            D::Time((23, 59, 59, 999_999_000)),
            "23:59:59.999999",
        ),
        ("time", P::Time((24, 0, 0, 0)), DbDataType::Time, D::Time((24, 0, 0, 0)), "24:00:00"),
        (
            "timestamp",
            P::Datetime((1999, 12, 31, 23, 59, 59, 1_000)),
            DbDataType::Datetime,
            D::Datetime((1999, 12, 31, 23, 59, 59, 1_000)),
            "1999-12-31 23:59:59.000001",
        ),
        (
            "timestamptz",
            P::Datetime((2024, 7, 1, 12, 0, 0, 0)),
            DbDataType::Datetime,
            D::Datetime((2024, 7, 1, 12, 0, 0, 0)),
            "2024-07-01 12:00:00+00",
        ),
        (
            "timestamptz",
            P::Timestamp(0),
            DbDataType::Datetime,
            D::Datetime((1970, 1, 1, 0, 0, 0, 0)),
            "1970-01-01 00:00:00+00",
        ),
        (
            "uuid",
            P::Uuid(s("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")),
            DbDataType::Uuid,
            D::Uuid(s("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
        (
            "jsonb",
            P::Jsonb(br#"{"a":12345678901234567890.10}"#.to_vec()),
            DbDataType::Jsonb,
            D::Jsonb(br#"{"a": 12345678901234567890.10}"#.to_vec()),
            r#"{"a": 12345678901234567890.10}"#,
        ),
        ("numeric", P::Decimal(s("-12.50")), DbDataType::Decimal, D::Decimal(s("-12.50")), "-12.50"),
        ("numeric", P::Decimal(s("0.000")), DbDataType::Decimal, D::Decimal(s("0.000")), "0.000"),
        (
            "int4range",
            P::RangeInt32((Some((1, INCLUSIVE)), Some((5, INCLUSIVE)))),
            DbDataType::RangeInt32,
            D::RangeInt32((Some((1, INCLUSIVE)), Some((6, EXCLUSIVE)))),
            "[1,6)",
        ),
        (
            "int4range",
            P::RangeInt32((Some((0, EXCLUSIVE)), Some((0, EXCLUSIVE)))),
            DbDataType::RangeInt32,
            D::RangeInt32((Some((0, EXCLUSIVE)), Some((0, EXCLUSIVE)))),
            "empty",
        ),
        (
            "int8range",
            P::RangeInt64((None, Some((9, EXCLUSIVE)))),
            DbDataType::RangeInt64,
            D::RangeInt64((None, Some((9, EXCLUSIVE)))),
            "(,9)",
        ),
        ("int8range", P::RangeInt64((None, None)), DbDataType::RangeInt64, D::RangeInt64((None, None)), "(,)"),
        (
            "numrange",
            P::RangeDecimal((Some((s("1.50"), EXCLUSIVE)), Some((s("2"), INCLUSIVE)))),
            DbDataType::RangeDecimal,
            D::RangeDecimal((Some((s("1.50"), EXCLUSIVE)), Some((s("2"), INCLUSIVE)))),
            "(1.50,2]",
        ),
        (
            "int4[]",
            P::ArrayInt32(vec![Some(1), None]),
            DbDataType::ArrayInt32,
            D::ArrayInt32(vec![Some(1), None]),
            "{1,NULL}",
        ),
        ("int8[]", P::ArrayInt64(vec![]), DbDataType::ArrayInt64, D::ArrayInt64(vec![]), "{}"),
        (
            "numeric[]",
            P::ArrayDecimal(vec![Some(s("1.0")), None]),
            DbDataType::ArrayDecimal,
            D::ArrayDecimal(vec![Some(s("1.0")), None]),
            "{1.0,NULL}",
        ),
        (
            "text[]",
            P::ArrayStr(vec![Some(s("")), None, Some(s("a,b"))]),
            DbDataType::ArrayStr,
            D::ArrayStr(vec![Some(s("")), None, Some(s("a,b"))]),
            r#"{"",NULL,"a,b"}"#,
        ),
        (
            "interval",
            P::Interval(interval),
            DbDataType::Interval,
            D::Interval(interval),
            "-1 years -2 mons +2 days 01:00:00.000001",
        ),
        ("\"char\"", P::Int8(65), DbDataType::Other(s("\"char\"")), D::Unsupported(vec![65]), "A"),
        ("json", P::Jsonb(b"[1]".to_vec()), DbDataType::Other(s("json")), D::Unsupported(b"[1]".to_vec()), "[1]"),
    ] {
        let sent_text = format!("{ty}: {sent:?}");
        let answer = there_and_back(&c, ty, sent).await.unwrap_or_else(|e| panic!("{sent_text}: {e:?}"));
        assert_eq!(answer, (data_type.clone(), back, s(as_text)), "{sent_text}");
        let null = there_and_back(&c, ty, P::DbNull).await.unwrap();
        assert_eq!((null.0, null.1), (data_type, D::DbNull), "{ty}");
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_refused_and_the_transaction_goes_on() {
    use ParameterValue as P;
    let f = Fixture::new();
    let c = f.connect();
    ok(&c, "BEGIN").await;
    let s = |text: &str| text.to_owned();
    for (ty, value) in [
        ("int2", P::Int32(40_000)),
        ("int4", P::Int64(i64::MAX)),
        ("int4", P::Str(s("1"))),
        ("text", P::Int32(1)),
        ("float4", P::Floating64(0.1)),
        ("date", P::Date((2023, 2, 31))),
        ("date", P::Date((i32::MAX, 1, 1))),
        ("time", P::Time((24, 0, 1, 0))),
        ("time", P::Time((1, 1, 1, 1_000_000_000))),
        ("timestamp", P::Datetime((2024, 13, 1, 0, 0, 0, 0))),
        ("timestamptz", P::Timestamp(i64::MAX)),
        ("uuid", P::Uuid(s("no"))),
        ("jsonb", P::Jsonb(b"{".to_vec())),
        ("numeric", P::Decimal(s("1e5"))),
        ("numrange", P::RangeDecimal((Some((s("x"), INCLUSIVE)), None))),
        ("numeric[]", P::ArrayDecimal(vec![Some(s(""))])),
        ("uuid[]", P::ArrayStr(vec![])),
    ] {
        let shown = format!("{ty}: {value:?}");
        let error = there_and_back(&c, ty, value).await.expect_err(&shown);
        assert!(
            matches!(&error, Error::BadParameter(what) if what.starts_with("parameter $1: ")),
            "{shown}: {error:?}"
        );
    }
    let missing = c.query("SELECT $1::int4, $2::int4".into(), vec![P::Int32(1)]).await.unwrap_err();
    assert!(matches!(missing, Error::BadParameter(_)), "{missing:?}");
    for sql in [
        "SELECT 'infinity'::date",
        "SELECT '-infinity'::timestamp",
        "SELECT 'NaN'::numeric",
        "SELECT '{{1},{2}}'::int4[]",
    ] {
        let error = error(&c, sql).await;
        assert!(
            matches!(&error, Error::ValueConversionFailed(what) if what.starts_with("column `")),
            "{sql}: {error:?}"
        );
    }
    assert!(text(&c, "SELECT 'still here'").await.contains("still"));
    assert_eq!(f.transactions.load(Ordering::Acquire), 1);
    // The transaction goes on even after a wrong parameter of the COMMIT itself.
    c.execute("COMMIT".into(), vec![P::Int32(1)]).await.unwrap_err();
    assert_eq!(f.transactions.load(Ordering::Acquire), 1);
    ok(&c, "COMMIT").await;
    assert_eq!(f.transactions.load(Ordering::Acquire), 0);
}

#[tokio::test]
async fn enums_domains_and_types_that_are_not_known() {
    let f = Fixture::with("CREATE TYPE mood AS ENUM ('good', 'bad')").await;
    let c = f.connect();
    ok(&c, "CREATE DOMAIN cents AS int8 CHECK (value >= 0)").await;
    ok(&c, "CREATE TABLE t (mood mood, price cents, at inet)").await;
    let sql = "INSERT INTO t VALUES ($1, $2, '10.0.0.1')";
    let given = vec![ParameterValue::Str("good".into()), ParameterValue::Int32(5)];
    assert_eq!(c.execute(sql.into(), given).await, Ok(1));
    let rows = ok(&c, "SELECT mood, price, at FROM t").await;
    assert_eq!(rows.columns[0].data_type, DbDataType::Other("mood".into()));
    assert_eq!(rows.columns[2].data_type, DbDataType::Other("inet".into()));
    let expected = [
        DbValue::Unsupported(b"good".to_vec()),
        DbValue::Int64(5),
        DbValue::Unsupported(vec![2, 32, 0, 4, 10, 0, 0, 1]),
    ];
    assert_eq!(rows.rows[0], expected);
    let negative = vec![ParameterValue::DbNull, ParameterValue::Int64(-1)];
    assert_eq!(state(&c.execute(sql.into(), negative).await.unwrap_err()), "23514");
}

#[test]
fn values_survive_a_round_trip() {
    let runtime = Runtime::new().unwrap();
    let f = Fixture::new();
    let c = f.connect();
    let date = (-4000_i32..9999, 1_u8..13, 1_u8..29);
    let time = (0_u8..24, 0_u8..60, 0_u8..60, (0_u32..1_000_000).prop_map(|micros| micros * 1_000));
    let decimal = "-?[1-9][0-9]{0,30}(\\.[0-9]{1,30})?";
    let value = prop_oneof![
        any::<bool>().prop_map(|v| ("bool", ParameterValue::Boolean(v), DbValue::Boolean(v))),
        any::<i16>().prop_map(|v| ("int2", ParameterValue::Int16(v), DbValue::Int16(v))),
        any::<i32>().prop_map(|v| ("int4", ParameterValue::Int32(v), DbValue::Int32(v))),
        any::<i64>().prop_map(|v| ("int8", ParameterValue::Int64(v), DbValue::Int64(v))),
        any::<f32>().prop_map(|v| ("float4", ParameterValue::Floating32(v), DbValue::Floating32(v))),
        any::<f64>().prop_map(|v| ("float8", ParameterValue::Floating64(v), DbValue::Floating64(v))),
        "[^\0]{0,40}".prop_map(|v| ("text", ParameterValue::Str(v.clone()), DbValue::Str(v))),
        any::<Vec<u8>>().prop_map(|v| ("bytea", ParameterValue::Binary(v.clone()), DbValue::Binary(v))),
        date.clone().prop_map(|v| ("date", ParameterValue::Date(v), DbValue::Date(v))),
        time.clone().prop_map(|v| ("time", ParameterValue::Time(v), DbValue::Time(v))),
        (date, time).prop_map(|((y, m, d), (h, min, s, ns))| {
            let v = (y, m, d, h, min, s, ns);
            ("timestamp", ParameterValue::Datetime(v), DbValue::Datetime(v))
        }),
        decimal.prop_map(|v| ("numeric", ParameterValue::Decimal(v.clone()), DbValue::Decimal(v))),
        any::<Vec<Option<i32>>>().prop_map(|v| (
            "int4[]",
            ParameterValue::ArrayInt32(v.clone()),
            DbValue::ArrayInt32(v)
        )),
        any::<Vec<Option<i64>>>().prop_map(|v| (
            "int8[]",
            ParameterValue::ArrayInt64(v.clone()),
            DbValue::ArrayInt64(v)
        )),
        prop::collection::vec(prop::option::of("[^\0]{0,9}"), 0..9).prop_map(|v| (
            "text[]",
            ParameterValue::ArrayStr(v.clone()),
            DbValue::ArrayStr(v)
        )),
        (any::<i32>(), any::<i32>(), any::<i32>()).prop_map(|(micros, days, months)| {
            let v = Interval { micros: micros.into(), days, months };
            ("interval", ParameterValue::Interval(v), DbValue::Interval(v))
        }),
        (-1000_i64..0, 1_i64..1000).prop_map(|(from, to)| {
            let v = (Some((from, INCLUSIVE)), Some((to, EXCLUSIVE)));
            ("int8range", ParameterValue::RangeInt64(v), DbValue::RangeInt64(v))
        }),
    ];
    proptest!(ProptestConfig::with_cases(400), |((ty, sent, expected) in value)| {
        let (_, back, _) = runtime.block_on(there_and_back(&c, ty, sent)).unwrap();
        // NaN is not equal to itself.
        prop_assert_eq!(format!("{back:?}"), format!("{expected:?}"));
    });
}
