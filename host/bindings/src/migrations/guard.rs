//! What a migration's SQL may do: what a guest's writes may, and inside the transaction that the host opened for it.
//!
//! SQLite asks for each action while it compiles a statement. refinery's own statements pass through here too, in a
//! fixed order: `BEGIN`, the migration, its line of history, `COMMIT`. So a `COMMIT` that comes after a change and
//! before the line of history is the migration's own, and so is anything outside a transaction.

use crate::sqlite::{Gauge, check_write};
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};
use std::sync::Arc;

/// How far the transaction is.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    open: bool,
    changed: bool,
    recorded: bool,
}

/// Guards `connection`, which runs migrations that are noted in the table `history`. What was denied is in the gauge.
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
                // The first is the reason; refinery's ROLLBACK after it is denied too, and the connection ends instead.
                if std::mem::take(&mut first) {
                    denied.note_denied(why);
                }
                Authorization::Deny
            }
        }
    }))?;
    Ok(gauge)
}

/// Guards `connection`, which runs a script inside a transaction that is open already: what a guest's writes may, and no
/// other end of the transaction. What was denied is in the gauge.
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

/// Ends the guard.
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
        // SQLite calls a commit `COMMIT`, which rusqlite has no name for.
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

/// Whether `action` changes something that would stay after a `COMMIT`. Lines of SQLite's own tables do not count:
/// they come with an action that does.
fn changes(action: &AuthAction<'_>) -> bool {
    use AuthAction::*;
    match action {
        Insert { table_name } | Update { table_name, .. } | Delete { table_name } => !table_name.starts_with("sqlite_"),
        Select | Recursive | Read { .. } | Function { .. } | Savepoint { .. } => false,
        _ => true,
    }
}
