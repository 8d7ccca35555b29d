//! The open connections: how many there may be, how many of one peer, and which one goes when there are too many.
//!
//! A connection without a request under way costs its client nothing, so one client could hold all of them. When none is
//! left for a newcomer, the one goes that has been without a request for the longest; a peer that has its share makes
//! room with its own. Connections with requests under way stay: when all have some, newcomers wait in the kernel's queue,
//! but one of a peer that has its share is closed, so that others get their turn.

use super::activity::Activity;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
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
    peers: HashMap<IpAddr, usize>,
}

struct Entry {
    peer: IpAddr,
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

    /// Makes room for a connection from `peer` whose notes are `activity`.
    pub fn admit(self: &Arc<Self>, peer: SocketAddr, activity: Arc<Activity>) -> Admission {
        let peer = share_of(peer.ip());
        let mut open = self.open();
        let of_peer = open.peers.get(&peer).copied().unwrap_or(0);
        if of_peer >= self.most_of_peer && !open.close_idlest(Some(peer)) {
            return Admission::PeerIsFull;
        }
        if open.all.len() >= self.most && !open.close_idlest(None) {
            return Admission::AllAreBusy;
        }
        open.last += 1;
        let (number, closed) = (open.last, CancellationToken::new());
        open.all.insert(number, Entry { peer, activity: activity.clone(), closed: closed.clone() });
        *open.peers.entry(peer).or_default() += 1;
        Admission::Admitted(Connection { all: self.clone(), number, activity, closed })
    }

    /// Closes the connection that has been without a request for the longest, if there is one.
    pub fn close_idlest(&self) -> bool {
        self.open().close_idlest(None)
    }

    /// Returns when there may be room for one that was not admitted: a connection has closed. For those that fall idle
    /// instead, ask again now and then.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Open {
    /// Closes the connection that has been without a request for the longest, of `peer` or of all. It counts as closed
    /// from now on.
    fn close_idlest(&mut self, peer: Option<IpAddr>) -> bool {
        let candidates = self.all.iter().filter(|(_, entry)| peer.is_none_or(|peer| peer == entry.peer));
        let idle = candidates.filter_map(|(number, entry)| Some((entry.activity.idle_since()?, *number)));
        let Some((_, number)) = idle.min() else {
            return false;
        };
        if let Some(entry) = self.remove(number) {
            entry.closed.cancel();
        }
        true
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.all.remove(&number)?;
        if let Some(count) = self.peers.get_mut(&entry.peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&entry.peer);
            }
        }
        Some(entry)
    }
}

impl Connection {
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

/// Whom a connection from `address` counts for: of IPv6 the network, because one client has all its addresses.
fn share_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_manifest::limits::EdgeLimits;

    fn admit(all: &Arc<Connections>, peer: &str) -> Admission {
        all.admit(SocketAddr::new(peer.parse().unwrap(), 1), Activity::new(&EdgeLimits::default()))
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
    fn nothing_is_counted_when_all_have_closed() {
        let all = Connections::new(2, 2);
        let connections = [(); 3].map(|()| admitted(&all, "10.0.0.1"));
        drop(connections);
        let open = all.open();
        assert!(open.all.is_empty() && open.peers.is_empty());
    }
}
