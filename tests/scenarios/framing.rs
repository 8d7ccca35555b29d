//! The host alone frames responses: a component that frames its messages wrongly spoils only its own responses.
//!
//! `unruly` frames its answer as the query says. Every body repeats a mark of its request, so that a byte in the wrong
//! response is noticed. `framing_fuzz` sends random queries.

use crate::harness::nats::Nats;
use crate::harness::raw::{self, Message, Wire};
use crate::harness::{App, Host, eventually};
use http::Method;

/// How a request reaches `unruly`: directly, or through `relay`, which forwards its answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    Direct,
    Relayed,
}

impl Way {
    /// The target of a request that asks for `query`.
    pub(super) fn target(self, query: &str) -> String {
        match self {
            Way::Direct => format!("/unruly/answer?{query}"),
            Way::Relayed => {
                let mut target = form_urlencoded::Serializer::new("/relay/via?".to_owned());
                target.extend_pairs([("to", "unruly.spin.internal/answer"), ("query", query)]);
                target.finish().replace("?&", "?")
            }
        }
    }
}

/// One host, or two with NATS between `relay` and `unruly`.
pub(super) struct Hosts {
    pub(super) front: Host,
    back: Option<Host>,
    _nats: Option<Nats>,
}

impl Hosts {
    pub(super) async fn one() -> Hosts {
        Hosts { front: App::alone("framing").start().await, back: None, _nats: None }
    }

    pub(super) async fn two() -> Hosts {
        let (app, nats) = (App::alone("framing"), Nats::start());
        let url = nats.url();
        let back = app.start_at("127.0.0.1:0", "state-1", &["--nats", &url, "--only", "unruly"]).await;
        let front = app.start_at("127.0.0.1:0", "state", &["--nats", &url, "--only", "relay"]).await;
        Hosts { front, back: Some(back), _nats: Some(nats) }
    }

    fn log_count(&self, fragment: &str) -> usize {
        self.front.log_count(fragment) + self.back.as_ref().map_or(0, |back| back.log_count(fragment))
    }
}

pub(super) fn head(method: &str, target: &str, id: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nhost: shop.test\r\nte: trailers\r\nx-request-id: {id}\r\n\r\n")
}

async fn get(wire: &mut Wire, target: &str) -> Message {
    wire.send(&head("GET", target, "one")).await;
    wire.response(false).await.expect("a response")
}

#[tokio::test]
async fn a_wrong_content_length_is_500_and_the_connection_stays_usable() {
    // The status that a client gets if the host notices the fault before it sends the head, for each way.
    for (hosts, way, status) in [
        (Hosts::one().await, Way::Direct, 500),
        (Hosts::one().await, Way::Relayed, 500),
        (Hosts::two().await, Way::Direct, 500),
        // `relay` gets an error instead of the response.
        (Hosts::two().await, Way::Relayed, 502),
    ] {
        let mut wire = Wire::connect(hosts.front.address()).await;
        let cases =
            [(2, "1"), (10, "1"), (65_536, "1,1000"), (1, ""), (60_000, "59999"), (0, "1"), (3, "5"), (5, "5,5")];
        for (before, (length, writes)) in cases.into_iter().enumerate() {
            let message = get(&mut wire, &way.target(&format!("length={length}&writes={writes}&mark=wrong"))).await;
            assert!(message.whole && !message.text().contains("wrong"), "{way:?} {length} {writes}: {message:?}");
            assert_eq!(message.status, status, "{way:?} {length} {writes}: {message:?}");
            let next = get(&mut wire, &way.target("length=6&writes=6&mark=right")).await;
            assert_eq!((next.status, next.text().as_str()), (200, "rightr"), "{way:?} {length} {writes}: {next:?}");
            eventually("the log says what and why", || async {
                (hosts.log_count(&format!("the guest's content-length is {length}, but its body has")) > 0
                    && hosts.log_count("`unruly`") > before)
                    .then_some(())
            })
            .await;
        }
        // Without a body, only the declared length itself can be wrong.
        let message = get(&mut wire, &way.target("length=5")).await;
        assert_eq!(message.status, status, "{message:?}");
        assert_eq!(get(&mut wire, &way.target("length=0")).await.header("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn a_stream_with_a_wrong_length_ends_its_connection() {
    let hosts = Hosts::one().await;
    for (faults, (way, query)) in [
        (Way::Direct, "length=100000&writes=70000&mark=wrong"),
        (Way::Direct, "length=100000&writes=70000,70000&mark=wrong"),
        (Way::Direct, "length=100000&mark=wrong"),
        (Way::Direct, "length=9&writes=3,3&pause=100&mark=wrong"),
        (Way::Direct, "length=5&writes=3,3&pause=100&mark=wrong"),
        (Way::Relayed, "length=100000&writes=70000&mark=wrong"),
        (Way::Relayed, "length=100000&writes=70000,70000&mark=wrong"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut wire = Wire::connect(hosts.front.address()).await;
        let target = way.target(query);
        // The second response must not become part of the first one.
        wire.send(&format!(
            "{}{}",
            head("GET", &target, "one"),
            head("GET", &way.target("writes=5&mark=right"), "two")
        ))
        .await;
        let message = wire.response(false).await;
        assert!(message.as_ref().is_none_or(|message| !message.whole), "{query}: {message:?}");
        let text = message.map_or_else(String::new, |message| message.text());
        assert!("wrong".repeat(20_000).starts_with(&text), "{query}: {text:.100}");
        assert!(wire.response(false).await.is_none(), "{query}: the connection is still open");
        eventually("the log says why", || async { (hosts.log_count("its response broke off") > faults).then_some(()) })
            .await;

        let answer = hosts.front.client().http2().try_get(&target).await;
        assert!(answer.is_err(), "{query}: over HTTP/2 the response looks complete: {answer:?}");
    }
}

#[tokio::test]
async fn headers_that_belong_to_the_connection_do_not_leave_a_component() {
    for (hosts, way) in
        [(Hosts::one().await, Way::Direct), (Hosts::one().await, Way::Relayed), (Hosts::two().await, Way::Direct)]
    {
        let forged = [
            "te:gzip",
            "connection:close",
            "keep-alive:timeout%3D1",
            "upgrade:h2c",
            "transfer-encoding:gzip",
            "host:x",
        ];
        let forged: String = forged.iter().map(|header| format!("&head={header}")).collect();
        let split = "&head=x-split:a%0D%0Acontent-length:+3&head=x-kept:1&head=trailer:content-length";
        let mut wire = Wire::connect(hosts.front.address()).await;
        for writes in ["4", "70000,70000"] {
            let message = get(&mut wire, &way.target(&format!("mark=mine&writes={writes}{forged}{split}"))).await;
            for name in ["te", "connection", "keep-alive", "upgrade", "host", "x-split", "trailer"] {
                assert_eq!(message.header(name), None, "{message:?}");
            }
            assert!(message.header("transfer-encoding").is_none_or(|coding| coding == "chunked"), "{message:?}");
            assert_eq!((message.header("x-kept"), message.whole), (Some("1"), true), "{message:?}");
        }
    }
}

#[tokio::test]
async fn trailers_arrive_without_framing_headers() {
    let hosts = Hosts::one().await;
    let mut wire = Wire::connect(hosts.front.address()).await;
    for query in ["writes=4&mark=mine&end=trailers", "writes=4&length=4&mark=mine&end=trailers"] {
        let message = get(&mut wire, &Way::Direct.target(query)).await;
        assert_eq!((message.status, message.text().as_str()), (200, "mine"), "{message:?}");
        assert_eq!((message.header("trailer"), message.header("content-length")), (Some("x-sum"), None), "{message:?}");
        assert_eq!(message.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    }
}

#[tokio::test]
async fn a_status_without_content_ends_with_its_head() {
    for hosts in [Hosts::one().await, Hosts::two().await] {
        let mut wire = Wire::connect(hosts.front.address()).await;
        for (status, length) in [(204, None), (205, Some("0")), (304, None)] {
            for query in ["writes=9&mark=wrong", "length=5&writes=9&mark=wrong", "length=5"] {
                let message = get(&mut wire, &Way::Direct.target(&format!("status={status}&{query}"))).await;
                assert_eq!((message.status, message.body.len()), (status, 0), "{message:?}");
                assert_eq!(message.header("content-length"), length, "{message:?}");
                assert_eq!(get(&mut wire, &Way::Direct.target("writes=5&mark=right")).await.text(), "right");
            }
        }
    }
}

#[tokio::test]
async fn a_client_gets_no_tunnel() {
    let hosts = Hosts::one().await;
    for target in ["shop.test:443", "/unruly/answer?writes=4"] {
        let mut stream = raw::connect(hosts.front.address()).await;
        let head = format!("CONNECT {target} HTTP/1.1\r\nhost: shop.test:443\r\nconnection: close\r\n\r\n");
        raw::send(&mut stream, &head).await;
        let answer = raw::read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 501") || answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_request_between_components_is_as_long_as_its_content_length_or_fails() {
    for hosts in [Hosts::one().await, Hosts::two().await] {
        let client = hosts.front.client();
        let path = |framed: &str| format!("/relay/via?to=unruly.spin.internal/length&{framed}");
        for (logged, framed) in
            ["length=10&writes=1", "length=10", "length=3&writes=5", "length=70001&writes=70000"].iter().enumerate()
        {
            let answer = client.open(Method::POST, &path(framed)).send().await.expect("an answer");
            assert!([400, 502].contains(&answer.status().as_u16()), "{framed}: {answer:?}");
            eventually("the log says why", || async {
                (hosts.log_count("`relay` broke off its request: the guest's content-length is") > logged).then_some(())
            })
            .await;
        }
        for (framed, length) in [("length=5&writes=5", 5), ("writes=2,70000", 70_002), ("", 0)] {
            let answer = client.send(Method::POST, &path(framed), &[], None).await;
            assert_eq!(answer.expect(200), length, "{framed}");
        }
    }
}

#[tokio::test]
async fn many_empty_writes_of_a_component_do_not_end_a_connection() {
    let hosts = Hosts::one().await;
    let client = hosts.front.client().http2();
    for way in [Way::Direct, Way::Relayed] {
        // An HTTP/2 client closes a connection after about a thousand empty frames.
        let writes = "0,".repeat(2_000);
        let query = format!("mark=mine&head=content-type:text/plain&pause=1&writes=1,{writes}3");
        assert_eq!(client.get(&way.target(&query)).await.text(), "mine", "{way:?}");
    }
}
