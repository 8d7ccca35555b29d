//! The settings from the application's variables: the public URL, and the secret with which events are signed.

use souk_variables as variables;
use std::cell::OnceCell;

/// The public URL of the application, without a slash at the end. Read once per instance.
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

/// The secret with which the webhook checks signatures.
pub(crate) fn endpoint_secret() -> Option<String> {
    read("stripe_endpoint_secret").map(|secret| secret.trim().to_owned())
}

/// The value of a variable. If it has none, the log says so.
fn read(name: &str) -> Option<String> {
    match variables::get(name) {
        Ok(value) if !value.trim().is_empty() => Some(value),
        Ok(_) => {
            eprintln!("the variable `{name}` is empty, and the sandbox needs it; fix: set it");
            None
        }
        Err(_) => {
            eprintln!("the variable `{name}` is not defined, or not granted to this component");
            None
        }
    }
}
