//! The load: connections that are kept open, one request at a time each.

use crate::server::Server;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// What one slot showed.
pub struct Sample {
    /// Requests a second.
    pub rate: f64,
    /// Median latency, us.
    pub p50: f64,
    /// 99th percentile of latency, us.
    pub p99: f64,
    /// CPU of the server's process by request, us.
    pub cpu: f64,
}

impl Sample {
    /// The median of each figure.
    pub fn median(samples: &[Sample]) -> Sample {
        let of = |figure: fn(&Sample) -> f64| crate::median(&mut samples.iter().map(figure).collect::<Vec<_>>());
        Sample { rate: of(|s| s.rate), p50: of(|s| s.p50), p99: of(|s| s.p99), cpu: of(|s| s.cpu) }
    }
}

/// Loads `server` with GET `path` for `slot`, after a short warm-up.
pub fn run(server: &Server, path: &str, connections: usize, slot: Duration) -> Sample {
    runtime().block_on(async {
        requests(server, path, connections, slot / 10).await;
        let (cpu, start) = (server.cpu(), Instant::now());
        let mut latencies = requests(server, path, connections, slot).await;
        let (cpu, took) = (server.cpu() - cpu, start.elapsed().as_secs_f64());
        latencies.sort_unstable();
        let at = |percent: usize| latencies[latencies.len() * percent / 100].as_secs_f64() * 1e6;
        Sample {
            rate: latencies.len() as f64 / took,
            p50: at(50),
            p99: at(99),
            cpu: cpu * 1e6 / latencies.len() as f64,
        }
    })
}

/// One request.
pub fn once(server: &Server, path: &str) {
    runtime().block_on(async { get(&mut connect(&server.address).await, &server.address, path).await });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn requests(server: &Server, path: &str, connections: usize, slot: Duration) -> Vec<Duration> {
    let end = Instant::now() + slot;
    let one = |_| async move {
        let mut sender = connect(&server.address).await;
        let mut latencies = Vec::new();
        while Instant::now() < end {
            let start = Instant::now();
            get(&mut sender, &server.address, path).await;
            latencies.push(start.elapsed());
        }
        latencies
    };
    futures::future::join_all((0..connections).map(one)).await.concat()
}

async fn connect(address: &str) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn get(sender: &mut SendRequest<Empty<Bytes>>, host: &str, path: &str) {
    let request = http::Request::get(path).header("host", host).body(Empty::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200, "GET {path}");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(!body.is_empty(), "GET {path}: an empty body");
}
