//! Keeps notes in its key-value store. The id is the key, so a note that is delivered twice is kept once.

spin_sdk::wit_bindgen::generate!({
    inline: "package example:keeper; world component {
        export example:notes/inbox@1.0.0;
        export example:notes/notes@1.0.0;
    }",
    path: "../wit",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use exports::example::notes::inbox::{DeliveryError, Guest as Inbox};
use exports::example::notes::notes::{Error, Guest as Notes};
use spin_sdk::key_value::Store;

struct Keeper;
export!(Keeper);

impl Inbox for Keeper {
    async fn keep(id: String, text: String) -> Result<(), DeliveryError> {
        if text.is_empty() {
            return Err(DeliveryError::Reject("a note has a text".to_owned()));
        }
        let retry = |error| DeliveryError::Retry(format!("{error:?}"));
        Store::open_default().await.map_err(retry)?.set(id, text).await.map_err(retry)
    }
}

impl Notes for Keeper {
    async fn read(id: String) -> Result<Option<String>, Error> {
        let unavailable = |error| Error::Unavailable(format!("{error:?}"));
        let note = Store::open_default().await.map_err(unavailable)?.get(id).await.map_err(unavailable)?;
        Ok(note.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}
