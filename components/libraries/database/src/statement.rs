//! SQL statements for both dialects. Each statement is written once; where the dialects differ, a piece of it has two
//! texts. The pieces are joined at compile time, so at run time a statement is a constant in either dialect.

/// The SQL dialect of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

impl Dialect {
    /// The character before a parameter's number.
    pub const fn placeholder(self) -> char {
        match self {
            Dialect::Sqlite => '?',
            Dialect::Postgres => '$',
        }
    }
}

/// A statement, or a piece of one, in both dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    sqlite: &'a str,
    postgres: &'a str,
}

impl<'a> Statement<'a> {
    /// A text for each dialect. As a complete statement, PostgreSQL's text has `$1` where SQLite's has `?1`; as a piece
    /// of [`statement!`](crate::statement!), both have `?1`.
    pub const fn each(sqlite: &'a str, postgres: &'a str) -> Statement<'a> {
        Statement { sqlite, postgres }
    }

    /// One text for both dialects.
    pub const fn both(text: &'a str) -> Statement<'a> {
        Statement { sqlite: text, postgres: text }
    }

    /// The text of one dialect.
    pub const fn text(self, dialect: Dialect) -> &'a str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

impl<'a> From<&'a str> for Statement<'a> {
    /// The text, unchanged, for both dialects.
    fn from(text: &'a str) -> Statement<'a> {
        Statement::both(text)
    }
}

/// The current time, for a column that a change sets. On SQLite it is the same throughout a statement. On PostgreSQL it
/// is the clock itself: otherwise a statement that has waited for a lock would store a time before the other
/// transaction's change. Use it only for one column of a `SET`: two uses in a statement give different times, and in a
/// `WHERE` no index can serve it.
pub const NOW: Statement<'static> = Statement::each("strftime('%Y-%m-%dT%H:%M:%fZ', 'now')", "clock_timestamp()");

/// The end of a `SELECT` that locks its rows until the transaction ends, as a change would, so that nobody changes what
/// it has read. Empty on SQLite, where a transaction locks the whole database. On PostgreSQL it waits for other
/// transactions' changes and returns the changed rows; the next statement sees everything that was committed by then.
pub const LOCKED: Statement<'static> = Statement::each("", " FOR NO KEY UPDATE");

/// A statement, or a piece of one, from pieces: texts, names of constants, and expressions in parentheses. Parameters
/// are `?1`, `?2`, ..., which become `$1`, `$2`, ... in PostgreSQL's text.
///
/// ```
/// use souk_database::{LOCKED, NOW, Statement, ago, statement, time};
/// const COLUMNS: Statement = statement!("id, total, ", (time!("created_at")));
/// const GET: Statement = statement!("SELECT ", COLUMNS, " FROM orders WHERE id = ?1", LOCKED);
/// const TOUCH: Statement = statement!("UPDATE orders SET touched_at = ", NOW, " WHERE id = ?1");
/// const OLD: Statement = statement!("DELETE FROM orders WHERE created_at <= ", (ago!("24 hours")));
/// ```
#[macro_export]
macro_rules! statement {
    (@piece $text:literal) => { $crate::Statement::both($text) };
    (@piece $other:tt) => { $other };
    ($($piece:tt),+ $(,)?) => {{
        #[allow(unused_parens, reason = "pieces that are expressions stand in parentheses")]
        const PIECES: &[$crate::Statement<'static>] = &[$($crate::statement!(@piece $piece)),+];
        const SQLITE: [u8; $crate::compose::length(PIECES, $crate::Dialect::Sqlite)] =
            $crate::compose::join(PIECES, $crate::Dialect::Sqlite);
        const POSTGRES: [u8; $crate::compose::length(PIECES, $crate::Dialect::Postgres)] =
            $crate::compose::join(PIECES, $crate::Dialect::Postgres);
        $crate::Statement::each($crate::compose::text(&SQLITE), $crate::compose::text(&POSTGRES))
    }};
}

/// A piece: a column of times as text, `2024-02-27T15:50:27.545Z`. SQLite stores that text; PostgreSQL stores a
/// `timestamptz(3)` and formats it.
#[macro_export]
macro_rules! time {
    ($column:literal) => {
        $crate::Statement::each(
            $column,
            concat!("to_char(", $column, " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"),
        )
    };
}

/// A piece: the time a given interval ago, for a comparison with a column of times.
#[macro_export]
macro_rules! ago {
    ($time:literal) => {
        $crate::Statement::each(
            concat!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-", $time, "')"),
            concat!("statement_timestamp() - interval '", $time, "'"),
        )
    };
}

/// A parameter as the number of a LIMIT. If a bare parameter stands there, SQLite plans for its value and prepares the
/// statement again at each binding, which takes a tenth of the time of a page.
#[macro_export]
macro_rules! most {
    ($parameter:literal) => {
        $crate::Statement::each(concat!("+", $parameter), $parameter)
    };
}
