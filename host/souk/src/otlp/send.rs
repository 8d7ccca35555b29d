//! Sends a request to the collector, and handles a collector that does not accept it.

use super::config::Signal;
use crate::fetch::{Connector, cause, connector};
use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
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
    /// The collector, as the log names it.
    collector: String,
    /// Whether the last request failed: only a change is logged.
    failing: AtomicBool,
}

/// Why the collector did not accept a request.
struct NotAccepted {
    why: String,
    /// Whether a retry may succeed.
    passing: bool,
}

impl Sender {
    pub(super) fn new(signal: Signal) -> anyhow::Result<Self> {
        let client = Client::builder(TokioExecutor::new()).build(connector()?);
        let collector = origin(&signal.endpoint);
        Ok(Sender { client, signal, collector, failing: AtomicBool::new(false) })
    }

    /// Sends `message`, with retries when they may help; `false` when it was given up.
    pub(super) async fn send(&self, message: impl Message) -> bool {
        let body = Bytes::from(message.encode_to_vec());
        let backoff = ExponentialBuilder::default().with_min_delay(FIRST_BACKOFF).with_max_times(MAX_TRIES - 1);
        let tried = (|| self.post(body.clone())).retry(backoff.with_jitter()).when(|error: &NotAccepted| error.passing);
        let (name, collector) = (self.signal.name, &self.collector);
        match tried.await {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector at {collector} accepts {name} again");
                }
                true
            }
            Err(NotAccepted { why, .. }) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{name} are dropped: the collector at {collector} does not accept them: {why}");
                }
                false
            }
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), NotAccepted> {
        let late = || NotAccepted { why: "it did not answer in time".to_owned(), passing: true };
        timeout(self.signal.timeout, self.post_once(body)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn post_once(&self, body: Bytes) -> Result<(), NotAccepted> {
        let mut request = Request::post(&self.signal.endpoint)
            .body(Full::new(body))
            .map_err(|error| NotAccepted { why: error.to_string(), passing: false })?;
        request.headers_mut().extend(self.signal.headers.clone());
        let response = self.client.request(request).await;
        let response = response.map_err(|error| NotAccepted { why: cause(&error), passing: true })?;
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
        Err(NotAccepted { why: format!("it answers {status}"), passing: passing.contains(&status) })
    }
}

/// A URL without its path and query, in which some collectors take a key.
fn origin(url: &Uri) -> String {
    let (scheme, host) = (url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default());
    match url.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_a_collector_without_what_may_be_a_key() {
        for (url, shown) in [
            ("http://127.0.0.1:4318/v1/traces", "http://127.0.0.1:4318"),
            ("https://collector/s3cret/v1/logs?key=s3cret", "https://collector"),
            ("http://user:s3cret@[::1]:4318/x", "http://[::1]:4318"),
        ] {
            assert_eq!(origin(&Uri::from_static(url)), shown);
        }
    }
}
