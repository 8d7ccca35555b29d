//! The target: fills and compares the tables that migrations have created in PostgreSQL.

use super::sqlite::{Part, Source, Table};
use super::{MAX_READ_AHEAD, MoveError, Moved, Sum};
use crate::postgres::connect_options;
use futures::TryStreamExt as _;
use souk_manifest::PostgresAddress;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A component whose tables are in the file.
pub struct Owner {
    /// Its name.
    pub name: String,
    /// The folder of its migrations.
    pub migrations: PathBuf,
    /// The numbers of its retired migrations.
    pub retired: Vec<i32>,
    /// The numbers of its migrations that older releases can work with.
    pub additive: Vec<i32>,
}

/// A copy: its source and its target.
pub struct Move<'a> {
    /// The components whose tables are in the file.
    pub components: &'a [Owner],
    /// The SQLite file.
    pub from: &'a Path,
    /// The PostgreSQL database.
    pub to: &'a PostgresAddress,
    /// Whether an earlier copy into it was begun.
    pub resumed: bool,
}

/// A column in PostgreSQL.
struct Column {
    /// Its type, as PostgreSQL calls it.
    kind: String,
    is_identity: bool,
}

/// Copies the database, and compares both; calls `progress` with a table and the number of its rows that are copied.
///
/// # Errors
/// See [`MoveError`].
pub async fn copy(the: Move<'_>, progress: impl Fn(&str, u64)) -> Result<Vec<Moved>, MoveError> {
    let (source, tables) = open(the.from).await?;
    for Owner { name, migrations, retired, additive } in the.components {
        crate::migrations::postgres::run(the.to, name, migrations, retired, additive).await?;
    }
    let mut target = Target::connect(the.to).await?;
    let mut columns = Vec::new();
    for table in &tables {
        columns.push(target.columns(table).await?);
        if !the.resumed {
            target.must_be_empty(table).await?;
        }
    }
    let (sender, mut parts) = tokio::sync::mpsc::channel(MAX_READ_AHEAD);
    let read = tables.clone();
    let reading = tokio::task::spawn_blocking(move || source.send(&read, &sender));
    let mut sums = vec![Sum::default(); tables.len()];
    let mut done = 0;
    while let Some(part) = parts.recv().await {
        match part {
            Part::Rows { table, json, rows } => {
                let Some(table) = tables.get(table) else { continue };
                if done == 0 && table.is_log {
                    target.forget(table).await?;
                }
                target.insert(table, json).await?;
                done += rows;
                progress(&table.name, done);
            }
            Part::End { table, sum } => {
                if let Some(table) = tables.get(table).filter(|table| table.is_log && done == 0) {
                    target.forget(table).await?;
                }
                done = 0;
                if let Some(place) = sums.get_mut(table) {
                    *place = sum;
                }
            }
        }
    }
    reading.await?.map_err(source_fault(the.from))?;
    let mut moved = Vec::new();
    for ((table, here), columns) in tables.into_iter().zip(sums).zip(&columns) {
        target.go_on_counting(&table, columns).await?;
        let there = target.sum(&table, columns).await?;
        if here != there {
            return Err(MoveError::Differs { table: table.name, here: here.rows, there: there.rows });
        }
        moved.push(Moved { table: table.name, rows: here.rows });
    }
    let _ = target.connection.close().await;
    Ok(moved)
}

/// Refuses a database in which a table of the file has rows already. A table that is not there yet has none.
///
/// # Errors
/// See [`MoveError`].
pub async fn must_be_empty(from: &Path, to: &PostgresAddress) -> Result<(), MoveError> {
    let (_, tables) = open(from).await?;
    let mut target = Target::connect(to).await?;
    for table in &tables {
        if target.has(table).await? {
            target.must_be_empty(table).await?;
        }
    }
    let _ = target.connection.close().await;
    Ok(())
}

/// Opens the file, and reads which tables are copied.
async fn open(from: &Path) -> Result<(Source, Vec<Table>), MoveError> {
    let path = from.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let mut source = Source::open(&path)?;
        source.tables().map(|tables| (source, tables))
    });
    opened.await?.map_err(source_fault(from))
}

fn source_fault(from: &Path) -> impl Fn(rusqlite::Error) -> MoveError {
    let file = from.display().to_string();
    move |error| MoveError::Source { file: file.clone(), cause: error.to_string() }
}

struct Target {
    place: String,
    connection: PgConnection,
}

impl Target {
    async fn connect(address: &PostgresAddress) -> Result<Self, MoveError> {
        let place = address.to_string();
        let failed = |cause: String| MoveError::Target { place: place.clone(), cause };
        let options = connect_options(address).map_err(|error| failed(error.message))?;
        let connection = options.connect().await.map_err(|error| failed(error.to_string()))?;
        Ok(Target { place, connection })
    }

    fn failed(&self, error: &sqlx::Error) -> MoveError {
        MoveError::Target { place: self.place.clone(), cause: error.to_string() }
    }

    /// The table's columns in PostgreSQL, which must be the same as in SQLite.
    async fn columns(&mut self, table: &Table) -> Result<BTreeMap<String, Column>, MoveError> {
        let sql = "SELECT column_name::text, udt_name::text, is_identity = 'YES' OR column_default LIKE 'nextval(%' \
                   FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1";
        let found = sqlx::query(sql).bind(&table.name).fetch_all(&mut self.connection).await;
        let rows = found.map_err(|error| self.failed(&error))?;
        let mut columns = BTreeMap::new();
        for row in rows {
            let read = || {
                Ok((
                    row.try_get(0)?,
                    Column { kind: row.try_get(1)?, is_identity: row.try_get::<Option<bool>, _>(2)?.unwrap_or(false) },
                ))
            };
            let (name, column): (String, Column) = read().map_err(|error| self.failed(&error))?;
            columns.insert(name, column);
        }
        let differs = |how: String| Err(MoveError::Tables { table: table.name.clone(), how });
        if columns.is_empty() {
            return differs("is not in the PostgreSQL database".to_owned());
        }
        let there: Vec<&String> = columns.keys().collect();
        let here: Vec<&String> = table.columns.iter().collect();
        if there != here {
            return differs(format!("has the columns {here:?} in SQLite and {there:?} in PostgreSQL"));
        }
        Ok(columns)
    }

    /// Whether the table is there.
    async fn has(&mut self, table: &Table) -> Result<bool, MoveError> {
        let sql = "SELECT to_regclass($1) IS NOT NULL";
        let found = sqlx::query_scalar(sql).bind(quoted(&table.name)).fetch_one(&mut self.connection).await;
        found.map_err(|error| self.failed(&error))
    }

    async fn must_be_empty(&mut self, table: &Table) -> Result<(), MoveError> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(&table.name));
        let found = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await;
        match found.map_err(|error| self.failed(&error))? {
            true => Err(MoveError::NotEmpty { place: self.place.clone(), table: table.name.clone() }),
            false => Ok(()),
        }
    }

    /// Deletes what triggers have written into a log while the other tables were filled: the source's log says it as it
    /// was.
    async fn forget(&mut self, table: &Table) -> Result<(), MoveError> {
        let sql = format!("DELETE FROM {}", quoted(&table.name));
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut self.connection).await;
        done.map(drop).map_err(|error| self.failed(&error))
    }

    /// Inserts rows. Existing rows stay as they are, and are compared at the end.
    async fn insert(&mut self, table: &Table, json: String) -> Result<(), MoveError> {
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
        let (name, columns) = (quoted(&table.name), columns.join(", "));
        let sql = format!(
            "INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM \
             jsonb_populate_recordset(NULL::{name}, $1::text::jsonb) ON CONFLICT DO NOTHING"
        );
        let done = sqlx::query(AssertSqlSafe(sql)).bind(json).execute(&mut self.connection).await;
        done.map(drop).map_err(|error| self.failed(&error))
    }

    /// Makes serial and identity columns continue after the largest number that was ever used.
    async fn go_on_counting(&mut self, table: &Table, columns: &BTreeMap<String, Column>) -> Result<(), MoveError> {
        for (column, _) in columns.iter().filter(|(_, column)| column.is_identity) {
            let (name, quoted_column) = (quoted(&table.name), quoted(column));
            let sql = format!(
                "SELECT setval(pg_get_serial_sequence($1, $2), last) FROM \
                 (SELECT GREATEST(max({quoted_column}), $3) AS last FROM {name}) AS given WHERE last >= 1"
            );
            let done = sqlx::query(AssertSqlSafe(sql))
                .bind(&name)
                .bind(column)
                .bind(table.last.filter(|last| *last > 0))
                .execute(&mut self.connection)
                .await;
            done.map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    /// The checksum of a table, over its values in SQLite's form.
    async fn sum(&mut self, table: &Table, columns: &BTreeMap<String, Column>) -> Result<Sum, MoveError> {
        let texts: Vec<String> = columns.iter().map(|(name, column)| as_text(&quoted(name), &column.kind)).collect();
        let kinds: Vec<bool> = columns.values().map(|column| is_float(&column.kind)).collect();
        let sql = format!("SELECT {} FROM {}", texts.join(", "), quoted(&table.name));
        let mut sum = Sum::default();
        let read = async {
            let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut self.connection);
            while let Some(row) = rows.try_next().await? {
                let mut values = Vec::with_capacity(kinds.len());
                for (n, float) in kinds.iter().enumerate() {
                    let value: Option<String> = row.try_get(n)?;
                    values.push(match float {
                        true => value.map(|text| text.parse::<f64>().map_or(text, |number| number.to_string())),
                        false => value,
                    });
                }
                sum.add(values.iter().map(Option::as_deref));
            }
            Ok(())
        };
        read.await
            .map_err(|error| MoveError::Target { place: self.place.clone(), cause: sqlx::Error::to_string(&error) })?;
        Ok(sum)
    }
}

fn is_float(kind: &str) -> bool {
    matches!(kind, "float4" | "float8")
}

/// A column's value in SQLite's form: a boolean is 0 or 1, a timestamp is RFC 3339 in UTC with milliseconds.
fn as_text(column: &str, kind: &str) -> String {
    match kind {
        "timestamptz" => format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"),
        "bool" => format!("{column}::integer::text"),
        "bytea" => format!("encode({column}, 'hex')"),
        _ => format!("{column}::text"),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
