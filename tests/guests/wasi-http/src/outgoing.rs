//! The resources `outgoing-request`, `outgoing-response`, `outgoing-body` and `request-options`, before they are sent.

use super::values;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions, Scheme};

fn request() -> OutgoingRequest {
    OutgoingRequest::new(Fields::from_list(&[("x-a".to_owned(), b"1".to_vec())]).unwrap())
}

pub fn check(test: &str) {
    match test {
        "outgoing/constructor" => {
            let request = request();
            assert!(matches!(request.method(), Method::Get));
            assert!(request.path_with_query().is_none() && request.authority().is_none() && request.scheme().is_none());
        }
        "outgoing/headers" => assert_eq!(values(&request().headers(), "x-a"), ["1"]),
        "outgoing/body" => {
            let request = request();
            let body = request.body().unwrap();
            assert!(request.body().is_err(), "a body can be taken once");
            drop(body.write().unwrap());
            assert!(body.write().is_err(), "a stream can be taken once");
        }
        "outgoing/set-method" => {
            let request = request();
            request.set_method(&Method::Other("PURGE".to_owned())).unwrap();
            assert!(matches!(request.method(), Method::Other(name) if name == "PURGE"));
            request.set_method(&Method::Put).unwrap();
            assert!(matches!(request.method(), Method::Put));
            assert!(request.set_method(&Method::Other("NO METHOD".to_owned())).is_err());
        }
        "outgoing/set-path-with-query" => {
            let request = request();
            request.set_path_with_query(Some("/a?b=c")).unwrap();
            assert_eq!(request.path_with_query().as_deref(), Some("/a?b=c"));
            assert!(request.set_path_with_query(Some("/a b")).is_err());
            request.set_path_with_query(None).unwrap();
            assert_eq!(request.path_with_query(), None);
        }
        "outgoing/set-scheme" => {
            let request = request();
            request.set_scheme(Some(&Scheme::Https)).unwrap();
            assert!(matches!(request.scheme(), Some(Scheme::Https)));
            assert!(request.set_scheme(Some(&Scheme::Other("no scheme".to_owned()))).is_err());
            request.set_scheme(None).unwrap();
            assert!(request.scheme().is_none());
        }
        "outgoing/set-authority" => {
            let request = request();
            request.set_authority(Some("example.com:8080")).unwrap();
            assert_eq!(request.authority().as_deref(), Some("example.com:8080"));
            assert!(request.set_authority(Some("no authority")).is_err());
            request.set_authority(None).unwrap();
            assert_eq!(request.authority(), None);
        }
        "outgoing/status-code" => {
            let response = OutgoingResponse::new(Fields::new());
            assert_eq!(response.status_code(), 200);
            response.set_status_code(404).unwrap();
            assert_eq!(response.status_code(), 404);
            assert!(response.set_status_code(42).is_err());
        }
        "outgoing/response-headers" => {
            let headers = Fields::from_list(&[("x-a".to_owned(), b"1".to_vec())]).unwrap();
            let response = OutgoingResponse::new(headers);
            assert_eq!(values(&response.headers(), "x-a"), ["1"]);
            assert!(response.headers().delete("x-a").is_err());
        }
        "outgoing/response-body" => {
            let response = OutgoingResponse::new(Fields::new());
            let body = response.body().unwrap();
            assert!(response.body().is_err(), "a body can be taken once");
            OutgoingBody::finish(body, None).unwrap();
        }
        "outgoing/finish" => {
            // Fewer bytes than `content-length` declares.
            let headers = Fields::from_list(&[("content-length".to_owned(), b"5".to_vec())]).unwrap();
            let response = OutgoingResponse::new(headers);
            let body = response.body().unwrap();
            let stream = body.write().unwrap();
            drop(stream);
            assert!(OutgoingBody::finish(body, None).is_err());
        }
        "outgoing/connect-timeout" => {
            let options = RequestOptions::new();
            assert_eq!(options.connect_timeout(), None);
            options.set_connect_timeout(Some(1_000)).unwrap();
            assert_eq!(options.connect_timeout(), Some(1_000));
        }
        "outgoing/first-byte-timeout" => {
            let options = RequestOptions::new();
            assert_eq!(options.first_byte_timeout(), None);
            options.set_first_byte_timeout(Some(2_000)).unwrap();
            assert_eq!(options.first_byte_timeout(), Some(2_000));
        }
        "outgoing/between-bytes-timeout" => {
            let options = RequestOptions::new();
            assert_eq!(options.between_bytes_timeout(), None);
            options.set_between_bytes_timeout(Some(3_000)).unwrap();
            options.set_between_bytes_timeout(None).unwrap();
            assert_eq!(options.between_bytes_timeout(), None);
        }
        _ => panic!("there is no test {test}"),
    }
}
