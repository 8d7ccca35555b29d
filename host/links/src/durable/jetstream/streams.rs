//! The streams and consumers of durable links: created at the start, or checked and updated when they exist.
//!
//! Hosts that start together create the same streams, and the second host finds those of the first. A setting that can
//! be changed is updated. A setting that cannot (storage, retention policy) gives an error that says what to do.

use super::{ACK_WAIT, JetStreamQueue, MAX_ACK_PENDING};
use crate::durable::deliver::RETRY_INTERVAL;
use crate::durable::message::{NATS_FIX, QueueError};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, pull};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{ClusterInfo, Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{Error as Refusal, ErrorCode};
use souk_manifest::subject;
use souk_nats::{ALLOW, stream_capacity::SLACK_BYTES};
use std::fmt::Display;
use std::time::Duration;
use tokio::time::Instant;

/// The last part of the streams' names, after the name of the application.
pub(super) const DURABLE: &str = "durable";
pub(super) const DEAD: &str = "dead";
pub(super) const NOTES: &str = "notes";
pub(super) const SCHEDULES: &str = "schedules";

souk_manifest::fixed_limits! {
    /// The fixed limits of streams.
    pub(crate) const FIXED_LIMITS = "durable: NATS";

    /// How long a start waits for JetStream: the servers of a cluster may be starting too.
    pub(super) const START_TIMEOUT: Duration = Duration::from_secs(30);
    /// How often a start looks for a stream that another host seems to be making.
    const CREATION_CHECKS: u32 = 3, "times";
    /// How long a stream knows the ids of its messages, so that one which is sent again is stored once.
    const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
    /// How long a note about an attempt is kept; longer than the longest pause between two attempts.
    const MAX_NOTE_AGE: Duration = Duration::from_secs(14 * 24 * 3600);
    /// The most that all notes take together; the oldest go.
    const MAX_NOTES_BYTES: i64 = 64 << 20, bytes;
    /// The most pull requests of one component that wait at the server, of all hosts.
    const MAX_WAITING_PULLS: i64 = 16_384, "requests";
    /// The most bytes that the cursors of all schedules take together.
    const MAX_SCHEDULES_BYTES: i64 = 16 << 20, bytes;
}

/// Why durable links do not work on NATS.
#[derive(Debug, Clone, thiserror::Error)]
#[error("durable links on NATS: {cause}\n  fix: {fix}")]
pub struct JetStreamError {
    cause: String,
    fix: String,
    /// Whether waiting may help.
    transient: bool,
}

impl JetStreamError {
    pub(super) fn new(cause: &impl Display) -> Self {
        JetStreamError { cause: cause.to_string(), fix: NATS_FIX.to_owned(), transient: false }
    }

    fn fixed(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        JetStreamError { cause: cause.into(), fix: fix.into(), transient: false }
    }

    fn transient(cause: impl Into<String>) -> Self {
        JetStreamError { transient: true, ..JetStreamError::fixed(cause, NATS_FIX) }
    }

    /// The same error, with the missing permission as its cause if the server has `denied` something.
    pub(super) fn or_denied(self, denied: Option<String>) -> Self {
        let Some(denied) = denied else { return self };
        JetStreamError::fixed(format!("{}: this host's NATS user may not {denied}", self.cause), ALLOW)
    }

    /// Whether waiting may help.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    fn missing(cause: &str) -> Self {
        let fix = "start nats-server with JetStream (`nats-server -js`, or `jetstream { store_dir: ... }` in its \
                   configuration), and enable it for this host's account";
        JetStreamError::fixed(cause, fix)
    }

    /// JetStream's own answer about `stream`.
    fn answer(stream: &str, answer: &Refusal) -> Self {
        let cause = format!("stream {stream}: {answer}");
        match answer.error_code() {
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                JetStreamError::missing(&cause)
            }
            ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED | ErrorCode::CLUSTER_NO_PEERS => JetStreamError::fixed(
                cause,
                "set `replicas` under [nats] of runtime-config.toml to no more than there are servers with JetStream",
            ),
            ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED => JetStreamError::fixed(
                cause,
                "give JetStream more room (`max_file_store` of the server, or the account's limit), or lower the limit \
                 `durable_bytes` of the application; twice that and 192 MiB are needed",
            ),
            ErrorCode::STREAM_SUBJECT_OVERLAP => JetStreamError::fixed(
                cause,
                "another stream takes these subjects: delete it, or give the application another name",
            ),
            // A cluster without a leader, for the moment.
            ErrorCode::CLUSTER_NOT_AVAILABLE
            | ErrorCode::CLUSTER_NOT_LEADER
            | ErrorCode::CLUSTER_NOT_ACTIVE
            | ErrorCode::CLUSTER_NOT_ASSIGNED
            | ErrorCode::CLUSTER_INCOMPLETE => JetStreamError::transient(cause),
            _ => JetStreamError::fixed(cause, NATS_FIX),
        }
    }

    fn of_get(stream: &str, error: &GetStreamError) -> Self {
        match error.kind() {
            GetStreamErrorKind::JetStream(answer) => JetStreamError::answer(stream, &answer),
            _ if error.to_string().contains("does not exist") => {
                JetStreamError::missing(&format!("no JetStream answers ({error})"))
            }
            _ => JetStreamError::transient(format!("stream {stream}: {error}")),
        }
    }

    fn of_create(stream: &str, error: &CreateStreamError) -> Self {
        match error.kind() {
            CreateStreamErrorKind::JetStream(answer) => JetStreamError::answer(stream, &answer),
            CreateStreamErrorKind::JetStreamUnavailable => JetStreamError::missing("no JetStream answers"),
            _ => JetStreamError::transient(format!("stream {stream}: {error}")),
        }
    }
}

impl JetStreamQueue {
    /// The configurations of the streams.
    fn wanted(&self) -> [Config; 3] {
        let subjects = self.shared.nats.subjects();
        let stream = |what: &str, subject: String| self.stream(what, subject);
        [
            Config { retention: RetentionPolicy::WorkQueue, ..stream(DURABLE, subjects.durable_all()) },
            // When a host dies before it has acknowledged a dead letter, the message becomes one again: only one is
            // kept.
            Config { max_messages_per_subject: 1, ..stream(DEAD, subjects.dead_all()) },
            Config {
                max_messages_per_subject: 1,
                max_bytes: MAX_NOTES_BYTES,
                max_age: MAX_NOTE_AGE,
                discard: DiscardPolicy::Old,
                ..stream(NOTES, subjects.note("*"))
            },
        ]
    }

    /// The configuration that most streams have.
    fn stream(&self, what: &str, subject: String) -> Config {
        Config {
            name: self.shared.nats.subjects().stream(what),
            subjects: vec![subject],
            storage: StorageType::File,
            num_replicas: self.shared.nats.replicas(),
            max_bytes: i64::try_from(self.shared.limit.saturating_add(SLACK_BYTES)).unwrap_or(i64::MAX),
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            discard: DiscardPolicy::New,
            duplicate_window: DUPLICATE_WINDOW,
            ..Config::default()
        }
    }

    /// Creates or updates the stream of the cursors of schedules, which keeps the newest of each for good.
    pub(super) async fn make_schedules(&self) -> Result<(), JetStreamError> {
        let wanted = Config {
            max_messages_per_subject: 1,
            max_bytes: MAX_SCHEDULES_BYTES,
            discard: DiscardPolicy::Old,
            ..self.stream(SCHEDULES, self.shared.nats.subjects().schedule_all())
        };
        let start = Instant::now();
        self.make(&wanted).await.map(drop).map_err(|error| error.or_denied(self.denied(start)))
    }

    /// Creates or updates the streams, and waits up to `timeout` for a JetStream that is starting.
    pub(super) async fn make_streams(&self, timeout: Duration) -> Result<(), JetStreamError> {
        for wanted in self.wanted() {
            let start = Instant::now();
            let info = loop {
                match self.make(&wanted).await {
                    Err(error) if error.transient && start.elapsed() < timeout && self.denied(start).is_none() => {
                        tokio::time::sleep(RETRY_INTERVAL).await;
                    }
                    made => break made?,
                }
            };
            if wanted.retention == RetentionPolicy::WorkQueue
                && is_clustered(info.cluster.as_ref())
                && wanted.num_replicas == 1
            {
                tracing::warn!(
                    "durable messages are kept on one server of the NATS cluster: while it is down they wait, and if \
                     its disk is lost, they are lost; fix: set `replicas = 3` under [nats] of runtime-config.toml"
                );
            }
        }
        Ok(())
    }

    /// Whether a host has created the streams.
    pub(super) async fn has_streams(&self) -> Result<bool, JetStreamError> {
        for wanted in self.wanted() {
            match self.shared.context.get_stream(&wanted.name).await {
                Ok(_) => {}
                Err(error) if is_unknown(&error) => return Ok(false),
                Err(error) => return Err(JetStreamError::of_get(&wanted.name, &error)),
            }
        }
        Ok(true)
    }

    async fn make(&self, wanted: &Config) -> Result<Info, JetStreamError> {
        let (name, context) = (&wanted.name, &self.shared.context);
        let found = match context.get_stream(name).await {
            Ok(stream) => stream.cached_info().clone(),
            Err(error) if is_unknown(&error) => match context.create_stream(wanted.clone()).await {
                Ok(stream) => return Ok(stream.cached_info().clone()),
                // Another host was faster, with other limits. While a server creates a stream, it may report
                // overlapping subjects before it knows the name.
                Err(error) if is_there(&error) || is_overlap(&error) => match self.appears(name).await? {
                    Some(info) => info,
                    None => return Err(JetStreamError::of_create(name, &error)),
                },
                Err(error) => return Err(JetStreamError::of_create(name, &error)),
            },
            Err(error) => return Err(JetStreamError::of_get(name, &error)),
        };
        let Some(changed) = change(&found, wanted)? else { return Ok(found) };
        context.update_stream(changed).await.map_err(|error| JetStreamError::of_create(name, &error))
    }

    /// The stream `name`, which another host is creating; `None` when it does not appear.
    async fn appears(&self, name: &str) -> Result<Option<Info>, JetStreamError> {
        for _ in 0..CREATION_CHECKS {
            match self.shared.context.get_stream(name).await {
                Ok(stream) => return Ok(Some(stream.cached_info().clone())),
                Err(error) if is_unknown(&error) => tokio::time::sleep(RETRY_INTERVAL).await,
                Err(error) => return Err(JetStreamError::of_get(name, &error)),
            }
        }
        Ok(None)
    }

    /// The consumer of `component`. Creates it if it is missing.
    pub(super) async fn consumer(&self, component: &str) -> Result<Consumer<pull::Config>, QueueError> {
        let config = pull::Config {
            durable_name: Some(subject::token(component)),
            filter_subject: self.shared.nats.subjects().durable_of(component),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            // The host counts attempts, and makes the message a dead letter.
            max_deliver: -1,
            max_ack_pending: MAX_ACK_PENDING,
            max_waiting: MAX_WAITING_PULLS,
            ..pull::Config::default()
        };
        let start = Instant::now();
        self.shared.durable.create_consumer(config).await.map_err(|error| match self.denied(start) {
            Some(denied) => super::failed(format_args!("{error}: this host's NATS user may not {denied}")),
            None => super::failed(error),
        })
    }
}

fn is_overlap(error: &CreateStreamError) -> bool {
    let CreateStreamErrorKind::JetStream(answer) = error.kind() else { return false };
    answer.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP
}

fn is_unknown(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn is_there(error: &CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

/// The configuration that `found` must be updated to; `None` when it is right.
fn change(found: &Info, wanted: &Config) -> Result<Option<Config>, JetStreamError> {
    // A bound below the present size would delete acknowledged messages. The oldest notes may be deleted.
    let keeps = wanted.discard == DiscardPolicy::New;
    let held = if keeps { i64::try_from(found.state.bytes.saturating_add(SLACK_BYTES)).unwrap_or(i64::MAX) } else { 0 };
    let found = &found.config;
    let name = &wanted.name;
    let wrong = |what: &str| {
        JetStreamError::fixed(
            format!("stream {name} was made by someone else: {what}, which cannot be changed"),
            format!("wait until it is empty, delete it (`nats stream rm {name}`), and start the host again"),
        )
    };
    if found.storage != wanted.storage {
        return Err(wrong("it is kept in memory"));
    }
    if found.retention != wanted.retention {
        return Err(wrong("its retention policy differs"));
    }
    let changed = Config {
        subjects: wanted.subjects.clone(),
        num_replicas: wanted.num_replicas,
        max_bytes: wanted.max_bytes.max(held),
        max_messages: wanted.max_messages,
        max_messages_per_subject: wanted.max_messages_per_subject,
        max_age: wanted.max_age,
        discard: wanted.discard,
        duplicate_window: wanted.duplicate_window,
        ..found.clone()
    };
    Ok((changed != *found).then_some(changed))
}

/// Whether several servers keep the stream, or could. A single server has a `cluster` in its answer too, with its own
/// name as the leader and without the name of a cluster.
pub(super) fn is_clustered(cluster: Option<&ClusterInfo>) -> bool {
    cluster.and_then(|cluster| cluster.name.as_deref()).is_some_and(|name| !name.is_empty())
}
