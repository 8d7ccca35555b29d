//! A test component whose exports are `async func`.

use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wit_bindgen;

wit_bindgen::generate!({
    world: "souk-test:mixed/callee",
    path: "../wit/async",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use exports::souk_test::mixed::{events, work};
use std::hint::black_box;

struct Callee;
export!(Callee);

impl work::Guest for Callee {
    async fn next(item: work::Item) -> Result<work::Item, work::Error> {
        let work::Item { name, counts } = item;
        if name.is_empty() {
            return Err(work::Error::Failed("an item has a name".to_owned()));
        }
        Ok(work::Item { name, counts: counts.into_iter().map(|count| count + 1).collect() })
    }

    async fn hold(ms: u32) -> Result<u32, work::Error> {
        println!("holding {ms}");
        monotonic_clock::wait_for(u64::from(ms) * 1_000_000).await;
        Ok(ms)
    }

    async fn compute(ms: u32) -> Result<u32, work::Error> {
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < ms.into() {
            for n in 0..10_000 {
                black_box(n);
            }
        }
        Ok(ms)
    }

    async fn linger(ms: u32) -> Result<u32, work::Error> {
        spin_sdk::wasip3::spawn(async move {
            monotonic_clock::wait_for(u64::from(ms) * 1_000_000).await;
            println!("lingered {ms}");
        });
        Ok(ms)
    }

    async fn forever() -> Result<u32, work::Error> {
        loop {
            black_box(0);
        }
    }

    async fn boom() -> Result<u32, work::Error> {
        panic!("boom, with the secret detail swordfish")
    }
}

impl events::Guest for Callee {
    async fn note(id: String) -> Result<(), events::DeliveryError> {
        println!("noted {id}");
        Ok(())
    }
}
