//! The HTTP edge: routing, limits, timeouts and protocols.

use crate::harness::{App, Client, Host, eventually, raw, undisturbed};
use futures::future::join_all;
use http::{Method, Version};
use std::io::ErrorKind;
use tokio::net::TcpStream;

pub(super) async fn start() -> (Host, Client) {
    let host = App::new("edge").start().await;
    let client = host.client();
    (host, client)
}

#[tokio::test]
async fn the_longest_matching_route_serves_and_its_parameters_reach_the_guest() {
    let (_host, client) = start().await;
    let cases = [
        ("/show/exact", "/show/exact", &[][..]),
        (
            "/show/ann/posts/7",
            "/show/:user/posts/:post",
            &[("spin-path-match-user", "ann"), ("spin-path-match-post", "7")],
        ),
        ("/show/deep", "/show/deep/...", &[]),
        ("/show/deep/a/b", "/show/deep/...", &[("spin-path-info", "/a/b")]),
        ("/show/deep/er/a", "/show/deep/er/...", &[("spin-path-info", "/a")]),
        ("/show/exact/not", "/...", &[]),
    ];
    for (path, route, more) in cases {
        let headers = client.get(path).await.expect(200);
        assert_eq!(headers["spin-raw-component-route"], route, "{path}: {headers}");
        for (name, value) in more {
            assert_eq!(headers[*name], *value, "{path}: {headers}");
        }
    }
}

#[tokio::test]
async fn the_guest_sees_who_called_and_by_which_address() {
    let (host, client) = start().await;
    let headers = client.get("/show/exact?a=1").await.expect(200);
    let url = headers["spin-full-url"].as_str().unwrap();
    assert_eq!(url, format!("http://{}/show/exact?a=1", host.address()), "{headers}");
    assert!(headers["spin-client-addr"].as_str().unwrap().starts_with("127.0.0.1:"), "{headers}");
}

#[tokio::test]
async fn a_client_cannot_forge_the_headers_that_the_host_sets() {
    let (_host, client) = start().await;
    let forged = [("spin-path-info", "/forged"), ("spin-client-addr", "forged"), ("spin-path-match-user", "forged")];
    let headers = client.send(Method::GET, "/show/exact", &forged, None).await.expect(200);
    assert!(!headers.to_string().contains("forged"), "{headers}");
}

#[tokio::test]
async fn a_private_component_is_reached_from_inside_only() {
    let (_host, client) = start().await;
    assert_eq!(client.get("/self/internal/inner/self/hello").await.expect(200), "hello");
    let headers = client.get("/self/internal/inner/self/headers").await.expect(200);
    for (name, value) in [
        ("spin-path-info", "/self/headers"),
        ("spin-full-url", "http://inner.spin.internal/self/headers"),
        ("spin-raw-component-route", "/..."),
        ("spin-matched-route", "/..."),
        ("spin-component-route", ""),
        ("spin-base-path", "/"),
    ] {
        assert_eq!(headers[name], value, "{name}: {headers}");
    }
    // `second` is another component of the application, but `front` has no grant to call it.
    client.get("/self/internal/second/self/hello").await.expect(502);
    for host in ["inner.spin.internal", "inner"] {
        let answer = client.send(Method::GET, "/show/exact", &[("host", host)], None).await;
        assert_eq!(answer.expect(200)["spin-raw-component-route"], "/show/exact", "the host header chose a component");
    }
}

#[tokio::test]
async fn a_path_that_no_route_matches_is_404() {
    let host = App::new("rogue").start().await;
    let client = host.client();
    for path in ["/", "/nothing", "/calm/answer/1", "/otherwise"] {
        let answer = client.get(path).await;
        assert_eq!(answer.expect(404)["status"], 404, "{answer:?}");
        let headers = (answer.header("cache-control"), answer.header("x-content-type-options"));
        assert_eq!(headers, (Some("no-store"), Some("nosniff")), "{answer:?}");
    }
}

#[tokio::test]
async fn the_health_endpoint_answers_without_a_component() {
    let (_host, client) = start().await;
    let answer = client.get("/.well-known/spin/health").await;
    assert_eq!((answer.status, answer.text().trim()), (200, "OK"), "{answer:?}");
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made_and_reaches_the_guest() {
    let (_host, client) = start().await;
    let taken = client.send(Method::GET, "/show/exact", &[("x-request-id", "abc-123")], None).await;
    assert_eq!(taken.header("x-request-id"), Some("abc-123"));
    assert_eq!(taken.expect(200)["x-request-id"], "abc-123");

    let (one, two) = (client.get("/show/exact").await, client.get("/show/exact").await);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    assert_eq!(one.expect(200)["x-request-id"], one.header("x-request-id").unwrap());
}

#[tokio::test]
async fn a_malformed_request_id_is_not_taken_over() {
    let (host, client) = start().await;
    let long = "x".repeat(300);
    for malformed in ["two words", "<script>alert(1)</script>", "a\tb", &long] {
        let answer = client.send(Method::GET, "/self/hello", &[("x-request-id", malformed)], None).await;
        assert_ne!(answer.header("x-request-id"), Some(malformed));
        assert!(matches!(answer.status, 200 | 400), "{answer:?}");
        assert_eq!(host.log_count(malformed), 0, "the log shows a malformed request id");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_413() {
    let (_host, client) = start().await;
    let answer = client.send(Method::POST, "/self/echo", &[], Some(vec![b'x'; 3 << 20])).await;
    answer.expect(413);
    client.get("/self/hello").await.expect(200);
}

#[tokio::test]
async fn a_body_over_the_limit_without_a_length_is_not_handed_on() {
    let (host, client) = start().await;
    let chunks = futures::stream::iter((0..48).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 64 << 10])));
    let request = client.open(Method::POST, "/self/length").body(reqwest::Body::wrap_stream(chunks));
    // The host may answer or close the connection, but it must not pass on 3 MiB as a complete body.
    if let Ok(response) = request.send().await {
        assert!(response.status().is_client_error(), "{response:?}");
    }
    host.client().get("/self/hello").await.expect(200);
}

#[tokio::test]
async fn headers_over_the_limit_are_refused_with_431() {
    let (host, client) = start().await;
    let mut stream = raw::connect(host.address()).await;
    let request = format!("GET /self/hello HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "x".repeat(20_000));
    raw::send(&mut stream, &request).await;
    let answer = raw::read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    client.get("/self/hello").await.expect(200);
}

#[tokio::test]
async fn a_request_that_is_not_http_is_refused_and_hurts_nobody() {
    let (host, client) = start().await;
    for rubbish in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    ] {
        let mut stream = raw::connect(host.address()).await;
        raw::send(&mut stream, rubbish).await;
        let answer = undisturbed(&client, &["/self/hello"], raw::read_to_end(&mut stream)).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_sends_its_headers_byte_by_byte_is_cut_off() {
    let host = App::new("edge")
        .replace("request_headers = 8192", "request_headers = 8192\nheader_read_timeout = 400")
        .start()
        .await;
    let client = host.client();
    let slow = async {
        let mut stream = raw::connect(host.address()).await;
        raw::send(&mut stream, "GET /self/hello HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
        let (mut reader, mut writer) = stream.split();
        // The client sends a byte now and then, endlessly: only the host can end this.
        let drip = async {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                if tokio::io::AsyncWriteExt::write_all(&mut writer, b"x").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            answer = raw::read_to_end(&mut reader) => answer,
            () = drip => unreachable!("the drip never ends"),
        }
    };
    let answer = undisturbed(&client, &["/self/hello"], slow).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer:?}");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let host =
        App::new("edge").replace("request_headers = 8192", "request_headers = 8192\nidle_timeout = 400").start().await;
    let mut stream = raw::connect(host.address()).await;
    raw::send(&mut stream, "GET /self/hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = raw::read_response(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    assert_eq!(raw::read_to_end(&mut stream).await, "", "the host closes the connection without sending anything");
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let (host, _client) = start().await;
    let mut stream = raw::connect(host.address()).await;
    for _ in 0..3 {
        raw::send(&mut stream, "GET /self/hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let answer = raw::read_response(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\"hello\""), "{answer:?}");
    }
}

#[tokio::test]
async fn http_2_without_tls_is_served() {
    let (_host, client) = start().await;
    let client = client.http2();
    let answers = join_all((0..50).map(|_| client.get("/answer/5"))).await;
    for answer in answers {
        assert_eq!((answer.version, answer.expect(200)), (Version::HTTP_2, 5.into()));
    }
}

#[tokio::test]
async fn a_small_response_has_a_content_length_and_a_stream_has_none() {
    let (_host, client) = start().await;
    assert_eq!(client.get("/self/hello").await.header("content-length"), Some("7"));
    let stream = client.get("/self/stream/20").await;
    assert_eq!(stream.header("content-length"), None, "{stream:?}");
    let lines: String = (0..20).map(|i| format!("chunk {i}\n")).collect();
    assert_eq!(stream.text(), lines);
}

#[tokio::test]
async fn a_stream_arrives_while_the_guest_still_writes_it() {
    let (_host, client) = start().await;
    // The guest needs 40 s for 4,000 chunks: the first chunk comes early only if nothing waits for the last one.
    let mut response = client.open(Method::GET, "/self/stream/4000").send().await.unwrap();
    let first = response.chunk().await.unwrap().expect("a chunk");
    assert!(first.starts_with(b"chunk 0\n") && first.len() < 20_000, "{first:?}");
}

/// The edge application whose `front` may take 300 ms for a call.
fn impatient() -> App {
    App::new("edge").append("[component.front.tool.souk.limits]\ncall_deadline = 300\n")
}

#[tokio::test]
async fn a_stream_that_its_deadline_cuts_does_not_look_complete() {
    let host = impatient().start().await;
    let client = host.client();
    for (cut, client) in [client.clone(), client.http2()].into_iter().enumerate() {
        // The chunks take one second, so the deadline comes in the middle.
        let response = client.open(Method::GET, "/self/stream/100").send().await.expect("a head");
        assert_eq!(response.status(), 200);
        let body = response.text().await;
        assert!(body.is_err(), "a cut stream looks complete: {body:?}");
        eventually("the log says why", || async { (host.log_count("deadline passed") > cut).then_some(()) }).await;
        client.get("/self/hello").await.expect(200);
    }
    assert_eq!(host.log_count("deadline passed"), 2, "{:?}", host.log());
}

#[tokio::test]
async fn a_client_that_does_not_read_its_response_is_cut_off() {
    let host =
        impatient().replace("request_headers = 8192", "request_headers = 8192\nidle_timeout = 400").start().await;
    let mut stream = raw::connect(host.address()).await;
    raw::send(&mut stream, "GET /self/flood HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut first = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.expect("a response begins");
    assert_eq!(&first, b"HTTP/1.1 200");
    // The client reads no more, so it notices the end only when it writes: a closed socket refuses writes.
    let stream = tokio::sync::Mutex::new(stream);
    let closed = eventually("the host closes the connection", || async {
        tokio::io::AsyncWriteExt::write_all(&mut *stream.lock().await, b"x").await.is_err().then_some(())
    });
    undisturbed(&host.client(), &["/self/hello"], closed).await;
}

#[tokio::test]
async fn slow_uploads_hold_no_instance() {
    let host = App::new("edge").append("[component.front.tool.souk.limits]\ninstances = 1\nwait = 0\n").start().await;
    let mut uploads = Vec::new();
    for _ in 0..8 {
        let mut stream = raw::connect(host.address()).await;
        raw::send(&mut stream, "POST /self/echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello").await;
        uploads.push(stream);
    }
    for _ in 0..20 {
        host.client().get("/self/hello").await.expect(200);
    }
    for mut stream in uploads {
        raw::send(&mut stream, "world").await;
        let answer = raw::read_response(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("helloworld"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_upload_that_stops_half_way_is_told_so() {
    let host = App::new("edge")
        .replace("request_headers = 8192", "request_headers = 8192\nbody_read_timeout = 200")
        .start()
        .await;
    let mut stream = raw::connect(host.address()).await;
    raw::send(&mut stream, "POST /self/echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello").await;
    let answer = raw::read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("did not arrive in time"), "{answer:?}");
    host.client().get("/self/hello").await.expect(200);
}

#[tokio::test]
async fn a_large_body_comes_back_whole() {
    let (_host, client) = start().await;
    let body: Vec<u8> = (0..2_000_000_u32).map(|i| (i % 251) as u8).collect();
    let headers = [("content-type", "application/x-test")];
    for client in [client.clone(), client.http2()] {
        let answer = client.send(Method::POST, "/self/echo", &headers, Some(body.clone())).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-test")));
        assert!(answer.body == body, "the body came back changed: {} bytes", answer.body.len());
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let (host, client) = start().await;
    let answer = client.send(Method::HEAD, "/self/hello", &[], None).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    // The response is read by hand, because a client library would hide an unexpected body.
    let mut stream = raw::connect(host.address()).await;
    raw::send(&mut stream, "HEAD /self/hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let answer = raw::read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer:?}");
}

#[tokio::test]
async fn head_over_http_2_has_a_length_and_no_body() {
    let (_host, client) = start().await;
    let unrouted = App::new("rogue").start().await;
    for client in [client.clone(), client.http2()] {
        for (path, length) in
            [("/self/hello", Some("7")), ("/.well-known/spin/health", Some("2")), ("/self/stream/5", None)]
        {
            let answer = client.send(Method::HEAD, path, &[], None).await;
            assert_eq!((answer.status, answer.header("content-length")), (200, length), "{path}: {answer:?}");
        }
        // The guest's own answer to HEAD: the `content-length` of GET, without a body.
        let answer = client.send(Method::HEAD, "/self/declared/1234", &[], None).await;
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("1234")), "{answer:?}");
        // The component still answers after these requests.
        client.get("/self/hello").await.expect(200);
    }
    let client = unrouted.client();
    for client in [client.clone(), client.http2()] {
        let (get, head) = (client.get("/nothing").await, client.send(Method::HEAD, "/nothing", &[], None).await);
        assert_eq!((head.status, head.header("content-length")), (404, get.header("content-length")), "{head:?}");
    }
}

#[tokio::test]
async fn a_status_without_content_has_none_whatever_the_guest_sends() {
    let (_host, client) = start().await;
    for client in [client.clone(), client.http2()] {
        for status in [204, 304] {
            let answer = client.get(&format!("/self/status/{status}")).await;
            assert_eq!((answer.status, answer.text().as_str()), (status, ""), "{answer:?}");
            assert_eq!(answer.header("content-length"), None, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn an_informational_status_of_a_guest_is_its_failure() {
    let (host, client) = start().await;
    for (logged, status) in [100, 101, 103].into_iter().enumerate() {
        let body = client.get(&format!("/self/status/{status}")).await.expect(500);
        assert_eq!(body["message"], "front failed");
        eventually("the log says why", || async {
            (host.log_count("informational status") == logged + 1).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_request_names_its_host_once_and_without_a_user() {
    let (host, client) = start().await;
    for (request, status) in [
        ("GET /self/hello HTTP/1.1\r\n", 400),
        ("GET /self/hello HTTP/1.1\r\nhost: a\r\nhost: a\r\n", 400),
        ("GET /self/hello HTTP/1.1\r\nhost: user@a\r\n", 400),
        ("GET /self/hello HTTP/1.1\r\nhost: a/b\r\n", 400),
        ("GET http://user@a/self/hello HTTP/1.1\r\nhost: a\r\n", 400),
        ("GET http://b/self/hello HTTP/1.1\r\nhost: a\r\n", 200),
        ("GET /self/hello HTTP/1.0\r\n", 200),
    ] {
        let mut stream = raw::connect(host.address()).await;
        raw::send(&mut stream, &format!("{request}connection: close\r\n\r\n")).await;
        let answer = raw::read_to_end(&mut stream).await;
        let line = answer.lines().next().unwrap_or_default();
        assert_eq!(line.split(' ').nth(1), Some(status.to_string().as_str()), "{request:?}: {answer:?}");
    }
    client.get("/self/hello").await.expect(200);
}

#[tokio::test]
async fn a_client_that_hangs_up_half_way_hurts_nobody() {
    let (host, client) = start().await;
    let quitters = async {
        for request in [
            "GET /self/stream/1000 HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST /self/echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf",
        ] {
            for _ in 0..20 {
                let mut stream = raw::connect(host.address()).await;
                raw::send(&mut stream, request).await;
            }
        }
    };
    undisturbed(&client, &["/self/hello", "/answer/1"], quitters).await;
}

#[tokio::test]
async fn the_host_says_what_it_serves() {
    // With several hosts the application has another name.
    let host = App::alone("edge").start().await;
    let client = host.client();
    let info = client.get("/.well-known/spin/info").await.expect(200);
    assert_eq!((info["name"].as_str(), info["version"].as_str()), (Some("edge"), Some("1.0.0")), "{info}");
    client.send(Method::POST, "/.well-known/spin/info", &[], None).await.expect(405);
}

#[tokio::test]
async fn idle_connections_of_one_client_do_not_keep_new_clients_out() {
    let host = App::new("edge")
        .replace("request_headers = 8192", "request_headers = 8192\nconnections = 8\npeer_connections = 8")
        .start()
        .await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut stream = raw::connect(host.address()).await;
        raw::send(&mut stream, "GET /self/hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(raw::read_response(&mut stream).await.starts_with("HTTP/1.1 200"));
        idle.push(stream);
    }
    for _ in 0..4 {
        let mut stream = raw::connect(host.address()).await;
        raw::send(&mut stream, "GET /self/hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(raw::read_response(&mut stream).await.starts_with("HTTP/1.1 200"));
        idle.push(stream);
    }
    // The host has closed as many idle connections as came after the eighth, and still serves the last. Which of the
    // others have been idle for longest, only the host can say: a client may read a response before the host has gone on.
    let is_closed = |stream: &&TcpStream| match stream.try_read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    eventually("idle connections are closed", || async { (idle.iter().filter(is_closed).count() >= 4).then_some(()) })
        .await;
    raw::send(&mut idle[11], "GET /self/hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(raw::read_response(&mut idle[11]).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_host_without_descriptors_left_goes_on_accepting_and_says_so() {
    let (host, client) = start().await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap().count();
    let bound = (open + 20).to_string();
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &host.pid().to_string(), &format!("--nofile={bound}:{bound}")])
        .status()
        .unwrap();
    assert!(limited.success());
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut stream = raw::connect(host.address()).await;
        raw::send(&mut stream, "GET /self/hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(raw::read_response(&mut stream).await.starts_with("HTTP/1.1 200"));
        idle.push(stream);
    }
    host.wait_for_log("accept failed").await;
    drop(idle);
    client.get("/self/hello").await.expect(200);
}
