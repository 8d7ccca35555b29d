//! One connection of a guest to one server.

use super::bounded::{AnswerWeight, Bounded};
use super::{Error, MAX_ANSWER_BYTES, MAX_COMMAND_BYTES};
use crate::outbound::{ANSWER_TIMEOUT, DialPermit, MAX_ADDRESS_BYTES, Server};
use ::redis::aio::MultiplexedConnection;
use ::redis::{
    Arg, AsyncConnectionConfig, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, ProtocolVersion, RedisError,
};
use souk_manifest::RedisUrl;
use std::net::IpAddr;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// A server, and how to log in there.
pub(super) struct Address {
    url: RedisUrl,
    host: String,
    port: u16,
    tls: bool,
}

impl Address {
    /// Reads a URL.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let url = RedisUrl::parse(url).ok().filter(|_| url.len() <= MAX_ADDRESS_BYTES)?;
        let (host, port, tls) = match url.connection_info().addr() {
            ConnectionAddr::Tcp(host, port) => (host, port, false),
            ConnectionAddr::TcpTls { host, port, .. } => (host, port, true),
            _ => return None,
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some(Address { host: host.to_owned(), port: *port, tls, url })
    }

    /// The form in which `allowed_outbound_hosts` checks it.
    pub(super) fn server(&self) -> Server<'_> {
        let scheme = if self.tls { "rediss" } else { "redis" };
        Server { scheme, host: &self.host, port: self.port }
    }
}

/// A guest's connection. It runs its commands one at a time, in order.
pub struct Connection {
    /// `None` once a command was cancelled, or not answered in time: the client would keep it until the server reads it,
    /// and any number of them.
    session: Mutex<Option<Session>>,
    weight: AnswerWeight,
    _permit: DialPermit,
}

/// The client's connection, and the task that writes and reads.
struct Session {
    connection: MultiplexedConnection,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Connects to `address` and logs in.
    ///
    /// # Errors
    /// The reason, without a password.
    pub(super) async fn open(address: &Address, permit: DialPermit) -> Result<Self, Error> {
        let server = address.server();
        let weight = AnswerWeight::default();
        let dialed = permit.dial(&server, |ip| connect(address, ip, &permit, weight.clone())).await;
        let session = dialed.map_err(Error::Other)?;
        Ok(Connection { session: Mutex::new(Some(session)), weight, _permit: permit })
    }

    /// Sends one command, and reads its answer.
    pub(super) async fn send<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let size = |arg| if let Arg::Simple(bytes) = arg { <[u8]>::len(bytes) } else { 0 };
        if command.args_iter().map(size).sum::<usize>() > MAX_COMMAND_BYTES {
            return Err(Error::Other(format!("the command has more than {} MiB", MAX_COMMAND_BYTES >> 20)));
        }
        let mut place = self.session.lock().await;
        if self.weight.is_exceeded() {
            return Err(Error::Other("an answer was too large, and ended the connection: open another".to_owned()));
        }
        // It counts as lost until the answer is there, because dropping this future loses it.
        let Some(mut session) = place.take() else {
            let lost = "the connection was lost with an earlier command: open another";
            return Err(Error::Other(lost.to_owned()));
        };
        self.weight.begin();
        let Ok(answer) = timeout(ANSWER_TIMEOUT, command.query_async(&mut session.connection)).await else {
            return Err(Error::Other(format!(
                "no answer for {ANSWER_TIMEOUT:?}; the connection is lost: open another"
            )));
        };
        *place = Some(session);
        match answer {
            Ok(answer) => Ok(answer),
            Err(_) if self.weight.is_exceeded() => {
                Err(Error::Other(format!("the answer is larger than {} MiB: ask for less", MAX_ANSWER_BYTES >> 20)))
            }
            Err(error) => Err(to_guest(&error)),
        }
    }
}

async fn connect(
    address: &Address,
    ip: IpAddr,
    permit: &DialPermit,
    weight: AnswerWeight,
) -> Result<Session, RedisError> {
    // The client's own timeouts would differ from ours.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    // A newer protocol also sends messages that are not answers, which the interface cannot represent.
    let login = address.url.connection_info().redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    let stream = permit.stream(&address.server(), ip, address.tls).await?;
    let bounded = Bounded { stream, weight };
    let (connection, driver) = MultiplexedConnection::new_with_config(&login, bounded, config).await?;
    Ok(Session { connection, _driver: AbortOnDropHandle::new(tokio::spawn(driver)) })
}

fn to_guest(error: &RedisError) -> Error {
    let wrong_type = error.kind() == ErrorKind::UnexpectedReturnType || error.code() == Some("WRONGTYPE");
    if wrong_type || error.to_string().contains("not an integer") {
        return Error::TypeError;
    }
    Error::Other(error.to_string())
}
