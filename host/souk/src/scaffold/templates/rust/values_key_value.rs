//! Exports the contract <<contract>>, and keeps its values in a key-value store.

spin_sdk::dependencies!();

use exports::<<path>>::{Error, Guest};
use souk_key_value::Store;

/// The label in `key_value_stores`.
const STORE: &str = "<<component>>";

struct Component;
export!(Component);

impl Guest for Component {
    fn get(key: String) -> Result<Option<String>, Error> {
        let value = Store::open(STORE)?.get(&key)?;
        Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn set(key: String, value: String) -> Result<(), Error> {
        if key.is_empty() {
            return Err(Error::Invalid("the key is empty".to_owned()));
        }
        Ok(Store::open(STORE)?.set(&key, value.as_bytes())?)
    }
}

impl From<souk_key_value::Error> for Error {
    fn from(error: souk_key_value::Error) -> Error {
        eprintln!("the store does not answer: {error}");
        Error::Unavailable("the values cannot be read now".to_owned())
    }
}
