//! Decides whose request is next where one client sends many: how many requests of a peer components handle at a time,
//! and how many begin at a time.
//!
//! A client may send thousands of requests at once. Without a limit they would all wait in a component's queue, which
//! all clients share and which has a maximum length. So a peer has a limited number of turns. Its further requests wait
//! here in a queue per connection, and the connections take turns: a client that shares an address with a greedy one
//! does not wait for all of the greedy one's earlier requests. A connection without waiting requests goes first, since
//! it has asked for less than the others.
//!
//! The same holds for the processor. A request's first steps, usually with the whole call of its component, run without
//! a pause, and tokio runs tasks in the order in which they woke up. So of a thousand requests that arrive together, a
//! client's own would wait for all. With [`paced`] only a few of one peer are begun but not yet through their first
//! steps; the others wait here, where they take little memory, and other peers' requests pass them.

use super::budget::{Account, End};
use super::peer::Share;
use futures::future::{AbortHandle, Abortable};
use parking_lot::{Mutex, MutexGuard};
use souk_bindings::fair::FairQueue;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::oneshot;

souk_manifest::fixed_limits! {
    /// The fixed limits of turns.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The most requests of one peer that components handle at a time; the others wait for their turn. Requests for the
    /// routes in `reserved_routes` and a trusted proxy's own requests do not count.
    pub(super) const MAX_PEER_REQUESTS: usize = 128, "requests";
    /// How many requests of one peer begin at a time, for each thread of the host: enough to keep the threads busy, and
    /// little work for a request of another peer to wait for.
    pub(super) const MAX_BEGINNING: usize = 4, "requests";
}

/// The turns of all peers.
pub(super) struct Turns {
    peers: Mutex<HashMap<Share, Peer>>,
    most: usize,
}

#[derive(Default)]
struct Peer {
    taken: usize,
    /// What waits, by connection.
    waiting: FairQueue<u64, oneshot::Sender<Turn>>,
}

/// A turn; dropping it starts the next one.
pub(super) struct Turn {
    /// `None` after it was passed on.
    turns: Option<Arc<Turns>>,
    share: Share,
}

impl Turns {
    /// Gives each peer at most `most` turns at a time.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Turns { peers: Mutex::default(), most: most.max(1) })
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<Share, Peer>> {
        self.peers.lock()
    }

    /// A turn for `share`, if one is free.
    pub(super) fn take_now(self: &Arc<Self>, share: Share) -> Option<Turn> {
        self.give(self.peers().entry(share).or_default(), share)
    }

    fn give(self: &Arc<Self>, peer: &mut Peer, share: Share) -> Option<Turn> {
        (peer.taken < self.most).then(|| {
            peer.taken += 1;
            Turn { turns: Some(self.clone()), share }
        })
    }

    /// Waits for a turn for `share`, for a request of `connection`.
    pub(super) async fn take(self: &Arc<Self>, share: Share, connection: u64) -> Turn {
        let waiting = {
            let mut peers = self.peers();
            let peer = peers.entry(share).or_default();
            if let Some(turn) = self.give(peer, share) {
                return turn;
            }
            let (sender, receiver) = oneshot::channel();
            peer.waiting.push(connection, sender, true);
            receiver
        };
        // The sender stays in the queue until it has sent a turn.
        waiting.await.unwrap_or(Turn { turns: None, share })
    }

    /// Passes a turn of `share` to the next waiting request, or returns it.
    fn pass_on(self: &Arc<Self>, share: Share) {
        let mut peers = self.peers();
        let Some(peer) = peers.get_mut(&share) else { return };
        while let Some(sender) = peer.waiting.pop() {
            match sender.send(Turn { turns: Some(self.clone()), share }) {
                Ok(()) => return,
                // The receiver is gone. The turn is still here, and dropping it must not pass it on again.
                Err(mut turn) => turn.turns = None,
            }
        }
        peer.taken -= 1;
        if peer.taken == 0 {
            peers.remove(&share);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.pass_on(self.share);
        }
    }
}

/// Runs the task that `begin` makes, whose first steps wait for a turn of `share`. A peer without a share of its own, a
/// trusted proxy, does not wait. While it waits, others may end `account` to make room; then the task gets none.
pub(super) async fn paced<F: Future>(
    turns: &Arc<Turns>,
    share: Share,
    connection: u64,
    account: Arc<Account>,
    begin: impl FnOnce(Option<Arc<Account>>) -> F,
) -> F::Output {
    let (mut account, mut turn) = (Some(account), None);
    if share.is_bounded() {
        turn = turns.take_now(share);
        if turn.is_none()
            && let Some(waiting) = account.take()
        {
            let (abort, registration) = AbortHandle::new_pair();
            waiting.waits(End::Task(abort));
            if let Ok(given) = Abortable::new(turns.take(share, connection), registration).await {
                waiting.works();
                (account, turn) = (Some(waiting), Some(given));
            }
        }
    }
    let mut task = pin!(begin(account));
    let output = std::future::poll_fn(|cx| {
        let polled = task.as_mut().poll(cx);
        drop(turn.take());
        polled
    });
    output.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::budget::{EdgeBudget, Owner};
    use futures::FutureExt as _;
    use souk_manifest::limits::EdgeLimits;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn share(last: u8) -> Share {
        Share::of([10, 0, 0, last].into())
    }

    #[test]
    fn connections_of_a_peer_take_turns_and_other_peers_have_their_own() {
        let turns = Turns::new(1);
        let first = Box::pin(turns.take(share(1), 1)).now_or_never().unwrap();
        assert!(Box::pin(turns.take(share(2), 9)).now_or_never().is_some());
        let mut greedy: Vec<_> = (0..3).map(|_| Box::pin(turns.take(share(1), 1))).collect();
        greedy.iter_mut().for_each(|one| assert!(one.now_or_never().is_none()));
        let mut modest = Box::pin(turns.take(share(1), 2));
        assert!((&mut modest).now_or_never().is_none());
        drop(first);
        assert!((&mut greedy[0]).now_or_never().is_none(), "the other connection is next");
        let second = (&mut modest).now_or_never().unwrap();
        let mut late = Box::pin(turns.take(share(1), 3));
        assert!((&mut late).now_or_never().is_none());
        drop(second);
        drop((&mut late).now_or_never().unwrap());
        assert!((&mut greedy[0]).now_or_never().is_some());
    }

    #[test]
    fn a_turn_is_not_lost_with_those_who_no_longer_wait() {
        let turns = Turns::new(1);
        let first = Box::pin(turns.take(share(1), 1)).now_or_never().unwrap();
        let mut waiting: Vec<_> = (0..1_000).map(|n| Box::pin(turns.take(share(1), n % 7))).collect();
        waiting.iter_mut().for_each(|one| assert!(one.now_or_never().is_none()));
        let mut last = waiting.pop().unwrap();
        let sent = waiting.swap_remove(0);
        drop(waiting);
        drop(first);
        // Sent, but never received.
        drop(sent);
        assert!((&mut last).now_or_never().is_some());
        drop(last);
        assert!(turns.peers().is_empty());
    }

    #[test]
    fn requests_of_a_peer_begin_one_after_the_other_and_go_on_together() {
        let (turns, begun) = (Turns::new(1), AtomicUsize::new(0));
        let budget = EdgeBudget::new(&EdgeLimits::default());
        let request = || {
            let owner = Owner { connection: Some(1), share: share(1), reserved: false };
            paced(&turns, share(1), 1, budget.open_whatever(owner, 0), |account| async {
                drop(account);
                begun.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            })
        };
        let held = turns.take_now(share(1)).unwrap();
        let mut requests: Vec<_> = (0..3).map(|_| Box::pin(request())).collect();
        requests.iter_mut().for_each(|one| assert!(one.now_or_never().is_none()));
        assert_eq!(begun.load(Ordering::Relaxed), 0, "none begins while another is in its first steps");
        drop(held);
        // Each one's first steps end at its first pause, and then the next one begins.
        requests.iter_mut().for_each(|one| assert!(one.now_or_never().is_none()));
        assert_eq!(begun.load(Ordering::Relaxed), 3);
        requests.iter_mut().for_each(|one| one.now_or_never().unwrap());
        assert!(turns.peers().is_empty());
    }
}
