//! Requests of components to their own application: to a component, to the public routes, or from a middleware to what
//! it wraps.

use super::routes::Answer;
use super::{App, Entry, Handler};
use crate::spin_headers::InternalRoute;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Body as _;
use souk_bindings::budget::{ApplicationBudget, HeldMemory};
use souk_bindings::call::CallContext;
use souk_bindings::http_client::{Destination, InternalDispatch};
use souk_links::remote::whole_body::{Trailers, whole};
use souk_manifest::StaticResponse;
use souk_runtime::{CallError, Failure};
use std::sync::{Arc, Weak};
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, WasiBody};

impl App {
    /// Answers `request` like the application's public routes, without static files; its URL is absolute.
    ///
    /// # Errors
    /// When no component answers in time, or the component failed.
    pub async fn request(
        self: &Arc<Self>,
        request: Request<WasiBody>,
        context: CallContext,
    ) -> Result<Response<WasiBody>, Error> {
        dispatch(self)(Destination::OwnRoutes, request, context).await
    }
}

/// The target of a request.
enum Found {
    Component(Entry),
    Response(Response<WasiBody>),
}

/// Dispatches requests of the application's components. It holds a weak reference, because the application's grants
/// hold it.
pub(super) fn dispatch(app: &Arc<App>) -> InternalDispatch {
    let app: Weak<App> = Arc::downgrade(app);
    let route = Arc::new(InternalRoute::new());
    Arc::new(move |destination, mut request, context: CallContext| {
        let (app, route) = (app.clone(), route.clone());
        Box::pin(async move {
            let app = app.upgrade().ok_or(Error::DestinationNotFound)?;
            let (budget, found) = (app.budget().clone(), find(&app, &route, destination, &mut request, &context));
            drop(app);
            let Entry { handler, rest } = match found.ok_or(Error::DestinationNotFound)? {
                Found::Component(entry) => entry,
                Found::Response(response) => return Ok(response),
            };
            let (component, trace) = (handler.component().clone(), context.trace.clone());
            let deadline = context.deadline.min(Instant::now() + handler.call_deadline());
            let context = CallContext { deadline, rest, ..context };
            let answer = match handler {
                Handler::Local(pool) => {
                    pool.handle_spawned(request, context).await.map(|response| response.map(BodyExt::boxed_unsync))
                }
                Handler::Remote(remote, _) => {
                    let (request, held) =
                        collect(request, remote.max_request_bytes(), &budget).await.inspect_err(|error| {
                            tracing::warn!(%component, trace = %trace, "the request is not sent to its host: {error}");
                        })?;
                    let answer = remote.handle(&request, "-", &context).await;
                    drop((request, held));
                    answer.and_then(|response| received(response, &component, &budget))
                }
            };
            answer.map_err(|error| {
                tracing::warn!(%component, trace = %trace, "{error}");
                match error.failure {
                    Failure::RequestTooLarge => Error::HttpRequestBodySize(None),
                    Failure::ResponseTooLarge => Error::HttpResponseBodySize(None),
                    _ => Error::DestinationUnavailable,
                }
            })
        })
    })
}

/// Resolves `destination`, and gives the request's headers as Spin sets them.
fn find(
    app: &App,
    internal: &InternalRoute,
    destination: Destination,
    request: &mut Request<WasiBody>,
    context: &CallContext,
) -> Option<Found> {
    let url = request.uri().clone();
    match destination {
        Destination::Component(name) => {
            internal.set(request.headers_mut(), &url);
            app.entry(&name).map(Found::Component)
        }
        Destination::Next(name) => {
            let handler = app.handler(&name)?;
            Some(Found::Component(Entry { handler, rest: context.rest.clone() }))
        }
        Destination::OwnRoutes => {
            let routing = app.routing();
            let Some(found) = routing.router.route(url.path()) else {
                let mut response = Response::new(full("no route has this path"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                return Some(Found::Response(response));
            };
            found.target.headers.set(request.headers_mut(), &url, &found, &InternalRoute::NO_CLIENT);
            Some(match &found.target.answer {
                Answer::Component(entry) => Found::Component(entry.clone()),
                Answer::Static(response) => Found::Response(fixed(response)),
                Answer::Files(_) => {
                    let mut response = Response::new(full("files are served to clients, not to components"));
                    *response.status_mut() = StatusCode::NOT_FOUND;
                    Found::Response(response)
                }
            })
        }
    }
}

fn fixed(answer: &StaticResponse) -> Response<WasiBody> {
    let mut response = Response::new(full(&answer.body));
    *response.status_mut() = answer.status;
    response.headers_mut().clone_from(&answer.headers);
    response
}

fn full(text: &str) -> WasiBody {
    Full::from(text.to_owned()).map_err(|never| match never {}).boxed_unsync()
}

/// Reads the body of a request to its end; it may have at most `most` bytes. They count as the application's memory,
/// and so does the message that will be made of them: no instance counts them, and a component may send any number of
/// such requests before it reads the first response.
async fn collect(
    request: Request<WasiBody>,
    most: usize,
    budget: &Arc<ApplicationBudget>,
) -> Result<(Request<Bytes>, HeldMemory), Error> {
    let hold = |bytes: usize| budget.hold(2 * bytes as u64).ok_or_else(no_memory);
    let (mut head, mut body) = request.into_parts();
    let upper = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    let held = hold(upper.unwrap_or(most).min(most))?;
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let data = match frame?.into_data() {
            Ok(data) => data,
            Err(other) => {
                Trailers::put(&mut head.extensions, other.into_trailers().ok());
                continue;
            }
        };
        if bytes.len() + data.len() > most {
            return Err(Error::HttpRequestBodySize(u64::try_from(most).ok()));
        }
        bytes.put(data);
    }
    drop(held);
    let held = hold(bytes.len())?;
    Ok((Request::from_parts(head, bytes.freeze()), held))
}

fn no_memory() -> Error {
    Error::InternalError(Some("the application has reached its limit `application_memory`".to_owned()))
}

/// A response of another host, which counts as the application's memory until the component has read it.
fn received(
    response: Response<Bytes>,
    component: &Arc<str>,
    budget: &Arc<ApplicationBudget>,
) -> Result<Response<WasiBody>, CallError> {
    let held = budget.hold(response.body().len() as u64).ok_or_else(|| {
        let detail = "the response is not kept: the application has reached its limit `application_memory`";
        CallError::new(component, Failure::ResponseTooLarge, detail)
    })?;
    let (mut head, body) = response.into_parts();
    let trailers = Trailers::take(&mut head.extensions);
    let body = whole(body, trailers).map_err(move |error| {
        // Held as long as this function, which the body has.
        let _ = &held;
        error
    });
    Ok(Response::from_parts(head, body.boxed_unsync()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_bindings::budget::Budget;

    #[tokio::test]
    async fn bodies_to_and_from_other_hosts_count_as_the_applications_memory_while_they_are_held() {
        let budget = Arc::new(ApplicationBudget { memory: Budget::new(1 << 20), ..ApplicationBudget::default() });
        let request = || Request::new(whole(vec![0; 300 << 10].into(), None));
        let sent = collect(request(), 1 << 20, &budget).await.unwrap();
        assert_eq!(budget.memory.taken(), 600 << 10);
        let refused = collect(request(), 1 << 20, &budget).await.err().unwrap();
        assert!(matches!(&refused, Error::InternalError(Some(why)) if why.contains("application_memory")));
        drop(sent);
        assert_eq!(budget.memory.taken(), 0);

        let response = || Response::new(Bytes::from(vec![0; 600 << 10]));
        let component: Arc<str> = "shop".into();
        let unread = received(response(), &component, &budget).unwrap();
        assert_eq!(budget.memory.taken(), 600 << 10);
        let refused = received(response(), &component, &budget).err().unwrap();
        assert_eq!(refused.failure, Failure::ResponseTooLarge);
        let read = unread.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((read.len(), budget.memory.taken()), (600 << 10, 0));
    }
}
