//! The durable messages of an application, as they lie in its state folder.

use super::App;
use std::path::PathBuf;

/// Where the messages are; `None` when the application has no durable link.
pub fn file(app: &App) -> Option<PathBuf> {
    Some(app.state().join("durable/messages.db")).filter(|file| file.exists())
}

/// How many messages whose arguments have this text wait for their delivery, or for its end.
pub fn waiting(app: &App, text: &str) -> usize {
    count(app, "SELECT count(*) FROM message WHERE state IN ('pending', 'delivering') AND instr(arguments, ?1)", text)
}

/// Whether a message is being delivered.
pub fn delivering(app: &App) -> bool {
    count(app, "SELECT count(*) FROM message WHERE state = 'delivering' AND instr(arguments, ?1)", "") > 0
}

/// How many messages were given up, and wait for an operator.
pub fn dead(app: &App) -> usize {
    count(app, "SELECT count(*) FROM message WHERE state = 'dead' AND instr(arguments, ?1)", "")
}

fn count(app: &App, query: &str, text: &str) -> usize {
    let Some(file) = file(app) else { return 0 };
    let count: i64 = rusqlite::Connection::open(file).unwrap().query_row(query, [text], |row| row.get(0)).unwrap();
    count as usize
}
