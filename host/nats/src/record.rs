//! Small records that the hosts of an application share: a JetStream bucket with compare-and-swap writes.
//!
//! Hosts use them to pass information to hosts that start later, not for application data: there are few keys with
//! small values, which are seldom read. A read asks the stream's leader, which has every acknowledged write. A write
//! names the record that it replaces twice: by the expected revision, and, unless it is the first write, by its
//! `Nats-Msg-Id`. The second is needed because nats-server 2.9 compares when the leader receives a message and not when
//! it is stored.
//!
//! Anyone who may publish on NATS can change a record: the records protect from mistakes, not from attackers with
//! credentials.

use crate::{ALLOW, Nats};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, PublishError};
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use std::fmt::Display;
use std::time::Duration;
use tokio::time::{Instant, sleep};

souk_manifest::fixed_limits! {
    /// The fixed limits of records.
    pub(crate) const FIXED_LIMITS = "nats";

    /// The most bytes that all records of one bucket take.
    const MAX_RECORDS_BYTES: i64 = 4 << 20, bytes;
    /// The largest record.
    pub const MAX_RECORD_BYTES: usize = 512 * 1024, bytes;
    /// How long a start waits for JetStream: the servers of a cluster may be starting too.
    const START_TIMEOUT: Duration = Duration::from_secs(30);
    /// The pause before JetStream is asked again.
    const RETRY_INTERVAL: Duration = Duration::from_millis(200);
}

/// Why a record cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{cause}\n  fix: {fix}")]
pub struct RecordError {
    cause: String,
    fix: String,
    /// Whether waiting may help.
    transient: bool,
}

impl RecordError {
    /// An error that waiting does not fix.
    pub(crate) fn refused(cause: &impl Display, fix: &str) -> Self {
        RecordError { cause: cause.to_string(), fix: fix.to_owned(), transient: false }
    }

    pub(crate) fn transient(cause: &impl Display) -> Self {
        let fix = "let a majority of the NATS servers run, and start the host again";
        RecordError { cause: format!("JetStream does not answer: {cause}"), fix: fix.to_owned(), transient: true }
    }

    fn missing(cause: &impl Display) -> Self {
        let fix = "start nats-server with JetStream (`nats-server -js`), and enable it for this host's account";
        RecordError { cause: format!("NATS has no JetStream: {cause}"), fix: fix.to_owned(), transient: false }
    }

    pub(crate) fn answered(answer: &jetstream::Error) -> Self {
        match answer.error_code() {
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                RecordError::missing(answer)
            }
            ErrorCode::CLUSTER_NOT_AVAILABLE
            | ErrorCode::CLUSTER_NOT_LEADER
            | ErrorCode::CLUSTER_NOT_ACTIVE
            | ErrorCode::CLUSTER_NOT_ASSIGNED
            | ErrorCode::CLUSTER_INCOMPLETE => RecordError::transient(answer),
            _ => RecordError {
                cause: format!("JetStream refuses: {answer}"),
                fix: "give JetStream more room (`max_file_store` of the server, or the account's limit), and `replicas` under \
                      [nats] no more than there are servers with JetStream"
                    .to_owned(),
                transient: false,
            },
        }
    }
}

/// A record as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its value; `None` if it was never written.
    pub value: Option<Bytes>,
    /// The revision that a write which replaces it must name.
    pub revision: u64,
}

/// The records of one bucket.
pub struct Records {
    nats: Nats,
    bucket: String,
    stream: Stream,
}

impl Records {
    /// Opens the bucket `what` of the application, or creates it. Waits for a JetStream that is starting.
    ///
    /// # Errors
    /// When there is no JetStream, when it does not answer in time, or when this host may not use it.
    pub async fn open(nats: &Nats, what: &str) -> Result<Self, RecordError> {
        let bucket = nats.subjects().stream(what);
        let stream = retry_transient(nats, || open_or_create(nats, &bucket, MAX_RECORDS_BYTES)).await?;
        Ok(Records { nats: nats.clone(), bucket, stream })
    }

    /// The record under `key`, which consists of letters, digits, `-` and `_`. A bucket that the server has lost is made
    /// again.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn get(&self, key: &str) -> Result<Record, RecordError> {
        retry_transient(&self.nats, || async {
            match self.stream.get_last_raw_message_by_subject(&self.subject(key)).await {
                Ok(message) => Ok(Record { value: Some(message.payload), revision: message.sequence }),
                Err(error) => match error.kind() {
                    LastRawMessageErrorKind::NoMessageFound => Ok(Record { value: None, revision: 0 }),
                    // The server has lost its data.
                    LastRawMessageErrorKind::JetStream(answer)
                        if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                    {
                        open_or_create(&self.nats, &self.bucket, MAX_RECORDS_BYTES).await?;
                        Ok(Record { value: None, revision: 0 })
                    }
                    LastRawMessageErrorKind::JetStream(answer) => Err(RecordError::answered(&answer)),
                    _ => Err(RecordError::transient(&error)),
                },
            }
        })
        .await
    }

    /// Writes `value` if the record's revision is still `revision`; returns whether it was.
    ///
    /// # Errors
    /// When JetStream does not answer, or has no room.
    pub async fn replace(&self, key: &str, value: Bytes, revision: u64) -> Result<bool, RecordError> {
        if value.len() > MAX_RECORD_BYTES {
            return Err(RecordError {
                cause: format!("a record of {} bytes is too large", value.len()),
                fix: format!(
                    "let the application have fewer components: a record has at most {MAX_RECORD_BYTES} bytes"
                ),
                transient: false,
            });
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(revision));
        if revision > 0 {
            headers.insert(header::NATS_MESSAGE_ID, format!("{key}:{revision}"));
        }
        let start = Instant::now();
        let context = self.nats.jetstream();
        let sent = context.publish_with_headers(self.subject(key), headers, value).await;
        let stored = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(stored) => Ok(!stored.duplicate),
            Err(error) => match refusal(&error).map(jetstream::Error::error_code) {
                Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE) => Ok(false),
                _ => Err(or_denied(&self.nats, start, RecordError::transient(&error))),
            },
        }
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.bucket)
    }
}

/// JetStream's own answer to a message.
pub(crate) fn refusal(error: &PublishError) -> Option<&jetstream::Error> {
    std::error::Error::source(error)?.downcast_ref::<jetstream::Error>()
}

/// Replaces the error by one about a missing permission, if the server has refused one since `start`.
pub(crate) fn or_denied(nats: &Nats, start: Instant, error: RecordError) -> RecordError {
    let Some(denied) = nats.denied(start) else { return error };
    RecordError { cause: format!("this host's NATS user may not {denied}"), fix: ALLOW.to_owned(), transient: false }
}

/// Repeats `ask` until [`START_TIMEOUT`], as long as waiting may help.
pub(crate) async fn retry_transient<T, F>(nats: &Nats, ask: impl Fn() -> F) -> Result<T, RecordError>
where
    F: Future<Output = Result<T, RecordError>>,
{
    let start = Instant::now();
    loop {
        match ask().await.map_err(|error| or_denied(nats, start, error)) {
            Err(error) if error.transient && start.elapsed() < START_TIMEOUT => sleep(RETRY_INTERVAL).await,
            done => return done,
        }
    }
}

/// Opens the stream of a bucket, or creates it with room for `max_bytes`.
pub(crate) async fn open_or_create(nats: &Nats, bucket: &str, max_bytes: i64) -> Result<Stream, RecordError> {
    let (context, name) = (nats.jetstream(), format!("KV_{bucket}"));
    match context.get_stream(&name).await {
        Ok(found) => return Ok(found),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
            GetStreamErrorKind::JetStream(answer) => return Err(RecordError::answered(&answer)),
            _ if error.to_string().contains("does not exist") => return Err(RecordError::missing(&error)),
            _ => return Err(RecordError::transient(&error)),
        },
    }
    let config = Config {
        subjects: vec![format!("$KV.{bucket}.>")],
        name,
        max_messages_per_subject: 1,
        max_bytes,
        discard: DiscardPolicy::New,
        num_replicas: nats.replicas(),
        allow_rollup: true,
        deny_delete: true,
        ..Config::default()
    };
    context.create_stream(config).await.map_err(|error| match error.kind() {
        // Another host was faster; the next attempt finds its stream. While a server creates a stream, it may report
        // overlapping subjects before it knows the name.
        CreateStreamErrorKind::JetStream(answer)
            if [ErrorCode::STREAM_NAME_EXIST, ErrorCode::STREAM_SUBJECT_OVERLAP].contains(&answer.error_code()) =>
        {
            RecordError::transient(&error)
        }
        CreateStreamErrorKind::JetStream(answer) => RecordError::answered(&answer),
        CreateStreamErrorKind::JetStreamUnavailable => RecordError::missing(&error),
        _ => RecordError::transient(&error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_manifest::NatsConfig;
    use souk_test::nats::Nats as Server;

    async fn connected(server: &Server) -> Nats {
        let servers = server.url().split(',').map(|server| server.parse().unwrap()).collect();
        Nats::connect(&NatsConfig { servers, ..NatsConfig::default() }, "a").await.unwrap()
    }

    #[tokio::test]
    async fn of_two_concurrent_writes_of_a_record_one_wins_and_the_other_is_refused() {
        for server in [Server::start(), Server::cluster()] {
            let nats = connected(&server).await;
            let (one, other) = tokio::join!(Records::open(&nats, "r"), Records::open(&nats, "r"));
            let (one, other) = (one.unwrap(), other.unwrap());
            for round in 0..8 {
                let now = one.get("key").await.unwrap();
                let (first, second) = tokio::join!(
                    one.replace("key", Bytes::from(format!("first {round}")), now.revision),
                    other.replace("key", Bytes::from(format!("second {round}")), now.revision)
                );
                let (first, second) = (first.unwrap(), second.unwrap());
                assert!(first != second, "one of the two wins in round {round}");
                let winner = if first { "first" } else { "second" };
                let stored = other.get("key").await.unwrap().value.unwrap();
                assert_eq!(stored, Bytes::from(format!("{winner} {round}")));
            }
        }
    }

    #[tokio::test]
    async fn a_bucket_that_the_server_has_lost_is_made_again() {
        let server = Server::start();
        let nats = connected(&server).await;
        let records = Records::open(&nats, "r").await.unwrap();
        assert!(records.replace("key", Bytes::from("one"), 0).await.unwrap());
        nats.jetstream().delete_stream(format!("KV_{}", records.bucket)).await.unwrap();
        assert_eq!(records.get("key").await.unwrap(), Record { value: None, revision: 0 });
        assert!(records.replace("key", Bytes::from("two"), 0).await.unwrap());
        assert_eq!(records.get("key").await.unwrap().value, Some(Bytes::from("two")));
    }

    #[tokio::test]
    async fn a_user_who_may_not_read_records_is_told_which_subject_to_allow() {
        let server = Server::start_with(
            "authorization { users: [ { user: u, password: p, permissions: { publish: { deny: [\"$JS.API.>\"] } } } ] }",
        );
        let url = server.url().replace("://", "://u:p@");
        let config = NatsConfig { servers: vec![url.parse().unwrap()], ..NatsConfig::default() };
        let nats = Nats::connect(&config, "a").await.unwrap();
        let error = Records::open(&nats, "r").await.err().unwrap().to_string();
        assert!(error.contains("may not publish to `$JS.API.STREAM.INFO.KV_souk_a_r`"), "{error}");
    }
}
