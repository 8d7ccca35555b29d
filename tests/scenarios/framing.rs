//! Where a response ends is the host's to say: a component that frames its messages wrongly spoils its own alone.
//!
//! `unruly` answers as the query asks; every body repeats a mark of its own request, so that a byte in the wrong response
//! shows. The fuzzing at the end goes over HTTP/1.1, HTTP/2, a link between two components, and NATS.

use crate::harness::nats::Nats;
use crate::harness::raw::{self, Message, Wire};
use crate::harness::{App, Host, Random, eventually};
use futures::future::join_all;
use http::Method;
use std::time::{Duration, Instant};

/// How a way to `unruly` begins: by itself, or by `relay`, which hands its answers on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Direct,
    Relayed,
}

impl Way {
    /// The target of a request that asks for `query`.
    fn target(self, query: &str) -> String {
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
struct Hosts {
    front: Host,
    back: Option<Host>,
    _nats: Option<Nats>,
}

impl Hosts {
    async fn one() -> Hosts {
        Hosts { front: App::alone("framing").start().await, back: None, _nats: None }
    }

    async fn two() -> Hosts {
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

fn head(method: &str, target: &str, id: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nhost: shop.test\r\nte: trailers\r\nx-request-id: {id}\r\n\r\n")
}

async fn get(wire: &mut Wire, target: &str) -> Message {
    wire.send(&head("GET", target, "one")).await;
    wire.response(false).await.expect("a response")
}

#[tokio::test]
async fn a_content_length_that_is_not_the_bodys_is_500_and_the_connection_stays_in_step() {
    // The status that a client gets where the host has seen the fault before the head went out, by what is on the way.
    for (hosts, way, status) in [
        (Hosts::one().await, Way::Direct, 500),
        (Hosts::one().await, Way::Relayed, 500),
        (Hosts::two().await, Way::Direct, 500),
        // `relay` gets an error in place of the response.
        (Hosts::two().await, Way::Relayed, 502),
    ] {
        let mut wire = Wire::connect(hosts.front.address()).await;
        let mut faults = 0;
        for (length, writes) in
            [(2, "1"), (10, "1"), (65_536, "1,1000"), (1, ""), (60_000, "59999"), (0, "1"), (3, "5"), (5, "5,5")]
        {
            let message = get(&mut wire, &way.target(&format!("length={length}&writes={writes}&mark=wrong"))).await;
            assert!(message.whole && !message.text().contains("wrong"), "{way:?} {length} {writes}: {message:?}");
            assert_eq!(message.status, status, "{way:?} {length} {writes}: {message:?}");
            let next = get(&mut wire, &way.target("length=6&writes=6&mark=right")).await;
            assert_eq!((next.status, next.text().as_str()), (200, "rightr"), "{way:?} {length} {writes}: {next:?}");
            faults += 1;
            eventually("the log says what and why", || async {
                (hosts.log_count(&format!("the guest's content-length is {length}, but its body has")) > 0
                    && hosts.log_count("`unruly`") >= faults)
                    .then_some(())
            })
            .await;
        }
        // Without a body there is nothing to compare but the length itself.
        let message = get(&mut wire, &way.target("length=5")).await;
        assert_eq!(message.status, status, "{message:?}");
        assert_eq!(get(&mut wire, &way.target("length=0")).await.header("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn a_stream_that_is_not_as_long_as_it_says_breaks_its_connection_off() {
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
        // The second must not be taken for a part of the first.
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
        assert!(answer.is_err(), "{query}: HTTP/2 took it for a whole one: {answer:?}");
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
async fn trailers_arrive_without_those_that_would_frame() {
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
async fn a_request_between_components_is_not_longer_or_shorter_than_it_says() {
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
async fn a_component_that_writes_nothing_many_times_ends_nobodys_connection() {
    let hosts = Hosts::one().await;
    let client = hosts.front.client().http2();
    for way in [Way::Direct, Way::Relayed] {
        // A client closes a connection of HTTP/2 that brings a thousand empty frames or so.
        let writes = "0,".repeat(2_000);
        let query = format!("mark=mine&head=content-type:text/plain&pause=1&writes=1,{writes}3");
        assert_eq!(client.get(&way.target(&query)).await.text(), "mine", "{way:?}");
    }
}

/// What is recorded of the seeds: each of them has found, or would find, a fault of its own kind. `FUZZ_SECONDS=600` goes
/// on with more of them for as many seconds, over each of the four ways.
const SEEDS: [u64; 4] = [1, 2, 0x5eed, 20_260_101];

/// Requests a seed.
const REQUESTS: usize = 80;

/// A request of the fuzzing, and what is known of its answer.
struct Asked {
    id: String,
    mark: String,
    method: &'static str,
    query: String,
    status: u16,
    /// The length that the guest declares; `None` too where the host refuses it.
    declared: Option<u64>,
    /// The bytes of its body.
    written: u64,
    /// Whether it ends the body properly, and answers at all.
    ends: bool,
}

impl Asked {
    fn any(random: &mut Random, number: usize) -> Asked {
        fn pick<'a, T: ?Sized>(random: &mut Random, from: &[&'a T]) -> &'a T {
            from[random.below(from.len())]
        }
        const SIZES: [usize; 11] = [0, 1, 2, 9, 100, 4_096, 65_535, 65_536, 65_537, 70_000, 150_000];
        let mark = format!("<{number:06}-{:08x}>", random.next() as u32);
        let count = random.below(4);
        let writes: Vec<usize> = (0..count).map(|_| SIZES[random.below(SIZES.len())]).collect();
        let bodiless = random.once_in(8);
        let written = if bodiless { 0 } else { writes.iter().sum::<usize>() as u64 };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("mark", &mark).append_pair("head", "content-type:text/plain");
        if !bodiless {
            let writes: Vec<_> = writes.iter().map(usize::to_string).collect();
            query.append_pair("writes", &writes.join(","));
        }
        let declared = match random.below(8) {
            0..3 => None,
            3..5 => Some(written),
            5 => Some(written + 1 + random.below(70_000) as u64),
            6 => Some(written.saturating_sub(1 + random.below(10) as u64)),
            _ => Some(random.below(100_000) as u64),
        };
        match declared {
            Some(declared) => drop(query.append_pair("length", &declared.to_string())),
            None if random.once_in(4) => {
                let wrong = ["-1", "+5", "5,6", "abc", "", "0x10", "5 5", "5\r\nx: y"];
                query.append_pair("length", pick(random, &wrong));
            }
            None => {}
        }
        let status = match random.below(8) {
            0 => [100, 101, 103, 204, 205, 304, 404, 500, 599][random.below(9)],
            _ => 200,
        };
        query.append_pair("status", &status.to_string());
        let heads = [
            "te:gzip",
            "te:trailers",
            "trailer:x-sum",
            "trailer:content-length",
            "connection:close",
            "keep-alive:max=1",
            "transfer-encoding:chunked",
            "transfer-encoding:identity",
            "upgrade:websocket",
            "x-a:b\r\ncontent-length: 1",
            "proxy-connection:keep-alive",
            "host:elsewhere",
            "content-type:text/event-stream",
            "x-request-id:forged",
        ];
        for _ in 0..random.below(3) {
            query.append_pair("head", pick(random, &heads));
        }
        let end = match random.below(12) {
            0 => "trailers",
            1 => "error",
            2 => "trap",
            3 if random.once_in(2) => "early",
            4 if random.once_in(2) => "refuse",
            5 if random.once_in(2) => "hold",
            _ => "ok",
        };
        query.append_pair("end", end);
        if random.once_in(12) {
            query.append_pair("pause", "15");
        }
        Asked {
            id: format!("id-{number}-{:08x}", random.next() as u32),
            mark,
            method: if random.once_in(6) { "HEAD" } else { "GET" },
            query: query.finish(),
            status,
            declared,
            written,
            ends: ["ok", "trailers", "hold"].contains(&end),
        }
    }

    fn has_content(&self) -> bool {
        self.method != "HEAD" && ![204, 205, 304].contains(&self.status)
    }

    /// Whether nothing is wrong with what the guest answers.
    fn is_right(&self) -> bool {
        let framed = !self.has_content() || self.declared.is_none_or(|declared| declared == self.written);
        self.ends && self.status >= 200 && framed
    }

    /// Checks that an answer, or as much as came of it, is this request's, and the right one.
    fn check(&self, status: u16, id: Option<&str>, body: &[u8], whole: bool, failures: &[u16]) -> Result<(), String> {
        let own = self.mark.bytes().cycle().take(body.len()).eq(body.iter().copied());
        let foreign = !own && body.contains(&b'<');
        if foreign || id != Some(&self.id) {
            return Err(format!("bytes of another response: {id:?}, {:?}", String::from_utf8_lossy(body)));
        }
        if self.is_right() {
            let length = if self.has_content() { self.written } else { 0 };
            let right = whole && own && status == self.status && body.len() as u64 == length;
            return if right { Ok(()) } else { Err(format!("{status}, {} bytes, whole: {whole}", body.len())) };
        }
        let length = body.len() as u64;
        let cut = self.declared == Some(length) && length < self.written;
        match whole {
            // A trap after the whole body need not be seen in it.
            true if own && status == self.status && self.status >= 200 => {
                match !self.has_content() || cut || length == self.written {
                    true => Ok(()),
                    false => Err(format!("{length} bytes are said to be the whole response")),
                }
            }
            true if failures.contains(&status) => Ok(()),
            true => Err(format!("{status} for what cannot be sent")),
            false if self.declared.is_some_and(|declared| length > declared) => {
                Err("more than was declared".to_owned())
            }
            false => Ok(()),
        }
    }

    fn explain(&self, way: Way, seed: u64, wrong: &str) -> String {
        format!("seed {seed}, {way:?}: {} {}: {wrong}", self.method, self.query)
    }
}

/// The recorded seeds, and more of them for `FUZZ_SECONDS`.
fn seeds() -> impl Iterator<Item = u64> {
    let more = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse().expect("FUZZ_SECONDS is a number"));
    let end = more.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let first = Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id()) << 32;
    let fresh = (first..).take_while(move |_| end.is_some_and(|end| Instant::now() < end));
    SEEDS.into_iter().chain(fresh)
}

/// Sends what each seed asks for over one connection that is kept, several requests at a time without waiting for an answer.
async fn fuzz_http1(address: &str, ways: &[Way]) {
    let mut wire = Wire::connect(address).await;
    let (mut whole, mut broken) = (0, 0);
    for seed in seeds() {
        let mut random = Random::new(seed);
        let mut number = 0;
        while number < REQUESTS {
            let asked: Vec<_> = (0..1 + random.below(3))
                .map(|n| (Asked::any(&mut random, number + n), ways[random.below(ways.len())]))
                .collect();
            let heads = asked.iter().map(|(asked, way)| head(asked.method, &way.target(&asked.query), &asked.id));
            wire.send(&heads.collect::<String>()).await;
            for (asked, way) in &asked {
                let Some(message) = wire.response(asked.method == "HEAD").await else {
                    assert!(
                        !asked.is_right() || broken > 0,
                        "{}",
                        asked.explain(*way, seed, "the connection was closed")
                    );
                    wire = Wire::connect(address).await;
                    break;
                };
                number += 1;
                let failures: &[u16] = if *way == Way::Direct { &[500] } else { &[500, 502] };
                let checked =
                    asked.check(message.status, message.header("x-request-id"), &message.body, message.whole, failures);
                checked
                    .and_then(|()| message.check())
                    .unwrap_or_else(|wrong| panic!("{}", asked.explain(*way, seed, &wrong)));
                if message.whole {
                    whole += 1;
                } else {
                    broken += 1;
                    wire = Wire::connect(address).await;
                    break;
                }
            }
        }
    }
    assert!(whole > broken && broken > 0, "{whole} whole, {broken} broken off");
}

#[tokio::test]
async fn no_byte_of_one_response_is_in_another_over_http_1() {
    let hosts = Hosts::one().await;
    fuzz_http1(hosts.front.address(), &[Way::Direct]).await;
}

#[tokio::test]
async fn no_byte_of_one_response_is_in_another_over_a_link_between_components() {
    let hosts = Hosts::one().await;
    fuzz_http1(hosts.front.address(), &[Way::Relayed]).await;
}

#[tokio::test]
async fn no_byte_of_one_response_is_in_another_over_nats() {
    let hosts = Hosts::two().await;
    let client = hosts.front.client();
    for way in [Way::Direct, Way::Relayed] {
        assert_eq!(client.get(&way.target("writes=2&mark=ok&head=content-type:text/plain")).await.text(), "ok");
    }
    fuzz_nats(hosts.front.address()).await;
}

/// A response crosses NATS as a whole, so none is ever broken off.
async fn fuzz_nats(address: &str) {
    let mut wire = Wire::connect(address).await;
    for seed in seeds() {
        let mut random = Random::new(seed);
        for number in 0..REQUESTS {
            let (asked, way) = (Asked::any(&mut random, number), [Way::Direct, Way::Relayed][random.below(2)]);
            wire.send(&head(asked.method, &way.target(&asked.query), &asked.id)).await;
            let message = wire.response(asked.method == "HEAD").await.expect("the connection is kept");
            let id = message.header("x-request-id");
            let checked = asked.check(message.status, id, &message.body, message.whole, &[500, 502]);
            checked
                .and_then(|()| message.check())
                .unwrap_or_else(|wrong| panic!("{}", asked.explain(way, seed, &wrong)));
            assert!(message.whole, "{}", asked.explain(way, seed, "it broke off"));
        }
    }
}

#[tokio::test]
async fn no_byte_of_one_response_is_in_another_over_http_2() {
    let hosts = Hosts::one().await;
    let client = hosts.front.client().http2();
    for seed in seeds() {
        let mut random = Random::new(seed);
        for number in (0..REQUESTS).step_by(8) {
            let asked: Vec<_> = (0..8)
                .map(|n| (Asked::any(&mut random, number + n), [Way::Direct, Way::Relayed][random.below(2)]))
                .collect();
            join_all(asked.iter().map(|(asked, way)| async {
                let method = asked.method.parse().unwrap();
                let request = client.open(method, &way.target(&asked.query)).header("x-request-id", &asked.id);
                let explain = |wrong: &str| asked.explain(*way, seed, wrong);
                let Ok(mut response) = request.send().await else {
                    assert!(!asked.is_right(), "{}", explain("no response"));
                    return;
                };
                let (mut body, mut broken) = (Vec::new(), None);
                loop {
                    match response.chunk().await {
                        Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                        Ok(None) => break,
                        Err(error) => {
                            broken = Some(error);
                            break;
                        }
                    }
                }
                let id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok());
                let failures: &[u16] = if *way == Way::Direct { &[500] } else { &[500, 502] };
                let checked = asked.check(response.status().as_u16(), id, &body, broken.is_none(), failures);
                checked.unwrap_or_else(|wrong| panic!("{}: {broken:?}", explain(&wrong)));
            }))
            .await;
        }
    }
}
