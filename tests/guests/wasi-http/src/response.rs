//! The resource `response-outparam`, and the body of a response whose head has been sent.

use super::{answer, write};
use wasip2::http::types::{ErrorCode, Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// Begins a response with these headers, and writes `bytes` to its body, which is not finished yet.
fn begun(out: ResponseOutparam, headers: &[(&str, &str)], bytes: &[u8]) -> OutgoingBody {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let response = OutgoingResponse::new(Fields::from_list(&headers).unwrap());
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    write(&body, bytes);
    body
}

pub fn check(test: &str, out: ResponseOutparam) {
    match test {
        "response/set" => answer(out, 201, b"set"),
        "response/set-error" => ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("swordfish".to_owned())))),
        "response/never-set" => drop(out),
        "response/set-twice" => {
            let handle = out.take_handle();
            // SAFETY: two owners of one handle are the purpose of this test; the host refuses the second one.
            let (first, second) =
                unsafe { (ResponseOutparam::from_handle(handle), ResponseOutparam::from_handle(handle)) };
            answer(first, 200, b"first");
            answer(second, 500, b"second");
        }
        "response/no-body" => {
            let response = OutgoingResponse::new(Fields::new());
            response.set_status_code(204).unwrap();
            ResponseOutparam::set(out, Ok(response));
        }
        "response/trailers" => {
            let body = begun(out, &[("trailer", "x-end")], b"body");
            let trailers = Fields::from_list(&[("x-end".to_owned(), b"7".to_vec())]).unwrap();
            OutgoingBody::finish(body, Some(trailers)).unwrap();
        }
        "response/large" => {
            let body = begun(out, &[], &[b'l'; 300_000]);
            OutgoingBody::finish(body, None).unwrap();
        }
        "response/dropped-body" => drop(begun(out, &[], &[b'd'; 300_000])),
        "response/trap-in-body" => {
            let _body = begun(out, &[], &[b't'; 300_000]);
            panic!("in the middle of a body");
        }
        _ => panic!("there is no test {test}"),
    }
}
