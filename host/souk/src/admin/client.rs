//! The client of a running host, over its control socket; `souk` commands use it.

use super::call::{CallReply, CallRequest, Listed};
use super::examine::Finding;
use super::limits::MAX_MESSAGE_BYTES;
use super::problem::Problem;
use super::traces::{TraceLine, TraceTree};
use crate::app::deploy::{Deployed, Reloaded, VersionFacts};
use crate::usage::Used;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use souk_links::durable::operator::{self, Event, FoundEvents, MAX_LISTED, Selection};
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// A running host.
pub struct RunningHost {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

/// The tokens of the administration listener.
#[derive(Debug, Deserialize)]
pub struct TokenValues {
    /// The token that may only read.
    pub read: String,
    /// The token that may do everything.
    pub full: String,
}

fn of_component(component: &str) -> String {
    format!("/v1/components/{}", utf8_percent_encode(component, NON_ALPHANUMERIC))
}

#[derive(Deserialize)]
struct Budgets {
    budgets: Vec<Used>,
}

#[derive(Deserialize)]
struct Code {
    url: Option<String>,
}

impl RunningHost {
    /// Connects to the host that serves `socket`; `None` when none does.
    pub async fn connect(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(RunningHost { sender })
    }

    /// Makes the host call a function.
    ///
    /// # Errors
    /// When the host refuses, went away or gave an unexpected answer; the same for every method below.
    pub async fn call(&mut self, request: &CallRequest) -> anyhow::Result<CallReply> {
        let body = serde_json::to_vec(request)?;
        self.ask(Method::POST, "/v1/call", body).await
    }

    /// The host's functions.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn list(&mut self) -> anyhow::Result<Vec<Listed>> {
        self.ask(Method::GET, "/v1/functions", Vec::new()).await
    }

    /// Sends the host a request about its messages.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn messages(&mut self, request: &operator::Request) -> anyhow::Result<FoundEvents> {
        // An empty id would change the path.
        if let operator::Request::Show(id)
        | operator::Request::Retry(Selection::One(id))
        | operator::Request::Drop(Selection::One(id)) = request
            && id.is_empty()
        {
            return Err(operator::unknown(id).into());
        }
        let one = |id: &str| format!("/v1/messages/{}", utf8_percent_encode(id, NON_ALPHANUMERIC));
        let (method, path) = match request {
            operator::Request::List { dead, most } => {
                // A host of an earlier release refuses a `limit`; without one it lists as many as it may.
                let limit = if *most < MAX_LISTED { format!("&limit={most}") } else { String::new() };
                (Method::GET, format!("/v1/messages?dead={dead}{limit}"))
            }
            operator::Request::Show(id) => {
                let event: Event = self.ask(Method::GET, &one(id), Vec::new()).await?;
                return Ok(FoundEvents { total: 1, events: vec![event] });
            }
            operator::Request::Retry(Selection::One(id)) => (Method::POST, format!("{}/retry", one(id))),
            operator::Request::Retry(Selection::Dead) => (Method::POST, "/v1/dead-letters/retry".to_owned()),
            operator::Request::Drop(Selection::One(id)) => (Method::DELETE, one(id)),
            operator::Request::Drop(Selection::Dead) => (Method::DELETE, "/v1/dead-letters".to_owned()),
        };
        self.ask(method, &path, Vec::new()).await
    }

    /// The host's findings about itself.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn examine(&mut self) -> anyhow::Result<Vec<Finding>> {
        self.ask(Method::GET, "/v1/doctor", Vec::new()).await
    }

    /// How much of each budget the host uses.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn budgets(&mut self) -> anyhow::Result<Vec<Used>> {
        let Budgets { budgets } = self.ask(Method::GET, "/v1/limits", Vec::new()).await?;
        Ok(budgets)
    }

    /// The host's traces that match `query`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn traces(&mut self, query: &[(&str, String)]) -> anyhow::Result<Vec<TraceLine>> {
        let pair = |(key, value): &(&str, String)| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        let query: Vec<String> = query.iter().map(pair).collect();
        self.ask(Method::GET, &format!("/v1/traces?{}", query.join("&")), Vec::new()).await
    }

    /// One trace.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn trace(&mut self, id: &str) -> anyhow::Result<TraceTree> {
        let path = format!("/v1/traces/{}", utf8_percent_encode(id, NON_ALPHANUMERIC));
        self.ask(Method::GET, &path, Vec::new()).await
    }

    /// Makes the host create new tokens.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn renew_tokens(&mut self) -> anyhow::Result<TokenValues> {
        self.ask(Method::POST, "/v1/tokens/renew", Vec::new()).await
    }

    /// The address at which a browser signs in. It works once and for a minute. `None` when the host has no listener
    /// for it.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn sign_in(&mut self) -> anyhow::Result<Option<String>> {
        let Code { url } = self.ask(Method::POST, "/v1/codes", Vec::new()).await?;
        Ok(url)
    }

    /// Makes the host deploy `file` as a new version of a component, or the file that its manifest names; `options` is
    /// the query.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn deploy(&mut self, component: &str, options: &str, file: Vec<u8>) -> anyhow::Result<Deployed> {
        self.ask(Method::POST, &format!("{}/deploy?{options}", of_component(component)), file).await
    }

    /// Makes the host go back to a version, or to the one before.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn roll_back(&mut self, component: &str, version: Option<u64>) -> anyhow::Result<Deployed> {
        let query = version.map(|version| format!("?version={version}")).unwrap_or_default();
        self.ask(Method::POST, &format!("{}/rollback{query}", of_component(component)), Vec::new()).await
    }

    /// Promotes the version that is on trial.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn promote(&mut self, component: &str) -> anyhow::Result<Deployed> {
        self.ask(Method::POST, &format!("{}/promote", of_component(component)), Vec::new()).await
    }

    /// A profile of a component, taken for `time`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn profile(&mut self, component: &str, time: Duration) -> anyhow::Result<Box<RawValue>> {
        let path = format!("{}/profile?for={}ms", of_component(component), time.as_millis());
        self.ask(Method::POST, &path, Vec::new()).await
    }

    /// Makes the host apply its manifest in its current state.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn reload(&mut self) -> anyhow::Result<Reloaded> {
        self.ask(Method::POST, "/v1/reload", Vec::new()).await
    }

    /// The versions of a component, or of all.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn versions(&mut self, component: Option<&str>) -> anyhow::Result<Vec<VersionFacts>> {
        let query = component.map(|name| format!("?component={}", utf8_percent_encode(name, NON_ALPHANUMERIC)));
        self.ask(Method::GET, &format!("/v1/versions{}", query.unwrap_or_default()), Vec::new()).await
    }

    async fn ask<T: DeserializeOwned>(&mut self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<T> {
        let request = Request::builder().method(method).uri(path).header("host", "souk").body(Full::from(body))?;
        let response = self.sender.send_request(request).await?;
        let good = response.status().is_success();
        let body = Limited::new(response.into_body(), MAX_MESSAGE_BYTES).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
        if good {
            return Ok(serde_json::from_slice(&body)?);
        }
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.into(),
            Err(_) => anyhow::anyhow!(
                "the host that runs here does not understand this command\n  fix: start it again with this version of souk"
            ),
        })
    }
}
