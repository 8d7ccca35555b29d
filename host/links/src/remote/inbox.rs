//! Where the answers to this host's calls arrive: one subscription for all of them, told apart by the last token of the
//! reply subject, which is the call's id.
//!
//! The client's own `request` takes the first message for the answer; here others come before it, which say that the
//! call runs. They leave no more behind than the time at which one was heard last, so a callee that sends too many
//! fills nothing.

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

/// The answers that are waited for.
pub(super) struct Inbox {
    /// What the reply subjects begin with.
    prefix: String,
    /// What the ids begin with: other hosts make ids too.
    host: String,
    calls: AtomicU64,
    waiting: Arc<Waiting>,
    _reader: AbortOnDropHandle<()>,
}

/// The calls under way, by id.
struct Waiting {
    calls: Mutex<HashMap<String, Call>>,
    /// What the times that something was heard are counted from.
    start: Instant,
}

struct Call {
    answer: oneshot::Sender<Message>,
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

    /// Makes the id of a new call, and waits for what comes for it.
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
            // Its caller may be about to give up.
            let _ = call.answer.send(message);
        }
    }
}

/// A call whose answer is waited for; forgotten when it is dropped.
pub(super) struct PendingAnswer {
    /// The call's id.
    pub(super) id: String,
    /// Where the answer is to go.
    pub(super) reply: String,
    /// The answer.
    pub(super) answered: oneshot::Receiver<Message>,
    heard: Arc<AtomicU64>,
    waiting: Arc<Waiting>,
}

impl PendingAnswer {
    /// When something was heard last; at first, when the call was made.
    pub(super) fn heard(&self) -> Instant {
        self.waiting.start + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.waiting.calls().remove(&self.id);
    }
}
