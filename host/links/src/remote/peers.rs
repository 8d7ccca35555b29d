//! What a host publishes about itself for the other hosts of the application, and what it asks them before it starts.
//!
//! Every host is an instance of the NATS service `APP_host`. Its metadata names the components that a variable can turn
//! off (`unless`) and whether they are off at this host: names of components and variables, never values. If one host
//! ran a stand-in and another the real component, that would be worse than one host less. So a host does not start when
//! it finds a host with different settings.
//!
//! The metadata also has the version of the protocol between hosts ([`WIRE_VERSION`]). A host does not start when it
//! finds a host of another version: neither would get a call of the other.
//!
//! A host first publishes its metadata and then asks: of two hosts that start together at one server, at least one
//! learns of the other. A host waits at most [`NEXT_ANSWER_TIMEOUT`] for the next answer. So it does not see a host
//! that hangs, that is cut off, or that connects to another server of the cluster at the same moment.

use super::clocks;
use super::micro::{Announcing, Service};
use async_nats::service::Info;
use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use souk_bindings::printable;
use souk_manifest::Application;
use souk_nats::{Nats, NatsError};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

souk_manifest::fixed_limits! {
    /// The fixed limits of other hosts.
    pub(crate) const FIXED_LIMITS = "remote";

    /// How long a start waits for the answers of all hosts.
    pub(super) const PEERS_TIMEOUT: Duration = Duration::from_secs(2);
    /// How long it waits for the next answer after one has come, its own included.
    pub(super) const NEXT_ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
}

/// The version of the subjects and messages that hosts use between them. Release 0.1.0, the first, says none; since 2
/// the subject of a call names its type.
pub(crate) const WIRE_VERSION: &str = "2";
/// The metadata key of that version.
const WIRE: &str = "wire";
/// The metadata key of the components that a host runs, separated by commas.
pub(super) const RUNS: &str = "runs";

/// A host speaks another version of the wire.
#[derive(Debug, thiserror::Error)]
#[error(
    "a host of {release} runs the application on this NATS already (`{id}` in `nats micro info {service}`): it says {theirs}, and \
     this host speaks version {WIRE_VERSION}, so neither could answer calls of the other\n  fix: stop all hosts of the \
     other release before this one starts; docs/run-on-several-hosts.md has the steps, under \"Upgrade from 0.1.0\""
)]
pub struct OtherWire {
    release: &'static str,
    id: String,
    service: String,
    theirs: String,
}

/// The hosts do not agree on what runs.
#[derive(Debug, thiserror::Error)]
#[error(
    "component `{component}` {here}, but a host of the application that runs already has it the other way\n  fix: give \
     all hosts \
     the same variables: `{variable}` set at all of them, or at none; to change theirs, stop them first"
)]
pub struct Disagreement {
    component: String,
    variable: String,
    here: String,
}

/// Why this host may not start beside the others.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The connection was closed.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// A running host has other settings.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// A running host speaks another version of the protocol.
    #[error(transparent)]
    OtherWire(#[from] Box<OtherWire>),
}

/// Makes this host visible to others until it is dropped, and compares their clocks with its own.
#[expect(dead_code, reason = "both run until it is dropped")]
pub struct Presence(Announcing, AbortOnDropHandle<()>);

impl Presence {
    /// Makes this host visible to others.
    ///
    /// # Errors
    /// When the connection has been closed.
    pub async fn start(nats: &Nats, application: &Application) -> Result<Self, NatsError> {
        let service = Service::host(nats.subjects(), &application.version, metadata(application));
        let announcing = Announcing::start(nats.client(), vec![service]).await?;
        Ok(Presence(announcing, AbortOnDropHandle::new(tokio::spawn(clocks::watch(nats.clone())))))
    }
}

/// The metadata key of a component that a variable can turn off.
fn key(component: &str) -> String {
    format!("unless.{component}")
}

/// The metadata of a host: the version of the protocol, the components that it runs, and those that a variable can turn
/// off.
fn metadata(application: &Application) -> HashMap<String, String> {
    let conditional = |(component, variable): (&String, &String)| {
        let state = if application.off.contains_key(component) { "off" } else { "on" };
        (key(component), format!("{state}: {variable}"))
    };
    let wire = (WIRE.to_owned(), WIRE_VERSION.to_owned());
    let runs: Vec<&str> = application.here().map(|component| component.name.as_str()).collect();
    let runs = (RUNS.to_owned(), runs.join(","));
    application.conditional.iter().map(conditional).chain([wire, runs]).collect()
}

/// Asks the running hosts whether they speak the same version of the protocol and have the same components turned off.
/// `seen` says whether this host answers too.
///
/// # Errors
/// When a host differs.
pub async fn agree(nats: &Nats, application: &Application, seen: bool) -> Result<(), PeerError> {
    let (client, inbox) = (nats.client(), nats.client().new_inbox());
    let mut answers = client.subscribe(inbox.clone()).await.map_err(NatsError::from)?;
    let subject = Service::host_subject(nats.subjects());
    // If this cannot be published now, no answer comes.
    let _ = client.publish_with_reply(subject.clone(), inbox, Bytes::new()).await;
    let (last, mut heard) = (Instant::now() + PEERS_TIMEOUT, false);
    let mut until = last;
    while let Ok(Some(answer)) = timeout_at(until, answers.next()).await {
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Ok(());
        }
        heard = true;
        compare(&answer, application)?;
        until = last.min(Instant::now() + NEXT_ANSWER_TIMEOUT);
    }
    if seen && !heard {
        tracing::warn!(
            "the other hosts could not be asked whether they are of this release and have the same variables; fix: let this host's NATS user publish to \
             `{subject}` and subscribe to `$SRV.>` and `_INBOX.>`"
        );
    }
    Ok(())
}

fn compare(answer: &Message, application: &Application) -> Result<(), PeerError> {
    // An answer of another program is ignored.
    let Ok(info) = serde_json::from_slice::<Info>(&answer.payload) else { return Ok(()) };
    match info.metadata.get(WIRE).map(String::as_str) {
        Some(WIRE_VERSION) => {}
        other => {
            let (release, theirs) = match other {
                None => ("release 0.1.0", "no version of the wire format".to_owned()),
                Some(version) => ("another release", format!("version {}", printable(version))),
            };
            let (id, service) = (printable(&info.id), printable(&info.name));
            return Err(Box::new(OtherWire { release, id, service, theirs }).into());
        }
    }
    for (component, variable) in &application.conditional {
        let off = application.off.contains_key(component);
        let theirs = info.metadata.get(&key(component)).and_then(|said| said.split(':').next());
        let other = if off { "on" } else { "off" };
        if theirs == Some(other) {
            let here = match off {
                true => format!("is off at this host, because `{variable}` is set"),
                false => format!("takes part at this host, because `{variable}` is empty"),
            };
            return Err(Disagreement { component: component.clone(), variable: variable.clone(), here }.into());
        }
    }
    Ok(())
}
