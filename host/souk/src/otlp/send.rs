//! Sends a request to the collector, and handles a collector that does not accept it.

use super::config::Signal;
use crate::fetch::{Connector, cause, connector};
use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

souk_manifest::fixed_limits! {
    /// The fixed limits of requests to the collector.
    pub(super) const FIXED_LIMITS = "export of traces and metrics";

    /// How many times a request is tried before it is dropped.
    const MAX_TRIES: usize = 4, "tries";
    /// The pause before the second try; it doubles before each further one.
    const FIRST_BACKOFF: Duration = Duration::from_millis(500);
    /// How much of the collector's answer is read.
    const MAX_ANSWER_BYTES: usize = 64 << 10, bytes;
}

/// Sends one signal.
pub(super) struct Sender {
    client: Client<Connector, Full<Bytes>>,
    signal: Signal,
    /// Whether the last request failed: only a change is logged.
    failing: AtomicBool,
}

/// Why the collector did not accept a request.
struct NotTaken {
    why: String,
    /// Whether a retry may succeed.
    passing: bool,
}

impl Sender {
    pub(super) fn new(signal: Signal) -> anyhow::Result<Self> {
        let client = Client::builder(TokioExecutor::new()).build(connector()?);
        Ok(Sender { client, signal, failing: AtomicBool::new(false) })
    }

    /// Sends `message`, with retries when they may help; `false` when it was given up.
    pub(super) async fn send(&self, message: impl Message) -> bool {
        let body = Bytes::from(message.encode_to_vec());
        let backoff = ExponentialBuilder::default().with_min_delay(FIRST_BACKOFF).with_max_times(MAX_TRIES - 1);
        let tried = (|| self.post(body.clone())).retry(backoff.with_jitter()).when(|error: &NotTaken| error.passing);
        let Signal { name, endpoint, .. } = &self.signal;
        match tried.await {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector at {endpoint} accepts {name} again");
                }
                true
            }
            Err(NotTaken { why, .. }) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{name} are dropped: the collector at {endpoint} does not accept them: {why}");
                }
                false
            }
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), NotTaken> {
        let late = || NotTaken { why: "it did not answer in time".to_owned(), passing: true };
        timeout(self.signal.timeout, self.post_once(body)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn post_once(&self, body: Bytes) -> Result<(), NotTaken> {
        let mut request = Request::post(&self.signal.endpoint)
            .body(Full::new(body))
            .map_err(|error| NotTaken { why: error.to_string(), passing: false })?;
        request.headers_mut().extend(self.signal.headers.clone());
        let response = self.client.request(request).await;
        let response = response.map_err(|error| NotTaken { why: cause(&error), passing: true })?;
        let status = response.status();
        // Read the answer to its end, so that the connection can serve the next request.
        let _ = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        if status.is_success() {
            return Ok(());
        }
        // The statuses that the specification retries.
        let passing = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        Err(NotTaken { why: format!("it answers {status}"), passing: passing.contains(&status) })
    }
}
