//! The durable messages of an application, as they lie in its state folder.

use super::App;
use std::path::PathBuf;

/// Where the messages are; `None` when the application has no durable link.
pub fn file(app: &App) -> Option<PathBuf> {
    Some(app.state().join("durable/messages.db")).filter(|file| file.exists())
}

/// How many messages wait for their delivery, or for its end.
pub fn waiting(app: &App) -> usize {
    count(app, "SELECT count(*) FROM messages")
}

/// Whether a message is being delivered.
pub fn leased(app: &App) -> bool {
    count(app, "SELECT count(*) FROM messages WHERE leased") > 0
}

fn count(app: &App, query: &str) -> usize {
    let Some(file) = file(app) else { return 0 };
    let count: i64 = rusqlite::Connection::open(file).unwrap().query_row(query, [], |row| row.get(0)).unwrap();
    count as usize
}
