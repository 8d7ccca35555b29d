//! A test component whose exports are `func`.

use spin_sdk::wit_bindgen;

wit_bindgen::generate!({
    world: "souk-test:mixed/callee",
    path: "../wit/func",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use exports::souk_test::mixed::{events, work};
use std::hint::black_box;

struct Callee;
export!(Callee);

impl work::Guest for Callee {
    fn next(item: work::Item) -> Result<work::Item, work::Error> {
        let work::Item { name, counts } = item;
        if name.is_empty() {
            return Err(work::Error::Failed("an item has a name".to_owned()));
        }
        Ok(work::Item { name, counts: counts.into_iter().map(|count| count + 1).collect() })
    }

    fn hold(ms: u32) -> Result<u32, work::Error> {
        println!("holding {ms}");
        std::thread::sleep(std::time::Duration::from_millis(ms.into()));
        Ok(ms)
    }

    fn compute(ms: u32) -> Result<u32, work::Error> {
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < ms.into() {
            for n in 0..10_000 {
                black_box(n);
            }
        }
        Ok(ms)
    }

    fn linger(ms: u32) -> Result<u32, work::Error> {
        Ok(ms)
    }

    fn forever() -> Result<u32, work::Error> {
        loop {
            black_box(0);
        }
    }

    fn boom() -> Result<u32, work::Error> {
        panic!("boom, with the secret detail swordfish")
    }
}

impl events::Guest for Callee {
    fn note(id: String) -> Result<(), events::DeliveryError> {
        println!("noted {id}");
        Ok(())
    }
}
