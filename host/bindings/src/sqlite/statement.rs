//! What a statement's text shows, before SQLite sees it.
//!
//! The text only decides where a statement is tried first; SQLite itself reports whether it is read-only and whether it
//! left a transaction open. A text that this module does not understand goes to the writer, which can run every
//! statement.

use super::Error;

souk_manifest::fixed_limits! {
    /// The fixed limits of statements.
    pub(crate) const FIXED_LIMITS = "sqlite";

    /// The most semicolons in one text: the search for a second statement recurses once for each, and a client must not
    /// decide the depth of the host's stack.
    const MAX_SEMICOLONS: usize = 100, "semicolons";
}

/// A statement, by its first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `SELECT`, `VALUES`: a read.
    Read,
    /// `EXPLAIN`: has the effect of a read, although SQLite may not report it as one.
    Explain,
    /// `WITH`: a read, or a change with common table expressions.
    With,
    /// `INSERT`, `REPLACE`: sets `last-insert-rowid` and `changes`.
    Insert,
    /// `UPDATE`, `DELETE`: sets `changes`.
    Change,
    /// `ROLLBACK` of the whole transaction.
    Rollback,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of `sql`; an error when the host does not pass such a text to SQLite at all.
    pub(super) fn of(sql: &str) -> Result<Kind, Error> {
        let refuse = |why: &str| Err(Error::Io(why.to_owned()));
        let (mut semicolons, mut nul) = (0, false);
        for byte in sql.bytes() {
            semicolons += usize::from(byte == b';');
            nul |= byte == 0;
        }
        if nul {
            return refuse("the statement contains a NUL character; pass such text as a parameter");
        }
        if semicolons > MAX_SEMICOLONS {
            return refuse("the statement contains more than 100 semicolons; pass long text as a parameter");
        }
        let text = skip_comments(sql);
        if text.is_empty() {
            return refuse("the statement is empty");
        }
        let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
        let word = text.get(..end).unwrap_or_default();
        let is = |words: &[&str]| words.iter().any(|w| word.eq_ignore_ascii_case(w));
        Ok(if is(&["SELECT", "VALUES"]) {
            Kind::Read
        } else if is(&["EXPLAIN"]) {
            Kind::Explain
        } else if is(&["WITH"]) {
            Kind::With
        } else if is(&["INSERT", "REPLACE"]) {
            Kind::Insert
        } else if is(&["UPDATE", "DELETE"]) {
            Kind::Change
        } else if is(&["ROLLBACK"]) && !text.split_ascii_whitespace().any(|w| w.eq_ignore_ascii_case("TO")) {
            Kind::Rollback
        } else {
            Kind::Other
        })
    }

    /// Whether the statement is tried as a read first.
    pub(super) fn may_read(self) -> bool {
        matches!(self, Kind::Read | Kind::Explain | Kind::With)
    }

    /// Whether the statement itself may insert rows.
    pub(super) fn may_insert(self) -> bool {
        matches!(self, Kind::Insert | Kind::With)
    }

    /// Whether SQLite counts the rows that the statement changed.
    pub(super) fn counts_changes(self) -> bool {
        matches!(self, Kind::Insert | Kind::Change | Kind::With)
    }
}

/// `sql` from its first word on.
fn skip_comments(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';');
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else {
            return rest;
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_decides_and_comments_do_not_hide_it() {
        for (sql, kind) in [
            ("SELECT 1", Kind::Read),
            ("  select 1", Kind::Read),
            ("-- c\n/* d */ ; values (1)", Kind::Read),
            ("explain query plan select 1", Kind::Explain),
            ("with x as (select 1) insert into t select * from x", Kind::With),
            ("INSERT INTO t VALUES (1)", Kind::Insert),
            ("replace into t values (1)", Kind::Insert),
            ("UPDATE t SET a = 1", Kind::Change),
            ("ROLLBACK", Kind::Rollback),
            ("rollback transaction;", Kind::Rollback),
            ("ROLLBACK TO a", Kind::Other),
            ("BEGIN", Kind::Other),
            ("selected", Kind::Other),
            ("(select 1)", Kind::Other),
        ] {
            assert_eq!(Kind::of(sql), Ok(kind), "{sql}");
        }
    }

    #[test]
    fn texts_that_sqlite_should_not_see_are_refused() {
        for sql in ["", " ; ; ", "-- only a comment", "select 1\0", &"select 1;".repeat(200)] {
            assert!(matches!(Kind::of(sql), Err(Error::Io(_))), "{sql:?}");
        }
    }
}
