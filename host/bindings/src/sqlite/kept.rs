//! What a connection keeps in SQLite's memory between two statements: compiled statements, and the schema.
//!
//! SQLite's memory has one bound for the whole process. A component that made its connections keep much of it would take
//! it from the statements of all others, even while it runs none itself. So a large compiled statement is not kept, and
//! a component cannot let the schema grow without end: every connection that uses a database keeps its schema. Migrations,
//! which belong to the operator, are not bounded.

use rusqlite::{Connection, Statement, StatementStatus};

souk_manifest::fixed_limits! {
    /// The fixed limits of what connections keep.
    pub(crate) const FIXED_LIMITS = "sqlite";

    /// How many compiled statements one connection keeps.
    pub(super) const CACHED_STATEMENTS: usize = 128, "statements";
    /// The longest compiled statement that is kept: longer ones probably contain values, and do not repeat.
    const MAX_CACHED_STATEMENT_BYTES: usize = 8 << 10, bytes;
    /// The most memory of a compiled statement that is kept.
    const MAX_KEPT_MEMORY_BYTES: usize = 64 << 10, bytes;
    /// How many tables, indexes, views and triggers a database may have before its components can create no more.
    const MAX_SCHEMA_OBJECTS: i64 = 2_000, "objects";
    /// How long their definitions may be together before its components can create no more.
    const MAX_SCHEMA_BYTES: i64 = 512 << 10, bytes;
}

/// Whether the connection keeps a statement that was just compiled, or taken from those that it keeps.
pub(super) fn may_be_kept(statement: &Statement<'_>, sql: &str) -> bool {
    if sql.len() > MAX_CACHED_STATEMENT_BYTES {
        return false;
    }
    // Counting its memory takes a while, and once is enough.
    let is_new = statement.get_status(StatementStatus::Run) == 0;
    !is_new
        || usize::try_from(statement.get_status(StatementStatus::MemUsed))
            .is_ok_and(|used| used <= MAX_KEPT_MEMORY_BYTES)
}

/// Why components can create nothing more in the database; `None` if they can.
pub(super) fn full_schema(sqlite: &Connection) -> rusqlite::Result<Option<String>> {
    let counted = "SELECT count(*), coalesce(sum(length(sql)), 0) FROM sqlite_schema";
    let (objects, bytes) = sqlite.query_row(counted, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    Ok((objects >= MAX_SCHEMA_OBJECTS || bytes >= MAX_SCHEMA_BYTES).then(|| {
        format!(
            "the database has {objects} tables, indexes, views and triggers with {bytes} bytes of definitions, and \
             components can create no more beyond {MAX_SCHEMA_OBJECTS} or {MAX_SCHEMA_BYTES} bytes; drop what is not in use"
        )
    }))
}
