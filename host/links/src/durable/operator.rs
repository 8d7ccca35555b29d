//! What an operator can do with messages: list, show, retry and drop them. `souk events` does it through the
//! administration API of the running host, or, when none runs, on the queue itself.

pub use super::event::{Event, FoundEvents, Selection};

use super::message::QueueError;
use super::queue::Queue;
use souk_nats::ALLOW;
use tokio::time::Instant;
use uuid::Uuid;

souk_manifest::fixed_limits! {
    /// The fixed limits of `souk events`.
    pub(crate) const FIXED_LIMITS = "durable";

    /// The most messages that one `souk events` command lists, retries or drops.
    pub const MAX_LISTED: usize = 10_000, "messages";
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Request {
    /// Lists the messages, oldest first; only dead letters when `dead`.
    List {
        /// Whether to list only dead letters.
        dead: bool,
        /// The most messages to list; more than [`MAX_LISTED`] are not.
        most: usize,
    },
    /// Shows one message with its arguments.
    Show(String),
    /// Makes messages due now.
    Retry(Selection),
    /// Deletes messages.
    Drop(Selection),
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind of reason.
    pub kind: RefusalKind,
    message: String,
}

impl Refusal {
    fn new(kind: RefusalKind, message: String) -> Self {
        Refusal { kind, message }
    }
}

/// The kinds of reasons why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no such message.
    Unknown,
    /// Several messages have ids with this prefix.
    Ambiguous,
    /// The message is being delivered, or cannot be.
    NotNow,
    /// The queue failed.
    Failed,
}

/// Runs a request; `queue` is `None` when the application has no queue.
///
/// # Errors
/// When there is no such message, when it cannot be changed now, or when the queue fails.
pub async fn run(queue: Option<&Queue>, request: Request) -> Result<FoundEvents, Refusal> {
    let Some(queue) = queue else {
        return match request {
            Request::Show(id) | Request::Retry(Selection::One(id)) | Request::Drop(Selection::One(id)) => {
                Err(unknown(&id))
            }
            _ => Ok(FoundEvents::default()),
        };
    };
    let start = Instant::now();
    let reply = async {
        match with_whole_id(queue, request).await? {
            Ok(request) => try_run(queue, request).await,
            Err(refusal) => Ok(Err(refusal)),
        }
    };
    let failed = |message| Err(Refusal::new(RefusalKind::Failed, message));
    match (reply.await, queue.denied(start)) {
        (Ok(reply), _) => reply,
        (Err(error), None) => failed(format!("{error}\n  fix: {}", error.fix())),
        (Err(error), Some(denied)) => {
            failed(format!("{error}: this host's NATS user may not {denied}\n  fix: {ALLOW}"))
        }
    }
}

async fn try_run(queue: &Queue, request: Request) -> Result<Result<FoundEvents, Refusal>, QueueError> {
    let (one, found) = match request {
        Request::List { dead, most } => (None, queue.list(dead, most.min(MAX_LISTED)).await?),
        Request::Show(id) => {
            let events: Vec<Event> = queue.show(id.clone()).await?.into_iter().collect();
            (Some(id), FoundEvents { total: 1, events })
        }
        Request::Retry(which) => {
            let found = queue.retry_now(which.clone(), MAX_LISTED).await?;
            let stays =
                |e: &&Event| e.state == "delivering" || e.state == "stranded" && !queue.delivers_to(&e.component);
            if let Some(event) = found.events.iter().find(stays) {
                return Ok(Err(not_now(event)));
            }
            (which.id(), found)
        }
        Request::Drop(which) => {
            let found = queue.drop(which.clone(), MAX_LISTED).await?;
            if let Some(event) = found.events.iter().find(|e| e.state == "delivering") {
                return Ok(Err(not_now(event)));
            }
            (which.id(), found)
        }
    };
    Ok(match one {
        Some(id) if found.events.is_empty() => Err(unknown(&id)),
        _ => Ok(found),
    })
}

/// Completes the prefix of an id in the request to the whole id; `Err` when no message or several have that prefix.
async fn with_whole_id(queue: &Queue, mut request: Request) -> Result<Result<Request, Refusal>, QueueError> {
    let (Request::Show(id) | Request::Retry(Selection::One(id)) | Request::Drop(Selection::One(id))) = &mut request
    else {
        return Ok(Ok(request));
    };
    if Uuid::try_parse(id).is_ok() {
        return Ok(Ok(request));
    }
    let beginning = id.to_ascii_lowercase();
    let found = queue.list(false, MAX_LISTED).await?;
    let mut meant = found.events.iter().map(|event| &event.id).filter(|id| id.starts_with(&beginning));
    match (meant.next(), meant.next()) {
        _ if beginning.is_empty() => Ok(Err(unknown(id))),
        (Some(one), None) if found.total <= MAX_LISTED as u64 => {
            id.clone_from(one);
            Ok(Ok(request))
        }
        (None, None) if found.total <= MAX_LISTED as u64 => Ok(Err(unknown(id))),
        (None | Some(_), None) => Ok(Err(Refusal::new(
            RefusalKind::Ambiguous,
            format!(
                "there are more than {MAX_LISTED} messages, which are too many to find one by the beginning of its id\n  fix: write \
             the whole id: `souk events list --json` has it"
            ),
        ))),
        (first, second) => {
            let ids: Vec<&str> = first.into_iter().chain(second).chain(meant).take(5).map(String::as_str).collect();
            Ok(Err(Refusal::new(
                RefusalKind::Ambiguous,
                format!("the ids of several messages begin with {id}: {}\n  fix: write more of it", ids.join(", ")),
            )))
        }
    }
}

/// The refusal of an id that no message has.
pub fn unknown(id: &str) -> Refusal {
    Refusal::new(
        RefusalKind::Unknown,
        format!(
            "there is no message {id}: it was delivered or dropped, or never stored\n  fix: `souk events list` lists \
             all messages"
        ),
    )
}

fn not_now(event: &Event) -> Refusal {
    let Event { id, component, interface, function, .. } = event;
    if event.state == "delivering" {
        return Refusal::new(
            RefusalKind::NotNow,
            format!(
                "message {id} is being delivered now, and stays as it is\n  fix: wait for the end of this attempt, `souk \
             events show {id}` shows it; then try again"
            ),
        );
    }
    Refusal::new(
        RefusalKind::NotNow,
        format!(
            "message {id} cannot be delivered: component `{component}` with `{interface}#{function}` is not there, or not \
             started\n  fix: bring it back into the manifest and start the host, or drop the message"
        ),
    )
}
