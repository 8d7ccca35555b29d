//! The open connections: how many there may be, how many of one peer, and which one goes when there are too many.
//!
//! A connection without a request under way costs its client nothing, so one client could hold all of them. When none is
//! left for a newcomer, the one goes that has been without a request for the longest; a peer that has its share makes
//! room with its own. Where all have a request under way, the one goes whose client has let all of its requests stand still
//! for longest: of the peer that has most, never of one that has fewer than the newcomer's. Connections for which the host
//! has something to do stay: when all are such, newcomers wait in the kernel's queue, but one of a peer that has its share
//! is closed, so that others get their turn.

use super::activity::Activity;
use super::peer::Share;
use souk_manifest::budget::Use;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The open connections of a listener.
pub struct Connections {
    open: Mutex<Open>,
    most: usize,
    most_of_peer: usize,
    /// Notified when a connection has closed, or is without a request.
    freed: Notify,
}

#[derive(Default)]
struct Open {
    last: u64,
    all: BTreeMap<u64, Entry>,
    peers: HashMap<Share, usize>,
}

struct Entry {
    share: Share,
    activity: Arc<Activity>,
    closed: CancellationToken,
}

/// Whether a connection may be served.
pub enum Admission {
    /// It may.
    Admitted(Connection),
    /// Its peer has its share, and a request under way on each: close it.
    PeerIsFull,
    /// All have a request under way: wait for one of them.
    AllAreBusy,
}

/// One open connection; closed when this is dropped.
pub struct Connection {
    all: Arc<Connections>,
    number: u64,
    activity: Arc<Activity>,
    closed: CancellationToken,
}

impl Connections {
    /// Room for `most` connections, and `most_of_peer` of one peer.
    pub fn new(most: usize, most_of_peer: usize) -> Arc<Self> {
        Arc::new(Connections {
            open: Mutex::default(),
            most,
            most_of_peer: most_of_peer.min(most),
            freed: Notify::new(),
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection that takes `share` and whose notes are `activity`.
    pub fn admit(self: &Arc<Self>, share: Share, activity: Arc<Activity>) -> Admission {
        let mut open = self.open();
        if self.is_full(&open, share) && !open.close_one_of(share) {
            return Admission::PeerIsFull;
        }
        if open.all.len() >= self.most && !open.close_one(share) {
            return Admission::AllAreBusy;
        }
        open.last += 1;
        let (number, closed) = (open.last, CancellationToken::new());
        open.all.insert(number, Entry { share, activity: activity.clone(), closed: closed.clone() });
        *open.peers.entry(share).or_default() += 1;
        Admission::Admitted(Connection { all: self.clone(), number, activity, closed })
    }

    fn is_full(&self, open: &Open, share: Share) -> bool {
        share.is_bounded() && open.of(share) >= self.most_of_peer
    }

    /// Closes the connection that has been without a request for the longest, if there is one.
    pub fn close_idlest(&self) -> bool {
        self.open().close_idlest(None)
    }

    /// How many are open, and of the peer that has most.
    pub fn uses(&self) -> Vec<Use> {
        let open = self.open();
        let largest = open.peers.iter().filter(|(share, _)| share.is_bounded()).map(|(_, count)| *count).max();
        vec![
            Use::count("connections", open.all.len() as u64, self.most as u64, "connections"),
            Use::count(
                "peer_connections (largest)",
                largest.unwrap_or(0) as u64,
                self.most_of_peer as u64,
                "connections",
            ),
        ]
    }

    /// Returns when there may be room for one that was not admitted: a connection has closed. For those that fall idle
    /// instead, ask again now and then.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Open {
    fn of(&self, share: Share) -> usize {
        self.peers.get(&share).copied().unwrap_or(0)
    }

    /// Makes room among the connections of `share`.
    fn close_one_of(&mut self, share: Share) -> bool {
        self.close_idlest(Some(share)) || self.end_stillest(share)
    }

    /// Makes room among all connections for one of `share`.
    fn close_one(&mut self, share: Share) -> bool {
        if self.close_idlest(None) {
            return true;
        }
        let own = self.of(share);
        let mut larger: Vec<_> = self.peers.iter().filter(|(_, count)| **count >= own).collect();
        larger.sort_by_key(|(share, count)| (std::cmp::Reverse(**count), share.network()));
        let larger: Vec<_> = larger.into_iter().map(|(share, _)| *share).collect();
        larger.into_iter().any(|share| self.end_stillest(share))
    }

    /// Closes the connection that has been without a request for the longest, of `share` or of all. It counts as closed
    /// from now on.
    fn close_idlest(&mut self, share: Option<Share>) -> bool {
        let candidates = self.all.iter().filter(|(_, entry)| share.is_none_or(|share| share == entry.share));
        let idle = candidates.filter_map(|(number, entry)| Some((entry.activity.idle_since()?, *number)));
        let Some((_, number)) = idle.min() else {
            return false;
        };
        if let Some(entry) = self.remove(number) {
            entry.closed.cancel();
        }
        true
    }

    /// Ends the connection of `share` whose client has let it stand still for longest, with its requests.
    fn end_stillest(&mut self, share: Share) -> bool {
        let candidates = self.all.iter().filter(|(_, entry)| share == entry.share);
        let still = candidates.filter_map(|(number, entry)| Some((entry.activity.still_since()?, *number)));
        let Some((_, number)) = still.min() else {
            return false;
        };
        if let Some(entry) = self.remove(number) {
            entry.activity.ended().cancel();
        }
        true
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.all.remove(&number)?;
        if let Some(count) = self.peers.get_mut(&entry.share) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&entry.share);
            }
        }
        Some(entry)
    }
}

impl Connection {
    /// Its number, which no other has.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Counts it for `share` from now on: a proxy has said whose it is. `false` when that has as many as it may.
    pub fn belongs_to(&self, share: Share) -> bool {
        let mut open = self.all.open();
        if self.all.is_full(&open, share) && !open.close_one_of(share) {
            return false;
        }
        if let Some(mut entry) = open.remove(self.number) {
            entry.share = share;
            open.all.insert(self.number, entry);
            *open.peers.entry(share).or_default() += 1;
        }
        true
    }

    /// The connection's notes.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Cancelled when the connection must make room for another.
    pub fn closed(&self) -> &CancellationToken {
        &self.closed
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.open().remove(self.number);
        self.all.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_manifest::limits::EdgeLimits;

    fn admit(all: &Arc<Connections>, peer: &str) -> Admission {
        all.admit(Share::of(peer.parse().unwrap()), Activity::new(&EdgeLimits::default()))
    }

    fn admitted(all: &Arc<Connections>, peer: &str) -> Connection {
        match admit(all, peer) {
            Admission::Admitted(connection) => connection,
            _ => panic!("{peer} is not admitted"),
        }
    }

    #[test]
    fn the_longest_idle_goes_for_a_newcomer_and_one_with_a_request_stays() {
        let all = Connections::new(3, 3);
        let connections = [(); 3].map(|()| admitted(&all, "10.0.0.1"));
        let busy = connections[0].activity.request(&http::Request::new(()));
        let newcomer = admitted(&all, "10.0.0.2");
        let closed = connections.each_ref().map(|c| c.closed.is_cancelled());
        assert_eq!(closed, [false, true, false]);
        let _requests = [&connections[2], &newcomer].map(|c| c.activity.request(&http::Request::new(())));
        assert!(matches!(admit(&all, "10.0.0.3"), Admission::AllAreBusy));
        drop(busy);
        admitted(&all, "10.0.0.3");
        assert!(connections[0].closed.is_cancelled());
    }

    #[test]
    fn a_peer_with_its_share_makes_room_with_its_own() {
        let all = Connections::new(4, 2);
        let other = admitted(&all, "10.0.0.2");
        let peers = [(); 2].map(|()| admitted(&all, "2001:db8::1"));
        let third = admitted(&all, "2001:db8::2");
        assert!(peers[0].closed.is_cancelled() && !other.closed.is_cancelled());
        let _requests = [&peers[1], &third].map(|c| c.activity.request(&http::Request::new(())));
        assert!(matches!(admit(&all, "2001:db8::3"), Admission::PeerIsFull));
        drop(peers);
        admitted(&all, "2001:db8::3");
        admitted(&all, "2001:db8:0:1::3");
    }

    #[test]
    fn where_all_have_requests_the_largest_peers_stillest_goes_and_none_that_waits_for_the_host() {
        let all = Connections::new(4, 4);
        let greedy = [(); 3].map(|()| admitted(&all, "10.0.0.1"));
        let modest = admitted(&all, "10.0.0.2");
        let requests = greedy.each_ref().map(|c| c.activity.request(&http::Request::new(())));
        let other = modest.activity.request(&http::Request::new(()));
        assert!(matches!(admit(&all, "10.0.0.3"), Admission::AllAreBusy));
        let due = std::time::Instant::now();
        other.waits_until(due);
        requests[1].waits_until(due);
        requests[2].waits_until(due);
        let newcomer = admitted(&all, "10.0.0.3");
        let ended = greedy.each_ref().map(|c| c.activity.ended().is_cancelled());
        assert_eq!((ended, modest.activity.ended().is_cancelled()), ([false, true, false], false));
        let _busy = newcomer.activity.request(&http::Request::new(()));
        admitted(&all, "10.0.0.4");
        assert!(greedy[2].activity.ended().is_cancelled(), "it has as many as others, and stands still");
    }

    #[test]
    fn a_connection_that_a_proxy_names_the_client_of_counts_for_that_one() {
        let all = Connections::new(4, 1);
        let proxied = |client: &str| {
            let connection = admitted(&all, "10.0.0.1");
            connection.belongs_to(Share::of(client.parse().unwrap())).then_some(connection)
        };
        let first = proxied("192.0.2.1").unwrap();
        let busy = first.activity.request(&http::Request::new(()));
        assert!(proxied("192.0.2.1").is_none());
        let other = proxied("192.0.2.2").unwrap();
        drop(busy);
        assert!(proxied("192.0.2.1").is_some());
        assert!(first.closed.is_cancelled() && !other.closed.is_cancelled());
    }

    #[test]
    fn nothing_is_counted_when_all_have_closed() {
        let all = Connections::new(2, 2);
        let connections = [(); 3].map(|()| admitted(&all, "10.0.0.1"));
        drop(connections);
        let open = all.open();
        assert!(open.all.is_empty() && open.peers.is_empty());
    }
}
