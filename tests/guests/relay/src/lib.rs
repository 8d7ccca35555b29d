//! A test component that forwards events to a service of the NestJS system, as an adapter does.

use serde_json::json;
use spin_sdk::wit_bindgen;

wit_bindgen::generate!({
    inline: "package souk-test:relay;
        world relay {
            import nest:microservices/events@1.0.0;
            export souk-test:rogue/events@1.0.0;
        }",
    path: ["../../../wit/deps/wasi-keyvalue-2024-10-17", "../wit", "../../../wit/nest"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use exports::souk_test::rogue::events::{Deed, DeliveryError, Guest};
use nest::microservices::events;

struct Relay;
export!(Relay);

impl Guest for Relay {
    fn handle(id: String, _deed: Deed, note: String) -> Result<(), DeliveryError> {
        let data = json!({ "id": id, "note": note }).to_string();
        events::handle("account.noted", &data).map_err(|error| match error {
            events::DeliveryError::Retry(text) => DeliveryError::Retry(text),
            events::DeliveryError::Reject(text) => DeliveryError::Reject(text),
        })
    }
}
