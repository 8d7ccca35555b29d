//! The resources `incoming-request`, `incoming-body` and `future-trailers` of the request that the component answers.

use super::{answer, read, values};
use wasip2::http::types::{HeaderError, IncomingBody, IncomingRequest, Method, ResponseOutparam, Scheme, Trailers};

pub fn check(test: &str, request: IncomingRequest, out: ResponseOutparam) {
    match test {
        "incoming/method" => {
            let method = request.method();
            let name = match method {
                Method::Post => "POST".to_owned(),
                Method::Other(name) => name,
                other => format!("{other:?}"),
            };
            return answer(out, 200, name.as_bytes());
        }
        "incoming/path-with-query" => {
            return answer(out, 200, request.path_with_query().unwrap().as_bytes());
        }
        "incoming/scheme" => assert!(matches!(request.scheme(), Some(Scheme::Http)), "{:?}", request.scheme()),
        "incoming/authority" => return answer(out, 200, request.authority().unwrap().as_bytes()),
        "incoming/headers" => {
            let headers = request.headers();
            assert!(matches!(headers.append("x-a", b"3"), Err(HeaderError::Immutable)));
            return answer(out, 200, values(&headers, "X-a").join(",").as_bytes());
        }
        "incoming/consume" => {
            drop(request.consume().unwrap());
            assert!(request.consume().is_err(), "a body can be taken once");
        }
        "incoming/stream" => {
            let body = request.consume().unwrap();
            let stream = body.stream().unwrap();
            assert!(body.stream().is_err(), "a stream can be taken once");
            return answer(out, 200, &read(&stream).unwrap());
        }
        "incoming/dropped-stream" => {
            // The component answers without reading the whole body.
            let body = request.consume().unwrap();
            let stream = body.stream().unwrap();
            assert!(!stream.blocking_read(1).unwrap().is_empty());
        }
        "incoming/finish" => {
            let trailers = trailers(request).unwrap().map(|trailers| values(&trailers, "x-end").join(","));
            return answer(out, 200, trailers.unwrap_or("none".to_owned()).as_bytes());
        }
        _ => panic!("there is no test {test}"),
    }
    answer(out, 200, b"ok");
}

/// The trailers of a request whose body has been read.
fn trailers(request: IncomingRequest) -> Result<Option<Trailers>, String> {
    let body = request.consume().unwrap();
    read(&body.stream().unwrap()).map_err(|error| format!("{error:?}"))?;
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    let got = trailers.get().unwrap().unwrap().map_err(|code| format!("{code:?}"));
    assert!(trailers.get().unwrap().is_err(), "trailers can be taken once");
    got
}
