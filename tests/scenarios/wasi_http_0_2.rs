//! Each function of `wasi:http/types@0.2` and `outgoing-handler@0.2`, called by a guest through the real host. What a function
//! does not do here as it does elsewhere is listed in `docs/languages.md`.

use crate::harness::raw::{self, Wire};
use crate::harness::{App, Host, WAIT_TIMEOUT, build};
use http::Method;
use std::sync::OnceLock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// A host with the guest, which may send to loopback.
async fn start() -> Host {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build::application("tests/apps/wasi-http"));
    App::alone("wasi-http").start().await
}

/// Runs tests of the guest; says which did not hold, and what the host said about it.
async fn check(host: &Host, tests: &[&str], query: &str) {
    let mut failed = Vec::new();
    for test in tests {
        let response = host.client().open(Method::GET, &format!("/{test}?{query}")).send().await.unwrap();
        let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
        if (status, text.as_str()) != (200, "ok") {
            let panic = host.log().into_iter().rev().find(|line| line.contains("guest: ") && !line.contains("note:"));
            failed.push(format!("{test}: {status} {text}: {}", panic.unwrap_or_default()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn no_function_of_the_interface_is_forgotten() {
    let wit = std::fs::read_to_string(build::root().join("examples/polyglot/wit/deps/http/types.wit")).unwrap();
    let guest = std::fs::read_dir(build::root().join("tests/guests/wasi-http/src")).unwrap();
    let guest: String = guest.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let (mut forgotten, mut resource) = (Vec::new(), "");
    for line in wit.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("resource ") {
            resource = rest.split([' ', ';']).next().unwrap();
        }
        let call = match line.split_once(": ") {
            Some((name, kind)) if kind.starts_with("func(") || kind.starts_with("static func(") => {
                format!("{}(", name.trim_start_matches('%').replace('-', "_"))
            }
            None if line.starts_with("constructor(") => {
                let capitals = resource.split('-').map(|word| word[..1].to_uppercase() + &word[1..]);
                format!("{}::new(", capitals.collect::<String>())
            }
            _ => continue,
        };
        if !guest.contains(&call) {
            forgotten.push(format!("{resource}: {call}"));
        }
    }
    // In a feature that this version of the WIT calls unstable.
    assert!(!wit.contains("send-informational: func("));
    assert_eq!(forgotten, [""; 0]);
}

#[tokio::test]
async fn fields_are_as_the_interface_says() {
    let functions = ["constructor", "from-list", "get", "has", "set", "delete", "append", "entries", "clone"]
        .map(|f| format!("fields/{f}"));
    check(&start().await, &functions.each_ref().map(String::as_str), "").await;
}

#[tokio::test]
async fn requests_responses_and_options_are_as_the_interface_says_before_they_are_sent() {
    let host = start().await;
    let functions = [
        "outgoing/constructor",
        "outgoing/headers",
        "outgoing/body",
        "outgoing/set-method",
        "outgoing/set-path-with-query",
        "outgoing/set-scheme",
        "outgoing/set-authority",
        "outgoing/status-code",
        "outgoing/response-headers",
        "outgoing/response-body",
        "outgoing/finish",
        "outgoing/connect-timeout",
        "outgoing/first-byte-timeout",
        "outgoing/between-bytes-timeout",
    ];
    check(&host, &functions, "").await;
}

#[tokio::test]
async fn a_request_arrives_with_all_that_it_has() {
    let host = start().await;
    check(&host, &["incoming/scheme", "incoming/consume"], "").await;
    let client = host.client();
    let ask = async |method: Method, path: &str, body: &str| {
        let request = client.open(method, path).header("x-a", "1").header("x-a", "2").body(body.to_owned());
        request.send().await.unwrap().text().await.unwrap()
    };
    let purge = Method::from_bytes(b"PURGE").unwrap();
    assert_eq!(ask(Method::POST, "/incoming/method", "").await, "POST");
    assert_eq!(ask(purge, "/incoming/method", "").await, "PURGE");
    assert_eq!(ask(Method::GET, "/incoming/path-with-query?a=b%20c", "").await, "/incoming/path-with-query?a=b%20c");
    assert_eq!(ask(Method::GET, "/incoming/authority", "").await, host.address());
    assert_eq!(ask(Method::GET, "/incoming/headers", "").await, "1,2");
    let long = "s".repeat(700_000);
    assert!(ask(Method::POST, "/incoming/stream", &long).await == long);
    assert_eq!(ask(Method::POST, "/incoming/dropped-stream", &long).await, "ok");
    assert_eq!(ask(Method::POST, "/incoming/finish", "body").await, "none");
    let mut stream = raw::connect(host.address()).await;
    raw::send(
        &mut stream,
        "POST /incoming/finish HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n\
         4\r\nbody\r\n0\r\nx-end: 6\r\n\r\n",
    )
    .await;
    assert!(raw::read_response(&mut stream).await.ends_with("\r\n\r\n6"));
}

/// Nobody knows how much a client still sends of a body that its component did not want, so no request follows on that
/// connection. But the client can send all of it, and reads its answer.
#[tokio::test]
async fn an_answer_before_the_end_of_the_body_says_that_the_connection_closes() {
    let host = start().await;
    let mut stream = raw::connect(host.address()).await;
    let (first, rest) = ("f".repeat(300_000), "r".repeat(400_000));
    let head = "POST /incoming/dropped-stream HTTP/1.1\r\nhost: a\r\ncontent-length: 700000\r\n\r\n";
    raw::send(&mut stream, &format!("{head}{first}")).await;
    let (mut reading, mut writing) = stream.into_split();
    let mut answer = vec![0; 4096];
    let count = reading.read(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer[..count]).to_lowercase();
    assert!(text.starts_with("http/1.1 200") && text.contains("\r\nconnection: close\r\n"), "{text}");
    writing.write_all(rest.as_bytes()).await.unwrap();
    let mut after = Vec::new();
    reading.read_to_end(&mut after).await.unwrap();
    assert!(text.ends_with("ok") || after.ends_with(b"ok"), "{text}");
}

#[tokio::test]
async fn a_response_leaves_as_it_was_set_or_not_at_all() {
    let host = start().await;
    let client = host.client();
    let ask = async |path: &str| {
        let response = client.open(Method::GET, path).send().await.unwrap();
        let status = response.status().as_u16();
        // `None` of a body that broke off.
        (status, response.text().await.ok())
    };
    assert_eq!(ask("/response/set").await, (201, Some("set".to_owned())));
    assert_eq!(ask("/response/no-body").await, (204, Some(String::new())));
    assert_eq!(ask("/response/large").await, (200, Some("l".repeat(300_000))));
    for path in ["/response/set-error", "/response/never-set"] {
        let (status, text) = ask(path).await;
        assert!(status == 500 && !text.unwrap().contains("swordfish"), "{path}: {status}");
    }
    for path in ["/response/dropped-body", "/response/trap-in-body"] {
        assert_eq!(ask(path).await, (200, None), "{path}");
    }
    // The second `set` traps. The first answer was whole already, but is not sent: its call has failed.
    let (status, _) = ask("/response/set-twice").await;
    assert_eq!(status, 500);
    host.wait_for_log("unknown handle index").await;
    let mut wire = Wire::connect(host.address()).await;
    wire.send("GET /response/trailers HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n").await;
    let message = wire.response(false).await.unwrap();
    let trailers: Vec<_> = message.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!((message.text().as_str(), trailers.as_slice()), ("body", &[("x-end", "7")][..]));
}

#[tokio::test]
async fn requests_are_sent_and_answered_as_the_interface_says() {
    let (host, server) = (start().await, Server::start().await);
    let tests = [
        "sending/handle",
        "sending/subscribe",
        "sending/get",
        "sending/status",
        "sending/headers",
        "sending/consume",
        "sending/method-path-and-headers",
        "sending/body",
        "sending/trailers",
        "sending/dropped-body",
        "sending/response-trailers",
        "sending/dropped-response",
        "sending/http-error-code",
        "sending/denied",
        "sending/no-authority",
    ];
    check(&host, &tests, &server.address).await;
}

#[tokio::test]
async fn the_time_limits_of_a_request_are_kept() {
    let (host, server) = (start().await, Server::start().await);
    check(&host, &["sending/first-byte-timeout", "sending/between-bytes-timeout"], &server.address).await;
    let closed = format!("127.0.0.1:{}", souk_test::ports::free());
    check(&host, &["sending/refused"], &closed).await;
    let (full, _held) = full().await;
    check(&host, &["sending/connect-timeout"], &full).await;
}

/// An address that takes no connection, and what keeps it so: nobody accepts those that wait, and no more may wait.
async fn full() -> (String, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let short = std::time::Duration::from_millis(200);
    while let Ok(stream) = tokio::time::timeout(short, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (address.to_string(), (listener, waiting))
}

/// A server that answers each path in its own way; it ends when it is dropped.
struct Server {
    address: String,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move { drop(tokio::time::timeout(WAIT_TIMEOUT, serve(stream)).await) });
            }
        });
        Server { address, _task: AbortOnDropHandle::new(task) }
    }
}

/// Reads one request, answers it, and closes.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let text = loop {
        let n = stream.read(&mut buffer).await?;
        request.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let whole = match length {
            Some(length) => body.len() >= length,
            None if head.contains("transfer-encoding") => body.ends_with("\r\n\r\n") && body.contains("0\r\n"),
            None => true,
        };
        if whole || n == 0 {
            break text;
        }
    };
    let path = text.split(' ').nth(1).unwrap_or_default();
    let head = match path.split('?').next().unwrap() {
        "/plain" => "HTTP/1.1 202 Accepted\r\nconnection: close\r\nx-answer: 1\r\nx-answer: 2\r\ncontent-length: 5\r\n\r\nplain".to_owned(),
        "/echo" => format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}", text.len()),
        "/trailers" => {
            "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n4\r\nbody\r\n0\r\nx-end: 8\r\n\r\n"
                .to_owned()
        }
        "/broken" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot a hundred".to_owned(),
        "/half" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned(),
        _ => String::new(),
    };
    stream.write_all(head.as_bytes()).await?;
    if ["/half", "/no-head"].contains(&path) {
        // Until the other side gives up.
        while stream.read(&mut buffer).await? > 0 {}
    }
    stream.shutdown().await
}
