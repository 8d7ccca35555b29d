//! Exports the contract. It is granted nothing: it can only compute.

spin_sdk::wit_bindgen::generate!({
    inline: "package example:greeter; world component { export example:greetings/greetings@1.0.0; }",
    path: "../wit",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use exports::example::greetings::greetings::{Error, Guest};

struct Greeter;
export!(Greeter);

impl Guest for Greeter {
    fn greet(name: String, language: String) -> Result<String, Error> {
        match language.as_str() {
            "en" => Ok(format!("Hello, {name}!")),
            "es" => Ok(format!("¡Hola, {name}!")),
            _ => Err(Error::UnknownLanguage(language)),
        }
    }
}
