//! Connections to one address, shared by all components with the same address and credentials.
//!
//! sqlx's own pool pings a connection each time it is given back, in a task of its own: a round trip for each
//! statement. Here a connection goes straight back to the idle list, and the next statement takes the most recently
//! used one. Only a connection that was idle for [`PING_AFTER`](super::PING_AFTER) is pinged first, so that no
//! statement fails because a server has closed idle connections or was restarted. If a ping fails, all idle connections
//! are closed.

use super::address::server;
use super::error::{Failure, not_connected};
use super::{Address, Error, connect_options};
use crate::fair::{FairPermit, FairSemaphore};
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
    /// One permit for each connection that may exist.
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
    /// The pool of `address`; creates it if there is none.
    ///
    /// # Errors
    /// When the address cannot be used, or too many are in use.
    pub(super) fn pool(self: &Arc<Self>, address: &Address) -> Result<Arc<Pool>, Error> {
        let mut pools = lock(&self.pools);
        if let Some(pool) = pools.get(address) {
            return Ok(pool.clone());
        }
        if pools.len() >= super::MAX_POOLS {
            // A pool that no guest's connection uses any more makes room.
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
            slots: FairSemaphore::new(super::MAX_POOL_CONNECTIONS),
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

    /// The current number of connections in each pool.
    pub fn in_use(&self) -> Vec<PoolUse> {
        let pools = lock(&self.pools);
        let of = |(address, pool): (&Address, &Arc<Pool>)| PoolUse {
            name: format!("{}:{}/{}", address.host(), address.port(), address.database),
            used: super::MAX_POOL_CONNECTIONS - pool.slots.available(),
            idle: lock(&pool.idle).len(),
        };
        pools.iter().map(of).collect()
    }

    /// Closes the connection that has been idle for longest, if there is one.
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

/// Closes connections that nobody has used for a while, as long as the pool exists.
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

/// The number of connections in one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolUse {
    /// Host, port and database; two pools that differ only in the user have the same name.
    pub name: String,
    /// Connections that run a statement or are inside a transaction.
    pub used: usize,
    /// Connections that wait for the next statement.
    pub idle: usize,
}

/// The pool of one address.
pub(super) struct Pool {
    address: Address,
    options: PgConnectOptions,
    /// One permit for each connection in use; components take turns.
    slots: FairSemaphore<usize>,
    /// Idle connections, the most recently used last.
    idle: Mutex<Vec<Idle>>,
    pools: Weak<Pools>,
    connections: Arc<Semaphore>,
    resolve: Resolve,
    /// When a connection was last given back; at first, when the pool was created.
    released: Mutex<Instant>,
}

struct Idle {
    live: Live,
    since: Instant,
}

/// An open connection.
struct Live {
    session: PgConnection,
    /// The server's IP address, if its name was resolved here.
    ip: Option<IpAddr>,
    _counted: OwnedSemaphorePermit,
}

impl Pool {
    /// The address of its connections.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether no connection is open, so that nothing is known of the server yet.
    pub(super) fn is_cold(&self) -> bool {
        self.slots.available() == super::MAX_POOL_CONNECTIONS && lock(&self.idle).is_empty()
    }

    /// A connection that `allowed` permits: an idle one, or a new one.
    ///
    /// # Errors
    /// When all connections are in use for too long, or a new one cannot be opened.
    pub(super) async fn lease(self: &Arc<Self>, allowed: &AllowedHosts) -> Result<Lease, Error> {
        let deadline = tokio::time::Instant::now() + super::POOL_TIMEOUT;
        let slot = match self.slots.try_acquire() {
            Some(slot) => slot,
            None => timeout_at(deadline, self.slots.acquire(allowed.owner()))
                .await
                .map_err(|_| self.busy(super::MAX_POOL_CONNECTIONS, ""))?,
        };
        self.lease_in(slot, allowed, deadline).await
    }

    /// Checks that the server runs statements now, by taking a connection like any statement. If all are in use, it is
    /// enough that one was given back a short time ago.
    ///
    /// # Errors
    /// The reason why no statement can be sent.
    pub(super) async fn probe(self: &Arc<Self>, allowed: &AllowedHosts) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + super::POOL_TIMEOUT;
        match self.slots.try_acquire() {
            Some(slot) => {
                self.lease_in(slot, allowed, deadline).await?.release();
                Ok(())
            }
            None if lock(&self.released).elapsed() < super::POOL_TIMEOUT => Ok(()),
            None => Err(self.busy(super::MAX_POOL_CONNECTIONS, "")),
        }
    }

    /// The server's time, since 1970.
    pub(super) async fn clock(self: &Arc<Self>, allowed: &AllowedHosts) -> Result<Duration, Error> {
        let deadline = tokio::time::Instant::now() + super::POOL_TIMEOUT;
        let busy = || self.busy(super::MAX_POOL_CONNECTIONS, "");
        let slot = self.slots.try_acquire().ok_or_else(busy)?;
        let mut lease = self.lease_in(slot, allowed, deadline).await?;
        let asked =
            sqlx_core::query_scalar::query_scalar::<_, f64>("SELECT extract(epoch from clock_timestamp())::float8");
        let seconds = asked.fetch_one(lease.session()).await.map_err(|error| Error::Other(error.to_string()))?;
        lease.release();
        Ok(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }

    async fn lease_in(
        self: &Arc<Self>,
        slot: FairPermit<usize>,
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

    fn leased(self: &Arc<Self>, live: Live, slot: FairPermit<usize>) -> Lease {
        Lease { live, pool: self.clone(), closes: false, _slot: slot }
    }

    /// The most recently used idle connection that the component may use.
    fn take(&self, allowed: &AllowedHosts) -> Option<Idle> {
        let mut idle = lock(&self.idle);
        let may = |idle: &Idle| idle.live.ip.is_none_or(|ip| allowed.refuses(&server(&self.address), ip).is_none());
        let at = idle.iter().rposition(may)?;
        Some(idle.remove(at))
    }

    /// The number of idle connections.
    #[cfg(test)]
    pub(super) fn idle_connections(&self) -> usize {
        lock(&self.idle).len()
    }

    /// Closes all idle connections, because one of them turned out to be dead.
    pub(super) fn close_idle(&self) {
        let idle = std::mem::take(&mut *lock(&self.idle));
        drop(idle);
    }

    fn busy(&self, most: usize, of: &str) -> Error {
        let (place, wait) = (&self.address, super::POOL_TIMEOUT.as_secs());
        Error::ConnectionFailed(format!("no connection to {place} was free for {wait} s: {most}{of} are in use"))
    }

    /// A permit for one more connection of the application. If there is none, it closes idle connections to other
    /// addresses. It looks for these again and again, because nothing signals when a connection becomes idle.
    async fn counted(&self, deadline: tokio::time::Instant) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(counted) = self.connections.clone().try_acquire_owned() {
            return Ok(counted);
        }
        // Created once, so that it keeps its place in the queue.
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
                // Connects by the IP address that was checked. Only if the certificate must contain the name, it
                // connects by name: a server at another address could not show that certificate.
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

/// Sets every session's settings: no notices, with which a guest could fill the log; and, from PostgreSQL 14 on, a
/// check whether the client is still connected, which ends statements that nobody waits for. Some systems do not
/// support the check; there the statement runs to its end. If this fails because the session is dead, its first
/// statement will fail too.
async fn prepare(session: &mut PgConnection) {
    const QUIET: &str = "SET client_min_messages = error";
    const BOTH: &str = "SET client_min_messages = error; SET client_connection_check_interval = '1s'";
    let watches = session.server_version_num().is_some_and(|version| version >= 140_000);
    if watches && matches!(timeout(super::PING_TIMEOUT, session.execute(BOTH)).await, Ok(Ok(_))) {
        return;
    }
    let _ = timeout(super::PING_TIMEOUT, session.execute(QUIET)).await;
}

/// A connection in use. Dropping it closes the connection; [`release`](Self::release) keeps it for the next statement.
pub(super) struct Lease {
    // Dropped before the slot, because the connection must be closed before the next one may be opened.
    live: Live,
    pool: Arc<Pool>,
    /// Whether the session is closed instead of being given to others.
    closes: bool,
    _slot: FairPermit<usize>,
}

impl Lease {
    /// The session.
    pub(super) fn session(&mut self) -> &mut PgConnection {
        &mut self.live.session
    }

    /// Marks the session, so that it is closed after use and not given to others: a statement may have left something
    /// in it, or its buffers are large.
    pub(super) fn must_close(&mut self) {
        self.closes = true;
    }

    /// Gives the connection back. It must be outside a transaction and must not run anything.
    pub(super) fn release(self) {
        let Lease { live, pool, closes, _slot } = self;
        let now = Instant::now();
        *lock(&pool.released) = now;
        if !closes {
            lock(&pool.idle).push(Idle { live, since: now });
        }
    }

    /// Rolls the open transaction back, in a new task, and gives the connection back. If that does not succeed quickly,
    /// the connection is closed, which rolls back too.
    pub(super) fn roll_back(mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if matches!(timeout(super::PING_TIMEOUT, self.session().execute("ROLLBACK")).await, Ok(Ok(_))) {
                self.release();
            }
        });
    }

    /// Drops a dead connection, and closes all idle ones, because they may be dead too.
    pub(super) fn died(self) {
        self.pool.close_idle();
    }

    /// Whether the session is inside a failed transaction: only there PostgreSQL refuses every query.
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
