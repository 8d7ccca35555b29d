//! Receives the messages of <<contract>> and stores them in a key-value store. A message's id is its key, so a message
//! that is delivered twice is stored once.

spin_sdk::dependencies!();

use exports::<<package_path>>::kept::{Error, Guest as Kept};
use exports::<<path>>::{DeliveryError, Guest as Inbox};
use souk_key_value::Store;

/// The label in `key_value_stores`.
const STORE: &str = "<<component>>";

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
