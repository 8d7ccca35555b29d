//! All subjects on NATS, and all names of streams and buckets.
//!
//! | subject | carries |
//! |---|---|
//! | `souk.APP.call.COMPONENT.INTERFACE.FUNCTION.TYPE` | calls of one function with one type; TYPE is a digest |
//! | `souk.APP.http.COMPONENT` | HTTP requests for a component |
//! | one of these two and `.HOST` | the same, for one host only |
//! | one of these two and `.trial-ID` | the same, for the host that tries out a version of the component |
//! | `souk.APP.cancel.COMPONENT` | ids of calls whose caller waits no longer |
//! | `souk.APP.durable.COMPONENT.INTERFACE.FUNCTION.ID` | messages of durable links |
//! | `souk.APP.dead.COMPONENT.INTERFACE.FUNCTION.ID` | dead letters |
//! | `souk.APP.note.ID` | the note about a message: why it failed and until when it waits |
//! | `souk.APP.schedule.COMPONENT.SCHEDULE` | how far a schedule has come |
//! | `souk.APP.schedule.clock` | empty messages; hosts compare their clocks with the times that the servers store with them |
//!
//! Each name is one token, so that the server can grant permissions by application and by component. A host that runs
//! `orders` subscribes to `souk.store.call.orders.>`, `souk.store.http.orders`, `souk.store.http.orders.*` and
//! `souk.store.cancel.orders`, to `$SRV.>` and to `_INBOX.>`. It publishes to the same subjects of the components that
//! it calls, to `_INBOX.>`, `$SRV.INFO.*` and `$SRV.PING.*`. If it has messages or stores on NATS, it also publishes to
//! their subjects, to `$KV.BUCKET.>`, `$JS.API.>` and `$JS.ACK.>`. Streams and buckets are named `souk_APP_...`, with
//! the characters that JetStream allows: letters, digits, `-` and `_`.

use std::fmt::Write;

/// A name as one token of letters, digits and `-`. Any other character becomes `_` and its bytes in hexadecimal, so
/// that different names have different tokens.
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

/// An interface as one token: `store:products/catalog/1_0_0`. WIT names have no `_` and only one `/`, so this can be
/// reversed. A subject of JetStream must not contain `@`: the servers of a cluster use it to separate a message's
/// subject from its reply subject, and would lose a message with another one.
fn interface(name: &str) -> String {
    name.replace('@', "/").replace('.', "_")
}

/// The interface of a token, the reverse of [`interface`].
fn interface_of(token: &str) -> String {
    let name = token.replace('_', ".");
    match name.match_indices('/').nth(1) {
        Some((at, _)) => format!("{}@{}", name.get(..at).unwrap_or_default(), name.get(at + 1..).unwrap_or_default()),
        None => name,
    }
}

/// The name of a [`token`]; text that is not a token is returned unchanged.
fn name(token: &str) -> String {
    let (mut name, mut rest) = (Vec::with_capacity(token.len()), token);
    while let Some((before, after)) = rest.split_once('_') {
        name.extend_from_slice(before.as_bytes());
        let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let (Some(byte), Some(after)) = (byte, after.get(2..)) else { return token.to_owned() };
        name.push(byte);
        rest = after;
    }
    name.extend_from_slice(rest.as_bytes());
    String::from_utf8(name).unwrap_or_else(|_| token.to_owned())
}

/// The function that a durable message or dead letter calls, and its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Called {
    /// The component.
    pub component: String,
    /// The interface, as the component exports it.
    pub interface: String,
    /// The function.
    pub function: String,
    /// The message's id.
    pub id: String,
}

/// Reads the subject of a durable message or dead letter.
pub fn called(subject: &str) -> Option<Called> {
    let mut tokens = subject.split('.').skip(3);
    let mut next = || tokens.next().map(str::to_owned);
    let (component, interface, function, id) = (next()?, next()?, next()?, next()?);
    Some(Called { component: name(&component), interface: interface_of(&interface), function, id })
}

/// Whether a reply subject is reserved, because a message to it has an effect: the subjects of the server and of hosts.
/// For example, a client that may only call a component must not use the answer to purge a stream.
pub fn is_reserved(reply: &str) -> bool {
    reply.starts_with('$') || reply.starts_with("souk.")
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

    /// Calls of `function` of `interface`, as `component` exports it; `digest` is the digest of its type.
    pub fn call(&self, component: &str, interface: &str, function: &str, digest: &str) -> String {
        format!("{}.{digest}", self.function("call", component, interface, function))
    }

    /// HTTP requests for `component`.
    pub fn http(&self, component: &str) -> String {
        format!("souk.{}.http.{}", self.application, token(component))
    }

    /// Ids of cancelled calls of `component`.
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

    /// The durable message `id`, for any function.
    pub fn durable_id(&self, id: &str) -> String {
        format!("souk.{}.durable.*.*.*.{id}", self.application)
    }

    /// The dead letter `id`, for any function.
    pub fn dead_id(&self, id: &str) -> String {
        format!("souk.{}.dead.*.*.*.{id}", self.application)
    }

    /// The note about the message `id`.
    pub fn note(&self, id: &str) -> String {
        format!("souk.{}.note.{id}", self.application)
    }

    /// The cursor of the schedule `name` of `component`.
    pub fn schedule(&self, component: &str, name: &str) -> String {
        format!("souk.{}.schedule.{}.{}", self.application, token(component), token(name))
    }

    /// The subject with which hosts compare their clocks with the servers'.
    pub fn schedule_clock(&self) -> String {
        format!("souk.{}.schedule.clock", self.application)
    }

    /// Everything about schedules.
    pub fn schedule_all(&self) -> String {
        format!("souk.{}.schedule.>", self.application)
    }

    /// All dead letters.
    pub fn dead_all(&self) -> String {
        format!("souk.{}.dead.>", self.application)
    }

    /// The name of a stream or bucket; `what` consists of letters, digits, `-` and `_`.
    pub fn stream(&self, what: &str) -> String {
        format!("souk_{}_{what}", self.application)
    }

    /// Whether it is a subject of calls, requests or cancellations.
    pub fn is_call(&self, subject: &str) -> bool {
        let kind = subject.strip_prefix("souk.").and_then(|rest| rest.strip_prefix(self.application.as_str()));
        kind.is_some_and(|kind| [".call.", ".http.", ".cancel."].iter().any(|call| kind.starts_with(call)))
    }

    /// The default name of the bucket for the key-value store `label`.
    pub fn bucket(&self, label: &str) -> String {
        self.stream(&format!("kv_{label}"))
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
            subjects.call("products", catalog, "get", "0a1b"),
            "souk.My_20store.call.products.store:products/catalog/1_0_0.get.0a1b"
        );
        assert_eq!(subjects.http("a_b"), "souk.My_20store.http.a_5fb");
        assert_eq!(subjects.stream("durable"), "souk_My_20store_durable");
    }

    proptest! {
        #[test]
        fn two_names_never_share_a_token(one: String, other: String) {
            prop_assert_eq!(one == other, token(&one) == token(&other));
            prop_assert!(token(&one).chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
            prop_assert_eq!(name(&token(&one)), one);
        }
    }
}
