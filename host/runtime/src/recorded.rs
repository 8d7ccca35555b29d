//! Recorded calls and their replay; [`souk_bindings::tape`] describes the content of a recording.
//!
//! A recorded call gets a new instance, because a used one contains state of earlier calls.

use super::error::{CallError, Failure};
use super::pool::Pool;
use super::version::Version;
use anyhow::Context as _;
use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use souk_bindings::call::CallContext;
use souk_bindings::tape::{
    Answer, Question, Recording, Tape, Teed, hidden_bytes, hidden_headers, shown_bytes, shown_headers,
};
use souk_codec::FunctionCodec;
use std::sync::Arc;
use wasmtime::component::Val;
use wasmtime_wasi_http::{Error, WasiBody};

impl Version {
    fn record(&self, context: &mut CallContext, question: Question) -> Option<Arc<Tape>> {
        self.grants().recorder.as_ref()?.begin(context, &self.id().digest, question)
    }

    /// Begins to record a call of a function, if the component is recorded.
    pub(super) fn record_call(
        &self,
        position: usize,
        params: &[Val],
        context: &mut CallContext,
    ) -> Option<(Arc<Tape>, Arc<FunctionCodec>)> {
        let codec = self.codecs.get(position)?.clone()?;
        let function = self.compiled.exported.functions.get(position)?;
        let arguments = String::from_utf8(codec.encode_params(params).ok()?).ok()?;
        let (interface, name) = (function.interface.clone(), function.name.clone());
        Some((self.record(context, Question::Function { interface, name, arguments })?, codec))
    }

    /// Begins to record a request that arrives as plain values, if the component is recorded.
    pub(super) fn record_plain(
        &self,
        request: &mut http::Request<Bytes>,
        context: &mut CallContext,
    ) -> Option<Arc<Tape>> {
        self.grants().recorder.as_ref()?;
        // A replay has no trace of its own: it gives the guest the headers that the recording has.
        context.span.write(request.headers_mut());
        self.record(context, question(request, true, shown_bytes(request.body())))
    }

    /// Begins to record a request.
    pub(super) fn record_request<B>(
        &self,
        request: http::Request<B>,
        context: &mut CallContext,
    ) -> (http::Request<WasiBody>, Option<Arc<Tape>>)
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let tape = self.record(context, question(&request, false, String::new()));
        let asked = tape.clone();
        let request = request.map(|body| {
            let end = move |body: Option<Vec<u8>>, _| match (asked, body) {
                (Some(tape), Some(body)) => tape.request_body(shown_bytes(&body)),
                (Some(tape), None) => tape.cannot_be_kept("its request is too large".to_owned()),
                (None, _) => {}
            };
            Teed::new(body.map_err(Into::into).boxed_unsync(), end).boxed_unsync()
        });
        (request, tape)
    }
}

fn question<B>(request: &http::Request<B>, plain: bool, body: String) -> Question {
    Question::Request {
        plain,
        method: request.method().to_string(),
        uri: request.uri().to_string(),
        headers: shown_headers(request.headers()),
        body,
    }
}

/// Records the end of a call of a function.
pub(super) fn end_call(tape: &Tape, codec: &FunctionCodec, called: &Result<(), CallError>, results: &[Val]) {
    match called {
        Err(error) => end_failed(tape, error),
        Ok(()) => match codec.encode_results(results) {
            Ok(json) => tape.ends(Answer::Returned(String::from_utf8_lossy(&json).into_owned())),
            Err(error) => tape.cannot_be_kept(format!("its result cannot be written as JSON: {error}")),
        },
    }
}

/// Records that a call failed. A call that never reached the component is not kept, because there is nothing to replay.
fn end_failed(tape: &Tape, error: &CallError) {
    if matches!(error.failure, Failure::Trapped | Failure::Deadline) {
        tape.ends(Answer::Failed(error.failure.key().to_owned()));
    }
}

/// Records the answer to a request that arrived as plain values.
pub(super) fn end_plain(tape: &Tape, answered: &Result<http::Response<Bytes>, CallError>) {
    match answered {
        Err(error) => end_failed(tape, error),
        Ok(response) => tape.ends(response_of(response, response.body())),
    }
}

/// Records the error of a request, if it failed.
pub(super) fn end_request(tape: &Tape, error: Option<&CallError>) {
    if let Some(error) = error {
        end_failed(tape, error);
    }
}

/// The body of the response with this head; it is recorded when it was read.
pub(super) fn end_response(tape: Arc<Tape>, head: &http::response::Parts, body: WasiBody) -> WasiBody {
    let (status, headers) = (head.status.as_u16(), shown_headers(&head.headers));
    let end = move |body: Option<Vec<u8>>, _| match body {
        Some(body) => tape.ends(Answer::Response { status, headers, body: shown_bytes(&body) }),
        None => tape.cannot_be_kept("its response is too large".to_owned()),
    };
    Teed::new(body, end).boxed_unsync()
}

fn response_of<B>(response: &http::Response<B>, body: &[u8]) -> Answer {
    Answer::Response {
        status: response.status().as_u16(),
        headers: shown_headers(response.headers()),
        body: shown_bytes(body),
    }
}

impl Pool {
    /// Runs a recorded call again: its imports answer from `tape`, which belongs to the same recording.
    ///
    /// # Errors
    /// When the component has no such function, or the recording was changed by hand.
    pub async fn replay(self: &Arc<Self>, recording: &Recording, tape: Arc<Tape>) -> anyhow::Result<Answer> {
        let mut context = CallContext::new(recording.head.request.as_str(), self.call_deadline());
        context.tape = Some(tape);
        let failed = |error: CallError| Ok(Answer::Failed(error.failure.key().to_owned()));
        let (plain, method, uri, headers, body) = match &recording.question {
            Question::Function { interface, name, arguments } => {
                let component = self.component();
                let missing = || format!("component `{component}` does not export {interface}#{name} any more");
                let active = self.active();
                let exported = &active.compiled.exported;
                let function = exported.function(interface, name).with_context(missing)?;
                let place = self.position(interface, name).with_context(missing)?;
                let codec = FunctionCodec::of(&function.ty)?;
                let params = codec.decode_params(arguments.as_bytes())?;
                return match self.call(place, &params, context).await {
                    Err(error) => failed(error),
                    Ok(results) => Ok(Answer::Returned(String::from_utf8(codec.encode_results(&results)?)?)),
                };
            }
            Question::Request { plain, method, uri, headers, body } => (*plain, method, uri, headers, body),
        };
        let mut request = http::Request::builder().method(method.as_str()).uri(uri.as_str()).body(())?;
        *request.headers_mut() = hidden_headers(headers);
        let mut request = request.map(|()| Bytes::from(hidden_bytes(body)));
        if plain && let Some(handler) = self.plain(0) {
            match handler.handle(&mut request, context.clone()).await {
                Err(error) => return failed(error),
                Ok(Some(response)) => return Ok(response_of(&response, response.body())),
                // This version answers the request with a stream.
                Ok(None) => {}
            }
        }
        let request = request.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
        match self.handle::<WasiBody>(request, context).await {
            Err(error) => failed(error),
            Ok(response) => {
                let (head, body) = response.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok(response_of(&http::Response::from_parts(head, ()), &body))
            }
        }
    }
}
