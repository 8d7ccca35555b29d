//! Refusals, in the shapes that the clients know.
//!
//! The recorded system answers errors in four shapes, by the layer that raised them; each has a constructor here that
//! says when it is right. Everything that a service refuses becomes HTTP in [`crate::routes`], through these.

use super::reply::Reply;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// How long a client should wait before it tries an outage again, in seconds.
const RETRY_AFTER: u8 = 1;

/// A refusal, ready to be sent.
#[derive(Debug)]
pub struct Error {
    status: u16,
    shape: Shape,
    message: Message,
}

/// Which keys stand in the body, in which order.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// `{message, error, statusCode}`
    Http,
    /// `{statusCode, message}`
    Protocol,
    /// `{message, status}`
    Service,
    /// `{status, message}`
    Outage,
}

/// One message, or one for each wrong field.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Message {
    One(String),
    Many(Vec<String>),
}

impl Error {
    /// The request is malformed in one way.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Error { status: 400, shape: Shape::Http, message: Message::One(message.into()) }
    }

    /// Fields are wrong: one message each.
    pub fn invalid(messages: Vec<String>) -> Self {
        Error { status: 400, shape: Shape::Http, message: Message::Many(messages) }
    }

    /// No route takes this method and path.
    pub fn no_route(method: &str, target: &str) -> Self {
        let message = format!("Cannot {method} {target}");
        Error { status: 404, shape: Shape::Http, message: Message::One(message) }
    }

    /// The body cannot be read as HTTP has it.
    pub fn protocol(status: u16, message: impl Into<String>) -> Self {
        Error { status, shape: Shape::Protocol, message: Message::One(message.into()) }
    }

    /// A service refuses, with a message for the client.
    pub fn service(status: u16, message: impl Into<String>) -> Self {
        Error { status, shape: Shape::Service, message: Message::One(message.into()) }
    }

    /// A service cannot answer now; `what` names it to the client, `detail` goes to the log.
    pub fn unavailable(what: &str, detail: &str) -> Self {
        eprintln!("{what} unavailable: {detail}");
        let message = format!("{what} is unavailable, please try again");
        Error { status: 503, shape: Shape::Outage, message: Message::One(message) }
    }

    /// Something is wrong here or in a service; `detail` goes to the log, nothing of it to the client.
    pub fn internal(detail: &str) -> Self {
        eprintln!("internal error: {detail}");
        Error { status: 500, shape: Shape::Protocol, message: Message::One("Internal server error".into()) }
    }

    /// The response.
    pub fn into_reply(self) -> Reply {
        let retry_after = matches!(self.shape, Shape::Outage).then_some(RETRY_AFTER);
        // Strings and numbers cannot fail to become JSON; an empty body would still carry the status.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        Reply { status: self.status, body, retry_after }
    }
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.shape {
            Shape::Http => {
                map.serialize_entry("message", &self.message)?;
                map.serialize_entry("error", reason(self.status))?;
                map.serialize_entry("statusCode", &self.status)?;
            }
            Shape::Protocol => {
                map.serialize_entry("statusCode", &self.status)?;
                map.serialize_entry("message", &self.message)?;
            }
            Shape::Service => {
                map.serialize_entry("message", &self.message)?;
                map.serialize_entry("status", &self.status)?;
            }
            Shape::Outage => {
                map.serialize_entry("status", &self.status)?;
                map.serialize_entry("message", &self.message)?;
            }
        }
        map.end()
    }
}

/// The reason phrase of the statuses that [`Shape::Http`] is used with.
fn reason(status: u16) -> &'static str {
    match status {
        404 => "Not Found",
        _ => "Bad Request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(error: Error) -> String {
        String::from_utf8(error.into_reply().body).unwrap()
    }

    #[test]
    fn each_shape_has_the_recorded_keys_in_the_recorded_order() {
        assert_eq!(body(Error::bad_request("a")), r#"{"message":"a","error":"Bad Request","statusCode":400}"#);
        assert_eq!(
            body(Error::invalid(vec!["a".into(), "b".into()])),
            r#"{"message":["a","b"],"error":"Bad Request","statusCode":400}"#
        );
        assert_eq!(
            body(Error::no_route("GET", "/api")),
            r#"{"message":"Cannot GET /api","error":"Not Found","statusCode":404}"#
        );
        assert_eq!(body(Error::protocol(415, "a")), r#"{"statusCode":415,"message":"a"}"#);
        assert_eq!(body(Error::service(404, "a")), r#"{"message":"a","status":404}"#);
    }

    #[test]
    fn an_outage_says_when_to_retry_and_no_internal_detail() {
        let reply = Error::unavailable("The catalogue", "component `products` trapped").into_reply();
        assert_eq!((reply.status, reply.retry_after), (503, Some(1)));
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(text, r#"{"status":503,"message":"The catalogue is unavailable, please try again"}"#);
    }

    #[test]
    fn an_internal_error_tells_the_client_nothing() {
        assert_eq!(body(Error::internal("secret")), r#"{"statusCode":500,"message":"Internal server error"}"#);
    }
}
