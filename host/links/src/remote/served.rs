//! The functions that other hosts serve, read with NATS's service API ([`micro`](super::micro)).

use super::called::CalledFunction;
use super::micro::service_name;
use async_nats::service::Info;
use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use souk_nats::Nats;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of requests for served functions.
    pub(crate) const FIXED_LIMITS = "remote";

    /// How long a host may take to answer which functions it serves.
    const INFO_TIMEOUT: Duration = Duration::from_secs(2);
    /// How long to wait for one more host after a host has answered.
    const NEXT_INFO_TIMEOUT: Duration = Duration::from_millis(500);
    /// The most hosts of one component whose functions are read.
    const MAX_INFOS: usize = 64, "answers";
}

/// Why the functions of a component on another host are unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionsUnknown {
    /// No host that runs the component gave a valid answer.
    NoAnswer,
    /// This host's user may not publish to this subject.
    Denied(String),
}

/// A function that a component on another host serves.
#[derive(Debug, Clone)]
pub struct ServedFunction(CalledFunction);

impl std::ops::Deref for ServedFunction {
    type Target = CalledFunction;

    fn deref(&self) -> &CalledFunction {
        &self.0
    }
}

impl ServedFunction {
    /// Asks the hosts that run `component` for its functions; the first answer counts.
    ///
    /// # Errors
    /// When no host gives a valid answer, or this host's NATS user may not ask.
    pub async fn of(nats: &Nats, component: &str) -> Result<Vec<ServedFunction>, FunctionsUnknown> {
        ServedFunction::within(INFO_TIMEOUT, nats, component).await
    }

    /// As [`ServedFunction::of`], but waits for up to `timeout`.
    ///
    /// # Errors
    /// As [`ServedFunction::of`].
    pub(super) async fn within(
        timeout: Duration,
        nats: &Nats,
        component: &str,
    ) -> Result<Vec<ServedFunction>, FunctionsUnknown> {
        let (subject, start) = (subject(nats, component), Instant::now());
        let request = async_nats::Request::new().timeout(Some(timeout));
        let Ok(answer) = nats.client().send_request(subject.clone(), request).await else {
            let denied = nats.is_denied(&subject, start);
            return Err(if denied { FunctionsUnknown::Denied(subject) } else { FunctionsUnknown::NoAnswer });
        };
        let mut served = read(&answer).ok_or(FunctionsUnknown::NoAnswer)?;
        served.sort_by(|a, b| (&a.interface, &a.name).cmp(&(&b.interface, &b.name)));
        Ok(served)
    }

    /// The functions of all hosts that run `component`; hosts of two releases may have different ones.
    pub(super) async fn of_all(nats: &Nats, component: &str) -> Vec<ServedFunction> {
        let (client, inbox, mut served) = (nats.client(), nats.client().new_inbox(), Vec::new());
        let Ok(answers) = client.subscribe(inbox.clone()).await else { return served };
        // An error needs no handling: without the request no answer comes, and the loop below ends.
        let _ = client.publish_with_reply(subject(nats, component), inbox, Bytes::new()).await;
        let (mut answers, mut timeout) = (answers.take(MAX_INFOS), INFO_TIMEOUT);
        while let Ok(Some(answer)) = tokio::time::timeout(timeout, answers.next()).await {
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                break;
            }
            served.extend(read(&answer).into_iter().flatten());
            timeout = NEXT_INFO_TIMEOUT;
        }
        served
    }

    /// Whether the function returns a `result`.
    pub fn has_result(&self) -> bool {
        self.signature.rsplit_once(") -> ").is_some_and(|(_, returned)| returned.starts_with("result"))
    }
}

fn subject(nats: &Nats, component: &str) -> String {
    format!("$SRV.INFO.{}", service_name(nats.subjects(), component))
}

/// The functions in a host's answer; `None` when it is not a valid answer.
fn read(answer: &Message) -> Option<Vec<ServedFunction>> {
    let info: Info = serde_json::from_slice(&answer.payload).ok()?;
    let served = info.endpoints.into_iter().filter_map(|mut endpoint| {
        let mut take = |key: &str| endpoint.metadata.remove(key);
        Some(ServedFunction(CalledFunction {
            interface: take("interface")?,
            name: take("function")?,
            signature: take("signature")?,
            digest: take("type")?,
        }))
    });
    Some(served.collect())
}
