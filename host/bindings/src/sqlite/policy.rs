//! What a guest's SQL may do: SQLite calls the policy for each action while it compiles a statement.
//!
//! Actions that are not listed are denied. Denied are: other files (`ATTACH`, `VACUUM`, extensions), temporary tables
//! (they would stay in the shared connection), pragmas that change durability or the connection, and the host's own
//! tables that record which migrations ran.

use super::gauge::Gauge;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use std::sync::Arc;

/// Tables with this prefix belong to the host: one for each component, with the migrations that ran.
pub(crate) const HISTORY_PREFIX: &str = "souk_migrations_";

/// The role of a connection, which decides what its statements may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Reads. It runs on async threads, so pragmas that scan the database are denied.
    Reader,
    /// Guests' writes.
    Writer,
}

/// Pragmas that only read, and quickly.
const PRAGMAS_THAT_READ: &[&str] = &[
    "application_id",
    "collation_list",
    "compile_options",
    "data_version",
    "encoding",
    "foreign_key_list",
    "foreign_keys",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "journal_mode",
    "max_page_count",
    "page_count",
    "page_size",
    "schema_version",
    "synchronous",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// Those of them whose argument only names what to read.
const PRAGMAS_WITH_A_NAME: &[&str] =
    &["foreign_key_list", "index_info", "index_list", "index_xinfo", "table_info", "table_list", "table_xinfo"];

/// Pragmas only for the writer: they write inside a transaction, or take long.
const PRAGMAS_OF_WRITERS: &[&str] = &[
    "application_id",
    "defer_foreign_keys",
    "foreign_key_check",
    "integrity_check",
    "optimize",
    "quick_check",
    "user_version",
];

/// Settings that guests often set and that are always in force.
const PRAGMAS_THAT_HOLD: &[(&str, &[&str])] =
    &[("foreign_keys", &["on", "1", "true", "yes"]), ("journal_mode", &["wal"]), ("synchronous", &["full", "2"])];

/// Modules of virtual tables that a guest may create: they keep their data in tables of the same database.
const MODULES: &[&str] = &["fts4", "fts5", "rtree"];

/// Installs the policy on `connection`; `gauge` keeps the last denial.
pub(super) fn install(connection: &mut rusqlite::Connection, role: Role, gauge: &Arc<Gauge>) -> rusqlite::Result<()> {
    let gauge = gauge.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| match check(role, &context.action) {
        _ if gauge.is_trusted() => Authorization::Allow,
        Ok(()) => {
            if lets_the_schema_grow(&context.action) {
                gauge.note_creates();
            }
            match context.action {
                AuthAction::CreateVtable { .. } => gauge.note_virtual_table(),
                AuthAction::Function { function_name: "like" | "glob" } => gauge.note_pattern(),
                _ => {}
            }
            Authorization::Allow
        }
        Err(why) => {
            gauge.note_denied(why);
            Authorization::Deny
        }
    }))
}

fn lets_the_schema_grow(action: &AuthAction<'_>) -> bool {
    use AuthAction::{AlterTable, CreateIndex, CreateTable, CreateTrigger, CreateView, CreateVtable};
    matches!(
        action,
        AlterTable { .. }
            | CreateIndex { .. }
            | CreateTable { .. }
            | CreateTrigger { .. }
            | CreateView { .. }
            | CreateVtable { .. }
    )
}

/// Checks that guests' writes and migrations may do `action`; the error says why not.
pub(crate) fn check_write(action: &AuthAction<'_>) -> Result<(), String> {
    check(Role::Writer, action)
}

fn check(role: Role, action: &AuthAction<'_>) -> Result<(), String> {
    use AuthAction::*;
    match action {
        Select | Recursive | Transaction { .. } | Savepoint { .. } => Ok(()),
        Read { table_name, .. } if table_name.eq_ignore_ascii_case("dbstat") => {
            Err("`dbstat` reads the whole file; PRAGMA page_count is available".to_owned())
        }
        Read { .. } => Ok(()),
        Function { function_name } => match *function_name {
            "load_extension" | "fts3_tokenizer" => Err(format!("the function {function_name}() loads code")),
            _ => Ok(()),
        },
        Insert { table_name }
        | Update { table_name, .. }
        | Delete { table_name }
        | CreateTable { table_name }
        | DropTable { table_name }
        | AlterTable { table_name, .. }
        | CreateIndex { table_name, .. }
        | DropIndex { table_name, .. }
        | CreateTrigger { table_name, .. }
        | DropTrigger { table_name, .. } => not_history(table_name),
        CreateView { view_name } | DropView { view_name } => not_history(view_name),
        Reindex { .. } | Analyze { .. } => Ok(()),
        CreateVtable { table_name, module_name } | DropVtable { table_name, module_name } => {
            if !MODULES.iter().any(|m| module_name.eq_ignore_ascii_case(m)) {
                return Err(format!("virtual tables may use {}, not {module_name}", MODULES.join(", ")));
            }
            not_history(table_name)
        }
        Pragma { pragma_name, pragma_value } => pragma(role, pragma_name, *pragma_value),
        Attach { .. } | Detach { .. } => Err("ATTACH, DETACH and VACUUM reach other files".to_owned()),
        CreateTempTable { .. }
        | CreateTempIndex { .. }
        | CreateTempTrigger { .. }
        | CreateTempView { .. }
        | DropTempTable { .. }
        | DropTempIndex { .. }
        | DropTempTrigger { .. }
        | DropTempView { .. } => Err("there are no temporary tables; use a table, or WITH".to_owned()),
        _ => Err("this kind of statement is not available to components".to_owned()),
    }
}

fn not_history(table: &str) -> Result<(), String> {
    let is_history = table.get(..HISTORY_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(HISTORY_PREFIX));
    if is_history {
        return Err(format!("`{table}` is the host's own record of migrations"));
    }
    Ok(())
}

fn pragma(role: Role, name: &str, value: Option<&str>) -> Result<(), String> {
    let among = |list: &[&str]| list.iter().any(|p| name.eq_ignore_ascii_case(p));
    let holds = |value: &str| {
        PRAGMAS_THAT_HOLD
            .iter()
            .any(|(p, values)| name.eq_ignore_ascii_case(p) && values.iter().any(|v| value.eq_ignore_ascii_case(v)))
    };
    let allowed = match value {
        None => among(PRAGMAS_THAT_READ),
        Some(_) if among(PRAGMAS_WITH_A_NAME) => true,
        Some(value) => holds(value),
    } || (role == Role::Writer && among(PRAGMAS_OF_WRITERS));
    if allowed {
        return Ok(());
    }
    Err(match value {
        None => format!("PRAGMA {name} is not available to components"),
        Some(_) => format!("PRAGMA {name} cannot be set by components"),
    })
}
