//! The memory for requests and responses in the HTTP server, by owner: connection, peer, application.
//!
//! A request has an [`Account`] from its head to the last byte of its response. The account is charged with the host's
//! memory that the request uses: its head, the body that is read ahead, and the response that its client has not read.
//! It counts towards its connection, its peer and the application. Each of these has a limit, so a client can use only
//! its own share.
//!
//! A request that exceeds a share does not fail at once. An account that waits for its client (for the rest of a body,
//! or for the client to read) keeps its memory only until another request of the same share needs it: then the account
//! that has waited longest is ended. When the application's share is full, an account of the peer with the most memory
//! is ended, never one of a peer that has less than the new request's. Accounts whose call is running wait only for the
//! host and are not ended.
//!
//! The same rule applies to instances: while calls wait for an instance ([`EdgeBudget::free_instance`]), the account is
//! ended whose instance has waited longest for its client.

mod idle;
mod owner;
mod owners;
#[cfg(test)]
mod tests;

pub(super) use owner::{End, Owner, Stream, StreamState};

use super::report::Report;
use owners::{Group, Owners};
use parking_lot::{Mutex, MutexGuard};
use souk_manifest::budget::Use;
use souk_manifest::limits::EdgeLimits;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of the HTTP server's memory.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// What a request is charged besides its head and bodies, from its head to the end of its response: the state of
    /// its call and of its stream.
    pub(super) const REQUEST_BYTES: u64 = 8 * 1024, bytes;
    /// The part of `request_memory` that is reserved for the routes in `reserved_routes`: the budget divided by this
    /// number.
    const RESERVED_PART: u64 = 8, "parts";
    /// How long an instance must have waited for a client before it may be taken away for a waiting call.
    const MIN_STALL: Duration = Duration::from_millis(500);
}

/// The memory that the requests of all connections use.
pub struct EdgeBudget {
    owners: Mutex<Owners>,
    bounds: Bounds,
    report: Mutex<Report>,
}

struct Bounds {
    all: u64,
    /// The limit for routes without a reserve.
    unreserved: u64,
    peer: u64,
    connection: u64,
}

/// A share is full, and no account in it waits for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

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

    /// Opens the account of a request that already uses `bytes`.
    ///
    /// # Errors
    /// When one of its shares is full.
    pub fn open(self: &Arc<Self>, owner: Owner, bytes: u64) -> Result<Arc<Account>, Full> {
        let id = self.owners().open(owner);
        // Dropping it closes the account, also when there is no memory.
        let account = Arc::new(Account { budget: self.clone(), id });
        account.take(bytes.saturating_add(REQUEST_BYTES))?;
        Ok(account)
    }

    /// Opens the account of a request that has arrived, or of a refusal, even if its shares are full; `bytes` are those
    /// of its head. If no account in them waits for its client, [`Account::admit`] refuses the request; and if the
    /// client does not read a refusal, the next request can end its account.
    pub fn open_whatever(self: &Arc<Self>, owner: Owner, bytes: u64) -> Arc<Account> {
        let id = self.owners().open(owner);
        let account = Arc::new(Account { budget: self.clone(), id });
        account.force(bytes.saturating_add(REQUEST_BYTES));
        account
    }

    /// The limit of `group` for an account that may or may not use the reserve.
    fn bound(&self, group: &Group, reserved: bool) -> u64 {
        match group {
            Group::Connection(_) => self.bounds.connection,
            Group::Peer(share) if share.is_bounded() => self.bounds.peer,
            Group::All if reserved => self.bounds.all,
            Group::All => self.bounds.unreserved,
            Group::Peer(_) | Group::Instances(_) => u64::MAX,
        }
    }

    /// Charges `bytes` to the account `id`. While they do not fit, it ends accounts in the full share that wait for
    /// their clients.
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
                match owners.end_longest_idle(&group, id, None) {
                    Some(end) => ended.push(end),
                    None if whatever => exceeded.push(group),
                    None => break Err(Full),
                }
            }
        };
        if !ended.is_empty() {
            self.report(ended.len());
        }
        // After the lock is released: an `End` may drop other accounts.
        ended.into_iter().for_each(End::run);
        taken
    }

    fn report(&self, count: usize) {
        self.report.lock().happened(|more| {
            tracing::warn!(
                "{count} requests that waited for their clients were ended: the clients have used their share of the \
                 memory for requests, and request more (limits `connection_memory`, `peer_memory`, `request_memory`); {more} times more \
                 since the last such line"
            );
        });
    }

    /// Ends the request that has kept an instance of `component` waiting longest for its client, if longer than
    /// [`MIN_STALL`]. Call it while calls wait for an instance.
    pub fn free_instance(&self, component: &Arc<str>) {
        let before = Instant::now().checked_sub(MIN_STALL);
        let ended = before
            .and_then(|before| self.owners().end_longest_idle(&Group::Instances(component.clone()), 0, Some(before)));
        if let Some(end) = ended {
            end.run();
        }
    }

    /// How much is in use: in total, and by the peer with the most.
    pub fn uses(&self) -> Vec<Use> {
        let owners = self.owners();
        vec![
            Use::bytes("request_memory", owners.taken(), self.bounds.all),
            Use::bytes("peer_memory (largest)", owners.largest_peer(), self.bounds.peer),
        ]
    }
}

/// The memory of one request. Dropping it closes the account.
pub struct Account {
    budget: Arc<EdgeBudget>,
    id: u64,
}

impl Account {
    /// Charges `bytes` more.
    ///
    /// # Errors
    /// When one of its shares is full.
    pub fn take(&self, bytes: u64) -> Result<(), Full> {
        self.budget.take(self.id, bytes, false)
    }

    /// Checks that what it has fits into its shares. With `reserved` it may use the reserve from now on.
    ///
    /// # Errors
    /// When one of its shares is full.
    pub fn admit(&self, reserved: bool) -> Result<(), Full> {
        if reserved {
            self.budget.owners().reserve(self.id);
        }
        self.take(0)
    }

    /// Charges `bytes` more for data that already exist and cannot be refused.
    pub fn force(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        // With `true` this cannot fail.
        let _ = self.budget.take(self.id, bytes, true);
    }

    /// Gives `bytes` back.
    pub fn give_back(&self, bytes: u64) {
        self.budget.owners().give_back(self.id, bytes);
    }

    /// From now on the host waits for the client; `end` ends the request if others need its memory.
    pub fn waits(&self, end: End) {
        self.budget.owners().waits(self.id, Instant::now(), Some(end));
    }

    /// The client has made progress; the host continues to wait.
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
