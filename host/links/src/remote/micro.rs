//! NATS's service API: `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`. With it `nats micro` lists the components of every
//! host, and `souk call` reads their functions.
//!
//! A component is a service `APP-COMPONENT`, each host that runs it an instance, and each of its functions an endpoint
//! `INTERFACE-FUNCTION` with its WIT type in the metadata. Each host is an instance of `APP_host` too
//! ([`peers`](super::peers)). The messages are those of `async_nats::service`.
//!
//! **Names** consist of letters, digits, `-` and `_`, as the service API requires, and are unique: each part is a
//! [`token`], and a `-` in the first part becomes `_2d`, so that the first `-` of a name separates the two parts. An
//! interface is written without its package and version, as in `catalog-get`, unless the component has another
//! interface of that name: then it is written in full.

use super::called::CalledFunction;
use super::wire;
use async_nats::service::{Info, PingResponse, Stats as StatsResponse, endpoint, error};
use async_nats::{Client, Message, SubscribeError, Subscriber, datetime};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::SelectAll;
use parking_lot::Mutex;
use souk_manifest::clock::since_epoch;
use souk_manifest::subject::is_reserved;
use souk_manifest::subject::{Subjects, token};
use souk_nats::Nats;
use souk_runtime::Failure;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// The metadata key of a host's time, in milliseconds since 1970.
pub(super) const CLOCK: &str = "clock";
/// Stands for a missing version, or one that is not a semantic version, which the service API requires.
const NO_VERSION: &str = "0.0.0";

souk_manifest::fixed_limits! {
    /// The fixed limits of services.
    pub(crate) const FIXED_LIMITS = "remote";

    /// The longest id of a host that is accepted; ours have 32 bytes.
    const MAX_ID_BYTES: usize = 64, bytes;
    /// How long a host may take to answer a probe.
    pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
}

/// One subject of a service.
pub(super) struct Endpoint {
    /// Its subject.
    pub(super) subject: String,
    /// The statistics of its calls.
    pub(super) stats: Stats,
    name: String,
    group: String,
    metadata: HashMap<String, String>,
}

impl Endpoint {
    /// The endpoint of a function; `name` comes from [`endpoint_name`].
    pub(super) fn function(subject: String, name: String, group: &str, called: CalledFunction) -> Arc<Self> {
        let CalledFunction { interface, name: function, signature, digest } = called;
        let metadata = [("interface", interface), ("function", function), ("signature", signature), ("type", digest)];
        Arc::new(Endpoint {
            subject,
            stats: Stats::default(),
            name,
            group: group.to_owned(),
            metadata: metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        })
    }

    /// The endpoint of HTTP requests.
    pub(super) fn http(subject: String, group: &str) -> Arc<Self> {
        let (name, group) = ("http".to_owned(), group.to_owned());
        Arc::new(Endpoint { subject, stats: Stats::default(), name, group, metadata: HashMap::new() })
    }
}

/// The statistics of the calls of an endpoint.
#[derive(Default)]
pub(super) struct Stats(Mutex<Counts>);

#[derive(Default, Clone)]
struct Counts {
    calls: usize,
    failed: usize,
    took: Duration,
    last: Option<Failure>,
}

impl Stats {
    /// Counts one call.
    pub(super) fn note(&self, took: Duration, failure: Option<Failure>) {
        let mut counts = self.0.lock();
        counts.calls += 1;
        counts.took += took;
        if failure.is_some() {
            counts.failed += 1;
            counts.last = failure;
        }
    }

    fn counts(&self) -> Counts {
        self.0.lock().clone()
    }
}

/// A component of this host, as others see it.
pub(super) struct Service {
    name: String,
    id: String,
    version: String,
    metadata: HashMap<String, String>,
    endpoints: Vec<Arc<Endpoint>>,
    /// Whether it is the host's own service, which also publishes its time.
    is_host: bool,
}

/// A name of two parts. The first must be a token already.
fn name(first: &str, second: &str) -> String {
    format!("{}-{}", first.replace('-', "_2d"), token(second))
}

/// The name of the service of `component`.
pub(super) fn service_name(subjects: &Subjects, component: &str) -> String {
    name(subjects.application(), component)
}

/// The name of the endpoint of a function of `interface`, in a component with the interfaces `all`.
pub(super) fn endpoint_name<'a>(interface: &str, function: &str, all: impl IntoIterator<Item = &'a str>) -> String {
    let short = short(interface);
    let shared = all.into_iter().any(|other| other != interface && self::short(other) == short);
    name(&token(if shared { interface } else { short }), function)
}

/// An interface's name without its package and version.
fn short(interface: &str) -> &str {
    let unversioned = interface.split('@').next().unwrap_or(interface);
    unversioned.rsplit('/').next().unwrap_or(unversioned)
}

/// The id of the host of `component` that answers first; `None` when none does within `timeout`.
pub(super) async fn first_host(nats: &Nats, component: &str, timeout: Duration) -> Option<Arc<str>> {
    let subject = format!("$SRV.PING.{}", service_name(nats.subjects(), component));
    let request = async_nats::Request::new().timeout(Some(timeout));
    let answer = nats.client().send_request(subject, request).await.ok()?;
    let PingResponse { id, .. } = serde_json::from_slice(&answer.payload).ok()?;
    // The id becomes a part of a subject.
    (token(&id) == id && (1..=MAX_ID_BYTES).contains(&id.len())).then(|| id.into())
}

/// Whether a host serves `component` now; `None` when this host's NATS user may not ask.
pub async fn is_served(nats: &Nats, component: &str) -> Option<bool> {
    let start = Instant::now();
    if first_host(nats, component, PROBE_TIMEOUT).await.is_some() {
        return Some(true);
    }
    let subject = format!("$SRV.PING.{}", service_name(nats.subjects(), component));
    (!nats.is_denied(&subject, start)).then_some(false)
}

/// The name of the service of the hosts themselves. No component has it, because a token contains no `_h`.
fn host_name(subjects: &Subjects) -> String {
    format!("{}_host", subjects.application())
}

impl Service {
    /// The service of `component`, in `version` of the application.
    pub(super) fn new(subjects: &Subjects, component: &str, version: &str, endpoints: Vec<Arc<Endpoint>>) -> Self {
        let metadata = [("application", subjects.application()), ("component", component)];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Service::named(service_name(subjects, component), version, metadata, endpoints)
    }

    /// The service of a host with this `metadata`.
    pub(super) fn host(subjects: &Subjects, version: &str, mut metadata: HashMap<String, String>) -> Self {
        metadata.insert("application".to_owned(), subjects.application().to_owned());
        Service { is_host: true, ..Service::named(host_name(subjects), version, metadata, Vec::new()) }
    }

    /// The subject on which the hosts of an application publish their metadata.
    pub(super) fn host_subject(subjects: &Subjects) -> String {
        format!("$SRV.INFO.{}", host_name(subjects))
    }

    /// The name of the service that has the hosts of an application as its instances.
    pub(super) fn host_service(subjects: &Subjects) -> String {
        host_name(subjects)
    }

    fn named(name: String, version: &str, metadata: HashMap<String, String>, endpoints: Vec<Arc<Endpoint>>) -> Self {
        Service {
            name,
            id: Uuid::now_v7().simple().to_string(),
            version: semver::Version::parse(version).map_or_else(|_| NO_VERSION.to_owned(), |v| v.to_string()),
            metadata,
            endpoints,
            is_host: false,
        }
    }

    /// The id of this instance: of this host, for this component.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn answer(&self, verb: Verb, started: datetime::DateTime) -> serde_json::Result<Vec<u8>> {
        let (name, id, version) = (self.name.clone(), self.id.clone(), self.version.clone());
        let kind = format!("io.nats.micro.v1.{}_response", verb.name().to_ascii_lowercase());
        let mut metadata = self.metadata.clone();
        if self.is_host {
            metadata.insert(CLOCK.to_owned(), since_epoch().as_millis().to_string());
        }
        match verb {
            Verb::Ping => serde_json::to_vec(&PingResponse { kind, name, id, version, metadata }),
            Verb::Info => {
                let endpoints = self.endpoints.iter().map(|endpoint| endpoint::Info {
                    name: endpoint.name.clone(),
                    subject: endpoint.subject.clone(),
                    queue_group: endpoint.group.clone(),
                    metadata: endpoint.metadata.clone(),
                });
                let (description, endpoints) = (String::new(), endpoints.collect());
                serde_json::to_vec(&Info { kind, name, id, description, version, metadata, endpoints })
            }
            Verb::Stats => {
                let endpoints = self.endpoints.iter().map(|endpoint| endpoint.statistics()).collect();
                serde_json::to_vec(&StatsResponse { kind, name, id, version, started, endpoints })
            }
        }
    }
}

impl Endpoint {
    fn statistics(&self) -> endpoint::Stats {
        let counts = self.stats.counts();
        let calls = u32::try_from(counts.calls).unwrap_or(u32::MAX);
        let last_error = counts.last.map(|failure| error::Error {
            status: failure.name().to_owned(),
            code: usize::try_from(wire::code(failure)).unwrap_or(500),
        });
        endpoint::Stats {
            name: self.name.clone(),
            subject: self.subject.clone(),
            requests: counts.calls,
            errors: counts.failed,
            processing_time: counts.took,
            average_processing_time: counts.took.checked_div(calls).unwrap_or_default(),
            last_error,
            data: None,
            queue_group: self.group.clone(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Ping,
    Info,
    Stats,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Ping => "PING",
            Verb::Info => "INFO",
            Verb::Stats => "STATS",
        }
    }
}

/// Answers requests for the services of this host until it is dropped.
pub(super) struct Announcing(#[expect(dead_code, reason = "ends the task when it is dropped")] AbortOnDropHandle<()>);

impl Announcing {
    /// Answers for `services` until it is dropped.
    pub(super) async fn start(client: &Client, services: Vec<Service>) -> Result<Self, SubscribeError> {
        let mut requests = SelectAll::new();
        for (place, service) in services.iter().enumerate() {
            for verb in [Verb::Ping, Verb::Info, Verb::Stats] {
                let all = format!("$SRV.{}", verb.name());
                let named = format!("{all}.{}", service.name);
                let one = format!("{named}.{}", service.id);
                for subject in [all, named, one] {
                    let subscriber: Subscriber = client.subscribe(subject).await?;
                    requests.push(subscriber.map(move |request| (place, verb, request)));
                }
            }
        }
        let (client, started) = (client.clone(), datetime::now());
        let task = tokio::spawn(async move {
            while let Some((place, verb, Message { reply, .. })) = requests.next().await {
                let reply = reply.filter(|reply| !is_reserved(reply));
                let (Some(reply), Some(service)) = (reply, services.get(place)) else { continue };
                let answer = service.answer(verb, started).map(Bytes::from);
                // Numbers and strings can always be written as JSON.
                let Ok(answer) = answer else { continue };
                if let Err(error) = client.publish(reply, answer).await {
                    tracing::debug!("a service could not be announced: {error}");
                }
            }
        });
        Ok(Announcing(AbortOnDropHandle::new(task)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_short_where_they_can_be() {
        let all = ["store:products/catalog@1.0.0", "a:a/same-name", "b:b/same-name@1.0.0"];
        assert_eq!(service_name(&Subjects::of("store"), "stripe-sandbox"), "store-stripe-sandbox");
        assert_eq!(endpoint_name(all[0], "get-all", all), "catalog-get-all");
        assert_eq!(endpoint_name(all[1], "f", all), "a_3aa_2fsame_2dname-f");
        assert_eq!(endpoint_name(all[2], "f", all), "b_3ab_2fsame_2dname_401_2e0_2e0-f");
    }

    proptest! {
        #[test]
        fn two_components_never_share_a_name(one in "[a-c_-]{1,4}", a in "[a-c_-]{1,4}", two in "[a-c_-]{1,4}", b in "[a-c_-]{1,4}") {
            let (first, second) = (service_name(&Subjects::of(&one), &a), service_name(&Subjects::of(&two), &b));
            prop_assert_eq!((&one, &a) == (&two, &b), first == second);
            prop_assert!(first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        }

        #[test]
        fn two_functions_of_a_component_never_share_a_name(
            all in proptest::collection::btree_set(("[ab]:[ab]/[a-]{1,3}(@1)?", "[a-]{1,3}"), 2..5),
        ) {
            let name = |(interface, function): &(String, String)| {
                endpoint_name(interface, function, all.iter().map(|(interface, _)| interface.as_str()))
            };
            let names: std::collections::BTreeSet<_> = all.iter().map(name).collect();
            prop_assert_eq!(names.len(), all.len());
        }
    }
}
