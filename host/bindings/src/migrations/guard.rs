//! What a migration's SQL may do: the same as a guest's writes, and only inside the transaction that the host opened
//! for it.
//!
//! SQLite calls this authorizer for each action while it compiles a statement. refinery's own statements pass through
//! here too, in a fixed order: `BEGIN`, the migration, its history row, `COMMIT`. So a `COMMIT` after a change and
//! before the history row comes from the migration itself, and so does any action outside a transaction.

use crate::sqlite::{Gauge, check_write};
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};
use std::sync::Arc;

/// The state of the transaction.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    open: bool,
    changed: bool,
    recorded: bool,
}

/// Guards `connection`, which runs migrations and records them in the table `history`. The gauge keeps the reason of a
/// denial.
pub(super) fn install(connection: &mut Connection, history: &str) -> rusqlite::Result<Arc<Gauge>> {
    let gauge = Arc::new(Gauge::default());
    let denied = gauge.clone();
    let history = history.to_owned();
    let mut progress = Progress::default();
    let mut first = true;
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        match check(&mut progress, &history, &context.action) {
            Ok(()) => Authorization::Allow,
            Err(why) => {
                // The first denial is the reason. refinery's ROLLBACK after it is denied too; closing the connection
                // rolls back instead.
                if std::mem::take(&mut first) {
                    denied.note_denied(why);
                }
                Authorization::Deny
            }
        }
    }))?;
    Ok(gauge)
}

/// Guards `connection`, which runs a script inside a transaction that is already open. The script may do the same as a
/// guest's writes, but may not end the transaction. The gauge keeps the reason of a denial.
pub(super) fn install_for_script(connection: &mut Connection) -> rusqlite::Result<Arc<Gauge>> {
    let gauge = Arc::new(Gauge::default());
    let denied = gauge.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        let checked = match &context.action {
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
                Err("a script may not COMMIT or ROLLBACK; the host runs it in a transaction of its own".to_owned())
            }
            action => check_write(action),
        };
        checked.map_or_else(
            |why| {
                denied.note_denied(why);
                Authorization::Deny
            },
            |()| Authorization::Allow,
        )
    }))?;
    Ok(gauge)
}

/// Removes the guard.
pub(super) fn remove(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)
}

fn check(progress: &mut Progress, history: &str, action: &AuthAction<'_>) -> Result<(), String> {
    use AuthAction::*;
    let own = |table: &str| table.eq_ignore_ascii_case(history);
    match action {
        Transaction { operation: TransactionOperation::Begin } => {
            *progress = Progress { open: true, ..Progress::default() };
            Ok(())
        }
        // rusqlite has no variant for SQLite's `COMMIT`, so it is `Unknown`.
        Transaction { operation: TransactionOperation::Unknown } if !progress.changed || progress.recorded => {
            *progress = Progress::default();
            Ok(())
        }
        Transaction { .. } => {
            Err("a migration may not COMMIT or ROLLBACK; the host runs it in a transaction of its own".to_owned())
        }
        _ if !progress.open => Err("a migration may not leave the transaction that the host runs it in".to_owned()),
        Insert { table_name } if own(table_name) => {
            progress.recorded = true;
            Ok(())
        }
        CreateTable { table_name } | CreateIndex { table_name, .. } if own(table_name) => Ok(()),
        other => {
            progress.changed |= changes(other);
            check_write(other)
        }
    }
}

/// Whether `action` changes something that would stay after a `COMMIT`. Rows of SQLite's own tables do not count: they
/// only change together with an action that does count.
fn changes(action: &AuthAction<'_>) -> bool {
    use AuthAction::*;
    match action {
        Insert { table_name } | Update { table_name, .. } | Delete { table_name } => !table_name.starts_with("sqlite_"),
        Select | Recursive | Read { .. } | Function { .. } | Savepoint { .. } => false,
        _ => true,
    }
}
