//! Whose memory a request uses, and how the request is ended.

use crate::http::peer::{Peer, Share};
use crate::http::request::Caller;
use crate::http::unsent::Unsent;
use futures::future::AbortHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

/// The owner of a request's memory.
#[derive(Clone)]
pub struct Owner {
    /// Its connection; `None` if it carries requests of many clients.
    pub connection: Option<u64>,
    /// Its client.
    pub share: Share,
    /// Whether it may use the reserve.
    pub reserved: bool,
}

impl Owner {
    /// The owner of a request of `client` on the connection of `caller`.
    pub fn of(caller: &Caller, client: &Peer, reserved: bool) -> Self {
        let connection = (!caller.peer.is_proxy()).then_some(caller.connection);
        Owner { connection, share: client.share, reserved }
    }
}

/// How to end a request whose client makes no progress.
#[derive(Clone)]
pub enum End {
    /// A task, whose result then is an error.
    Task(AbortHandle),
    /// An HTTP/2 stream, which is reset. If its task has finished but data still wait to be sent, its connection is
    /// closed, unless that is a proxy's and carries requests of others: then these data stay, a piece of a response
    /// (see `outgoing`).
    Stream(Stream, Option<CancellationToken>),
    /// The connection.
    Connection(CancellationToken),
}

/// The task of an HTTP/2 stream.
#[derive(Clone)]
pub struct Stream {
    /// Ends the task, and with it the stream.
    pub abort: AbortHandle,
    /// What others may know of it.
    pub state: Arc<StreamState>,
}

/// The state of an HTTP/2 stream.
#[derive(Default)]
pub struct StreamState {
    /// Whether its task has finished by itself.
    pub done: AtomicBool,
    /// The rest of its response.
    pub unsent: Unsent,
}

impl End {
    /// Ends it.
    pub(super) fn run(self) {
        match self {
            End::Task(task) => task.abort(),
            End::Stream(Stream { abort, state }, connection) => {
                match connection {
                    _ if !state.done.load(Ordering::Acquire) => abort.abort(),
                    Some(connection) => connection.cancel(),
                    None => {}
                }
                // Now, because its task is dropped only when its turn comes.
                state.unsent.free();
            }
            End::Connection(connection) => connection.cancel(),
        }
    }
}
