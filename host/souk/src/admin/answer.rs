//! Answers one request of the API: checks the right that it needs, acts, and builds the answer.

use super::access::{self, Client, Connection};
use super::call::{CallRequest, call, list};
use super::limits::MAX_MESSAGE_BYTES;
use super::problem::Problem;
use super::request::{self, ManualRequest};
use super::right::Right;
use super::routes::{self, Action};
use super::sessions::SESSION_TTL;
use super::{Admin, console, deployments, examine, facts, map, messages, profile, traces};
use crate::fetch::MAX_COMPONENT_BYTES;
use crate::http::{ADMIN_COOKIE as COOKIE, UnderWay, discard, path_for_log};
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, EXPECT, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use souk_bindings::printable;
use souk_links::durable::operator::{self, Event, Selection};
use souk_manifest::secrets::SecretError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

souk_manifest::fixed_limits! {
    /// The fixed limits of requests to the administration.
    pub(crate) const FIXED_LIMITS = "administration";

    /// How long the body of a request may take to arrive.
    const BODY_TIMEOUT: Duration = Duration::from_secs(30);
    /// The longest body of a request that needs no right.
    const MAX_OPEN_BODY_BYTES: usize = 4 << 10, bytes;
    /// How many bytes of a name from a request a log line shows.
    const MAX_LOGGED_BYTES: usize = 200, bytes;
}

type Answer = Response<Full<Bytes>>;

/// The body of a request to sign in.
#[derive(Deserialize)]
struct SignIn {
    code: String,
}

/// The values of both tokens, for their owner.
#[derive(Serialize)]
struct TokenValues {
    read: String,
    full: String,
}

/// Answers `request`, which came in over `connection`. Never fails: an error becomes an answer. `under_way` is the
/// request's record where strangers may send requests.
pub(crate) async fn answer(
    admin: &Arc<Admin>,
    connection: &Connection,
    request: Request<Incoming>,
    under_way: Option<&UnderWay>,
) -> Answer {
    let (head, mut body) = request.into_parts();
    // Such a client sends its body only when it is asked for.
    let expects = head.headers.contains_key(EXPECT);
    let mut answer = match access::identify(&head, connection, admin) {
        Ok(client) => {
            if let (Right::Nothing, Some(under_way)) = (client.right, under_way) {
                // Such a request is answered at once: only its own client can keep it waiting.
                under_way.waits_until(Instant::now() + BODY_TIMEOUT);
            }
            let request = IncomingRequest { admin, connection, client, head, body: &mut body };
            request.answer().await.unwrap_or_else(|problem| refused(&problem))
        }
        Err(problem) => refused(&problem),
    };
    let headers = answer.headers_mut();
    // Otherwise a client that still sends might not see the answer.
    if !body.is_end_stream() && (expects || !discard(&mut body, MAX_COMPONENT_BYTES).await) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    answer
}

/// A request and its sender.
struct IncomingRequest<'a> {
    admin: &'a Arc<Admin>,
    connection: &'a Connection,
    client: Client,
    head: http::request::Parts,
    body: &'a mut Incoming,
}

impl IncomingRequest<'_> {
    async fn answer(self) -> Result<Answer, Problem> {
        let (route, id) = routes::find(&self.head.method, self.head.uri.path())?;
        self.check(route.needs)?;
        route.check_query(self.head.uri.query())?;
        if !route.action.changes() {
            return self.answer_read(route.action, id).await;
        }
        let draining = || Problem::unavailable("the host is stopping: it accepts nothing new");
        if self.admin.readiness.is_draining() {
            return Err(draining());
        }
        // Register first, then check: so either the drain waits for this request, or the request sees the drain.
        let _under_way = self.admin.changes.token();
        if self.admin.readiness.is_draining() {
            return Err(draining());
        }
        self.answer_change(route.action, id).await
    }

    fn check(&self, needs: Right) -> Result<(), Problem> {
        match self.client.right {
            right if right >= needs => Ok(()),
            Right::Nothing => {
                let fix = "send `Authorization: Bearer TOKEN`; `souk admin token` prints the tokens";
                Err(Problem::new(StatusCode::UNAUTHORIZED, format_args!("this needs a token\n  fix: {fix}")))
            }
            _ if needs == Right::Owner => {
                let message = "this is for the control socket only\n  fix: ask there, as the owner of the state folder";
                Err(Problem::new(StatusCode::FORBIDDEN, message))
            }
            _ => {
                let message = "the token `read` may not do this\n  fix: use the token `full`";
                Err(Problem::new(StatusCode::FORBIDDEN, message))
            }
        }
    }

    /// Requests that change nothing.
    async fn answer_read(self, action: Action, id: String) -> Result<Answer, Problem> {
        let IncomingRequest { admin, connection, client, head, body } = self;
        let query = head.uri.query();
        match action {
            Action::Console => console::answer(&id),
            Action::Live => Ok(text("ok\n")),
            Action::Ready => {
                let report = admin.readiness.report(false);
                let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                with_status(status, &report)
            }
            Action::Metrics => {
                let metrics = admin.metrics.text();
                let broken = |error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format_args!("{error}"));
                let mut answer = text(metrics.map_err(broken)?);
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT));
                Ok(answer)
            }
            Action::Readiness => json(&admin.readiness.report(true)),
            Action::SignIn => {
                let SignIn { code } = read(body, MAX_OPEN_BODY_BYTES).await?;
                let Some(cookie) = admin.sessions.exchange(&code).map_err(internal)? else {
                    let message =
                        "the code was used already or is older than a minute\n  fix: `souk admin code` makes another";
                    return Err(Problem::new(StatusCode::UNAUTHORIZED, message));
                };
                tracing::info!("administration: {client} has exchanged a code for a session");
                // Those of other hosts at this address stay.
                let others = others_held(&head, &client);
                Ok(cookied(&access::cookie_with(others.chain([cookie.as_str()])), connection))
            }
            Action::SignOut => {
                if let Some(session) = &client.session {
                    admin.sessions.end(session);
                    tracing::info!("administration: {client} has signed out");
                }
                Ok(cookied(&access::cookie_with(others_held(&head, &client)), connection))
            }
            Action::Code => {
                let code = admin.sessions.code().map_err(internal)?;
                tracing::info!("administration: {client} has made a code for a sign-in");
                let url = admin.listener.as_ref().map(|url| format!("{url}/#code={code}"));
                json(&serde_json::json!({ "code": code, "url": url }))
            }
            Action::Application => json(&facts::application(admin)),
            Action::Hosts => json(&facts::hosts(admin).await),
            Action::Map => json(&map::map(admin)),
            Action::Components => json(&facts::components(admin)),
            Action::Functions => json(&list(&admin.app, client.right >= Right::Full).await),
            Action::ListMessages => {
                let dead = routes::flag(query, "dead")?;
                let most = routes::number(query, "limit")?
                    .map_or(operator::MAX_LISTED, |most| usize::try_from(most).unwrap_or(usize::MAX));
                let mut found = messages::run(&admin.app, operator::Request::List { dead, most }).await?;
                found.events.iter_mut().for_each(|event| hide_values(event, client.right));
                json(&found)
            }
            Action::ShowMessage => {
                let found = messages::run(&admin.app, operator::Request::Show(id)).await?;
                let mut event = found.events.into_iter().next().ok_or_else(|| Problem::not_found("it is gone"))?;
                hide_values(&mut event, client.right);
                json(&event)
            }
            Action::ListTraces => json(&traces::list(admin.app.boundaries().tracer(), head.uri.query())?),
            Action::ShowTrace => {
                let with_values = client.right >= Right::Full;
                json(&traces::one(admin.app.boundaries().tracer(), &id, with_values)?)
            }
            Action::Examine => json(&examine::examine(admin).await),
            Action::Limits => json(&facts::limits(admin)),
            Action::Log => json(&facts::log(admin, routes::number(query, "after")?, routes::number(query, "lines")?)),
            Action::Versions => json(&deployments::versions(&admin.app, head.uri.query())?),
            Action::Call
            | Action::Request
            | Action::RetryMessage
            | Action::DropMessage
            | Action::RetryDead
            | Action::DropDead
            | Action::Deploy
            | Action::RollBack
            | Action::Promote
            | Action::Profile
            | Action::Reload
            | Action::RenewTokens => Err(Problem::bad("this changes something")),
        }
    }

    /// Requests that change something: the log says who asked for what before it is done.
    async fn answer_change(self, action: Action, id: String) -> Result<Answer, Problem> {
        let IncomingRequest { admin, client, body, head, .. } = self;
        let query = head.uri.query();
        let note = |what: &str| tracing::info!("administration: {client} asks to {what}");
        match action {
            Action::Call => {
                let request: CallRequest = read(body, MAX_MESSAGE_BYTES).await?;
                note(&format!("call {} of {}", logged(&request.function), logged(&request.component)));
                json(&call(&admin.app, request).await?)
            }
            Action::Request => {
                let request: ManualRequest = read(body, MAX_MESSAGE_BYTES).await?;
                note(&format!("request {} {}", logged(&request.method), logged(&path_for_log(request.path_alone()))));
                json(&request::send(admin, request).await?)
            }
            Action::Deploy => {
                let file = read_bytes(body, MAX_COMPONENT_BYTES as usize).await?;
                note(&format!("deploy {}", logged(&id)));
                let (app, query, by) = (admin.app.clone(), query.map(str::to_owned), client.to_string());
                let done = async move { deployments::deploy(&app, id, query.as_deref(), file.to_vec(), by).await };
                json(&to_its_end(admin, done).await?)
            }
            Action::RollBack => {
                note(&format!("roll {} back", logged(&id)));
                let (app, query, by) = (admin.app.clone(), query.map(str::to_owned), client.to_string());
                let done = async move { deployments::roll_back(&app, &id, query.as_deref(), &by).await };
                json(&to_its_end(admin, done).await?)
            }
            Action::Promote => {
                note(&format!("promote the version of {} that is on trial", logged(&id)));
                let (app, by) = (admin.app.clone(), client.to_string());
                let done = async move { deployments::promote(&app, &id, &by).await };
                json(&to_its_end(admin, done).await?)
            }
            Action::Profile => {
                note(&format!("profile {}", logged(&id)));
                let mut answer = text(profile::profile(&admin.app, &id, query).await?);
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Ok(answer)
            }
            Action::Reload => {
                note("apply the manifest as it is now");
                let reloading = admin.clone();
                json(&to_its_end(admin, async move { reloading.reload().await }).await?)
            }
            Action::RenewTokens => {
                note("renew the tokens");
                let (read, full) = admin.tokens.renew().map_err(internal)?;
                admin.sessions.end_all();
                json(&TokenValues { read, full })
            }
            other => {
                let (what, request) = match other {
                    Action::RetryMessage => {
                        (format!("retry message {}", logged(&id)), operator::Request::Retry(Selection::One(id)))
                    }
                    Action::DropMessage => {
                        (format!("drop message {}", logged(&id)), operator::Request::Drop(Selection::One(id)))
                    }
                    Action::RetryDead => {
                        ("retry all dead letters".to_owned(), operator::Request::Retry(Selection::Dead))
                    }
                    _ => ("drop all dead letters".to_owned(), operator::Request::Drop(Selection::Dead)),
                };
                note(&what);
                json(&messages::run(&admin.app, request).await?)
            }
        }
    }
}

/// Does something that has several steps to its end, even if the client goes away in the middle.
async fn to_its_end<T: Send + 'static>(
    admin: &Arc<Admin>,
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let under_way = admin.changes.token();
    let done = tokio::spawn(async move {
        let done = work.await;
        drop(under_way);
        done
    });
    done.await.unwrap_or_else(|error| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error)))
}

/// Removes what only a client that may make calls sees: the arguments of a message, and why its delivery failed. That is
/// the component's own text, and may be personal data.
fn hide_values(event: &mut Event, right: Right) {
    if right < Right::Full {
        (event.arguments, event.reason) = (None, None);
    }
}

/// A name from a request, made safe and short for a log line.
fn logged(name: &str) -> String {
    let mut name = printable(name);
    name.truncate(name.floor_char_boundary(MAX_LOGGED_BYTES));
    name
}

fn internal(error: SecretError) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format_args!("{error}\n  fix: {}", error.fix()))
}

/// A body of at most `most` bytes.
async fn read_bytes(body: &mut Incoming, most: usize) -> Result<Bytes, Problem> {
    let whole = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await;
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
    let body = whole.map_err(late)?.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
        true => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format_args!("the body is larger than {most} bytes")),
        false => Problem::bad("the body broke off"),
    })?;
    Ok(body.to_bytes())
}

/// The JSON in a body of at most `most` bytes.
async fn read<T: DeserializeOwned>(body: &mut Incoming, most: usize) -> Result<T, Problem> {
    let body = read_bytes(body, most).await?;
    serde_json::from_slice(&body).map_err(|error| {
        // The text at that place stays out: it may be a secret.
        let what = if error.is_data() { "lacks a member or has a wrong one" } else { "is not JSON" };
        let place = (error.line(), error.column());
        Problem::bad(format_args!("the body {what} (line {}, column {})", place.0, place.1))
    })
}

fn json(value: &impl Serialize) -> Result<Answer, Problem> {
    with_status(StatusCode::OK, value)
}

fn with_status(status: StatusCode, value: &impl Serialize) -> Result<Answer, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format_args!("the answer cannot be written as JSON: {error}"))
    })?;
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}

fn text(text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// The sessions of other hosts at this address in the cookie of a request.
fn others_held<'h>(head: &'h http::request::Parts, client: &'h Client) -> impl Iterator<Item = &'h str> {
    access::held_sessions(&head.headers).filter(move |held| Some(*held) != client.session.as_deref())
}

/// An answer without a body that sets the cookie of sessions; one without a value is removed.
fn cookied(value: &str, connection: &Connection) -> Answer {
    let time = if value.is_empty() { Duration::ZERO } else { SESSION_TTL };
    let secure = if matches!(connection, Connection::Tcp { secure: true, .. }) { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", time.as_secs());
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    // Hexadecimal digits and dots are always a valid header value.
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    answer
}

fn refused(problem: &Problem) -> Answer {
    let status = problem.status();
    let mut answer = with_status(status, problem).unwrap_or_default();
    let headers = answer.headers_mut();
    match status {
        StatusCode::UNAUTHORIZED => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        StatusCode::SERVICE_UNAVAILABLE => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = problem.to_string().rsplit_once("takes ").map(|(_, allowed)| allowed.replace(" and ", ", "));
            if let Some(allowed) = allowed.and_then(|allowed| HeaderValue::try_from(allowed).ok()) {
                headers.insert(ALLOW, allowed);
            }
        }
        _ => {}
    }
    answer
}
