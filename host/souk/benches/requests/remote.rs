//! What a link costs over NATS: the same request over a local link, over a link to another host, and a bare NATS
//! request and reply of the same size, all on loopback in one run.
//!
//! The bare request is answered in this process and has no HTTP in front of it. So compare it with what a remote link
//! adds to a local link, not with the whole row.

use crate::load::{self, Call, Sample};
use crate::server::{Server, souk};
use crate::{CONNECTIONS, ROUNDS, SLOT};
use futures::StreamExt;
use souk_test::nats::Nats;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Roughly the answer of the probe's link.
const PAYLOAD: &str = r#"{"ok":{"answer":7}}"#;

/// Measures and prints the rows.
pub(crate) fn rows(state: &Path) {
    let nats = Nats::start();
    let part = |only: &str, folder: &str| {
        let mut command = souk("probe", &state.join(folder));
        command.args(["--nats", &nats.url(), "--only", only]);
        Server::start(command)
    };
    let local = Server::start(souk("probe", &state.join("local")));
    let callee = part("rogue", "callee");
    let caller = part("front", "caller");
    let call = Call::get("/answer/7");
    println!("{:<34} {:>5} {:>9} {:>9} {:>9} {:>9}", "links", "conns", "req/s", "p50 us", "p99 us", "CPU us");
    for connections in [1, CONNECTIONS] {
        let mut samples: [Vec<Sample>; 3] = Default::default();
        for _ in 0..ROUNDS {
            samples[0].push(load::run(&local, &call, connections, SLOT));
            let before = callee.cpu();
            let mut remote = load::run(&caller, &call, connections, SLOT);
            // Both hosts work for a request. The callee's share includes the warm-up, a tenth of a slot.
            remote.cpu += (callee.cpu() - before) * 1e6 / (remote.rate * SLOT.as_secs_f64() * 1.1);
            samples[1].push(remote);
            samples[2].push(bare(&nats.url(), connections));
        }
        let names = ["HTTP and a local link", "HTTP and a link over NATS", "a NATS request alone"];
        for (name, samples) in names.iter().zip(&samples) {
            let Sample { rate, p50, p99, cpu } = Sample::median(samples);
            let cpu = if cpu > 0.0 { format!("{cpu:.1}") } else { "-".to_owned() };
            println!("{name:<34} {connections:>5} {rate:>9.0} {p50:>9.0} {p99:>9.0} {cpu:>9}");
        }
    }
    println!();
}

/// Requests without Souk: this process sends and answers them, over two connections to NATS.
fn bare(url: &str, connections: usize) -> Sample {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let answerer = async_nats::connect(url).await.unwrap();
        let mut requests = answerer.queue_subscribe("bench.bare", "bench".to_owned()).await.unwrap();
        answerer.flush().await.unwrap();
        let answers = tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                answerer.publish(request.reply.unwrap(), request.payload).await.unwrap();
            }
        });
        let asker = async_nats::connect(url).await.unwrap();
        let start = Instant::now();
        let one = |_| {
            let asker = asker.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while start.elapsed() < SLOT {
                    let before = Instant::now();
                    asker.request("bench.bare", PAYLOAD.into()).await.unwrap();
                    latencies.push(before.elapsed());
                }
                latencies
            })
        };
        let latencies = futures::future::join_all((0..connections).map(one)).await;
        let took = start.elapsed();
        answers.abort();
        let mut latencies: Vec<Duration> = latencies.into_iter().flat_map(Result::unwrap).collect();
        latencies.sort_unstable();
        let at = |percent: usize| latencies[latencies.len() * percent / 100].as_secs_f64() * 1e6;
        Sample { rate: latencies.len() as f64 / took.as_secs_f64(), p50: at(50), p99: at(99), cpu: 0.0 }
    })
}
