//! Reads from a statement's text what it does to its transaction and session. PostgreSQL reports part of this, but sqlx
//! does not pass it on.
//!
//! The extended protocol runs one statement at a time, so its first words name the command. Comments, parentheses and
//! empty statements before them change nothing. A statement that begins with any word but those of [`TRACELESS`] counts
//! as one that leaves traces. So a mistake here only costs a new session; it never hands a changed session to another
//! component. The result is used only together with PostgreSQL's answer: see the documentation of the parent module.

/// Commands that leave a session as they found it, unless they contain a word of [`changes_session`].
const TRACELESS: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "WITH",
    "VALUES",
    "TABLE",
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "LOCK",
    "EXPLAIN",
    "SHOW",
    "FETCH",
    "MOVE",
    "NOTIFY",
];

/// What a statement does to a transaction when it succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Begins one.
    Begins,
    /// Ends one: `COMMIT`, `PREPARE TRANSACTION`.
    Ends,
    /// Ends one without its changes.
    RollsBack,
    /// `ROLLBACK TO`, `COMMIT AND CHAIN`: the session is inside one before and after.
    Stays,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Statement {
    pub effect: Effect,
    /// Whether it is a query without a writing command, so that it may be cancelled half-way. (A function that it calls
    /// may still write. If PostgreSQL is still running the query when it is cancelled, that write is rolled back. If it
    /// has already finished, the write is committed, because `Sync` is sent together with the statement.)
    pub is_read_only: bool,
    /// Whether it may leave something in the session: settings, temporary tables, locks.
    pub leaves_traces: bool,
    /// Whether it is `COPY`, which has its own protocol.
    pub is_copy: bool,
}

impl Statement {
    pub(super) fn of(sql: &str) -> Self {
        let mut words = Words(sql).map(str::to_ascii_uppercase);
        let mut next = || words.next().unwrap_or_default();
        let first = next();
        let effect = match first.as_str() {
            "BEGIN" | "START" => Effect::Begins,
            "PREPARE" if next() == "TRANSACTION" => Effect::Ends,
            "COMMIT" | "END" | "ROLLBACK" | "ABORT" => {
                let ends = if matches!(first.as_str(), "COMMIT" | "END") { Effect::Ends } else { Effect::RollsBack };
                let mut word = next();
                if matches!(word.as_str(), "WORK" | "TRANSACTION") {
                    word = next();
                }
                match word.as_str() {
                    "TO" => Effect::Stays,
                    "PREPARED" => Effect::None,
                    "AND" if next() == "CHAIN" => Effect::Stays,
                    _ => ends,
                }
            }
            _ => Effect::None,
        };
        let local = first == "SET" && matches!(next().as_str(), "LOCAL" | "TRANSACTION" | "CONSTRAINTS");
        let query = matches!(first.as_str(), "SELECT" | "WITH" | "VALUES" | "TABLE");
        Statement {
            effect,
            is_read_only: query && !has_word(sql, is_write_keyword),
            leaves_traces: !(local || TRACELESS.contains(&first.as_str())) || has_word(sql, changes_session),
            is_copy: first == "COPY",
        }
    }

    /// Whether it ends a transaction, if it succeeds.
    pub(super) fn ends(self) -> bool {
        matches!(self.effect, Effect::Ends | Effect::RollsBack)
    }

    /// Whether the transaction may be over after this statement has failed. A `COMMIT AND CHAIN` that fails does not
    /// begin a new one.
    pub(super) fn may_end(self) -> bool {
        self.ends() || self.effect == Effect::Stays
    }
}

/// The leading words of a statement, without comments, up to the first other character.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let text = self.0.trim_start_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '\x0b' | '(' | ';'));
            if let Some(comment) = text.strip_prefix("--") {
                self.0 = comment.split_once(['\n', '\r']).map_or("", |(_, rest)| rest);
            } else if let Some(comment) = text.strip_prefix("/*") {
                self.0 = after_comment(comment);
            } else {
                let end = text.bytes().position(|b| !is_word(b)).unwrap_or(text.len());
                let (word, rest) = text.split_at_checked(end)?;
                self.0 = rest;
                return (!word.is_empty()).then_some(word);
            }
        }
    }
}

/// What follows a comment, in which others may be nested.
fn after_comment(text: &str) -> &str {
    let (mut rest, mut depth) = (text, 1);
    while depth > 0 {
        let Some(at) = rest.find(['*', '/']) else { return "" };
        let (Some(mark), tail) = (rest.get(at..at + 2), rest.get(at + 1..).unwrap_or_default()) else { return "" };
        (depth, rest) = match mark {
            "/*" => (depth + 1, tail.get(1..).unwrap_or_default()),
            "*/" => (depth - 1, tail.get(1..).unwrap_or_default()),
            _ => (depth, tail),
        };
    }
    rest
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// Whether `is` accepts any word of the text, including words in comments and strings.
fn has_word(sql: &str, is: fn(&[u8]) -> bool) -> bool {
    sql.as_bytes().split(|byte| !is_word(*byte)).any(is)
}

/// A word that makes a query more than a query: a command that writes, or `INTO`, which makes a table.
fn is_write_keyword(word: &[u8]) -> bool {
    [&b"insert"[..], b"update", b"delete", b"merge", b"into"].iter().any(|writing| word.eq_ignore_ascii_case(writing))
}

/// A word by which even a [`TRACELESS`] command can change its session. A component can hide such a word (in a database
/// function, in escapes), but then it affects only components that log in as the same user. `SET ROLE` and the like are
/// not in `TRACELESS`.
fn changes_session(word: &[u8]) -> bool {
    let begins = |with: &[u8]| word.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    match word.first() {
        Some(b's' | b'S') => word.eq_ignore_ascii_case(b"set_config") || word.eq_ignore_ascii_case(b"setseed"),
        Some(b't' | b'T') => word.eq_ignore_ascii_case(b"temp") || word.eq_ignore_ascii_case(b"temporary"),
        Some(b'p' | b'P') => begins(b"pg_temp") || begins(b"pg_advisory_lock") || begins(b"pg_try_advisory_lock"),
        Some(b'd' | b'D') => begins(b"dblink"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_transactions_commands_are_known_however_they_are_written() {
        for (sql, effect) in [
            ("BEGIN", Effect::Begins),
            ("begin isolation level serializable", Effect::Begins),
            (" /* a /* b */ c */ -- d\n start transaction", Effect::Begins),
            ("COMMIT", Effect::Ends),
            ("commit;", Effect::Ends),
            ("END TRANSACTION", Effect::Ends),
            ("COMMIT WORK AND NO CHAIN", Effect::Ends),
            ("COMMIT AND CHAIN", Effect::Stays),
            ("COMMIT/**/AND/**/CHAIN", Effect::Stays),
            ("COMMIT PREPARED 'x'", Effect::None),
            ("PREPARE TRANSACTION 'x'", Effect::Ends),
            ("PREPARE x AS SELECT 1", Effect::None),
            ("ROLLBACK", Effect::RollsBack),
            ("abort work", Effect::RollsBack),
            ("ROLLBACK TO a", Effect::Stays),
            ("ROLLBACK WORK TO SAVEPOINT a", Effect::Stays),
            ("ROLLBACK AND CHAIN", Effect::Stays),
            ("SAVEPOINT a", Effect::None),
            ("SELECT 'COMMIT'", Effect::None),
            (" ; /* a */ ;BEGIN", Effect::Begins),
            (";commit", Effect::Ends),
            ("", Effect::None),
            ("/* open", Effect::None),
        ] {
            assert_eq!(Statement::of(sql).effect, effect, "{sql}");
        }
    }

    #[test]
    fn what_may_change_a_session_is_noticed() {
        for (sql, traces) in [
            ("SELECT 1", false),
            ("(SELECT 1) UNION (SELECT 2)", false),
            ("INSERT INTO t VALUES ($1)", false),
            ("WITH x AS (SELECT 1) SELECT * FROM x", false),
            ("SELECT pg_advisory_xact_lock(1)", false),
            ("SELECT * FROM email_templates", false),
            ("SET LOCAL statement_timeout = 1", false),
            ("SET TRANSACTION READ ONLY", false),
            ("SET statement_timeout = 1", true),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", true),
            ("RESET ALL", true),
            ("CREATE TABLE t (n int)", true),
            ("SELECT set_config('a.b', 'c', false)", true),
            ("select SET_CONFIG('a.b', 'c', false)", true),
            ("SELECT pg_catalog.\"set_config\"('a.b', 'c', false)", true),
            ("SELECT pg_advisory_lock(1)", true),
            ("SELECT pg_try_advisory_lock_shared(1)", true),
            ("SELECT 1 INTO TEMP t", true),
            ("SELECT 1 AS n INTO pg_temp.t", true),
            ("LISTEN x", true),
            ("DO $$ BEGIN END $$", true),
            ("CALL p()", true),
            ("PREPARE x AS SELECT 1", true),
            ("DISCARD ALL", true),
            ("\u{feff}SELECT 1", true),
            ("$1", true),
            ("", true),
        ] {
            assert_eq!(Statement::of(sql).leaves_traces, traces, "{sql}");
        }
    }

    #[test]
    fn only_a_query_that_writes_nothing_may_be_abandoned() {
        for (sql, is_read_only) in [
            ("SELECT 1", true),
            ("TABLE t", true),
            ("WITH x AS (SELECT 1) SELECT * FROM x", true),
            ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", false),
            ("SELECT 1 INTO t", false),
            ("SELECT * FROM t FOR UPDATE", false),
            ("INSERT INTO t VALUES (1) RETURNING n", false),
            ("EXPLAIN ANALYZE DELETE FROM t", false),
        ] {
            assert_eq!(Statement::of(sql).is_read_only, is_read_only, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(sql in "([a-z*/() \n-]|--|/\\*|\\*/|é|COMMIT|AND){0,40}") {
            Statement::of(&sql);
        }
    }
}
