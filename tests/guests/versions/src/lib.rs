//! A test component whose text `MARK` says how it answers. A scenario makes another version of the component by
//! overwriting this text in the component's file.

use spin_sdk::http::{IntoResponse, Request, StatusCode};
use spin_sdk::http_service;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The behaviour: `good-N`, `traps`, `errors` (in half of the calls), `slow`, `hangs` or `leaks`. A scenario finds the
/// text by its prefix.
static MARK: &str = "BEHAVIOUR:good-1          ";

static CALLS: AtomicU32 = AtomicU32::new(0);

fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        black_box(());
    }
}

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let behaviour = black_box(MARK).trim_start_matches("BEHAVIOUR:").trim();
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    if let Some(milliseconds) = request.uri().query().and_then(|query| query.parse().ok()) {
        spin_sdk::wasip3::clocks::monotonic_clock::wait_for(Duration::from_millis(milliseconds).as_nanos() as u64)
            .await;
    }
    match behaviour {
        "traps" => panic!("this version is wrong"),
        "errors" if call.is_multiple_of(2) => return (StatusCode::INTERNAL_SERVER_ERROR, "wrong".to_owned()),
        "hangs" => {
            spin_sdk::wasip3::clocks::monotonic_clock::wait_for(Duration::from_secs(600).as_nanos() as u64).await;
        }
        "slow" => compute(Duration::from_millis(8)),
        "leaks" => std::mem::forget(vec![1_u8; 2 << 20]),
        _ => compute(Duration::from_millis(2)),
    }
    (StatusCode::OK, behaviour.to_owned())
}
