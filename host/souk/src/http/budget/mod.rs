//! The bytes of requests and responses at the edge, by owner: connection, peer, application.
//!
//! A request has an [`Account`] from its head to the last byte of its response. What it holds of the host's memory is
//! charged there: its head, the body that is read ahead, the response that its client has not read. An account counts for
//! its connection, its peer and the application, each with a bound; so a client can take its own share and no more.
//!
//! Who asks for more than a share has does not fail at once: a client that lets the host wait, for the rest of a body or
//! for its reading, keeps what it holds only until somebody else of the same share needs it. The account that has stood
//! still for longest is ended first. When the application's share is full, it is one of the peer that holds most, never
//! one of a peer that holds less than the asker. Accounts whose call runs wait for nobody but the host, and are not ended.
//!
//! Instances are lent by the same rule: while calls wait for one ([`EdgeBudget::free_instance`]), the account ends that
//! has kept one waiting for its client for longest.

mod owners;
#[cfg(test)]
mod tests;

use super::peer::{Peer, Share};
use super::request::Caller;
use super::server::Report;
use futures::future::AbortHandle;
use owners::{Group, Owners};
use parking_lot::{Mutex, MutexGuard};
use souk_manifest::budget::Use;
use souk_manifest::limits::EdgeLimits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of the edge's memory.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// What a request counts for beside its head and bodies, from its head to the end of its response: the state of its
    /// call and of its stream.
    pub(super) const REQUEST_BYTES: u64 = 8 * 1024, bytes;
    /// The part of `request_memory` that is kept for the routes in `reserved_routes`: one in so many bytes.
    const RESERVED_PART: u64 = 8, "parts";
    /// How long a client must have kept an instance waiting, before it loses it to a call that waits for one.
    const MIN_STALL: Duration = Duration::from_millis(500);
}

/// What the requests of all connections hold.
pub struct EdgeBudget {
    owners: Mutex<Owners>,
    bounds: Bounds,
    report: Mutex<Report>,
}

struct Bounds {
    all: u64,
    /// What routes without a reserve may take of it.
    unreserved: u64,
    peer: u64,
    connection: u64,
}

/// A share is full, and nothing in it stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Whom a request counts for.
#[derive(Clone)]
pub struct Owner {
    /// Its connection; `None` where that is of many clients.
    pub connection: Option<u64>,
    /// Its client.
    pub share: Share,
    /// Whether it may use the reserve.
    pub reserved: bool,
}

impl Owner {
    /// Whom a request of `client`, on the connection of `caller`, counts for.
    pub fn of(caller: &Caller, client: &Peer, reserved: bool) -> Self {
        let connection = (!caller.peer.is_proxy()).then_some(caller.connection);
        Owner { connection, share: client.share, reserved }
    }
}

/// How to end a request whose client lets it stand still.
#[derive(Clone)]
pub enum End {
    /// Something that is awaited, which then fails.
    Task(AbortHandle),
    /// A stream of HTTP/2: it is reset. One whose task is done, with data that still wait to be sent, goes with its
    /// connection.
    Stream(Stream, CancellationToken),
    /// The connection.
    Connection(CancellationToken),
}

/// The task of an HTTP/2 stream.
#[derive(Clone)]
pub struct Stream {
    /// Ends the task, and with it the stream.
    pub abort: AbortHandle,
    /// Whether it has ended by itself.
    pub done: Arc<AtomicBool>,
}

impl End {
    fn run(self) {
        match self {
            End::Task(task) => task.abort(),
            End::Stream(stream, _) if !stream.done.load(Ordering::Acquire) => stream.abort.abort(),
            End::Stream(_, connection) | End::Connection(connection) => connection.cancel(),
        }
    }
}

impl EdgeBudget {
    /// A budget with the shares of `limits`.
    pub fn new(limits: &EdgeLimits) -> Arc<Self> {
        let all = limits.request_memory.as_u64();
        let bounds = Bounds {
            all,
            unreserved: all - all / RESERVED_PART,
            peer: limits.peer_memory.as_u64().min(all),
            connection: limits.connection_memory.as_u64().min(all),
        };
        Arc::new(EdgeBudget { owners: Mutex::default(), bounds, report: Mutex::default() })
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock()
    }

    /// Opens the account of a request that holds `bytes` already.
    ///
    /// # Errors
    /// When one of its shares is full.
    pub fn open(self: &Arc<Self>, owner: Owner, bytes: u64) -> Result<Arc<Account>, Full> {
        let id = self.owners().open(owner);
        // Closed again when there is no memory.
        let account = Arc::new(Account { budget: self.clone(), id });
        account.take(bytes.saturating_add(REQUEST_BYTES))?;
        Ok(account)
    }

    /// Opens the account of a request that is refused. When its shares are full, nothing in them stands still; but the
    /// refusal will, if its client does not read it, and is ended by the next.
    pub fn open_whatever(self: &Arc<Self>, owner: Owner) -> Arc<Account> {
        let id = self.owners().open(owner);
        let account = Arc::new(Account { budget: self.clone(), id });
        account.force(REQUEST_BYTES);
        account
    }

    /// The bound of `group` for an account that may use the reserve, or may not.
    fn bound(&self, group: &Group, reserved: bool) -> u64 {
        match group {
            Group::Connection(_) => self.bounds.connection,
            Group::Peer(share) if share.is_bounded() => self.bounds.peer,
            Group::All if reserved => self.bounds.all,
            Group::All => self.bounds.unreserved,
            Group::Peer(_) | Group::Instances(_) => u64::MAX,
        }
    }

    /// Takes `bytes` for the account `id`. While they do not fit, what stands still in the full share is ended.
    fn take(&self, id: u64, bytes: u64, whatever: bool) -> Result<(), Full> {
        let (mut ended, mut exceeded) = (Vec::new(), Vec::new());
        let taken = {
            let mut owners = self.owners();
            loop {
                let full = owners.full(id, bytes, &exceeded, |group, reserved| self.bound(group, reserved));
                let Some(group) = full else {
                    owners.add(id, bytes);
                    break Ok(());
                };
                match owners.end_stillest(&group, id, None) {
                    Some(end) => ended.push(end),
                    None if whatever => exceeded.push(group),
                    None => break Err(Full),
                }
            }
        };
        if !ended.is_empty() {
            self.report(ended.len());
        }
        // Not under the lock: an end may drop other accounts.
        ended.into_iter().for_each(End::run);
        taken
    }

    fn report(&self, count: usize) {
        self.report.lock().happened(|more| {
            tracing::warn!(
                "{count} requests were ended that waited for their clients: these have their share of the memory for \
                 requests, and ask for more (limits `connection_memory`, `peer_memory`, `request_memory`); {more} times more \
                 since the last such line"
            );
        });
    }

    /// Ends the request that has kept an instance of `component` waiting for its client for longest, when that is longer
    /// than [`MIN_STALL`]. To be called while calls wait for an instance.
    pub fn free_instance(&self, component: &Arc<str>) {
        let before = Instant::now().checked_sub(MIN_STALL);
        let ended =
            before.and_then(|before| self.owners().end_stillest(&Group::Instances(component.clone()), 0, Some(before)));
        if let Some(end) = ended {
            end.run();
        }
    }

    /// How much is used: of all, and of the peer that holds most.
    pub fn uses(&self) -> Vec<Use> {
        let owners = self.owners();
        vec![
            Use::bytes("request_memory", owners.taken(), self.bounds.all),
            Use::bytes("peer_memory (largest)", owners.largest_peer(), self.bounds.peer),
        ]
    }
}

/// What one request holds. Closed when it is dropped.
pub struct Account {
    budget: Arc<EdgeBudget>,
    id: u64,
}

impl Account {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// When one of its shares is full.
    pub fn take(&self, bytes: u64) -> Result<(), Full> {
        self.budget.take(self.id, bytes, false)
    }

    /// Takes `bytes` more of what is there already and has no other place.
    pub fn force(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        // Cannot fail.
        let _ = self.budget.take(self.id, bytes, true);
    }

    /// Gives `bytes` back.
    pub fn give_back(&self, bytes: u64) {
        self.budget.owners().give_back(self.id, bytes);
    }

    /// From now on the host waits for the client; when that takes too long for others, `end` ends it.
    pub fn waits(&self, end: End) {
        self.budget.owners().waits(self.id, Instant::now(), Some(end));
    }

    /// The client has done something, and the host waits on.
    pub fn moved(&self) {
        self.budget.owners().waits(self.id, Instant::now(), None);
    }

    /// `bytes` have been sent; `waiting` says whether the host waits for the client to take more.
    pub fn sent(&self, bytes: u64, waiting: bool) {
        let mut owners = self.budget.owners();
        owners.give_back(self.id, bytes);
        if waiting {
            owners.waits(self.id, Instant::now(), None);
        } else {
            owners.works(self.id);
        }
    }

    /// From now on the client waits for the host.
    pub fn works(&self) {
        self.budget.owners().works(self.id);
    }

    /// Its call has an instance of `component`.
    pub fn holds_instance(&self, component: &Arc<str>) {
        self.budget.owners().join(self.id, Group::Instances(component.clone()));
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.owners().close(self.id);
    }
}
