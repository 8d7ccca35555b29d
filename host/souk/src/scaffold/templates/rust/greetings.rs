//! Exports the contract <<contract>>. It is granted nothing: it can only compute.

spin_sdk::dependencies!();

use exports::<<path>>::{Error, Guest};

struct Component;
export!(Component);

impl Guest for Component {
    fn greet(name: String) -> Result<String, Error> {
        if name.is_empty() {
            return Err(Error::Invalid("say whom to greet".to_owned()));
        }
        Ok(format!("Hello, {name}!"))
    }
}
