//! The inbox for the answers to this host's calls: one subscription for all of them. The last token of the reply
//! subject is the call's id.
//!
//! The client's own `request` takes the first message as the answer. Here messages that report that the call runs may
//! come before the answer. Of those only the time of the last one is kept, so a callee that sends too many uses no
//! memory.

use super::wire;
use async_nats::{Client, Message, SubscribeError};
use futures::StreamExt as _;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// The inbox, with the calls that wait for an answer.
pub(super) struct Inbox {
    /// The first tokens of the reply subjects.
    prefix: String,
    /// The first part of the ids, because other hosts create ids too.
    host: String,
    calls: AtomicU64,
    waiting: Arc<Waiting>,
    _reader: AbortOnDropHandle<()>,
}

/// The calls in progress, by id.
struct Waiting {
    calls: Mutex<HashMap<String, Call>>,
    /// The instant from which `heard` counts.
    start: Instant,
}

struct Call {
    answer: oneshot::Sender<Message>,
    /// When something was last heard of the call, in milliseconds since `start`.
    heard: Arc<AtomicU64>,
}

impl Inbox {
    /// Opens the inbox of this host.
    pub(super) async fn open(client: &Client) -> Result<Self, SubscribeError> {
        let prefix = client.new_inbox();
        let host = prefix.rsplit('.').next().unwrap_or_default().to_owned();
        let mut messages = client.subscribe(format!("{prefix}.*")).await?;
        let waiting = Arc::new(Waiting { calls: Mutex::default(), start: Instant::now() });
        let arrivals = waiting.clone();
        let reader = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                arrivals.arrived(message);
            }
        });
        Ok(Inbox { prefix, host, calls: AtomicU64::new(0), waiting, _reader: AbortOnDropHandle::new(reader) })
    }

    /// Creates the id of a new call, and prepares for its answer.
    pub(super) fn expect(&self) -> PendingAnswer {
        let id = format!("{}-{:x}", self.host, self.calls.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        let heard = Arc::new(AtomicU64::new(self.waiting.now()));
        self.waiting.calls().insert(id.clone(), Call { answer, heard: heard.clone() });
        PendingAnswer { reply: format!("{}.{id}", self.prefix), id, answered, heard, waiting: self.waiting.clone() }
    }
}

impl Waiting {
    fn calls(&self) -> MutexGuard<'_, HashMap<String, Call>> {
        self.calls.lock()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn arrived(&self, message: Message) {
        let Some((_, id)) = message.subject.rsplit_once('.') else { return };
        let mut calls = self.calls();
        if wire::is_working(message.headers.as_ref()) {
            if let Some(call) = calls.get(id) {
                call.heard.store(self.now(), Ordering::Relaxed);
            }
        } else if let Some(call) = calls.remove(id) {
            // Its caller may have just given up.
            let _ = call.answer.send(message);
        }
    }
}

/// A call that waits for its answer. Dropping it forgets the call.
pub(super) struct PendingAnswer {
    /// The call's id.
    pub(super) id: String,
    /// The reply subject.
    pub(super) reply: String,
    /// The answer.
    pub(super) answered: oneshot::Receiver<Message>,
    heard: Arc<AtomicU64>,
    waiting: Arc<Waiting>,
}

impl PendingAnswer {
    /// When something was last heard of the call; initially the time when it was created.
    pub(super) fn heard(&self) -> Instant {
        self.waiting.start + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.waiting.calls().remove(&self.id);
    }
}
