//! The source: the tables of a SQLite database, which of them triggers write, and their rows as JSON.

use super::{MAX_BATCH_BYTES, MAX_BATCH_ROWS, Sum};
use crate::sqlite::HISTORY_PREFIX;
use parking_lot::Mutex;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, OpenFlags, ffi};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

/// A table to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    /// Its columns, in the order of their names.
    pub(super) columns: Vec<String>,
    /// The largest number that AUTOINCREMENT has given.
    pub(super) last: Option<i64>,
    /// Triggers of other tables insert its rows, and change none: a history. Its rows cannot be made again from others.
    pub(super) is_log: bool,
}

/// The tables that triggers of other tables write.
#[derive(Default)]
struct Written {
    /// Those with new rows.
    grown: BTreeSet<String>,
    /// Those with changed or deleted rows.
    changed: BTreeSet<String>,
}

/// Some rows of a table, or the end of a table.
pub(super) enum Part {
    /// A JSON array of objects.
    Rows { table: usize, json: String, rows: u64 },
    /// All of the table has been read.
    End { table: usize, sum: Sum },
}

/// A snapshot of a database.
pub(super) struct Source(Connection);

impl Source {
    /// Opens the file, with a snapshot of its current state.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Source> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.execute_batch("BEGIN")?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(Source(connection))
    }

    /// The tables to copy, each after the tables that it refers to, and logs last. Left out are tables whose rows the
    /// triggers of other tables change, such as counts, unless others refer to them.
    pub(super) fn tables(&mut self) -> rusqlite::Result<Vec<Table>> {
        let names = self.names()?;
        let Written { grown, changed } = self.written_by_triggers(&names)?;
        let mut open: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for name in &names {
            let mut refers = self.0.prepare("SELECT \"table\" FROM pragma_foreign_key_list(?1)")?;
            let parents = refers.query_map([name], |row| row.get::<_, String>(0))?;
            let parents = parents.filter(|parent| !parent.as_ref().is_ok_and(|parent| parent == name));
            open.insert(name.clone(), parents.collect::<Result<_, _>>()?);
        }
        let parents: BTreeSet<String> = open.values().flatten().cloned().collect();
        open.retain(|name, _| !changed.contains(name) || parents.contains(name));
        let mut tables = Vec::new();
        while !open.is_empty() {
            let free = open.iter().find(|(_, parents)| parents.iter().all(|parent| !open.contains_key(parent)));
            // If tables refer to each other in a circle, PostgreSQL's error names the missing reference.
            let Some(name) = free.or_else(|| open.iter().next()).map(|(name, _)| name.clone()) else { break };
            open.remove(&name);
            let is_log = grown.contains(&name) && !changed.contains(&name) && !parents.contains(&name);
            tables.push(self.table(name, is_log)?);
        }
        tables.sort_by_key(|table| table.is_log);
        Ok(tables)
    }

    fn table(&self, name: String, is_log: bool) -> rusqlite::Result<Table> {
        let mut columns = self.0.prepare("SELECT name FROM pragma_table_info(?1) ORDER BY name")?;
        let columns = columns.query_map([&name], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let counts: bool = self.0.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence')",
            [],
            |row| row.get(0),
        )?;
        let last = match counts {
            true => {
                self.0.query_row("SELECT max(seq) FROM sqlite_sequence WHERE name = ?1", [&name], |row| row.get(0))?
            }
            false => None,
        };
        Ok(Table { name, columns, last, is_log })
    }

    /// All tables except SQLite's own and those of the migrations.
    fn names(&self) -> rusqlite::Result<Vec<String>> {
        let mut names = self.0.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
        let names = names.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(names.into_iter().filter(|name| !name.starts_with("sqlite_") && !name.starts_with(HISTORY_PREFIX)).collect())
    }

    /// The tables that a write to another table changes through a trigger. SQLite names them when it compiles the
    /// write.
    fn written_by_triggers(&mut self, names: &[String]) -> rusqlite::Result<Written> {
        let (mut written, seen) = (Written::default(), Arc::new(Mutex::new(Written::default())));
        let noted = seen.clone();
        self.0.authorizer(Some(move |context: AuthContext<'_>| {
            // Without an accessor it is the write itself, and no trigger.
            if context.accessor.is_some() {
                match context.action {
                    AuthAction::Insert { table_name } => noted.lock().grown.insert(table_name.to_owned()),
                    AuthAction::Update { table_name, .. } | AuthAction::Delete { table_name } => {
                        noted.lock().changed.insert(table_name.to_owned())
                    }
                    _ => false,
                };
            }
            Authorization::Allow
        }))?;
        for name in names {
            let table = quoted(name);
            let column: String =
                self.0.query_row("SELECT name FROM pragma_table_info(?1) LIMIT 1", [name], |row| row.get(0))?;
            let column = quoted(&column);
            for write in [
                format!("INSERT INTO {table} DEFAULT VALUES"),
                format!("UPDATE {table} SET {column} = {column}"),
                format!("DELETE FROM {table}"),
            ] {
                self.0.prepare(&write)?;
            }
            let Written { grown, changed } = std::mem::take(&mut *seen.lock());
            // A trigger that only completes the rows of its own table leaves them data like others.
            written.grown.extend(grown.into_iter().filter(|other| other != name));
            written.changed.extend(changed.into_iter().filter(|other| other != name));
        }
        self.0.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
        Ok(written)
    }

    /// A table with rows other than those that migrations and triggers write.
    pub(super) fn table_with_rows(&mut self) -> rusqlite::Result<Option<String>> {
        for table in self.tables()?.into_iter().filter(|table| !table.is_log) {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(&table.name));
            if self.0.query_row(&sql, [], |row| row.get(0))? {
                return Ok(Some(table.name));
            }
        }
        Ok(None)
    }

    /// The checksum of each table.
    pub(super) fn sums(&self) -> rusqlite::Result<BTreeMap<String, Sum>> {
        let mut sums = BTreeMap::new();
        for name in self.names()? {
            let mut select = self.0.prepare(&format!("SELECT * FROM {}", quoted(&name)))?;
            let columns = select.column_count();
            let (mut rows, mut sum) = (select.query([])?, Sum::default());
            while let Some(row) = rows.next()? {
                let values = (0..columns).map(|n| row.get_ref(n).map(text)).collect::<Result<Vec<_>, _>>()?;
                sum.add(values.iter().map(|value| value.as_ref().map(|(text, _)| text.as_str())));
            }
            sums.insert(name, sum);
        }
        Ok(sums)
    }

    /// Copies all pages into `to`, in one transaction of that database.
    pub(super) fn copy_into(&self, to: &mut Connection) -> rusqlite::Result<()> {
        match Backup::new(&self.0, to)?.step(-1)? {
            StepResult::Done => Ok(()),
            _ => Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None)),
        }
    }

    /// Sends all rows of `tables`; ends early when the receiver is gone.
    pub(super) fn send(&self, tables: &[Table], to: &Sender<Part>) -> rusqlite::Result<()> {
        for (index, table) in tables.iter().enumerate() {
            let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
            let mut select = self.0.prepare(&format!("SELECT {} FROM {}", columns.join(", "), quoted(&table.name)))?;
            let mut rows = select.query([])?;
            let (mut sum, mut json, mut count) = (Sum::default(), String::new(), 0);
            while let Some(row) = rows.next()? {
                let values =
                    (0..table.columns.len()).map(|n| row.get_ref(n).map(text)).collect::<Result<Vec<_>, _>>()?;
                sum.add(values.iter().map(|value| value.as_ref().map(|(text, _)| text.as_str())));
                json.push(if json.is_empty() { '[' } else { ',' });
                let object: serde_json::Map<String, Value> = table
                    .columns
                    .iter()
                    .cloned()
                    .zip(values.into_iter().map(|value| value.map_or(Value::Null, |(_, json)| json)))
                    .collect();
                json.push_str(&Value::Object(object).to_string());
                count += 1;
                if count == MAX_BATCH_ROWS || json.len() >= MAX_BATCH_BYTES {
                    let json = std::mem::take(&mut json) + "]";
                    if to
                        .blocking_send(Part::Rows { table: index, json, rows: std::mem::take(&mut count) as u64 })
                        .is_err()
                    {
                        return Ok(());
                    }
                }
            }
            if count > 0 {
                let _ = to.blocking_send(Part::Rows { table: index, json: json + "]", rows: count as u64 });
            }
            if to.blocking_send(Part::End { table: index, sum }).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Whether a database has rows other than those that its migrations and triggers write. A missing file, or one that is
/// not a database, has none. Blocks on the disk.
pub fn has_rows(path: &Path) -> bool {
    let look = || -> rusqlite::Result<Option<String>> { Source::open(path)?.table_with_rows() };
    path.is_file() && look().is_ok_and(|table| table.is_some())
}

/// A value as text, for the checksum, and as JSON; `None` for NULL.
fn text(value: ValueRef<'_>) -> Option<(String, Value)> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some((number.to_string(), number.into())),
        ValueRef::Real(number) => Some((number.to_string(), number.into())),
        ValueRef::Text(bytes) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            Some((text.clone(), text.into()))
        }
        ValueRef::Blob(bytes) => {
            let text = hex::encode(bytes);
            Some((text.clone(), format!("\\x{text}").into()))
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
