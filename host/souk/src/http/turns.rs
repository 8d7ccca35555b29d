//! Limits how many requests of one peer components handle at a time, and decides which request is next.
//!
//! A client may send thousands of requests at once. Without a limit they would all wait in a component's queue, which
//! all clients share and which has a maximum length. So a peer has a limited number of turns. Its further requests wait
//! here in a queue per connection, and the connections take turns: a client that shares an address with a greedy one
//! does not wait for all of the greedy one's earlier requests. A connection without waiting requests goes first, since
//! it has asked for less than the others.

use super::peer::Share;
use parking_lot::{Mutex, MutexGuard};
use souk_bindings::fair::FairQueue;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;

souk_manifest::fixed_limits! {
    /// The fixed limits of turns.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The most requests of one peer that components handle at a time; the others wait for their turn. Requests for the
    /// routes in `reserved_routes` and a trusted proxy's own requests do not count.
    pub(super) const MAX_PEER_REQUESTS: usize = 128, "requests";
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

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
}
