//! What the manifest grants: servers, through `allowed_outbound_hosts`, and through `database_url` if the component has
//! one. The manifest names the hosts; the guest gives the addresses. The whole application shares the pools.

use super::address::server;
use super::{Address, Connection, Error, Pools, UnreadRows};
use crate::binding::Binding;
use crate::outbound::AllowedHosts;
use souk_manifest::DatabaseUrl;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// The binding.
pub const BINDING: Binding = Binding {
    name: "postgres",
    interfaces: &["spin:postgres/", "fermyon:spin/postgres@"],
    key: "allowed_outbound_hosts",
    // A component that can use either kind of database imports both; its `database_url` chooses one.
    is_missing: |component| {
        !component.allowed_outbound_hosts.iter().any(|host| host.is_for("postgres")) && component.database.is_none()
    },
    describe: |component| match &component.database {
        Some(DatabaseUrl::Postgres(address)) => vec![address.to_string()],
        _ => Vec::new(),
    },
    fixed_limits: super::fixed_limits,
    add_to_linker: super::add_to_linker,
};

impl Pools {
    /// The grant of a component that may reach `allowed`.
    pub fn grant(self: &Arc<Self>, allowed: &AllowedHosts) -> Granted {
        Granted { allowed: allowed.clone(), pools: self.clone() }
    }
}

/// A component's grant.
#[derive(Clone, Default)]
pub struct Granted {
    allowed: AllowedHosts,
    pools: Arc<Pools>,
}

impl Granted {
    #[cfg(test)]
    pub(super) fn pools(&self) -> &Arc<Pools> {
        &self.pools
    }

    /// A connection to `address`. `transactions` counts the open transactions of its instance, and `unread` the unread
    /// rows in the instance's streams. A refusal is logged under `trace`.
    ///
    /// # Errors
    /// When the address is not granted, or cannot be used.
    pub fn connection(
        &self,
        address: &Address,
        transactions: Arc<AtomicUsize>,
        unread: UnreadRows,
        trace: &str,
    ) -> Result<Connection, Error> {
        let server = server(address);
        if !self.allowed.allows(&server) {
            self.allowed.denied("a connection", &server, trace);
            let (host, port) = (server.host, server.port);
            return Err(Error::Other(format!("{host}:{port} is not granted to this component")));
        }
        Ok(Connection::new(self.pools.pool(address)?, self.allowed.clone(), transactions, unread))
    }

    /// Checks that the server at `address` runs statements of the component now.
    ///
    /// # Errors
    /// The reason why it does not, for the log.
    pub async fn probe(&self, address: &Address) -> Result<(), String> {
        let pool = self.pools.pool(address).map_err(|error| error.to_string())?;
        pool.probe(&self.allowed).await.map_err(why)
    }

    /// The time of the server at `address`, since 1970.
    ///
    /// # Errors
    /// The reason why it does not answer.
    pub async fn clock(&self, address: &Address) -> Result<Duration, String> {
        let pool = self.pools.pool(address).map_err(|error| error.to_string())?;
        pool.clock(&self.allowed).await.map_err(why)
    }
}

fn why(error: Error) -> String {
    match error {
        Error::ConnectionFailed(why) | Error::BadParameter(why) | Error::Other(why) => why,
        other => format!("{other:?}"),
    }
}
