//! Manual calls of single functions: every function of every component, public or not.

use super::problem::Problem;
use crate::app::{App, StartError};
use crate::http::status_of;
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use souk_bindings::call::CallContext;
use souk_codec::FunctionCodec;
use souk_codec::signature::signature_lines;
use souk_links::remote::{CalledFunction, FunctionsUnknown, Remote, ServedFunction, Target};
use souk_manifest::Component;
use souk_nats::ALLOW;
use souk_runtime::{CallerType, Compiled, Failure, Function, is_host_interface};
use std::time::Duration;
use uuid::Uuid;
use wasmtime::component::types::Type;

/// A call to make.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallRequest {
    /// The component, as in the manifest.
    pub component: String,
    /// The function, as `interface#name`; the version of the interface is optional.
    pub function: String,
    /// The parameters: an object by name, or an array by position.
    pub arguments: Box<RawValue>,
}

/// What the function answered, as the JSON of a WIT `result`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CallReply {
    /// The function's value, or the ok side of its `result`. It is kept as text, so that fields keep the contract's
    /// order.
    Ok(Box<RawValue>),
    /// The err side of the function's `result`.
    Err(Box<RawValue>),
}

/// A function in the list of functions.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listed {
    /// The component.
    pub component: String,
    /// The interface with its version.
    pub interface: String,
    /// The function with its types, as WIT.
    pub signature: String,
    /// Whether the component runs only on other hosts.
    #[serde(rename = "elsewhere")]
    pub remote: bool,
    /// The release of WASI that the component uses, if known.
    #[serde(default)]
    pub wasi: Option<String>,
    /// The types of its parameters and result, for a form; only for functions on this host that can be called by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<serde_json::Value>,
}

/// Makes the call in this process.
///
/// # Errors
/// When there is no such function, the arguments do not fit, or the component failed.
pub async fn call(app: &App, request: CallRequest) -> Result<CallReply, Problem> {
    let CallRequest { component, function, arguments } = request;
    let Some(pool) = app.pool_by_hand(&component).await.map_err(not_loaded)? else {
        let application = app.application();
        if let Some(variable) = application.off.get(&component) {
            return Err(Problem::not_found(format_args!(
                "component `{component}` is off, because `{variable}` is set\n  fix: leave `{variable}` empty"
            )));
        }
        if let Some(declared) = application.components.get(&component) {
            let call = CallRequest { component, function, arguments };
            return match app.remote() {
                Some(remote) => call_remote(app, remote, declared, call).await,
                None => Err(Problem::unavailable(format_args!(
                    "component `{}` runs on another host\n  fix: name the NATS that the hosts share, `--nats nats://HOST:4222`",
                    declared.name
                ))),
            };
        }
        let known: Vec<&str> = application.components.keys().map(String::as_str).collect();
        let message = format!("there is no component `{component}`\n  fix: name one of {}", known.join(", "));
        return Err(Problem::not_found(message));
    };
    let active = pool.active();
    let functions = &active.compiled().exported.functions;
    let named: Vec<&Function> = functions.iter().filter(|f| is_named(&f.interface, &f.name, &function)).collect();
    if let [first, second, ..] = named.as_slice() {
        return Err(ambiguous(&function, &first.interface, &second.interface));
    }
    let found = named.first().and_then(|f| Some((pool.position(&f.interface, &f.name)?, *f)));
    let Some((position, called)) = found else {
        if callable(functions).next().is_none() {
            return Err(Problem::not_found(format_args!(
                "component `{component}` has no function `{function}`, and none that can be called manually\n  \
                 fix: `souk call --list` has the functions of the other components"
            )));
        }
        let mut message = format!("component `{component}` has no function `{function}`\n  fix: call one of");
        for f in callable(functions) {
            message.push_str(&format!("\n    {}#{}", f.interface, f.name));
        }
        return Err(Problem::not_found(message));
    };
    let caller = CallerType::of(&called.name, &called.ty).map_err(|e| {
        let fix = "call a function with plain values (`souk call --list` has them all); a component that answers HTTP is \
                   reached by its route while `souk up` runs";
        Problem::bad(format_args!("{function} cannot be called manually: {e}\n  fix: {fix}"))
    })?;
    let caller = caller.within(pool.limits().call_bytes.as_u64());
    let codec = caller.codec();
    let params = codec
        .decode_params(arguments.get().as_bytes())
        .map_err(|e| Problem::bad(format_args!("the arguments of {function}: {e}\n  fix: it is {}", line(called))))?;
    let values = pool.call_from(&caller, position, &params, context(app, pool.call_deadline())).await;
    let values = values.map_err(|e| Problem::new(status_of(e.failure), &e))?;
    let json = codec.encode_results(&values).map_err(|e| unreadable(&function, &e))?;
    reply(&json, called.ty.results().any(|ty| matches!(ty, Type::Result(_))), &function)
}

/// Calls a component on another host: that host says which functions it offers, and gets the arguments unchanged.
async fn call_remote(
    app: &App,
    remote: &Remote,
    declared: &Component,
    call: CallRequest,
) -> Result<CallReply, Problem> {
    let CallRequest { component, function, arguments } = call;
    let served = ServedFunction::of(remote.nats(), &component).await.map_err(|why| match why {
        FunctionsUnknown::NoAnswer => Problem::unavailable(format_args!(
            "component `{component}` runs on another host, and none answers\n  fix: start one: `souk up --only {component}`"
        )),
        FunctionsUnknown::Denied(subject) => Problem::unavailable(format_args!(
            "component `{component}` runs on another host, and this host may not ask there: its NATS user may not publish to \
             `{subject}`\n  fix: call it at a host that runs it, or {ALLOW}"
        )),
    })?;
    let mut named = served.iter().filter(|f| is_named(&f.interface, &f.name, &function));
    let Some(called) = named.next() else {
        let mut message = format!("component `{component}` has no function `{function}`\n  fix: call one of");
        for f in &served {
            message.push_str(&format!("\n    {}#{}", f.interface, f.name));
        }
        return Err(Problem::not_found(message));
    };
    if let Some(second) = named.next() {
        return Err(ambiguous(&function, &called.interface, &second.interface));
    }
    let idempotent = declared.idempotent.iter().any(|entry| entry.covers(&called.interface, &called.name));
    let target = Target::function(remote, &component.into(), CalledFunction::clone(called), idempotent);
    let arguments = Bytes::copy_from_slice(arguments.get().as_bytes());
    let answer = remote.call(&target, "-", arguments, &context(app, declared.limits.call_deadline)).await;
    let answer = answer.map_err(|error| match error.failure {
        Failure::Mismatch => {
            Problem::bad(format_args!("the arguments of {function} do not fit\n  fix: it is {}", called.signature))
        }
        failure => Problem::new(status_of(failure), &error),
    })?;
    reply(&answer, called.has_result(), &function)
}

fn ambiguous(function: &str, first: &str, second: &str) -> Problem {
    let message = format!("`{function}` is in {first} and in {second}\n  fix: name the interface with its version");
    Problem::bad(message)
}

/// A component that no route or link leads to, and that cannot be loaded.
fn not_loaded(error: StartError) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error)
}

/// A result that cannot be read.
fn unreadable(function: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format_args!("the result of {function}: {error}"))
}

/// The context of a manual call.
fn context(app: &App, timeout: Duration) -> CallContext {
    let span = app.boundaries().tracer().root(None);
    CallContext { span, ..CallContext::new(format!("call-{}", Uuid::now_v7().simple()), timeout) }
}

/// The reply of a call with the result `json`.
fn reply(json: &[u8], is_result: bool, function: &str) -> Result<CallReply, Problem> {
    let reply = if is_result { serde_json::from_slice(json) } else { serde_json::from_slice(json).map(CallReply::Ok) };
    reply.map_err(|e| unreadable(function, &e))
}

/// Whether `wanted` names the function, with or without the version of its interface.
fn is_named(function_interface: &str, function: &str, wanted: &str) -> bool {
    let Some((interface, name)) = wanted.split_once('#') else { return false };
    let unversioned = function_interface.split_once('@').map_or(function_interface, |(i, _)| i);
    function == name && (function_interface == interface || unversioned == interface)
}

fn line(function: &Function) -> String {
    signature_lines(&function.name, &function.ty)
}

/// The functions of contracts. This leaves out HTTP handlers, because a command line has no request for them, and the
/// exports that tools add (`init`), whose interfaces belong to no package.
fn callable(functions: &[Function]) -> impl Iterator<Item = &Function> {
    functions.iter().filter(|f| f.interface.contains('/') && !is_host_interface(&f.interface))
}

/// The list entries of a component of this host.
fn list_local(component: &str, compiled: &Compiled) -> Vec<Listed> {
    let wasi = compiled.wasi.map(str::to_owned);
    let listed = |interface: &str, signature: String, form| Listed {
        component: component.to_owned(),
        interface: interface.to_owned(),
        signature,
        remote: false,
        wasi: wasi.clone(),
        form,
    };
    let http = compiled.exported.http().then(|| listed("", "answers HTTP requests".to_owned(), None));
    let form = |f: &Function| FunctionCodec::of(&f.ty).ok().map(|codec| codec.form());
    let functions = callable(&compiled.exported.functions).map(|f| listed(&f.interface, line(f), form(f)));
    http.into_iter().chain(functions).collect()
}

/// Every function of every component; the hosts that run a remote component list its functions. A component that nothing
/// has used yet is loaded for it only if this `may_load`: that compiles it, and runs its migrations.
pub async fn list(app: &App, may_load: bool) -> Vec<Listed> {
    let application = app.application();
    let components = application.components.keys();
    let listed = futures::future::join_all(components.map(async |component| {
        let loaded = app.pool_if_loaded(component);
        if loaded.is_none() && !may_load && application.runs_here(component) {
            let signature = "not loaded: no trigger leads to it, and the token `read` loads nothing".to_owned();
            return vec![Listed { signature, remote: false, ..nobody(component) }];
        }
        let pool = match app.pool_by_hand(component).await {
            Ok(pool) => pool,
            Err(error) => return vec![Listed { signature: error.to_string(), remote: false, ..nobody(component) }],
        };
        match (pool, app.remote()) {
            (Some(pool), _) => list_local(component, pool.active().compiled()),
            (None, Some(remote)) => list_remote(remote, component).await,
            (None, None) => vec![nobody(component)],
        }
    }));
    listed.await.into_iter().flatten().collect()
}

async fn list_remote(remote: &Remote, component: &str) -> Vec<Listed> {
    let served = match ServedFunction::of(remote.nats(), component).await {
        Ok(served) => served,
        Err(FunctionsUnknown::NoAnswer) => return vec![nobody(component)],
        Err(FunctionsUnknown::Denied(subject)) => {
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
        form: None,
    });
    listed.collect()
}

/// The list entry of a component for which no host answers.
fn nobody(component: &str) -> Listed {
    Listed {
        component: component.to_owned(),
        interface: String::new(),
        signature: "no host that runs it answers now".to_owned(),
        remote: true,
        wasi: None,
        form: None,
    }
}
