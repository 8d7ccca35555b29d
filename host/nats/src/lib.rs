//! The connection to NATS, over which the hosts of an application work together. Each process has one, for remote
//! links, durable links, stores and bridges.
//!
//! A host starts only when NATS answers. If the connection is lost later, the client reconnects by itself.
//! [`Nats::outage`] always says whether there is a connection, and since when there is none, so that no code waits for
//! a reply that cannot come.

mod denied;
pub mod files;
pub mod record;
pub mod stream_capacity;

use async_nats::connection::State;
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, SubscribeError, jetstream};
use denied::Denied;
use souk_manifest::limits::FixedLimit;
use souk_manifest::subject::Subjects;
use souk_manifest::{NatsConfig, NatsServer};
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::rustls;

souk_manifest::fixed_limits! {
    /// The fixed limits of the connection.
    pub(crate) const FIXED_LIMITS = "nats";

    /// How long to try to connect to one server.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// How often the server is pinged; two pings without an answer end the connection.
    const PING_INTERVAL: Duration = Duration::from_secs(5);
    /// The delay before the second attempt to reconnect; it grows by as much with each attempt.
    const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(25);
    /// The longest delay between two attempts to reconnect.
    const MAX_RECONNECT_DELAY: Duration = Duration::from_millis(500);
    /// How long requests to JetStream itself may take.
    const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
    /// How often the reported state of the connection is compared with the real one.
    const STATE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
    /// The most messages of one subscription that wait to be read. Further messages are dropped without an error for
    /// their sender, so this is far above what can be in flight.
    pub const SUBSCRIPTION_CAPACITY: usize = 64 * 1024, "messages";
    /// The most messages that wait to be sent, for example while the connection is interrupted; the sender of another
    /// one waits, and its message counts as memory of its call. Each has at most the server's `max_payload`, 1 MiB by
    /// default.
    pub const OUTGOING_CAPACITY: usize = 128, "messages";
}

/// Every fixed limit of the connection to NATS, which `souk doctor` prints.
pub fn fixed_limits() -> Vec<FixedLimit> {
    [FIXED_LIMITS, stream_capacity::FIXED_LIMITS, denied::FIXED_LIMITS, record::FIXED_LIMITS, files::FIXED_LIMITS]
        .concat()
}

/// The number of servers of a cluster that keep a stream, when the configuration does not say.
const DEFAULT_REPLICAS: usize = 3;

/// Why NATS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The credentials file cannot be read.
    #[error("the NATS credentials {} cannot be read: {error}\n  fix: name a file as `nsc generate creds` makes it", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No server accepted the connection.
    #[error("NATS at {servers} cannot be reached: {}\n  fix: {}", reason(error), fix(error))]
    Connect {
        /// The servers, without secrets.
        servers: String,
        /// Why.
        error: ConnectError,
    },
    /// The connection was closed before anything could be subscribed to.
    #[error("the connection to NATS was closed: {0}\n  fix: start the host again")]
    Subscribe(#[from] SubscribeError),
}

/// What went wrong; for TLS, the exact error.
fn reason(error: &ConnectError) -> String {
    tls(error).map_or_else(|| error.kind().to_string(), |tls| format!("TLS error: {tls}"))
}

/// The TLS error that caused `error`; the client itself reports it as a network error.
fn tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    // The error inside an I/O error is not among its sources.
    let made_of = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.downcast_ref().or_else(|| tls(made_of?)).or_else(|| tls(error.source()?))
}

/// The fix for a subject that the server refuses.
pub const ALLOW: &str = "give the host's user this permission at the NATS server (docs/run-on-several-hosts.md has those that \
                         a host needs)";

fn fix(error: &ConnectError) -> &'static str {
    const TLS: &str = "use a certificate for this name at the server, signed by an authority that this machine trusts; \
                       `SSL_CERT_FILE=ca.pem` in the host's environment names one of your own";
    if tls(error).is_some() {
        return TLS;
    }
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            "give credentials that the server knows: `--creds FILE`, or `credentials` or a URL with user and password under \
             [nats] of runtime-config.toml"
        }
        ConnectErrorKind::Tls => TLS,
        _ => "start it (`nats-server -js`), or name where it is: `--nats nats://HOST:4222`",
    }
}

/// Whether NATS is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// It is connected.
    None,
    /// It has been disconnected since then; the client tries to reconnect.
    Since(Instant),
}

/// The connection; cheap to clone.
#[derive(Clone)]
pub struct Nats {
    client: Client,
    subjects: Arc<Subjects>,
    outage: watch::Receiver<Outage>,
    denied: Arc<Denied>,
    replicas: Option<usize>,
    /// How often the connection has come back.
    reconnects: Arc<AtomicU64>,
}

impl Nats {
    /// Connects as `config` says, for the application with the name `application`.
    ///
    /// # Errors
    /// When no server can be reached, or it refuses.
    pub async fn connect(config: &NatsConfig, application: &str) -> Result<Self, NatsError> {
        let (sender, outage) = watch::channel(Outage::None);
        let (sender, denied, reconnects) = (Arc::new(sender), Arc::new(Denied::default()), Arc::<AtomicU64>::default());
        let mut options = ConnectOptions::new()
            .name(format!("souk {application}"))
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .client_capacity(OUTGOING_CAPACITY)
            .reconnect_delay_callback(|attempt| match u32::try_from(attempt) {
                // The first attempt is immediate: another server of the cluster may be up.
                Ok(0..=1) => Duration::ZERO,
                Ok(attempt) => MIN_RECONNECT_DELAY.saturating_mul(attempt).min(MAX_RECONNECT_DELAY),
                Err(_) => MAX_RECONNECT_DELAY,
            })
            .event_callback({
                let (sender, denied, reconnects) = (sender.clone(), denied.clone(), reconnects.clone());
                move |event| {
                    if let Event::ServerError(error) = &event {
                        denied.note(&error.to_string());
                    }
                    on_event(&event, &sender, &reconnects);
                    std::future::ready(())
                }
            });
        if let Some(path) = &config.credentials {
            let read = options.credentials_file(path).await;
            options = read.map_err(|error| NatsError::Credentials { path: path.clone(), error })?;
        }
        // The client ignores the credentials in its servers' URLs. They are the same for a whole cluster.
        options = match config.servers.iter().find_map(NatsServer::login) {
            Some((user, Some(password))) => options.user_and_password(user, password),
            Some((token, None)) => options.token(token),
            None => options,
        };
        let servers: Vec<_> = config.servers.iter().map(|server| server.address().clone()).collect();
        let client = options.connect(servers).await.map_err(|error| {
            let servers: Vec<_> = config.servers.iter().map(ToString::to_string).collect();
            NatsError::Connect { servers: servers.join(", "), error }
        })?;
        tokio::spawn(correct_state(client.clone(), Arc::downgrade(&sender), reconnects.clone()));
        if config.credentials.is_none()
            && config.servers.iter().any(|server| server.login().is_none() && !server.is_loopback())
        {
            tracing::warn!(
                "NATS has no credentials: anyone who can reach it may call every component; fix: `--creds FILE`, with \
                 permissions at the server"
            );
        }
        let subjects = Arc::new(Subjects::of(application));
        Ok(Nats { client, subjects, outage, denied, replicas: config.replicas, reconnects })
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// JetStream on this connection.
    pub fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client.clone())
    }

    /// The application's subjects.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// Whether there is a connection. The receiver is notified of changes.
    pub fn outage(&self) -> watch::Receiver<Outage> {
        self.outage.clone()
    }

    /// How often the connection has come back after an outage.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// Whether the server has not let this host publish to `subject` since `since`: no answer will come then.
    pub fn is_denied(&self, subject: &str, since: Instant) -> bool {
        self.denied.publish(subject, since)
    }

    /// The permissions for streams and buckets that the server has refused since `since`, worded for a sentence:
    /// `publish to X`.
    pub fn denied(&self, since: Instant) -> Option<String> {
        self.denied.since(since, |subject| !subject.starts_with("$SRV.") && !self.subjects.is_call(subject))
    }

    /// How many servers keep a stream: as configured, otherwise three in a cluster and one without a cluster.
    pub fn replicas(&self) -> usize {
        let clustered = || self.client.server_info().cluster.is_some_and(|name| !name.is_empty());
        self.replicas.unwrap_or_else(|| if clustered() { DEFAULT_REPLICAS } else { 1 })
    }
}

/// Compares the reported state with the client's own state and corrects it, as long as there are receivers: the client
/// drops events when many happen at once.
async fn correct_state(client: Client, outage: Weak<watch::Sender<Outage>>, reconnects: Arc<AtomicU64>) {
    loop {
        tokio::time::sleep(STATE_CHECK_INTERVAL).await;
        let Some(outage) = outage.upgrade().filter(|outage| !outage.is_closed()) else { return };
        match client.connection_state() {
            State::Connected => on_event(&Event::Connected, &outage, &reconnects),
            State::Disconnected => on_event(&Event::Disconnected, &outage, &reconnects),
            State::Pending => {}
        }
    }
}

/// Reports and logs an event of the connection.
fn on_event(event: &Event, outage: &watch::Sender<Outage>, reconnects: &AtomicU64) {
    match event {
        Event::Connected => {
            // Receivers take a notification as a sign that the connection broke meanwhile, so they get only real
            // changes.
            if outage.send_if_modified(|outage| std::mem::replace(outage, Outage::None) != Outage::None) {
                reconnects.fetch_add(1, Ordering::Relaxed);
                tracing::info!("NATS is connected again");
            }
        }
        Event::Disconnected => {
            let since = |outage: &mut Outage| {
                let first = *outage == Outage::None;
                if first {
                    *outage = Outage::Since(Instant::now());
                }
                first
            };
            if outage.send_if_modified(since) {
                tracing::warn!(
                    "the connection to NATS is lost; calls to other hosts fail until NATS is connected \
                                again"
                );
            }
        }
        Event::SlowConsumer(_) => tracing::error!("NATS messages were lost: more came than this host could read"),
        Event::ServerError(error) => tracing::error!(
            "NATS: {error}; fix: if it is about permissions, give this host's user the subjects that its components \
             need (docs/run-on-several-hosts.md lists them)"
        ),
        Event::LameDuckMode => tracing::info!("this NATS server is about to stop; another takes over"),
        Event::ClientError(error) => tracing::debug!("NATS: {error}"),
        Event::Draining | Event::Closed => tracing::debug!("NATS: {event}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use souk_test::nats::Nats as Server;
    use tokio::task::coop::unconstrained;

    fn config(servers: &str) -> NatsConfig {
        let servers = servers.split(',').map(|server| server.parse().unwrap()).collect();
        NatsConfig { servers, ..NatsConfig::default() }
    }

    #[tokio::test]
    async fn an_outage_is_reported_and_ends_by_itself() {
        let mut server = Server::start();
        let nats = Nats::connect(&config(&server.url()), "a").await.unwrap();
        assert_eq!(nats.replicas(), 1);
        let mut outage = nats.outage();
        assert_eq!(*outage.borrow_and_update(), Outage::None);
        server.kill(0);
        outage.wait_for(|outage| matches!(outage, Outage::Since(_))).await.unwrap();
        server.resume(0);
        outage.wait_for(|outage| *outage == Outage::None).await.unwrap();
    }

    #[tokio::test]
    async fn few_messages_wait_to_be_sent_while_there_is_no_connection() {
        let mut server = Server::start();
        let nats = Nats::connect(&config(&server.url()), "a").await.unwrap();
        let mut outage = nats.outage();
        server.kill(0);
        outage.wait_for(|outage| matches!(outage, Outage::Since(_))).await.unwrap();
        let publish = || nats.client().publish("s", "x".into());
        // Unconstrained, because tokio would end this task's turn after as many messages.
        let queued = |_: &usize| unconstrained(publish()).now_or_never().is_some();
        let queued = (0..2 * OUTGOING_CAPACITY).take_while(queued).count();
        assert!((1..=OUTGOING_CAPACITY).contains(&queued), "{queued}");
        server.resume(0);
        publish().await.unwrap();
    }

    #[tokio::test]
    async fn a_cluster_keeps_three_replicas() {
        let server = Server::cluster();
        assert_eq!(Nats::connect(&config(&server.url()), "a").await.unwrap().replicas(), DEFAULT_REPLICAS);
    }

    #[tokio::test]
    async fn a_failed_connection_is_reported_with_server_and_fix_but_without_secrets() {
        let server = Server::start_with("authorization { user: u, password: \"r:ght\" }");
        for (url, words) in [
            (server.url(), ["authorization violation", "fix: give credentials"]),
            (server.url().replace("://", "://u:wr0ng@"), ["authorization violation", "fix: give credentials"]),
            ("nats://u:wr0ng@127.0.0.1:1".to_owned(), ["IO error", "fix: start it"]),
        ] {
            let error = Nats::connect(&config(&url), "a").await.err().unwrap().to_string();
            assert!(words.iter().all(|word| error.contains(word)) && error.contains("nats://127.0.0.1:"), "{error}");
            assert!(!error.contains("wr0ng"), "{error}");
        }
        Nats::connect(&config(&server.url().replace("://", "://u:r%3Aght@")), "a").await.unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name).display().to_string()
        };
        let (certificate, key) = (file("tls.pem", made.cert.pem()), file("tls.key", made.signing_key.serialize_pem()));
        let server = Server::start_with(&format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}"));
        for url in [server.url(), server.url().replace("nats://", "tls://")] {
            let error = Nats::connect(&config(&url), "a").await.err().unwrap().to_string();
            assert!(error.contains("TLS error: ") && error.contains("fix: use a certificate for this name"), "{error}");
        }
        let config = NatsConfig { credentials: Some("/no/such.creds".into()), ..config(&server.url()) };
        let error = Nats::connect(&config, "a").await.err().unwrap().to_string();
        assert!(error.contains("/no/such.creds") && error.contains("fix: "), "{error}");
    }
}
