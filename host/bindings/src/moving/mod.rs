//! Moving a component's database from SQLite to PostgreSQL, or to another SQLite file ([`copy_file`]).
//!
//! The component's migrations create the tables in PostgreSQL. The rows are copied from SQLite, and at the end both
//! databases are compared. Tables whose rows triggers change (counts, for example) are not copied: PostgreSQL's triggers
//! fill them. A log, to which triggers only add rows, is copied last, and replaces what PostgreSQL's triggers have added
//! during the copy: its rows cannot be derived from other tables. SQLite names these tables when it compiles a write to
//! each table. Rows are inserted as JSON, which PostgreSQL converts to its own types. So a column can be `INTEGER` in
//! SQLite and `BOOLEAN` in PostgreSQL, or text in one and a timestamp in the other.
//!
//! An interrupted copy can be started again: it does not touch rows that are already there. Nobody may write meanwhile,
//! so the caller has locked the state folder.

mod file;
mod postgres;
mod read;
mod sqlite;
#[cfg(test)]
mod tests;

pub use file::copy_file;
pub use postgres::{Move, Owner, copy, must_be_empty};
pub use read::{read_postgres, read_sqlite};
pub use sqlite::has_rows;

use crate::migrations::MigrationError;
use sha2::{Digest as _, Sha256};

souk_manifest::fixed_limits! {
    /// The fixed limits of copies of databases.
    pub(crate) const FIXED_LIMITS = "moving";

    /// The most rows in one statement.
    const MAX_BATCH_ROWS: usize = 1_000, "rows";
    /// About how many bytes of rows one statement has; a single row may have more.
    const MAX_BATCH_BYTES: usize = 1 << 20, bytes;
    /// The most statements whose rows are read while PostgreSQL runs an earlier one.
    const MAX_READ_AHEAD: usize = 2, "statements";
}

/// Why a database was not copied. Rows that were copied stay, and the next attempt continues.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The migrations did not run in PostgreSQL.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// SQLite failed.
    #[error("{file}: {cause}\n  fix: name the database's file with `--from file:PATH`, and let no host run on it")]
    Source {
        /// The file.
        file: String,
        /// What it says.
        cause: String,
    },
    /// PostgreSQL failed.
    #[error("{place}: {cause}\n  fix: correct this, and run the same copy again: it continues where it stopped")]
    Target {
        /// The database, without a password.
        place: String,
        /// What it says.
        cause: String,
    },
    /// The rows of an import cannot be read.
    #[error("{place}: {cause}\n  fix: {fix}")]
    Rows {
        /// The file, or the database without a password.
        place: String,
        /// What SQLite or PostgreSQL says.
        cause: String,
        /// What to do.
        fix: &'static str,
    },
    /// A table has different columns.
    #[error(
        "table `{table}` {how}\n  fix: bring the SQLite database to the newest migrations (`souk migrate`), and let those \
         for PostgreSQL make the same tables and columns"
    )]
    Tables {
        /// The table.
        table: String,
        /// How they differ.
        how: String,
    },
    /// The target is in use.
    #[error(
        "table `{table}` of {place} has rows, and no copy into it was begun from here\n  fix: name an empty database; \
         this one has other data"
    )]
    NotEmpty {
        /// The database, without a password.
        place: String,
        /// A table with rows.
        table: String,
    },
    /// The comparison found a difference.
    #[error(
        "table `{table}` has {here} rows in the source and {there} in the copy, or other values\n  fix: empty the \
         database that is copied to and copy again; if this error comes again, report it"
    )]
    Differs {
        /// The table.
        table: String,
        /// Rows in the source.
        here: u64,
        /// Rows in the copy.
        there: u64,
    },
    /// The work was stopped.
    #[error("the copy was stopped: {0}\n  fix: this is a bug in Souk: please report it")]
    Stopped(#[from] tokio::task::JoinError),
}

impl MoveError {
    /// Whether the error came before any row was copied.
    pub fn came_before_any_row(&self) -> bool {
        matches!(self, MoveError::Migration(_) | MoveError::Tables { .. } | MoveError::NotEmpty { .. })
    }
}

/// The copied rows of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The table.
    pub table: String,
    /// The number of its rows.
    pub rows: u64,
}

/// The number of rows, and a checksum that does not depend on their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    digest: (u128, u128),
}

impl Sum {
    /// Adds a row: its values as text, in the order of the columns' names.
    fn add<'a>(&mut self, values: impl Iterator<Item = Option<&'a str>>) {
        let mut row = Sha256::new();
        for value in values {
            match value {
                None => row.update([0]),
                Some(text) => {
                    row.update([1]);
                    row.update(text.len().to_le_bytes());
                    row.update(text);
                }
            }
        }
        let digest = row.finalize();
        let (high, low) = digest.split_at(16);
        let number = |half: &[u8]| half.try_into().map_or(0, u128::from_le_bytes);
        self.digest.0 = self.digest.0.wrapping_add(number(high));
        self.digest.1 = self.digest.1.wrapping_add(number(low));
        self.rows += 1;
    }
}
