//! A false length of a guest's request never affects the next request on the same connection.

use super::tests::{client, loopback, send, text};
use super::*;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{Empty, Full, StreamBody};
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A server that follows `content-length` exactly. It answers each request, and passes on its head and body; the body
/// is `None` when the connection ends before it is complete.
async fn serve() -> (String, mpsc::UnboundedReceiver<(String, Option<String>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (requests, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, requests.clone()));
        }
    });
    (format!("http://{address}"), received)
}

async fn answer(mut stream: TcpStream, requests: mpsc::UnboundedSender<(String, Option<String>)>) -> io::Result<()> {
    let mut read = Vec::new();
    loop {
        let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            match stream.read_buf(&mut read).await? {
                0 => return Ok(()),
                _ => continue,
            }
        };
        let head = String::from_utf8(read.drain(..end + 4).collect()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        while read.len() < length {
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                let _ = requests.send((head, None));
                return Ok(());
            }
        }
        let body = String::from_utf8(read.drain(..length).collect()).unwrap();
        let _ = requests.send((head, Some(body)));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
    }
}

fn request(uri: &str, headers: &[(&str, &str)], body: WasiBody) -> Request<WasiBody> {
    let mut request = Request::post(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

fn full(text: &'static str) -> WasiBody {
    Full::new(Bytes::from_static(text.as_bytes())).map_err(Error::from).boxed_unsync()
}

fn stream(chunks: &'static [&'static str]) -> WasiBody {
    let frames = chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))));
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

#[tokio::test]
async fn a_request_of_another_length_than_it_says_leaves_no_connection_out_of_step() {
    let (url, mut received) = serve().await;
    let client = client(loopback());
    let bodies: [fn() -> WasiBody; 5] = [
        || full("x"),
        || Empty::new().map_err(Error::from).boxed_unsync(),
        || stream(&["x", "y"]),
        || full("longer than ten bytes"),
        || stream(&["longer", "than ten"]),
    ];
    for body in bodies {
        let failed =
            send(&client, request(&url, &[("content-length", "10")], body())).await.map(|answer| answer.status());
        assert!(matches!(failed, Err(Error::HttpRequestBodySize(_))), "{failed:?}");
        let next = send(&client, request(&format!("{url}/next"), &[("content-length", "5")], full("right"))).await;
        assert_eq!(text(next.unwrap()).await, "ok");
        // The previous request may not have reached the server at all, or only in part.
        loop {
            let (head, body) = received.recv().await.unwrap();
            assert!(!body.as_deref().is_some_and(|body| body.contains("POST")), "{body:?}");
            if head.starts_with("POST /next ") {
                assert_eq!(body.as_deref(), Some("right"));
                break;
            }
            assert_eq!(body, None, "{head}");
        }
    }
    // The sender stops at the declared length, and does not check whether there is more.
    let stopped = send(&client, request(&url, &[("content-length", "10")], stream(&["exactly 10", "more"]))).await;
    assert_eq!(text(stopped.unwrap()).await, "ok");
    assert_eq!(received.recv().await.unwrap().1.as_deref(), Some("exactly 10"));
    for length in ["5, 6", "+5", "five"] {
        let failed = send(&client, request(&url, &[("content-length", length)], full("right"))).await;
        assert!(matches!(failed, Err(Error::HttpRequestBodySize(None))), "{length}");
    }
}

#[tokio::test]
async fn headers_that_belong_to_the_connection_do_not_leave_with_a_request() {
    let (url, mut received) = serve().await;
    let client = client(loopback());
    let forged = [
        ("host", "elsewhere"),
        ("connection", "close"),
        ("keep-alive", "max=1"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("http2-settings", "AA"),
        ("transfer-encoding", "gzip, chunked"),
        ("trailer", "content-length"),
        ("content-length", "02"),
        ("x-own", "1"),
    ];
    for _ in 0..2 {
        text(send(&client, request(&url, &forged, full("ab"))).await.unwrap()).await;
        let (head, body) = received.recv().await.unwrap();
        let mut lines: Vec<_> = head.trim_end().lines().skip(1).collect();
        lines.sort_unstable();
        let host = format!("host: {}", url.trim_start_matches("http://"));
        assert_eq!((lines, body.as_deref()), (vec!["content-length: 2", &host, "x-own: 1"], Some("ab")));
    }
}
