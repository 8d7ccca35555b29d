//! What the application's variables say: where browsers reach us, and the secret that events are signed with.

use souk_variables as variables;
use std::cell::OnceCell;

/// Where browsers reach the application, without a slash at the end. Read once in an instance's life.
pub(crate) fn public_url() -> Option<String> {
    thread_local! {
        static READ: OnceCell<String> = const { OnceCell::new() };
    }
    if let Some(url) = READ.with(|read| read.get().cloned()) {
        return Some(url);
    }
    let url = read("public_url")?.trim().trim_end_matches('/').to_owned();
    READ.with(|read| read.set(url.clone())).ok();
    Some(url)
}

/// The secret that the webhook checks signatures with.
pub(crate) fn endpoint_secret() -> Option<String> {
    read("stripe_endpoint_secret").map(|secret| secret.trim().to_owned())
}

/// A variable that has a value; without one, the log says so.
fn read(name: &str) -> Option<String> {
    match variables::get(name) {
        Ok(value) if !value.trim().is_empty() => Some(value),
        Ok(_) => {
            eprintln!("the variable `{name}` is empty; the sandbox needs it");
            None
        }
        Err(_) => {
            eprintln!("the variable `{name}` is not defined, or not granted to this component");
            None
        }
    }
}
