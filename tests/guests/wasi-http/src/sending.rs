//! `outgoing-handler.handle`, and the resources `future-incoming-response` and `incoming-response`.

use super::{read, values, write};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
    http_error_code,
};
use wasip2::io::streams::StreamError;

fn request(server: &str, path: &str, headers: &[(&str, &str)]) -> OutgoingRequest {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let request = OutgoingRequest::new(Fields::from_list(&headers).unwrap());
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(server)).unwrap();
    request.set_path_with_query(Some(path)).unwrap();
    request
}

/// Sends a request whose body is already written, or that has no body.
fn send(request: OutgoingRequest, options: Option<RequestOptions>) -> Result<IncomingResponse, ErrorCode> {
    let response = handle(request, options)?;
    response.subscribe().block();
    let got = response.get().unwrap().unwrap();
    assert!(response.get().unwrap().is_err(), "a response can be taken once");
    got
}

fn get(server: &str, path: &str) -> Result<IncomingResponse, ErrorCode> {
    send(request(server, path, &[]), None)
}

fn text(response: &IncomingResponse) -> String {
    let body = response.consume().unwrap();
    let text = read(&body.stream().unwrap()).unwrap();
    String::from_utf8(text).unwrap()
}

pub fn check(test: &str, server: &str) {
    match test {
        "sending/handle" => assert_eq!(text(&get(server, "/plain").unwrap()), "plain"),
        "sending/subscribe" => {
            let response = handle(request(server, "/plain", &[]), None).unwrap();
            let ready = response.subscribe();
            ready.block();
            assert!(ready.ready() && response.get().is_some());
        }
        "sending/get" => {
            // `send` checks that a second `get` fails.
            assert_eq!(get(server, "/plain").unwrap().status(), 202);
        }
        "sending/status" => assert_eq!(get(server, "/plain").unwrap().status(), 202),
        "sending/headers" => {
            let headers = get(server, "/plain").unwrap().headers();
            assert_eq!(values(&headers, "X-Answer"), ["1", "2"]);
            assert!(headers.append("x-answer", b"3").is_err());
        }
        "sending/consume" => {
            let response = get(server, "/plain").unwrap();
            drop(response.consume().unwrap());
            assert!(response.consume().is_err(), "a body can be taken once");
        }
        "sending/method-path-and-headers" => {
            let request = request(server, "/echo?a=b", &[("x-a", "1"), ("x-a", "2")]);
            request.set_method(&Method::Other("PURGE".to_owned())).unwrap();
            let echoed = text(&send(request, None).unwrap());
            assert!(echoed.starts_with("PURGE /echo?a=b HTTP/1.1\r\n"), "{echoed}");
            assert!(
                echoed.contains("x-a: 1\r\nx-a: 2\r\n") && echoed.contains(&format!("host: {server}\r\n")),
                "{echoed}"
            );
        }
        "sending/body" => {
            let request = request(server, "/echo", &[("content-length", "11")]);
            request.set_method(&Method::Post).unwrap();
            let body = request.body().unwrap();
            let response = handle(request, None).unwrap();
            write(&body, b"hello there");
            OutgoingBody::finish(body, None).unwrap();
            response.subscribe().block();
            let echoed = text(&response.get().unwrap().unwrap().unwrap());
            assert!(echoed.ends_with("\r\n\r\nhello there"), "{echoed}");
        }
        "sending/trailers" => {
            let request = request(server, "/echo", &[("trailer", "x-end")]);
            request.set_method(&Method::Post).unwrap();
            let body = request.body().unwrap();
            let response = handle(request, None).unwrap();
            // So long that the request starts before its length is known.
            write(&body, &[b'b'; 200_000]);
            let trailers = Fields::from_list(&[("x-end".to_owned(), b"9".to_vec())]).unwrap();
            OutgoingBody::finish(body, Some(trailers)).unwrap();
            response.subscribe().block();
            let echoed = text(&response.get().unwrap().unwrap().unwrap());
            assert!(echoed.contains("\r\n0\r\nx-end: 9\r\n\r\n"), "{}", &echoed[echoed.len() - 60..]);
        }
        "sending/dropped-body" => {
            let request = request(server, "/echo", &[]);
            request.set_method(&Method::Post).unwrap();
            let body = request.body().unwrap();
            let response = handle(request, None).unwrap();
            write(&body, b"half");
            drop(body);
            response.subscribe().block();
            assert!(response.get().unwrap().unwrap().is_err(), "a body that was not finished is no body");
        }
        "sending/response-trailers" => {
            let response = get(server, "/trailers").unwrap();
            let body = response.consume().unwrap();
            assert_eq!(read(&body.stream().unwrap()).unwrap(), b"body");
            let trailers = IncomingBody::finish(body);
            trailers.subscribe().block();
            let trailers = trailers.get().unwrap().unwrap().unwrap().unwrap();
            assert_eq!(values(&trailers, "x-end"), ["8"]);
        }
        "sending/dropped-response" => {
            drop(handle(request(server, "/plain", &[]), None).unwrap());
            drop(get(server, "/plain").unwrap());
            assert_eq!(text(&get(server, "/plain").unwrap()), "plain");
        }
        "sending/http-error-code" => {
            let response = get(server, "/broken").unwrap();
            let body = response.consume().unwrap();
            let error = match read(&body.stream().unwrap()) {
                Err(StreamError::LastOperationFailed(error)) => error,
                other => panic!("the body broke off, and it was {other:?}"),
            };
            assert!(http_error_code(&error).is_some(), "{}", error.to_debug_string());
        }
        "sending/denied" => {
            let denied = get("denied.example", "/").err();
            assert!(matches!(denied, Some(ErrorCode::HttpRequestDenied)), "{denied:?}");
        }
        "sending/refused" => {
            // No server listens at this address.
            let refused = get(server, "/").err();
            assert!(matches!(refused, Some(ErrorCode::ConnectionRefused)), "{refused:?}");
        }
        "sending/no-authority" => {
            let invalid = send(OutgoingRequest::new(Fields::new()), None).err();
            // Other parts of the request are missing too, and they decide which of the two errors it is.
            let expected = matches!(invalid, Some(ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpProtocolError));
            assert!(expected, "{invalid:?}");
        }
        "sending/connect-timeout" => {
            // `server` accepts no connection.
            let options = RequestOptions::new();
            options.set_connect_timeout(Some(50_000_000)).unwrap();
            let late = send(request(server, "/", &[]), Some(options)).err();
            assert!(matches!(late, Some(ErrorCode::ConnectionTimeout)), "{late:?}");
        }
        "sending/first-byte-timeout" => {
            let options = RequestOptions::new();
            options.set_first_byte_timeout(Some(50_000_000)).unwrap();
            let late = send(request(server, "/no-head", &[]), Some(options)).err();
            assert!(matches!(late, Some(ErrorCode::ConnectionReadTimeout)), "{late:?}");
        }
        "sending/between-bytes-timeout" => {
            let options = RequestOptions::new();
            options.set_between_bytes_timeout(Some(50_000_000)).unwrap();
            let response = send(request(server, "/half", &[]), Some(options)).unwrap();
            let body = response.consume().unwrap();
            let error = match read(&body.stream().unwrap()) {
                Err(StreamError::LastOperationFailed(error)) => http_error_code(&error),
                other => panic!("the body stopped, and it was {other:?}"),
            };
            assert!(matches!(error, Some(ErrorCode::ConnectionReadTimeout)), "{error:?}");
        }
        _ => panic!("there is no test {test}"),
    }
}
