//! The client against real servers on the loopback interface.
//!
//! Time limits are tested with servers that never answer, so a test waits for a limit and asserts no time.

mod denied;

use super::*;
use crate::outbound::tests::allow;
use crate::tests::Log;
use bytes::Bytes;
use futures::StreamExt as _;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::{Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_rustls::rustls;

pub(super) const SHORT_TIMEOUT: Duration = Duration::from_millis(20);

pub(super) fn loopback() -> AllowedHosts {
    allow(&["http://127.0.0.0/8:*", "https://127.0.0.0/8:*"])
}

fn name(name: &str) -> AllowedHosts {
    allow(&[&format!("http://{name}:*")])
}

/// A client whose resolver answers every name with `addresses`.
fn resolving(allowed: AllowedHosts, addresses: &[&str]) -> Client {
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let resolve: Resolve = Arc::new(move |_| Box::pin(std::future::ready(Ok(addresses.clone()))));
    Client::with_resolver("tested".into(), allowed, 2, Internal::default(), tls_config().unwrap(), resolve)
}

pub(super) fn client(allowed: AllowedHosts) -> Client {
    Client::new("tested".into(), allowed, 2, Internal::default(), tls_config().unwrap())
}

pub(super) fn call() -> CallContext {
    CallContext::new("trace-1", Duration::from_secs(60))
}

pub(super) fn get(uri: impl AsRef<str>) -> Request<WasiBody> {
    let body = Empty::new().map_err(Error::from).boxed_unsync();
    Request::get(uri.as_ref()).body(body).unwrap()
}

fn post(uri: &str, body: impl http_body::Body<Data = Bytes, Error = Error> + Send + 'static) -> Request<WasiBody> {
    Request::post(uri).body(body.boxed_unsync()).unwrap()
}

pub(super) async fn send(client: &Client, request: Request<WasiBody>) -> Result<Response<WasiBody>, Error> {
    client.send(request, RequestOptions::default(), &call()).await
}

pub(super) async fn text(response: Response<WasiBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Serves HTTP/1.1 with `handler` and returns the server's URL.
async fn serve<F, B>(handler: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> String
where
    F: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let handler = handler.clone();
            let service = service_fn(move |request| {
                let response = handler(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    format!("http://{address}")
}

/// Answers every connection with `bytes` once a request has begun, then closes it or, with `stall`, keeps it open.
async fn serve_bytes(bytes: &'static [u8], stall: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(bytes).await;
                if stall {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_component_with_requests_to_many_servers_keeps_a_bounded_number_of_connections() {
    let client = client(loopback());
    for _ in 0..MAX_KEPT + 40 {
        let server = serve(async |_| Response::new(Full::new(Bytes::from_static(b"hi")))).await;
        assert_eq!(text(send(&client, get(&server)).await.unwrap()).await, "hi");
    }
    // A connection that is not kept closes a moment after its response.
    while client.open.count() > MAX_KEPT {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.open.count(), MAX_KEPT);
    drop(client);
}

#[tokio::test]
async fn a_request_and_its_response_pass_whole() {
    let server = serve(async |request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let seen = format!("{} {} {:?}", parts.method, parts.uri, parts.headers.get("content-length"));
        let echo = format!("{seen} {:?} {}", parts.headers.get("x-mine"), String::from_utf8_lossy(&body));
        Response::builder().status(418).header("x-theirs", "yes").body(Full::from(echo)).unwrap()
    })
    .await;
    let mut request = post(&format!("{server}/path?query=1"), Full::from("the body").map_err(Error::from));
    request.headers_mut().insert("x-mine", HeaderValue::from_static("1"));
    let response = send(&client(loopback()), request).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["x-theirs"]), (418, &HeaderValue::from_static("yes")));
    assert_eq!(text(response).await, r#"POST /path?query=1 Some("8") Some("1") the body"#);
}

/// A body without a length, of these frames; it ends, or waits for ever.
fn unsized_body(frames: Vec<Frame<Bytes>>, ends: bool) -> impl Body<Data = Bytes, Error = Error> + Send + 'static {
    let frames = futures::stream::iter(frames.into_iter().map(Ok));
    let rest = futures::stream::poll_fn(move |_| if ends { Poll::Ready(None) } else { Poll::Pending });
    StreamBody::new(frames.chain(rest))
}

#[tokio::test]
async fn a_body_that_is_written_at_once_has_a_length_and_others_go_out_as_they_come() {
    let server = serve(async |request: Request<Incoming>| {
        let (parts, mut body) = request.into_parts();
        let first = body.frame().await.map(|frame| frame.unwrap().into_data().unwrap()).unwrap_or_default();
        let header = |name| parts.headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
        let seen = format!("{} {} {}", header("content-length"), header("transfer-encoding"), first.len());
        Response::new(Full::from(seen))
    })
    .await;
    let data = |bytes: usize| Frame::data(Bytes::from(vec![b'x'; bytes]));
    let trailers = || Frame::trailers(HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from(7))]));
    for (frames, ends, expected) in [
        (vec![], true, "0 - 0"),
        (vec![data(3), data(4)], true, "7 - 7"),
        (vec![data(3), trailers()], true, "- chunked 3"),
        (vec![data(3)], false, "- chunked 3"),
        (vec![data(70_000), data(1)], true, "- chunked"),
    ] {
        let response = send(&client(loopback()), post(&server, unsized_body(frames, ends))).await.unwrap();
        let seen = text(response).await;
        assert!(seen.starts_with(expected), "{seen} is not {expected}");
    }
}

#[tokio::test]
async fn no_trace_id_is_sent_to_strangers() {
    let server = serve(async |request: Request<Incoming>| {
        let mut names: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
        names.sort();
        Response::new(Full::from(names.join(",")))
    })
    .await;
    assert_eq!(text(send(&client(loopback()), get(&server)).await.unwrap()).await, "host");
}

#[tokio::test]
async fn bodies_are_streamed_both_ways_and_not_collected() {
    // The server echoes frame by frame, so this hangs if either side waits for the end of a body.
    let server = serve(async |request: Request<Incoming>| {
        let frames = http_body_util::BodyStream::new(request.into_body());
        Response::new(StreamBody::new(futures::StreamExt::map(frames, |frame| Ok::<_, Infallible>(frame.unwrap()))))
    })
    .await;
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Error>>(1);
    let stream = futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let mut body = send(&client(loopback()), post(&server, StreamBody::new(stream))).await.unwrap().into_body();
    for part in ["one", "two", "three"] {
        sender.send(Ok(Frame::data(part.into()))).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    drop(sender);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn trailers_arrive() {
    let response =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";
    let server = serve_bytes(response, true).await;
    let body = send(&client(loopback()), get(&server)).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "7");
    assert_eq!(body.to_bytes(), "hi");
}

#[tokio::test]
async fn a_body_shorter_than_its_content_length_is_an_error() {
    let server = serve_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", false).await;
    let body = send(&client(loopback()), get(&server)).await.unwrap().into_body().collect().await;
    assert!(matches!(body, Err(Error::HttpResponseIncomplete | Error::ConnectionTerminated)), "{body:?}");
}

#[tokio::test]
async fn an_error_of_the_guests_own_body_comes_back_to_it() {
    let server = serve_bytes(b"", true).await;
    let parts = [Ok(Frame::data(Bytes::from("x"))), Err(Error::HttpRequestBodySize(Some(1)))];
    let body = StreamBody::new(futures::stream::iter(parts));
    let error = send(&client(loopback()), post(&server, body)).await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestBodySize(Some(1))), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_the_guests_to_follow() {
    let server = serve(async |_| {
        let location = "http://169.254.169.254/latest/meta-data";
        Response::builder().status(302).header("location", location).body(Full::from("")).unwrap()
    })
    .await;
    assert_eq!(send(&client(loopback()), get(&server)).await.unwrap().status(), 302);
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_protocol_error() {
    let server = serve_bytes(b"SSH-2.0-OpenSSH_9.9\r\n", true).await;
    assert!(matches!(send(&client(loopback()), get(&server)).await, Err(Error::HttpProtocolError)));
}

#[tokio::test]
async fn each_time_limit_has_its_own_error() {
    let never: Resolve = Arc::new(|_| Box::pin(std::future::pending()));
    let tls = tls_config().unwrap();
    let unresolved = Client::with_resolver("tested".into(), name("slow.test"), 2, Internal::default(), tls, never);
    let connect = RequestOptions { connect_timeout: Some(SHORT_TIMEOUT), ..Default::default() };
    let error = unresolved.send(get("http://slow.test"), connect, &call()).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionTimeout), "{error:?}");

    let silent = serve_bytes(b"", true).await;
    let first = RequestOptions { first_byte_timeout: Some(SHORT_TIMEOUT), ..Default::default() };
    let error = client(loopback()).send(get(&silent), first, &call()).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error:?}");

    let soon = CallContext::new("t", SHORT_TIMEOUT);
    let error = client(loopback()).send(get(&silent), RequestOptions::default(), &soon).await.unwrap_err();
    assert!(matches!(error, Error::HttpResponseTimeout), "{error:?}");
}

#[tokio::test]
async fn a_body_that_stops_fails_by_the_time_between_bytes_or_by_the_deadline() {
    let stalled = serve_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", true).await;
    let between = RequestOptions { between_bytes_timeout: Some(SHORT_TIMEOUT), ..Default::default() };
    let client = client(loopback());
    let mut body = client.send(get(&stalled), between, &call()).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    assert!(matches!(body.frame().await, Some(Err(Error::ConnectionReadTimeout))));
    assert!(body.frame().await.is_none(), "nothing comes after the error");

    let never = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Error>>());
    let body = Limited::new(never, between.between_bytes_timeout, Instant::now(), None);
    assert!(matches!(body.collect().await, Err(Error::HttpResponseTimeout)));
}

#[tokio::test]
async fn requests_under_way_are_bounded_until_their_bodies_end() {
    let open = Arc::new(Notify::new());
    let server = {
        let open = open.clone();
        serve(move |request: Request<Incoming>| {
            let open = open.clone();
            let wait = request.uri().path() == "/wait";
            let body = StreamBody::new(futures::stream::once(async move {
                if wait {
                    open.notified().await;
                }
                Ok::<_, Infallible>(Frame::data(Bytes::from("end")))
            }));
            std::future::ready(Response::new(body))
        })
        .await
    };
    let client = client(loopback());
    let hurried = RequestOptions { connect_timeout: Some(SHORT_TIMEOUT), ..Default::default() };
    let first = send(&client, get(format!("{server}/wait"))).await.unwrap();
    let second = send(&client, get(format!("{server}/wait"))).await.unwrap();
    let third = client.send(get(&server), hurried, &call()).await.unwrap_err();
    assert!(matches!(third, Error::ConnectionLimitReached), "{third:?}");

    // One body is read to its end, another is dropped: both free their place.
    open.notify_one();
    let mut first = first.into_body();
    let mut second = second.into_body();
    let ended = tokio::select! {
        frame = first.frame() => { frame.unwrap().unwrap(); assert!(first.frame().await.is_none()); second }
        frame = second.frame() => { frame.unwrap().unwrap(); assert!(second.frame().await.is_none()); first }
    };
    assert_eq!(client.under_way.available_permits(), 1);
    drop(ended);
    assert_eq!(client.under_way.available_permits(), 2);
    assert_eq!(text(send(&client, get(&server)).await.unwrap()).await, "end");
}

#[tokio::test]
async fn a_response_without_a_body_takes_no_place() {
    let server = serve(async |_| Response::new(Full::from(""))).await;
    let client = client(loopback());
    let _response = send(&client, get(&server)).await.unwrap();
    assert_eq!(client.under_way.available_permits(), 2);
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_of_the_same_component_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("x"))));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    let (one, other) = (client(loopback()), client(loopback()));
    const REQUESTS: usize = 20;
    for _ in 0..REQUESTS {
        text(send(&one, get(&server)).await.unwrap()).await;
        // A connection returns to the pool in a task of its own, after the body has ended.
        tokio::task::yield_now().await;
    }
    let by_one = accepted.load(Ordering::SeqCst);
    assert!(by_one < REQUESTS, "no connection was kept");
    text(send(&other, get(&server)).await.unwrap()).await;
    assert_eq!(accepted.load(Ordering::SeqCst), by_one + 1);
}

#[tokio::test]
async fn a_server_without_tls_or_with_a_certificate_of_its_own_is_refused() {
    let plain = serve_bytes(b"HTTP/1.1 200 OK\r\n\r\n", true).await.replace("http:", "https:");
    let error = send(&client(loopback()), get(&plain)).await.unwrap_err();
    assert!(matches!(error, Error::TlsProtocolError), "{error:?}");

    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = acceptor.accept(socket).await;
        }
    });
    let error = send(&client(loopback()), get(format!("https://{address}"))).await.unwrap_err();
    assert!(matches!(error, Error::TlsCertificateError), "{error:?}");
}

#[tokio::test]
async fn the_hooks_send_as_the_call_that_the_instance_serves_now() {
    use wasmtime_wasi_http::WasiHttpView as _;
    let internal = Internal::default();
    internal.set(Arc::new(|_, _, call| {
        let body = Full::from(call.trace.to_string()).map_err(Error::from).boxed_unsync();
        Box::pin(std::future::ready(Ok(Response::new(body))))
    }));
    let client = Client::new("tested".into(), allow(&["http://*.spin.internal"]), 1, internal, tls_config().unwrap());
    let mut ctx = crate::tests::ctx(|grants| grants.http = Arc::new(client));
    for trace in ["first", "second"] {
        ctx.begin(CallContext::new(trace, Duration::from_secs(60)));
        let processing = Box::new(std::future::ready(Ok(())));
        let sent = ctx.http().hooks.send_request(get("http://web.spin.internal"), None, processing);
        let (response, _) = Box::into_pin(sent).await.unwrap();
        assert_eq!(text(response).await, trace);
        ctx.end();
    }
}
