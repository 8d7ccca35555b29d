//! Receives the messages of example:notes/inbox@1.0.0 and stores them in a key-value store. A message's id is its key, so a message
//! that is delivered twice is stored once.

spin_sdk::wit_bindgen::generate!({
    inline: "package example:keeper; world component {
        export example:notes/inbox@1.0.0;
        export example:notes/kept@1.0.0;
    }",
    path: "../wit",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use exports::example::notes::inbox::{DeliveryError, Guest as Inbox};
use exports::example::notes::kept::{Error, Guest as Kept};
use souk_key_value::Store;

/// The label in `key_value_stores`.
const STORE: &str = "keeper";

struct Component;
export!(Component);

impl Inbox for Component {
    fn deliver(id: String, text: String) -> Result<(), DeliveryError> {
        if text.is_empty() {
            return Err(DeliveryError::Reject("the text is empty".to_owned()));
        }
        let kept = Store::open(STORE).and_then(|store| store.set(&id, text.as_bytes()));
        kept.map_err(|error| DeliveryError::Retry(error.to_string()))
    }
}

impl Kept for Component {
    fn read(id: String) -> Result<Option<String>, Error> {
        let found = Store::open(STORE).and_then(|store| store.get(&id));
        let found = found.map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}
