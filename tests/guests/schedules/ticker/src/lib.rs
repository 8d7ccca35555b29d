//! A test component that records the due time of each call that it receives.

use spin_sdk::wit_bindgen;

wit_bindgen::generate!({
    world: "souk-test:ticks/ticker",
    path: ["../../../../wit/deps/wasi-keyvalue-2024-10-17", "../wit"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use exports::souk_test::ticks::{look, ticks};
use wasi::keyvalue::{atomics, store};

struct Ticker;
export!(Ticker);

impl ticks::Guest for Ticker {
    fn tick(id: String, due: u64) -> Result<(), ticks::DeliveryError> {
        let failed = |error: store::Error| ticks::DeliveryError::Retry(format!("{error:?}"));
        let bucket = store::open("default").map_err(failed)?;
        if atomics::increment(&bucket, &format!("{due}-{id}"), 1).map_err(failed)? > 1 {
            atomics::increment(&bucket, &format!("again-{due}-{id}"), 1).map_err(failed)?;
        }
        Ok(())
    }
}

impl look::Guest for Ticker {
    fn seen() -> Result<Vec<String>, look::Error> {
        let failed = |error: store::Error| look::Error::Failed(format!("{error:?}"));
        let bucket = store::open("default").map_err(failed)?;
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = bucket.list_keys(cursor.as_deref()).map_err(failed)?;
            seen.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(seen);
            }
        }
    }
}
