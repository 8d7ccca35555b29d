//! What a service manager such as systemd hands to a host, and what the host reports to it.
//!
//! A listening socket that the manager holds (`LISTEN_FDS`) outlives the process: clients that connect while a host
//! restarts wait in its queue, and none is refused. The host reports to `NOTIFY_SOCKET` when it serves (`Type=notify`),
//! so that services ordered after it start only then.
//!
//! The socket is taken before any thread starts, because that removes the variables from the environment. More than one
//! socket is refused: a host serves at one address.

use super::output;
use crate::http::{Server, ServerError};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::net::TcpListener;

/// A listening socket from the process that started the host.
#[derive(Debug, Clone, Default)]
pub(super) struct Inherited(Option<std::sync::Arc<TcpListener>>);

impl Inherited {
    /// Takes the socket that the environment names, if any.
    ///
    /// # Errors
    /// When it names several, or one that is not a listening TCP socket.
    pub(super) fn take() -> anyhow::Result<Self> {
        let mut sockets = ListenFd::from_env();
        match sockets.len() {
            0 => Ok(Inherited(None)),
            1 => match sockets.take_tcp_listener(0) {
                Ok(listener) => Ok(Inherited(listener.map(std::sync::Arc::new))),
                Err(error) => anyhow::bail!(
                    "the socket that LISTEN_FDS passes is not a listening TCP socket: {error}\n  fix: write one \
                     `ListenStream=` with a port in the socket unit"
                ),
            },
            more => anyhow::bail!(
                "LISTEN_FDS passes {more} sockets, but a host serves at one address\n  fix: write one `ListenStream=` \
                 in the socket unit"
            ),
        }
    }

    /// Creates the server: on the inherited socket, otherwise on `address`.
    ///
    /// # Errors
    /// When the address cannot be bound, or the socket cannot be used.
    pub(super) async fn server(&self, address: &str) -> Result<Server, ServerError> {
        match &self.0 {
            Some(listener) => Server::inherit(listener),
            None => Server::bind(address).await,
        }
    }
}

/// Tells the service manager, if there is one, that the host serves `url`.
pub(super) fn ready(url: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("serving {url}"))]);
}

/// Tells the service manager, if there is one, that the host drains and then ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        output::note(&format!("warning: the service manager at NOTIFY_SOCKET cannot be told: {error}"));
    }
}
