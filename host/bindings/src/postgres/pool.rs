//! Connections to one address, shared by all who have the same address and credentials.
//!
//! sqlx's own pool asks the server whether a connection lives each time one is given back, and starts a task for it:
//! a round trip for each statement. Here a connection goes straight back to the shelf, and the next statement takes the
//! one used last. Only one that lay there for [`PING_AFTER`](super::PING_AFTER) is asked first, so a server that ended
//! idle connections, or was started anew, costs no statement. If the answer fails, all that lie there are closed.

use super::address::server;
use super::error::{Failure, not_connected};
use super::{Address, Error, connect_options};
use crate::outbound::{AllowedHosts, Resolve, Unreachable, system_resolver};
use parking_lot::{Mutex, MutexGuard};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio::time::{timeout, timeout_at};

souk_manifest::fixed_limits! {
    /// The fixed limits of the pool.
    pub(crate) const FIXED_LIMITS = "postgres";

    /// How often a caller that waits for a connection looks for idle connections to other addresses that can be closed.
    const RECHECK_INTERVAL: Duration = Duration::from_millis(50);
}

/// The pools of an application.
pub struct Pools {
    pools: Mutex<HashMap<Address, Arc<Pool>>>,
    /// One permit a connection that may exist.
    connections: Arc<Semaphore>,
    resolve: Resolve,
}

impl Default for Pools {
    fn default() -> Self {
        Pools {
            pools: Mutex::default(),
            connections: Arc::new(Semaphore::new(super::MAX_ALL_CONNECTIONS)),
            resolve: system_resolver(),
        }
    }
}

impl Pools {
    /// The pool of `address`, made when there is none.
    ///
    /// # Errors
    /// When the address cannot be used, or too many are in use.
    pub(super) fn pool(self: &Arc<Self>, address: &Address) -> Result<Arc<Pool>, Error> {
        let mut pools = lock(&self.pools);
        if let Some(pool) = pools.get(address) {
            return Ok(pool.clone());
        }
        if pools.len() >= super::MAX_POOLS {
            // One that no connection of a guest uses any more makes room.
            let unused =
                pools.iter().find(|(_, pool)| Arc::strong_count(pool) == 1).map(|(address, _)| address.clone());
            let Some(unused) = unused else {
                let most = super::MAX_POOLS;
                return Err(Error::ConnectionFailed(format!("{most} other PostgreSQL addresses are in use")));
            };
            pools.remove(&unused);
        }
        let options = connect_options(address).map_err(|e| Error::Other(e.to_string()))?;
        let pool = Arc::new(Pool {
            options: options.statement_cache_capacity(super::CACHED_STATEMENTS),
            address: address.clone(),
            slots: Arc::new(Semaphore::new(super::MAX_POOL_CONNECTIONS)),
            idle: Mutex::default(),
            pools: Arc::downgrade(self),
            connections: self.connections.clone(),
            resolve: self.resolve.clone(),
            released: Mutex::new(Instant::now()),
        });
        pools.insert(address.clone(), pool.clone());
        drop(pools);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(sweep(Arc::downgrade(&pool)));
        }
        Ok(pool)
    }

    /// How many connections each pool has now.
    pub fn in_use(&self) -> Vec<PoolUse> {
        let pools = lock(&self.pools);
        let of = |(address, pool): (&Address, &Arc<Pool>)| PoolUse {
            name: format!("{}:{}/{}", address.host(), address.port(), address.database),
            used: super::MAX_POOL_CONNECTIONS - pool.slots.available_permits(),
            idle: lock(&pool.idle).len(),
        };
        pools.iter().map(of).collect()
    }

    /// Closes the connection that was idle for longest, if there is one.
    fn close_an_idle_one(&self) {
        let pools = lock(&self.pools);
        let oldest = pools.values().filter_map(|pool| Some((lock(&pool.idle).first()?.since, pool)));
        let Some((_, pool)) = oldest.min_by_key(|(since, _)| *since) else { return };
        let mut idle = lock(&pool.idle);
        if !idle.is_empty() {
            drop(idle.remove(0));
        }
    }
}

/// Closes what nobody has used for a while, as long as the pool exists.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(super::IDLE_TIMEOUT / 4).await;
        let Some(pool) = pool.upgrade() else { return };
        lock(&pool.idle).retain(|idle| idle.since.elapsed() < super::IDLE_TIMEOUT);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

/// How many connections one pool has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolUse {
    /// Host, port and database; two that differ in their users have one name.
    pub name: String,
    /// Connections that run a statement or are inside a transaction.
    pub used: usize,
    /// Connections that wait for the next one.
    pub idle: usize,
}

/// The pool of one address.
pub(super) struct Pool {
    address: Address,
    options: PgConnectOptions,
    /// One permit a connection in use.
    slots: Arc<Semaphore>,
    /// The most recently used last.
    idle: Mutex<Vec<Idle>>,
    pools: Weak<Pools>,
    connections: Arc<Semaphore>,
    resolve: Resolve,
    /// When a connection was given back last; at first when the pool was made.
    released: Mutex<Instant>,
}

struct Idle {
    live: Live,
    since: Instant,
}

/// An open connection.
struct Live {
    session: PgConnection,
    /// Where it leads, if its name was resolved here.
    ip: Option<IpAddr>,
    _counted: OwnedSemaphorePermit,
}

impl Pool {
    /// Whose connections these are.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether no connection is open, so that nothing is known of the server yet.
    pub(super) fn is_cold(&self) -> bool {
        self.slots.available_permits() == super::MAX_POOL_CONNECTIONS && lock(&self.idle).is_empty()
    }

    /// A connection to which `allowed` lets its component: an idle one, or a new one.
    ///
    /// # Errors
    /// When all are in use for too long, or no new one can be made.
    pub(super) async fn lease(self: &Arc<Self>, allowed: &AllowedHosts) -> Result<Lease, Error> {
        let deadline = tokio::time::Instant::now() + super::POOL_TIMEOUT;
        let slot = match self.slots.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => match timeout_at(deadline, self.slots.clone().acquire_owned()).await {
                Ok(Ok(slot)) => slot,
                Ok(Err(_)) | Err(_) => return Err(self.busy(super::MAX_POOL_CONNECTIONS, "")),
            },
        };
        self.lease_in(slot, allowed, deadline).await
    }

    /// Whether the server takes statements now. It is asked like by any other that takes a connection; where all are in
    /// use, it is enough that one was given back not long ago.
    ///
    /// # Errors
    /// Why no statement can be sent.
    pub(super) async fn probe(self: &Arc<Self>, allowed: &AllowedHosts) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + super::POOL_TIMEOUT;
        match self.slots.clone().try_acquire_owned() {
            Ok(slot) => {
                self.lease_in(slot, allowed, deadline).await?.release();
                Ok(())
            }
            Err(_) if lock(&self.released).elapsed() < super::POOL_TIMEOUT => Ok(()),
            Err(_) => Err(self.busy(super::MAX_POOL_CONNECTIONS, "")),
        }
    }

    /// What time it is there, since 1970.
    pub(super) async fn clock(self: &Arc<Self>, allowed: &AllowedHosts) -> Result<Duration, Error> {
        let deadline = tokio::time::Instant::now() + super::POOL_TIMEOUT;
        let busy = |_| self.busy(super::MAX_POOL_CONNECTIONS, "");
        let slot = self.slots.clone().try_acquire_owned().map_err(busy)?;
        let mut lease = self.lease_in(slot, allowed, deadline).await?;
        let asked =
            sqlx_core::query_scalar::query_scalar::<_, f64>("SELECT extract(epoch from clock_timestamp())::float8");
        let seconds = asked.fetch_one(lease.session()).await.map_err(|error| Error::Other(error.to_string()))?;
        lease.release();
        Ok(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }

    async fn lease_in(
        self: &Arc<Self>,
        slot: OwnedSemaphorePermit,
        allowed: &AllowedHosts,
        deadline: tokio::time::Instant,
    ) -> Result<Lease, Error> {
        while let Some(Idle { mut live, since }) = self.take(allowed) {
            let lives = since.elapsed() < super::PING_AFTER
                || matches!(timeout(super::PING_TIMEOUT, live.session.ping()).await, Ok(Ok(())));
            if lives {
                return Ok(self.leased(live, slot));
            }
            self.close_idle();
        }
        let live = self.connect(allowed, deadline).await?;
        Ok(self.leased(live, slot))
    }

    fn leased(self: &Arc<Self>, live: Live, slot: OwnedSemaphorePermit) -> Lease {
        Lease { live, pool: self.clone(), traces: false, _slot: slot }
    }

    /// The connection used last of those that the component may use.
    fn take(&self, allowed: &AllowedHosts) -> Option<Idle> {
        let mut idle = lock(&self.idle);
        let may = |idle: &Idle| idle.live.ip.is_none_or(|ip| allowed.refuses(&server(&self.address), ip).is_none());
        let at = idle.iter().rposition(may)?;
        Some(idle.remove(at))
    }

    /// How many connections are idle.
    #[cfg(test)]
    pub(super) fn idle_connections(&self) -> usize {
        lock(&self.idle).len()
    }

    /// Closes all idle connections: one of them turned out to be dead.
    pub(super) fn close_idle(&self) {
        let idle = std::mem::take(&mut *lock(&self.idle));
        drop(idle);
    }

    fn busy(&self, most: usize, of: &str) -> Error {
        let (place, wait) = (&self.address, super::POOL_TIMEOUT.as_secs());
        Error::ConnectionFailed(format!("no connection to {place} was free for {wait} s: {most}{of} are in use"))
    }

    /// Leave for one more connection of the application. Where there is none, idle connections of other addresses make
    /// room; those that become idle later, too, which nobody tells of.
    async fn counted(&self, deadline: tokio::time::Instant) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(counted) = self.connections.clone().try_acquire_owned() {
            return Ok(counted);
        }
        // One place in the queue for the whole time.
        let mut acquired = pin!(self.connections.clone().acquire_owned());
        loop {
            if let Some(pools) = self.pools.upgrade() {
                pools.close_an_idle_one();
            }
            let look_again = deadline.min(tokio::time::Instant::now() + RECHECK_INTERVAL);
            match timeout_at(look_again, &mut acquired).await {
                Ok(Ok(counted)) => return Ok(counted),
                Err(_) if look_again < deadline => {}
                Ok(Err(_)) | Err(_) => return Err(self.busy(super::MAX_ALL_CONNECTIONS, " of the application")),
            }
        }
    }

    async fn connect(&self, allowed: &AllowedHosts, deadline: tokio::time::Instant) -> Result<Live, Error> {
        let counted = self.counted(deadline).await?;
        let most =
            self.address.connect_timeout().map_or(super::CONNECT_TIMEOUT, |asked| asked.min(super::CONNECT_TIMEOUT));
        let connecting = async {
            let mut failed = self.not_connected("the name has no address");
            for ip in self.resolve(allowed).await? {
                // By its address, so that it is what was checked. But the name is needed where the server's certificate
                // must have it, and there a server at another address could not show that certificate.
                let named = matches!(self.options.get_ssl_mode(), PgSslMode::VerifyFull);
                let options = self.options.clone();
                let options = if named { options } else { options.host(&ip.to_string()) };
                match options.connect().await {
                    Ok(session) => return Ok((session, ip)),
                    Err(e) => failed = not_connected(&self.address, e),
                }
                if named {
                    break;
                }
            }
            Err(failed)
        };
        let (mut session, ip) = match timeout(most, connecting).await {
            Ok(connected) => connected?,
            Err(_) => return Err(self.not_connected(&format!("no answer for {most:?}"))),
        };
        prepare(&mut session).await;
        Ok(Live { session, ip: Some(ip), _counted: counted })
    }

    /// The addresses of the server that the component may reach.
    async fn resolve(&self, allowed: &AllowedHosts) -> Result<Vec<IpAddr>, Error> {
        server(&self.address).addresses(allowed, &self.resolve).await.map_err(|error| match error {
            Unreachable::Special => Error::Other(format!("{}: {error}", self.address)),
            Unreachable::Unresolved(_) => self.not_connected(&error.to_string()),
        })
    }

    fn not_connected(&self, why: &str) -> Error {
        Error::ConnectionFailed(format!("cannot connect to {}: {why}", self.address))
    }
}

/// Sets what every session has: no notices, which a guest could fill the log with; and from PostgreSQL 14 on the server
/// looks after its client, and ends the statement that nobody waits for. Some systems cannot do the latter: there the
/// statement runs to its end. A session that is dead already shows that with its first statement.
async fn prepare(session: &mut PgConnection) {
    const QUIET: &str = "SET client_min_messages = error";
    const BOTH: &str = "SET client_min_messages = error; SET client_connection_check_interval = '1s'";
    let watches = session.server_version_num().is_some_and(|version| version >= 140_000);
    if watches && matches!(timeout(super::PING_TIMEOUT, session.execute(BOTH)).await, Ok(Ok(_))) {
        return;
    }
    let _ = timeout(super::PING_TIMEOUT, session.execute(QUIET)).await;
}

/// A connection in use. Dropped as it is, it is closed; [`release`](Self::release) keeps it for the next statement.
pub(super) struct Lease {
    // Before the slot: the connection must be gone when the next one may be made.
    live: Live,
    pool: Arc<Pool>,
    /// Whether the session may be another one than it was.
    traces: bool,
    _slot: OwnedSemaphorePermit,
}

impl Lease {
    /// The session.
    pub(super) fn session(&mut self) -> &mut PgConnection {
        &mut self.live.session
    }

    /// After this the session is not for others.
    pub(super) fn leaves_traces(&mut self) {
        self.traces = true;
    }

    /// Gives the connection back. It must be outside a transaction and have nothing under way.
    pub(super) fn release(self) {
        let Lease { live, pool, traces, _slot } = self;
        let now = Instant::now();
        *lock(&pool.released) = now;
        if !traces {
            lock(&pool.idle).push(Idle { live, since: now });
        }
    }

    /// Rolls the open transaction back, in a task of its own, and gives the connection back. What cannot be rolled back
    /// at once is closed, which rolls back as well.
    pub(super) fn roll_back(mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if matches!(timeout(super::PING_TIMEOUT, self.session().execute("ROLLBACK")).await, Ok(Ok(_))) {
                self.release();
            }
        });
    }

    /// The connection turned out to be dead: those that are idle may be, too.
    pub(super) fn died(self) {
        self.pool.close_idle();
    }

    /// Whether the session is inside a transaction that has failed: the only kind in which PostgreSQL refuses a query.
    ///
    /// # Errors
    /// When the session is gone.
    pub(super) async fn is_aborted(&mut self) -> Result<bool, Failure> {
        match self.session().execute("SELECT 1").await {
            Ok(_) => Ok(false),
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("25P02") => Ok(true),
            Err(e) => Err(e.into()),
        }
    }
}
