//! The operator's way in: calls of single functions and the messages of durable links, in this process or through the
//! running host's socket.
//!
//! `souk call` may call every function of every component, public or not, so the socket stands in the state folder with
//! mode 0600: whoever may read the databases may also call. It speaks HTTP/1.1 with JSON, so that
//! `curl --unix-socket` works too.

use crate::app::App;
use crate::usage::{self, Used};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use souk_bindings::call::CallContext;
use souk_codec::FunctionCodec;
use souk_codec::signature::signature_lines;
use souk_links::durable::{JetStreamError, JetStreamQueue, Queue, operator};
use souk_links::remote::{CalledFunction, Remote, ServedFunction, Target, Unanswered};
use souk_manifest::Component;
use souk_nats::ALLOW;
use souk_runtime::{Compiled, Failure, Function, is_host_interface, vital};
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use wasmtime::component::types::Type;

souk_manifest::fixed_limits! {
    /// The fixed limits of the control socket.
    pub(crate) const FIXED_LIMITS = "control socket";

    /// The pause after a connection to the socket could not be accepted.
    const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);
    /// The longest request or answer between `souk` commands and a running host.
    const MAX_MESSAGE_BYTES: usize = 64 << 20, bytes;
}

/// A call to make.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallRequest {
    /// The component, as in the manifest.
    pub component: String,
    /// The function, as `interface#name`; the version of the interface may be left out.
    pub function: String,
    /// The parameters: an object by name, or an array by position.
    pub arguments: Box<RawValue>,
}

/// What became of it.
/// Its JSON is that of a WIT `result`, and one case more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CallReply {
    /// The function's value; of a `result`, its ok side. As text, so that fields keep the contract's order.
    Ok(Box<RawValue>),
    /// The err side of the function's `result`.
    Err(Box<RawValue>),
    /// There was no answer: the request was wrong, or the component failed.
    Failed(String),
}

/// A function that can be called.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listed {
    /// The component.
    pub component: String,
    /// The interface with its version.
    pub interface: String,
    /// The function with its types, as WIT.
    pub signature: String,
    /// Whether the component runs on another host.
    #[serde(rename = "elsewhere")]
    pub remote: bool,
    /// The release of WASI that the component speaks, where that is known.
    #[serde(default)]
    pub wasi: Option<String>,
}

/// Makes the call in this process.
pub async fn call(app: &App, request: CallRequest) -> CallReply {
    match try_call(app, request).await {
        Ok(reply) => reply,
        Err(message) => CallReply::Failed(message),
    }
}

async fn try_call(app: &App, request: CallRequest) -> Result<CallReply, String> {
    let CallRequest { component, function, arguments } = request;
    let Some(pool) = app.pool_by_hand(&component).await.map_err(|error| error.to_string())? else {
        if let Some(variable) = app.application().off.get(&component) {
            return Err(format!(
                "component `{component}` is off, because `{variable}` is set\n  fix: leave `{variable}` empty"
            ));
        }
        if let Some(declared) = app.application().components.get(&component) {
            let call = CallRequest { component, function, arguments };
            return match app.remote() {
                Some(remote) => call_remote(remote, declared, call).await,
                None => Err(format!(
                    "component `{}` runs on another host\n  fix: name the NATS that the hosts share, `--nats nats://HOST:4222`",
                    declared.name
                )),
            };
        }
        let known: Vec<&str> = app.application().components.keys().map(String::as_str).collect();
        return Err(format!("there is no component `{component}`\n  fix: name one of {}", known.join(", ")));
    };
    let functions = &pool.compiled().exported.functions;
    let named: Vec<(usize, &Function)> =
        functions.iter().enumerate().filter(|(_, f)| is_named(&f.interface, &f.name, &function)).collect();
    if let [(_, first), (_, second), ..] = named.as_slice() {
        return Err(ambiguous(&function, &first.interface, &second.interface));
    }
    let Some((position, called)) = named.first().copied() else {
        if callable(functions).next().is_none() {
            return Err(format!(
                "component `{component}` has no function `{function}`, and none that can be called by hand\n  \
                 fix: `souk call --list` has the functions of the other components"
            ));
        }
        let mut message = format!("component `{component}` has no function `{function}`\n  fix: call one of");
        for f in callable(functions) {
            message.push_str(&format!("\n    {}#{}", f.interface, f.name));
        }
        return Err(message);
    };
    let codec = FunctionCodec::of(&called.ty).map_err(|e| {
        let fix = "call a function with plain values (`souk call --list` has them all); a component that answers HTTP is \
                   reached by its route while `souk up` runs";
        format!("{function} cannot be called by hand: {e}\n  fix: {fix}")
    })?;
    let codec = codec.within(pool.limits().call_bytes.as_u64());
    let params = codec
        .decode_params(arguments.get().as_bytes())
        .map_err(|e| format!("the arguments of {function}: {e}\n  fix: it is {}", line(called)))?;
    let values = pool.call(position, &params, context(pool.call_deadline())).await.map_err(|e| e.to_string())?;
    let json = codec.encode_results(&values).map_err(|e| format!("the result of {function}: {e}"))?;
    reply(&json, called.ty.results().any(|ty| matches!(ty, Type::Result(_))), &function)
}

/// Makes a call to a component on another host: what it offers, that host says, and the arguments go there as they are.
async fn call_remote(remote: &Remote, declared: &Component, call: CallRequest) -> Result<CallReply, String> {
    let CallRequest { component, function, arguments } = call;
    let served = ServedFunction::of(remote.nats(), &component).await.map_err(|why| match why {
        Unanswered::Nobody => format!(
            "component `{component}` runs on another host, and none answers\n  fix: start one: `souk up --only {component}`"
        ),
        Unanswered::Denied(subject) => format!(
            "component `{component}` runs on another host, and this host may not ask there: its NATS user may not publish to \
             `{subject}`\n  fix: call it at a host that runs it, or {ALLOW}"
        ),
    })?;
    let mut named = served.iter().filter(|f| is_named(&f.interface, &f.name, &function));
    let Some(called) = named.next() else {
        let mut message = format!("component `{component}` has no function `{function}`\n  fix: call one of");
        for f in &served {
            message.push_str(&format!("\n    {}#{}", f.interface, f.name));
        }
        return Err(message);
    };
    if let Some(second) = named.next() {
        return Err(ambiguous(&function, &called.interface, &second.interface));
    }
    let idempotent = declared.idempotent.iter().any(|entry| entry.covers(&called.interface, &called.name));
    let target = Target::function(remote, &component.into(), CalledFunction::clone(called), idempotent);
    let arguments = Bytes::copy_from_slice(arguments.get().as_bytes());
    let answer = remote.call(&target, "-", arguments, &context(declared.limits.call_deadline)).await;
    let answer = answer.map_err(|error| match error.failure {
        Failure::Mismatch => format!("the arguments of {function} do not fit\n  fix: it is {}", called.signature),
        _ => error.to_string(),
    })?;
    reply(&answer, called.has_result(), &function)
}

fn ambiguous(function: &str, first: &str, second: &str) -> String {
    format!("`{function}` is in {first} and in {second}\n  fix: name the interface with its version")
}

/// The context of a call by hand.
fn context(timeout: Duration) -> CallContext {
    CallContext::new(format!("call-{}", Uuid::now_v7().simple()), timeout)
}

/// The reply of a call whose value is `json`.
fn reply(json: &[u8], is_result: bool, function: &str) -> Result<CallReply, String> {
    let reply = if is_result { serde_json::from_slice(json) } else { serde_json::from_slice(json).map(CallReply::Ok) };
    reply.map_err(|e| format!("the result of {function}: {e}"))
}

/// Whether `wanted` names the function: with the version of its interface, or without.
fn is_named(function_interface: &str, function: &str, wanted: &str) -> bool {
    let Some((interface, name)) = wanted.split_once('#') else { return false };
    let unversioned = function_interface.split_once('@').map_or(function_interface, |(i, _)| i);
    function == name && (function_interface == interface || unversioned == interface)
}

fn line(function: &Function) -> String {
    signature_lines(&function.name, &function.ty)
}

/// The functions of contracts. An HTTP handler takes a request, which no command line has; and tools leave exports of their
/// own (`init`), whose interfaces are in no package.
fn callable(functions: &[Function]) -> impl Iterator<Item = &Function> {
    functions.iter().filter(|f| f.interface.contains('/') && !is_host_interface(&f.interface))
}

/// What is listed of a component of this host.
fn list_local(component: &str, compiled: &Compiled) -> Vec<Listed> {
    let wasi = compiled.wasi.map(str::to_owned);
    let listed = |interface: &str, signature: String| Listed {
        component: component.to_owned(),
        interface: interface.to_owned(),
        signature,
        remote: false,
        wasi: wasi.clone(),
    };
    let http = compiled.exported.http().then(|| listed("", "answers HTTP requests".to_owned()));
    let functions = callable(&compiled.exported.functions).map(|f| listed(&f.interface, line(f)));
    http.into_iter().chain(functions).collect()
}

/// Every function of every component; of components on other hosts, what these say.
pub async fn list(app: &App) -> Vec<Listed> {
    let components = app.application().components.keys();
    let listed = futures::future::join_all(components.map(async |component| {
        let pool = match app.pool_by_hand(component).await {
            Ok(pool) => pool,
            Err(error) => return vec![Listed { signature: error.to_string(), remote: false, ..nobody(component) }],
        };
        match (pool, app.remote()) {
            (Some(pool), _) => list_local(component, pool.compiled()),
            (None, Some(remote)) => list_remote(remote, component).await,
            (None, None) => vec![nobody(component)],
        }
    }));
    listed.await.into_iter().flatten().collect()
}

async fn list_remote(remote: &Remote, component: &str) -> Vec<Listed> {
    let served = match ServedFunction::of(remote.nats(), component).await {
        Ok(served) => served,
        Err(Unanswered::Nobody) => return vec![nobody(component)],
        Err(Unanswered::Denied(subject)) => {
            let signature = format!("this host's NATS user may not publish to `{subject}`");
            return vec![Listed { signature, ..nobody(component) }];
        }
    };
    let listed = served.into_iter().map(|f| Listed {
        component: component.to_owned(),
        interface: f.interface.clone(),
        signature: f.signature.clone(),
        remote: true,
        wasi: None,
    });
    listed.collect()
}

/// What is listed of a component that no host answers for.
fn nobody(component: &str) -> Listed {
    Listed {
        component: component.to_owned(),
        interface: String::new(),
        signature: "no host that runs it answers now".to_owned(),
        remote: true,
        wasi: None,
    }
}

/// The control socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("control socket {}: {cause}\n  fix: choose a shorter or a writable folder with --state-dir", path.display())]
pub struct ControlError {
    path: PathBuf,
    cause: std::io::Error,
}

/// Makes the socket at `path`.
///
/// # Errors
/// When it cannot be made: the folder cannot be written, or its path is longer than a socket's may be (107 bytes).
pub fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    let error = |cause| ControlError { path: path.into(), cause };
    // The state folder is held by this process, so a socket that is there was left by one that is gone.
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(error(e)),
        _ => {}
    }
    // Between the two calls the folder's own mode, 0700, keeps others out.
    let listener = UnixListener::bind(path).map_err(error)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(error)?;
    Ok(listener)
}

/// Serves `listener` until `shutdown`; calls under way are counted in `tasks`, so that a drain can wait for them.
pub fn serve(app: Arc<App>, listener: UnixListener, tasks: TaskTracker, shutdown: CancellationToken) {
    tokio::spawn(vital("the control socket", async move {
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let app = app.clone();
                    let service = service_fn(move |request| answer(app.clone(), request));
                    let shutdown = shutdown.clone();
                    tasks.spawn(async move {
                        let mut served = std::pin::pin!(
                            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service)
                        );
                        let ended = tokio::select! {
                            ended = served.as_mut() => ended,
                            () = shutdown.cancelled() => {
                                served.as_mut().graceful_shutdown();
                                served.await
                            }
                        };
                        if let Err(error) = ended {
                            tracing::debug!("control connection: {error}");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
                }
            }
        }
    }));
}

async fn answer(app: Arc<App>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let reply = match (request.method(), request.uri().path()) {
        (&Method::GET, "/functions") => serde_json::to_vec(&list(&app).await),
        (&Method::GET, "/limits") => serde_json::to_vec(&usage::of(&app)),
        (&Method::POST, "/call") => {
            let reply = match parse(request).await {
                Ok(call_request) => call(&app, call_request).await,
                Err(message) => CallReply::Failed(message),
            };
            serde_json::to_vec(&reply)
        }
        (&Method::POST, "/events") => {
            let reply = match parse(request).await {
                Ok(events_request) => match queue(&app).await {
                    Ok(queue) => operator::run(queue.as_ref(), events_request).await,
                    Err(error) => operator::Reply::Failed(error.to_string()),
                },
                Err(message) => operator::Reply::Failed(message),
            };
            serde_json::to_vec(&reply)
        }
        _ => {
            let mut missing = Response::new(Full::from("GET /functions, GET /limits, POST /call or POST /events\n"));
            *missing.status_mut() = StatusCode::NOT_FOUND;
            return Ok(missing);
        }
    };
    let body = reply.unwrap_or_else(|e| serde_json::json!({ "failed": e.to_string() }).to_string().into_bytes());
    Ok(Response::new(Full::from(body)))
}

/// The messages of durable links: this host's, or where it has none to do with them, those that other hosts keep on NATS.
async fn queue(app: &App) -> Result<Option<Queue>, JetStreamError> {
    match (app.queue(), app.remote()) {
        (None, Some(remote)) => {
            let (limit, components) = (app.application().limits.durable_bytes.as_u64(), &app.application().components);
            let components = components.keys().cloned().collect();
            Ok(JetStreamQueue::find(remote.nats().clone(), limit, components).await?.map(Queue::JetStream))
        }
        (queue, _) => Ok(queue.cloned()),
    }
}

async fn parse<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> Result<T, String> {
    let body = Limited::new(request.into_body(), MAX_MESSAGE_BYTES).collect().await.map_err(|e| e.to_string())?;
    serde_json::from_slice(&body.to_bytes()).map_err(|e| e.to_string())
}

/// A running host, reached through its socket.
pub struct RunningHost {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl RunningHost {
    /// Connects to the host that serves `socket`; `None` when none does.
    pub async fn connect(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(RunningHost { sender })
    }

    /// Lets the host make the call.
    ///
    /// # Errors
    /// When the host went away or did not answer as expected.
    pub async fn call(&mut self, request: &CallRequest) -> anyhow::Result<CallReply> {
        let body = serde_json::to_vec(request)?;
        Ok(serde_json::from_slice(&self.send(Method::POST, "/call", body).await?)?)
    }

    /// The host's functions.
    ///
    /// # Errors
    /// When the host went away or did not answer as expected.
    pub async fn list(&mut self) -> anyhow::Result<Vec<Listed>> {
        Ok(serde_json::from_slice(&self.send(Method::GET, "/functions", Vec::new()).await?)?)
    }

    /// How much of each budget the host uses.
    ///
    /// # Errors
    /// When the host went away or did not answer as expected.
    pub async fn limits(&mut self) -> anyhow::Result<Vec<Used>> {
        Ok(serde_json::from_slice(&self.send(Method::GET, "/limits", Vec::new()).await?)?)
    }

    /// Lets the host do something with its messages.
    ///
    /// # Errors
    /// When the host went away or did not answer as expected.
    pub async fn events(&mut self, request: &operator::Request) -> anyhow::Result<operator::Reply> {
        let body = serde_json::to_vec(request)?;
        Ok(serde_json::from_slice(&self.send(Method::POST, "/events", body).await?)?)
    }

    async fn send(&mut self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Bytes> {
        let request = Request::builder().method(method).uri(path).header("host", "souk").body(Full::from(body))?;
        let response = self.sender.send_request(request).await?;
        let body =
            Limited::new(response.into_body(), MAX_MESSAGE_BYTES).collect().await.map_err(anyhow::Error::from_boxed)?;
        Ok(body.to_bytes())
    }
}
