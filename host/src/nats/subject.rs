//! The subjects on NATS, and the names of streams and buckets: all of them, in one place.
//!
//! | subject | carries |
//! |---|---|
//! | `souk.APP.call.COMPONENT.INTERFACE.FUNCTION` | calls of one function |
//! | `souk.APP.http.COMPONENT` | HTTP requests for a component |
//! | `souk.APP.cancel.COMPONENT` | ids of calls whose caller has gone away |
//! | `souk.APP.durable.COMPONENT.INTERFACE.FUNCTION` | messages of durable links |
//! | `souk.APP.dead.COMPONENT.INTERFACE.FUNCTION` | those that were given up |
//!
//! Each name is one token. Permissions at the server can therefore be given by application and by component:
//! a host that runs `orders` needs to subscribe to `souk.store.*.orders.>`.
//! Streams and buckets are named `souk_APP_...`, which is what JetStream takes: letters, digits, `-` and `_`.

use std::fmt::Write;

/// A name as one token of letters, digits and `-`: another character becomes `_` and its bytes in hexadecimal, so that
/// two names never share a token.
pub fn token(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            token.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(token, "_{byte:02x}");
        }
    }
    token
}

/// An interface as one token: `store:products/catalog@1_0_0`. WIT names have no `_`, so nothing is lost.
fn interface(name: &str) -> String {
    name.replace('.', "_")
}

/// The subjects of one application.
#[derive(Debug, Clone)]
pub struct Subjects {
    /// The application's token.
    application: String,
}

impl Subjects {
    /// The subjects of the application `name`.
    pub fn of(name: &str) -> Self {
        Subjects { application: token(name) }
    }

    /// The application as a token.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// Calls of `function` of `interface`, as `component` exports it.
    pub fn call(&self, component: &str, interface: &str, function: &str) -> String {
        self.function("call", component, interface, function)
    }

    /// HTTP requests for `component`.
    pub fn http(&self, component: &str) -> String {
        format!("souk.{}.http.{}", self.application, token(component))
    }

    /// Ids of calls of `component` that nobody waits for any more.
    pub fn cancel(&self, component: &str) -> String {
        format!("souk.{}.cancel.{}", self.application, token(component))
    }

    /// Durable messages for one function.
    pub fn durable(&self, component: &str, interface: &str, function: &str) -> String {
        self.function("durable", component, interface, function)
    }

    /// All durable messages for `component`.
    pub fn durable_of(&self, component: &str) -> String {
        format!("souk.{}.durable.{}.>", self.application, token(component))
    }

    /// All durable messages.
    pub fn durable_all(&self) -> String {
        format!("souk.{}.durable.>", self.application)
    }

    /// Dead letters of one function.
    pub fn dead(&self, component: &str, interface: &str, function: &str) -> String {
        self.function("dead", component, interface, function)
    }

    /// All dead letters.
    pub fn dead_all(&self) -> String {
        format!("souk.{}.dead.>", self.application)
    }

    /// The name of a stream or bucket, `what` being of letters, digits, `-` and `_`.
    pub fn stream(&self, what: &str) -> String {
        format!("souk_{}_{what}", self.application)
    }

    fn function(&self, kind: &str, component: &str, interface_name: &str, function: &str) -> String {
        let (application, component) = (&self.application, token(component));
        format!("souk.{application}.{kind}.{component}.{}.{function}", interface(interface_name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn subjects_are_what_the_table_says() {
        let subjects = Subjects::of("My store");
        let catalog = "store:products/catalog@1.0.0";
        assert_eq!(
            subjects.call("products", catalog, "get"),
            "souk.My_20store.call.products.store:products/catalog@1_0_0.get"
        );
        assert_eq!(subjects.http("a_b"), "souk.My_20store.http.a_5fb");
        assert_eq!(subjects.stream("durable"), "souk_My_20store_durable");
    }

    proptest! {
        #[test]
        fn two_names_never_share_a_token(one: String, other: String) {
            prop_assert_eq!(one == other, token(&one) == token(&other));
            prop_assert!(token(&one).chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        }
    }
}
