//! The open connections: how many there may be in total and per peer, and which one is closed when there are too many.
//!
//! An idle connection costs its client nothing, so one client could hold all of them. When a new connection finds none
//! left, the one that has been idle longest is closed; a peer that has used its share makes room with its own
//! connections. If all have requests in progress, the connection is closed whose client has stalled all of its requests
//! longest: one of the peer with the most connections, never of a peer with fewer than the new connection's.
//! Connections on which the host has work to do stay open. When all are such, new connections wait in the kernel's
//! queue; but one of a peer that has used its share is closed, so that others get their turn.

use super::activity::Activity;
use super::peer::Share;
use parking_lot::{Mutex, MutexGuard};
use souk_manifest::budget::Use;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of open connections.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// How long a connection must have been idle before it makes room for one of another peer.
    const MIN_IDLE: Duration = Duration::from_secs(1);
    /// How often to check whether a connection has become idle when all were busy.
    const IDLE_CHECK_INTERVAL: Duration = Duration::from_millis(50);
    /// How many stalled connections one search records, to be closed one after the other.
    const MAX_STALLED_FOUND: usize = 64, "connections";
}

/// The open connections of a listener.
pub struct Connections {
    open: Mutex<Open>,
    most: usize,
    most_of_peer: usize,
    /// Notified when a connection has closed or become idle.
    freed: Notify,
}

#[derive(Default)]
struct Open {
    last: u64,
    all: BTreeMap<u64, Entry>,
    peers: HashMap<Share, usize>,
    /// The connections that had stalled longest at the last search, per peer or overall, longest first. All other
    /// connections have made progress since, or stalled later. So the first of these that has not made progress since
    /// has still stalled longest.
    longest_idle: HashMap<Option<Share>, VecDeque<(Instant, u64)>>,
}

struct Entry {
    share: Share,
    activity: Arc<Activity>,
    closed: CancellationToken,
}

/// The decision whether a connection may be served.
pub enum Admission {
    /// It may be served.
    Admitted(Connection),
    /// Its peer has used its share, with a request in progress on each connection: close this one.
    PeerIsFull,
    /// All connections have a request in progress: wait for one of them.
    AllAreBusy,
}

/// One open connection; dropping it closes it.
pub struct Connection {
    all: Arc<Connections>,
    number: u64,
    activity: Arc<Activity>,
    closed: CancellationToken,
}

impl Connections {
    /// Allows `most` connections, and `most_of_peer` per peer.
    pub fn new(most: usize, most_of_peer: usize) -> Arc<Self> {
        Arc::new(Connections {
            open: Mutex::default(),
            most,
            most_of_peer: most_of_peer.min(most),
            freed: Notify::new(),
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }

    /// Makes room for a connection that counts for `share` and whose activity is recorded in `activity`.
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

    /// Admits a connection as [`Connections::admit`] does. Waits while all are busy: further ones wait in the kernel's
    /// queue. `None` when the peer has reached its limit.
    pub async fn admitted(self: &Arc<Self>, share: Share, activity: Arc<Activity>) -> Option<Connection> {
        loop {
            match self.admit(share, activity.clone()) {
                Admission::Admitted(place) => return Some(place),
                Admission::PeerIsFull => return None,
                Admission::AllAreBusy => {
                    // A busy connection may become idle, which is not notified.
                    let _ = tokio::time::timeout(IDLE_CHECK_INTERVAL, self.freed.notified()).await;
                }
            }
        }
    }

    fn is_full(&self, open: &Open, share: Share) -> bool {
        share.is_bounded() && open.of(share) >= self.most_of_peer
    }

    /// Closes the connection that has been idle longest, if there is one.
    pub fn close_idlest(&self) -> bool {
        self.open().close_idlest(Instant::now())
    }

    /// How many connections are open, in total and of the peer with the most.
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
}

/// Since when a connection has been idle, or all its requests have waited for their client.
fn still(activity: &Activity) -> Option<Instant> {
    activity.idle_since().or_else(|| activity.still_since())
}

impl Open {
    fn of(&self, share: Share) -> usize {
        self.peers.get(&share).copied().unwrap_or(0)
    }

    /// Makes room among all connections for one of `share`: closes an idle one of any peer, or the one that has stalled
    /// longest of a peer with at least as many.
    fn close_one(&mut self, share: Share) -> bool {
        if let Some(before) = Instant::now().checked_sub(MIN_IDLE)
            && self.close_idlest(before)
        {
            return true;
        }
        let own = self.of(share);
        // Found in one pass: a search for each peer would take too long when each connection has a peer of its own.
        let stalled = self.all.values().filter(|entry| still(&entry.activity).is_some()).map(|entry| entry.share);
        let stalled: HashSet<Share> = stalled.collect();
        let larger = self.peers.iter().filter(|(share, count)| **count >= own && stalled.contains(*share));
        let mut larger: Vec<_> = larger.collect();
        larger.sort_by_key(|(share, count)| (std::cmp::Reverse(**count), share.network()));
        let larger: Vec<_> = larger.into_iter().map(|(share, _)| *share).collect();
        larger.into_iter().any(|share| self.close_one_of(share))
    }

    /// Closes the connection that has been idle longest, at least since `before`. It no longer counts.
    fn close_idlest(&mut self, before: Instant) -> bool {
        let found = self.find_longest_idle(None, Activity::idle_since, before);
        self.close(found)
    }

    /// Closes the connection of `share` that has stalled longest, idle or with requests that all wait for the client. A
    /// new connection has had no time to send a request, so idle ones are not closed first.
    fn close_one_of(&mut self, share: Share) -> bool {
        let found = self.find_longest_idle(Some(share), still, Instant::now());
        self.close(found)
    }

    /// The connection, of one peer or of all, that has stalled longest according to `since`, and at least since
    /// `before`. A flood of new connections asks once for each of them, so one search over all connections records
    /// several.
    fn find_longest_idle(
        &mut self,
        of: Option<Share>,
        since: impl Fn(&Activity) -> Option<Instant>,
        before: Instant,
    ) -> Option<(Instant, u64)> {
        let known = self.longest_idle.entry(of).or_default();
        while let Some((moment, number)) = known.pop_front() {
            if self.all.get(&number).and_then(|entry| since(&entry.activity)) == Some(moment) {
                if moment <= before {
                    return Some((moment, number));
                }
                known.push_front((moment, number));
                return None;
            }
        }
        let entries = self.all.iter().filter(|(_, entry)| of.is_none_or(|share| share == entry.share));
        let mut found: Vec<_> =
            entries.filter_map(|(number, entry)| Some((since(&entry.activity)?, *number))).collect();
        found.sort_unstable();
        found.truncate(MAX_STALLED_FOUND);
        *known = found.into();
        let first = known.front().copied().filter(|(moment, _)| *moment <= before)?;
        known.pop_front();
        Some(first)
    }

    fn close(&mut self, found: Option<(Instant, u64)>) -> bool {
        let Some(entry) = found.and_then(|(_, number)| self.remove(number)) else { return false };
        if entry.activity.idle_since().is_some() {
            entry.closed.cancel();
        } else {
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
                self.longest_idle.remove(&Some(entry.share));
            }
        }
        Some(entry)
    }
}

impl Connection {
    /// Its id, which no other connection has.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many connections its peer has; 0 for a trusted proxy.
    pub fn of_peer(&self) -> usize {
        let open = self.all.open();
        open.all.get(&self.number).filter(|entry| entry.share.is_bounded()).map_or(0, |entry| open.of(entry.share))
    }

    /// Counts it for `share` from now on, because a proxy has named its client. `false` when that client has reached
    /// its limit.
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

    /// The connection's recorded activity.
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
        let due = tokio::time::Instant::now();
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
    fn where_nobody_stands_still_and_each_has_a_peer_of_its_own_no_search_is_made_for_each() {
        let all = Connections::new(512, 4);
        let connections: Vec<_> = (0..512).map(|n| admitted(&all, &format!("10.1.{}.{}", n / 256, n % 256))).collect();
        let requests: Vec<_> = connections.iter().map(|one| one.activity.request(&http::Request::new(()))).collect();
        assert!(matches!(admit(&all, "10.0.0.3"), Admission::AllAreBusy));
        // Each search of a peer's connections leaves a record.
        assert!(all.open().longest_idle.len() <= 1);
        drop(requests);
        admitted(&all, "10.0.0.3");
    }

    #[test]
    fn one_that_has_moved_since_the_last_look_does_not_go() {
        let all = Connections::new(8, 4);
        let connections = [(); 4].map(|()| admitted(&all, "10.0.0.1"));
        let fifth = admitted(&all, "10.0.0.1");
        // The first was closed. The second would be next, but it has just served a request.
        drop(connections[1].activity.request(&http::Request::new(())));
        let sixth = admitted(&all, "10.0.0.1");
        let closed = connections.each_ref().map(|c| c.closed.is_cancelled());
        assert_eq!(closed, [true, false, true, false]);
        let _newcomers = [(); 2].map(|()| admitted(&all, "10.0.0.1"));
        assert!(connections[3].closed.is_cancelled() && fifth.closed.is_cancelled());
        assert!(!connections[1].closed.is_cancelled() && !sixth.closed.is_cancelled());
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
        assert!(open.all.is_empty() && open.peers.is_empty() && open.longest_idle.values().all(VecDeque::is_empty));
    }
}
