//! The messages of durable links, and what an operator may do with them.

use super::problem::Problem;
use crate::app::App;
use http::StatusCode;
use souk_links::durable::operator::{self, FoundEvents, Refusal, RefusalKind, Request};
use souk_links::durable::{JetStreamError, JetStreamQueue, Queue};

/// Performs `request` on the messages of `app`.
///
/// # Errors
/// When the message does not exist or may not be changed, or the queue fails.
pub async fn run(app: &App, request: Request) -> Result<FoundEvents, Problem> {
    let queue = queue(app).await.map_err(Problem::unavailable)?;
    operator::run(queue.as_ref(), request).await.map_err(|refusal| Problem::new(status(&refusal), refusal))
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal.kind {
        RefusalKind::Unknown => StatusCode::NOT_FOUND,
        RefusalKind::Ambiguous => StatusCode::BAD_REQUEST,
        RefusalKind::NotNow => StatusCode::CONFLICT,
        RefusalKind::Failed => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The messages of durable links: this host's own, or if it has none, those that other hosts keep on NATS.
async fn queue(app: &App) -> Result<Option<Queue>, JetStreamError> {
    match (app.queue(), app.remote()) {
        (None, Some(remote)) => {
            let application = app.application();
            let limit = application.limits.durable_bytes.as_u64();
            let components = application.components.keys().cloned().collect();
            Ok(JetStreamQueue::find(remote.nats().clone(), limit, components).await?.map(Queue::JetStream))
        }
        (queue, _) => Ok(queue),
    }
}
