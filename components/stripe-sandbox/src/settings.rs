//! What the application's variables say: where browsers reach us, and the secret that events are signed with.

use spin_sdk::variables;

/// Where browsers reach the application, without a slash at the end.
pub async fn public_url() -> Option<String> {
    read("public_url").await.map(|url| url.trim().trim_end_matches('/').to_owned())
}

/// The secret that the webhook checks signatures with.
pub async fn endpoint_secret() -> Option<String> {
    read("stripe_endpoint_secret").await.map(|secret| secret.trim().to_owned())
}

/// A variable that has a value; without one, the log says so.
async fn read(name: &str) -> Option<String> {
    match variables::get(name).await {
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
