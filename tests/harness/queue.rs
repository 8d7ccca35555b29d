//! The stored durable messages of an application: in a file in its state folder, or in JetStream if it has several
//! hosts.

use super::{App, eventually};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::{self, stream::RawMessageErrorKind, stream::Stream};
use futures::TryStreamExt as _;
use std::path::PathBuf;

/// The file with the messages; `None` when the application has no durable link, or keeps its messages in JetStream.
pub(crate) fn file(app: &App) -> Option<PathBuf> {
    Some(app.state().join("durable/messages.db")).filter(|file| file.exists())
}

/// How many messages whose arguments contain this text are waiting for delivery or are being delivered.
pub(crate) async fn waiting(app: &App, text: &str) -> usize {
    if app.spread_over().is_some() {
        return stream(app, "durable", text).await;
    }
    count(app, "SELECT count(*) FROM message WHERE state IN ('pending', 'delivering') AND instr(arguments, ?1)", text)
}

/// Whether a message is being delivered.
pub(crate) async fn delivering(app: &App) -> bool {
    if app.spread_over().is_some() {
        let Some(stream) = find(app, "durable").await else { return false };
        let consumers: Vec<_> = stream.consumers().try_collect().await.unwrap();
        return consumers.iter().any(|consumer| consumer.num_ack_pending > 0);
    }
    count(app, "SELECT count(*) FROM message WHERE state = 'delivering' AND instr(arguments, ?1)", "") > 0
}

/// How many dead letters there are.
pub(crate) async fn dead(app: &App) -> usize {
    if app.spread_over().is_some() {
        return stream(app, "dead", "").await;
    }
    count(app, "SELECT count(*) FROM message WHERE state = 'dead' AND instr(arguments, ?1)", "")
}

fn count(app: &App, query: &str, text: &str) -> usize {
    let Some(file) = file(app) else { return 0 };
    let count: i64 = rusqlite::Connection::open(file).unwrap().query_row(query, [text], |row| row.get(0)).unwrap();
    count as usize
}

/// How many messages with this text are in one of the application's streams.
async fn stream(app: &App, what: &str, text: &str) -> usize {
    let Some(stream) = find(app, what).await else { return 0 };
    let state = stream.get_info().await.unwrap().state;
    let mut found = 0;
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = eventually("the stream answers", || async {
            match stream.get_raw_message(sequence).await {
                Ok(message) => Some(Some(message)),
                // The message was delivered, and so deleted.
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Some(None),
                Err(_) => None,
            }
        });
        let contains = |message: StreamMessage| String::from_utf8_lossy(&message.payload).contains(text);
        found += usize::from(message.await.is_some_and(contains));
    }
    found
}

/// One of the application's streams, if it exists.
async fn find(app: &App, what: &str) -> Option<Stream> {
    let spread = app.spread_over().unwrap();
    let servers: Vec<_> = spread.nats.split(',').map(str::to_owned).collect();
    let jetstream = jetstream::new(async_nats::connect(servers).await.unwrap());
    jetstream.get_stream(format!("souk_{}_{what}", spread.name)).await.ok()
}
