//! Calls each function of `wasi:http/types@0.2` and `outgoing-handler@0.2`. The path names the function, and the query
//! is the address of a server to call. A failed check panics, so the answer is 500; otherwise it is `ok`.

mod fields;
mod incoming;
mod outgoing;
mod response;
mod sending;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{InputStream, StreamError};

struct Component;

wasip2::http::proxy::export!(Component);

impl Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap();
        let (path, server) = target.split_once('?').unwrap_or((&target, ""));
        let test = path.trim_start_matches('/').to_owned();
        match test.split_once('/').unwrap().0 {
            "fields" => fields::check(&test),
            "incoming" => return incoming::check(&test, request, out),
            "outgoing" => outgoing::check(&test),
            "response" => return response::check(&test, out),
            "sending" => sending::check(&test, server),
            _ => panic!("there is no test {test}"),
        }
        answer(out, 200, b"ok");
    }
}

/// Answers with a whole body.
fn answer(out: ResponseOutparam, status: u16, bytes: &[u8]) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    write(&body, bytes);
    OutgoingBody::finish(body, None).unwrap();
}

/// Writes `bytes` in pieces that a stream takes at once.
fn write(body: &OutgoingBody, bytes: &[u8]) {
    let stream = body.write().unwrap();
    for piece in bytes.chunks(4096) {
        stream.blocking_write_and_flush(piece).unwrap();
    }
}

/// What a stream has, to its end.
fn read(stream: &InputStream) -> Result<Vec<u8>, StreamError> {
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(error) => return Err(error),
        }
    }
}

fn values(fields: &Fields, name: &str) -> Vec<String> {
    fields.get(name).into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
}
