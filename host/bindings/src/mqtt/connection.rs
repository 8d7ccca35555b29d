//! One connection of a guest to one broker.

use super::{Error, MAX_ANSWER_BYTES, MAX_MESSAGE_BYTES, MAX_TEXT_BYTES, Qos};
use crate::outbound::{ANSWER_TIMEOUT, DialPermit, ServerUrl, Stream};
use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet, PubRel, Publish};
use rumqttc::mqttbytes::{self, QoS, valid_topic};
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// A broker, and how to log in there.
pub(super) struct Address {
    pub url: ServerUrl,
    login: Connect,
}

impl Address {
    /// Reads `mqtt://HOST:PORT?client_id=ID`; without an id it makes one.
    pub(super) fn parse(address: &str, user: String, password: String, keep_alive: u64) -> Option<Self> {
        let mut url = ServerUrl::parse(address, &[("mqtt", 1883), ("mqtts", 8883)])?;
        let id = url.parameters.remove("client_id");
        let id = id.unwrap_or_else(|| format!("souk-{}", uuid::Uuid::new_v4().simple()));
        let texts = [&id, &user, &password];
        if !url.parameters.is_empty() || texts.into_iter().any(|text| text.len() > MAX_TEXT_BYTES) {
            return None;
        }
        let mut login = Connect::new(id);
        login.keep_alive = u16::try_from(keep_alive).unwrap_or(u16::MAX);
        if !user.is_empty() || !password.is_empty() {
            login.set_login(user, password);
        }
        Some(Address { url, login })
    }
}

/// A guest's connection.
pub struct Connection {
    /// `None` once the connection was lost, or the sending of a message was cancelled.
    session: Arc<Mutex<Option<Session>>>,
    _keep_alive: Option<AbortOnDropHandle<()>>,
    _permit: DialPermit,
}

impl Connection {
    /// Connects to `address` and logs in.
    ///
    /// # Errors
    /// The reason, without a password.
    pub(super) async fn open(address: &Address, permit: DialPermit) -> Result<Self, Error> {
        let server = address.url.server();
        let tls = server.scheme == "mqtts";
        let login = |ip| {
            let (server, permit, login) = (&server, &permit, &address.login);
            async move { Session::open(permit.stream(server, ip, tls).await?, login).await }
        };
        let session = permit.dial(&server, login).await.map_err(Error::ConnectionFailed)?;
        let session = Arc::new(Mutex::new(Some(session)));
        let keep_alive = Duration::from_secs(address.login.keep_alive.into());
        // None: the broker then requires no keep-alive.
        let keep_alive = (!keep_alive.is_zero())
            .then(|| AbortOnDropHandle::new(tokio::spawn(keep_alive_by(Arc::downgrade(&session), keep_alive / 2))));
        Ok(Connection { session, _keep_alive: keep_alive, _permit: permit })
    }

    /// Sends one message, and waits for the acknowledgement that its quality of service promises.
    ///
    /// # Errors
    /// When the message is not valid, or the broker does not answer; it may still have received the message.
    pub(super) async fn publish(&self, topic: String, payload: Vec<u8>, qos: Qos) -> Result<(), Error> {
        if topic.is_empty() || topic.len() > MAX_TEXT_BYTES || !valid_topic(&topic) || topic.contains('\0') {
            return Err(Error::Other("the topic is empty, too long, or has `+`, `#` or a zero byte".to_owned()));
        }
        if topic.len() + payload.len() > MAX_MESSAGE_BYTES {
            return Err(Error::Other(format!("the message has more than {} MiB", MAX_MESSAGE_BYTES >> 20)));
        }
        let qos = match qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce => QoS::AtLeastOnce,
            Qos::ExactlyOnce => QoS::ExactlyOnce,
        };
        let publish = Publish::from_bytes(topic, qos, Bytes::from(payload));
        let mut slot = self.session.lock().await;
        let sent = with_session(&mut slot, async |session: &mut Session| session.publish(publish).await).await;
        sent.map_err(|error| Error::ConnectionFailed(format!("{error}; open another connection")))
    }
}

/// Runs `action` with the session in `slot`. If it fails or is cancelled, the session is lost.
async fn with_session(
    slot: &mut Option<Session>,
    action: impl AsyncFnOnce(&mut Session) -> io::Result<()>,
) -> io::Result<()> {
    let Some(mut session) = slot.take() else { return Err(io::Error::other("the connection was lost")) };
    match timeout(ANSWER_TIMEOUT, action(&mut session)).await {
        Ok(done) => done?,
        Err(_) => return Err(io::Error::other(format!("no answer for {ANSWER_TIMEOUT:?}"))),
    }
    *slot = Some(session);
    Ok(())
}

/// Pings the broker every `interval`, as long as the connection exists.
async fn keep_alive_by(session: Weak<Mutex<Option<Session>>>, interval: Duration) {
    loop {
        sleep(interval).await;
        let Some(session) = session.upgrade() else { return };
        let mut slot = session.lock().await;
        if with_session(&mut slot, async |session: &mut Session| session.ping().await).await.is_err() {
            return;
        }
    }
}

/// A connection after its login.
struct Session {
    stream: Stream,
    /// The bytes of the next packet that were already read.
    buffer: BytesMut,
    /// The packet id of the last message that expects an answer.
    last: u16,
}

impl Session {
    async fn open(stream: Stream, login: &Connect) -> io::Result<Self> {
        let mut session = Session { stream, buffer: BytesMut::new(), last: 0 };
        session.send(&Packet::Connect(login.clone())).await?;
        match session.receive().await? {
            Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => Ok(session),
            Packet::ConnAck(answer) => {
                Err(io::Error::other(format!("the broker refuses the connection: {:?}", answer.code)))
            }
            _ => Err(unexpected()),
        }
    }

    async fn publish(&mut self, mut publish: Publish) -> io::Result<()> {
        let qos = publish.qos;
        if qos != QoS::AtMostOnce {
            // Zero is not a valid packet id.
            self.last = self.last.checked_add(1).unwrap_or(1);
            publish.pkid = self.last;
        }
        self.send(&Packet::Publish(publish)).await?;
        match qos {
            QoS::AtMostOnce => Ok(()),
            QoS::AtLeastOnce => match self.receive().await? {
                Packet::PubAck(answer) if answer.pkid == self.last => Ok(()),
                _ => Err(unexpected()),
            },
            QoS::ExactlyOnce => {
                match self.receive().await? {
                    Packet::PubRec(answer) if answer.pkid == self.last => {}
                    _ => return Err(unexpected()),
                }
                self.send(&Packet::PubRel(PubRel::new(self.last))).await?;
                match self.receive().await? {
                    Packet::PubComp(answer) if answer.pkid == self.last => Ok(()),
                    _ => Err(unexpected()),
                }
            }
        }
    }

    async fn ping(&mut self) -> io::Result<()> {
        self.send(&Packet::PingReq).await?;
        match self.receive().await? {
            Packet::PingResp => Ok(()),
            _ => Err(unexpected()),
        }
    }

    async fn send(&mut self, packet: &Packet) -> io::Result<()> {
        let mut bytes = BytesMut::with_capacity(packet.size());
        packet.write(&mut bytes, usize::MAX).map_err(io::Error::other)?;
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    async fn receive(&mut self) -> io::Result<Packet> {
        loop {
            match Packet::read(&mut self.buffer, MAX_ANSWER_BYTES) {
                Ok(packet) => return Ok(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::other("the broker closed the connection"));
            }
        }
    }
}

fn unexpected() -> io::Error {
    io::Error::other("the broker's answer is not the expected one")
}
