//! Lists the hosts of an application that answer now, each with the components that it runs, for an operator.
//!
//! It sends the same request as a host that starts ([`peers`](super::peers)). The answers are untrusted and bounded.

use super::micro::Service;
use super::peers::RUNS;
use async_nats::service::Info;
use bytes::Bytes;
use futures::StreamExt as _;
use serde::Serialize;
use souk_bindings::printable;
use souk_nats::Nats;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

souk_manifest::fixed_limits! {
    /// The fixed limits of lists of hosts.
    pub(crate) const FIXED_LIMITS = "remote";

    /// How long a list of hosts waits for answers.
    const LISTING_TIMEOUT: Duration = Duration::from_millis(500);
    /// The most hosts that are listed.
    const MAX_LISTED_HOSTS: usize = 100, "hosts";
}

/// A host of the application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ListedHost {
    /// Its id, new at each start.
    pub id: String,
    /// The application's version there.
    pub version: String,
    /// The components that it runs.
    pub runs: Vec<String>,
}

/// The hosts that answer, this one among them, sorted.
pub async fn hosts(nats: &Nats) -> Vec<ListedHost> {
    let (client, inbox) = (nats.client(), nats.client().new_inbox());
    let Ok(mut answers) = client.subscribe(inbox.clone()).await else { return Vec::new() };
    // If this cannot be published now, no answer comes.
    let _ = client.publish_with_reply(Service::host_subject(nats.subjects()), inbox, Bytes::new()).await;
    let until = Instant::now() + LISTING_TIMEOUT;
    let mut hosts = Vec::new();
    while hosts.len() < MAX_LISTED_HOSTS
        && let Ok(Some(answer)) = timeout_at(until, answers.next()).await
    {
        if answer.status.is_some() {
            break;
        }
        // An answer of another program is skipped.
        let Ok(info) = serde_json::from_slice::<Info>(&answer.payload) else { continue };
        let runs = info.metadata.get(RUNS).map_or("", String::as_str);
        let runs = runs.split(',').filter(|name| !name.is_empty()).map(printable).collect();
        hosts.push(ListedHost { id: printable(&info.id), version: printable(&info.version), runs });
    }
    hosts.sort();
    hosts
}
