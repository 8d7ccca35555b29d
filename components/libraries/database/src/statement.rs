//! Statements in both dialects. Each is written once; where the dialects differ it has a piece with two texts. The
//! texts are joined while the component is compiled, so at run time a statement is a constant of either dialect.

/// The SQL that a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

impl Dialect {
    /// What stands before a parameter's number.
    pub const fn sign(self) -> char {
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
    /// The text of each dialect. As a statement of its own, PostgreSQL's has `$1` where SQLite's has `?1`; as a piece
    /// of [`statement!`](crate::statement!), both have `?1`.
    pub const fn each(sqlite: &'a str, postgres: &'a str) -> Statement<'a> {
        Statement { sqlite, postgres }
    }

    /// One text that both dialects take.
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
    /// A text that both dialects take as it is.
    fn from(text: &'a str) -> Statement<'a> {
        Statement::both(text)
    }
}

/// Now, as a change notes it. On SQLite the same throughout a statement. On PostgreSQL it is the clock itself: a
/// statement that has waited for another's lock would note a time from before that other's change. So it is for one
/// column of a `SET`; where it stands twice in a statement, the two differ, and in a `WHERE` no index serves it.
pub const NOW: Statement<'static> = Statement::each("strftime('%Y-%m-%dT%H:%M:%fZ', 'now')", "clock_timestamp()");

/// At the end of a `SELECT`: locks its rows until the transaction ends, as changing them would, so that what is read
/// stays. Nothing on SQLite, where a transaction has the whole database. On PostgreSQL it waits for others' changes,
/// and gives the rows as they are then; the next statement sees whatever else was committed by then.
pub const LOCKED: Statement<'static> = Statement::each("", " FOR NO KEY UPDATE");

/// A statement, or a piece of one, of pieces: texts, names of constants, and expressions in parentheses. Parameters are
/// `?1`, `?2`, ..., which become `$1`, `$2`, ... in PostgreSQL's text.
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

/// A piece: a column of times as text, `2024-02-27T15:50:27.545Z`. SQLite keeps that text; PostgreSQL, whose column is
/// a `timestamptz(3)`, writes it.
#[macro_export]
macro_rules! time {
    ($column:literal) => {
        $crate::Statement::each(
            $column,
            concat!("to_char(", $column, " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"),
        )
    };
}

/// A piece: the moment that is so long ago, to compare a column of times with.
#[macro_export]
macro_rules! ago {
    ($time:literal) => {
        $crate::Statement::each(
            concat!("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-", $time, "')"),
            concat!("statement_timestamp() - interval '", $time, "'"),
        )
    };
}

/// A piece: a parameter as the number of a `LIMIT`. Where SQLite sees a bare one, it plans for its value, and so compiles
/// the statement again each time that it is bound: a tenth of what a page of rows costs.
#[macro_export]
macro_rules! most {
    ($parameter:literal) => {
        $crate::Statement::each(concat!("+", $parameter), $parameter)
    };
}
