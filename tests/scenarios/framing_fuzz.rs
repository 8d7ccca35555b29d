//! Responses with random framing, correct or not, over one keep-alive connection: no byte of one response may appear in
//! another.
//!
//! It runs over HTTP/1.1, HTTP/2, a link between two components, and NATS. Each run begins with fixed seeds;
//! `FUZZ_SECONDS=600` continues with new seeds for 600 seconds. A failure names its seed.

use super::framing::{Hosts, Way, head};
use crate::harness::Random;
use crate::harness::raw::Wire;
use futures::future::join_all;
use std::time::{Duration, Instant};

/// The seeds of every run.
const SEEDS: [u64; 4] = [1, 2, 0x5eed, 20_260_101];

/// Requests a seed.
const REQUESTS: usize = 80;

/// A random request, and what its answer must be.
struct FuzzRequest {
    id: String,
    mark: String,
    method: &'static str,
    query: String,
    status: u16,
    /// The content length that the guest declares; also `None` if the host refuses it.
    declared: Option<u64>,
    /// The number of bytes in its body.
    written: u64,
    /// Whether it answers at all and ends the body normally.
    ends: bool,
}

impl FuzzRequest {
    fn any(random: &mut Random, number: usize) -> FuzzRequest {
        fn pick<'a, T: ?Sized>(random: &mut Random, from: &[&'a T]) -> &'a T {
            from[random.below(from.len())]
        }
        const SIZES: [usize; 11] = [0, 1, 2, 9, 100, 4_096, 65_535, 65_536, 65_537, 70_000, 150_000];
        let mark = format!("<{number:06}-{:08x}>", random.next_u64() as u32);
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
        FuzzRequest {
            id: format!("id-{number}-{:08x}", random.next_u64() as u32),
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

    /// Whether the guest's answer is correct.
    fn is_right(&self) -> bool {
        let framed = !self.has_content() || self.declared.is_none_or(|declared| declared == self.written);
        self.ends && self.status >= 200 && framed
    }

    /// Checks that an answer, or the part of it that came, belongs to this request and is the right one.
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
            // A trap after the whole body may go unnoticed.
            true if own && status == self.status && self.status >= 200 => {
                match !self.has_content() || cut || length == self.written {
                    true => Ok(()),
                    false => Err(format!("{length} bytes look like the complete response")),
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

/// The fixed seeds, and new ones for `FUZZ_SECONDS`.
fn seeds() -> impl Iterator<Item = u64> {
    let more = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse().expect("FUZZ_SECONDS is a number"));
    let end = more.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let first = Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id()) << 32;
    let fresh = (first..).take_while(move |_| end.is_some_and(|end| Instant::now() < end));
    SEEDS.into_iter().chain(fresh)
}

/// Sends the requests of each seed over one keep-alive connection, and pipelines several of them.
async fn fuzz_http1(address: &str, ways: &[Way]) {
    let mut wire = Wire::connect(address).await;
    let (mut whole, mut broken) = (0, 0);
    for seed in seeds() {
        let mut random = Random::new(seed);
        let mut number = 0;
        while number < REQUESTS {
            let asked: Vec<_> = (0..1 + random.below(3))
                .map(|n| (FuzzRequest::any(&mut random, number + n), ways[random.below(ways.len())]))
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

/// NATS carries a response as one message, so no response breaks off.
async fn fuzz_nats(address: &str) {
    let mut wire = Wire::connect(address).await;
    for seed in seeds() {
        let mut random = Random::new(seed);
        for number in 0..REQUESTS {
            let (asked, way) = (FuzzRequest::any(&mut random, number), [Way::Direct, Way::Relayed][random.below(2)]);
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
                .map(|n| (FuzzRequest::any(&mut random, number + n), [Way::Direct, Way::Relayed][random.below(2)]))
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
