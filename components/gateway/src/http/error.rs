//! Error responses, in the shapes that the clients know.
//!
//! The NestJS system has five shapes of errors, depending on the layer that raises them. Each shape has a constructor
//! here, whose comment says when to use it. The modules of [`crate::routes`] turn every refusal of a service into one
//! of these errors.

use super::reply::{Kind, Reply};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// An error, ready to be sent.
#[derive(Debug)]
pub(crate) struct Error {
    status: u16,
    shape: Shape,
    message: Message,
    /// One additional key of the body, after the others.
    detail: Option<(&'static str, String)>,
    /// After how many seconds the client can repeat the request, if that is known.
    retry_after: Option<u32>,
    /// What the client can do instead, if the recorded message alone does not help; the last key of the body.
    hint: Option<String>,
}

/// The keys of the body and their sequence.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// `{message, error, statusCode}`
    Http,
    /// `{message, statusCode}`
    Bare,
    /// `{statusCode, message}`
    Protocol,
    /// `{message, status}`
    Service,
    /// `{status, message}`
    Remote,
}

/// One message, or one for each invalid field.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Message {
    One(String),
    Many(Vec<String>),
}

impl Error {
    fn new(status: u16, shape: Shape, message: impl Into<String>) -> Self {
        Error { status, shape, message: Message::One(message.into()), detail: None, retry_after: None, hint: None }
    }

    /// The request is malformed in one way.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Shape::Http, message)
    }

    /// Fields are invalid, with one message for each.
    pub(crate) fn invalid(messages: Vec<String>) -> Self {
        Error {
            status: 400,
            shape: Shape::Http,
            message: Message::Many(messages),
            detail: None,
            retry_after: None,
            hint: None,
        }
    }

    /// No route matches this method and path.
    pub(crate) fn no_route(method: &str, target: &str) -> Self {
        Self::new(404, Shape::Http, format!("Cannot {method} {target}"))
    }

    /// The request has no token.
    pub(crate) fn no_token() -> Self {
        Self::new(401, Shape::Http, "Token not found")
    }

    /// The token is not valid.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, Shape::Bare, "Unauthorized")
    }

    /// The caller is not allowed to make this request.
    pub(crate) fn forbidden() -> Self {
        Self::new(403, Shape::Http, "Forbidden resource")
    }

    /// The HTTP body cannot be read.
    pub(crate) fn protocol(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, Shape::Protocol, message)
    }

    /// A service refuses, with a message for the client.
    pub(crate) fn service(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, Shape::Service, message)
    }

    /// The account service refuses, or any service cannot answer now. In the NestJS system, these bodies have their
    /// keys the other way round.
    pub(crate) fn remote(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, Shape::Remote, message)
    }

    /// A service cannot answer now; `what` names it to the client.
    ///
    /// Nothing is logged here: the service in which the error occurred has logged it, or the host if a call failed. An
    /// overload is caused by the requests themselves, and shows as a status in the access log.
    pub(crate) fn unavailable(what: &str) -> Self {
        Self::remote(503, format!("{what} is unavailable, please try again"))
    }

    /// Too many attempts; the next one is admitted after so many seconds.
    pub(crate) fn too_many(seconds: u32) -> Self {
        let error = Self::remote(429, format!("Too many attempts, please try again in {seconds} seconds"));
        Error { retry_after: Some(seconds), ..error }
    }

    /// An internal error, here or in a service; `detail` goes to the log, and the client does not see it.
    pub(crate) fn internal(detail: &str) -> Self {
        eprintln!("internal error: {detail}");
        Self::protocol(500, "Internal server error")
    }

    /// Adds a key to the body, for programs that act on the error.
    pub(crate) fn with(mut self, key: &'static str, value: String) -> Self {
        self.detail = Some((key, value));
        self
    }

    /// Adds a hint: what the client can do instead.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Error { hint: Some(hint.into()), ..self }
    }

    /// If fields are missing, adds the reason as a hint.
    pub(crate) fn missing_hint(self, why: &str) -> Self {
        match self.message {
            Message::Many(_) => self.hint(why),
            Message::One(_) => self,
        }
    }

    /// The response.
    pub(crate) fn into_reply(self) -> Reply {
        // Strings and numbers always serialize; even an empty body would still carry the status.
        Reply {
            status: self.status,
            body: serde_json::to_vec(&self).unwrap_or_default(),
            kind: Kind::Json,
            public: false,
            retry_after: self.retry_after,
            tag: None,
        }
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
            Shape::Bare => {
                map.serialize_entry("message", &self.message)?;
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
            Shape::Remote => {
                map.serialize_entry("status", &self.status)?;
                map.serialize_entry("message", &self.message)?;
            }
        }
        if let Some((key, value)) = &self.detail {
            map.serialize_entry(key, value)?;
        }
        if let Some(hint) = &self.hint {
            map.serialize_entry("hint", hint)?;
        }
        map.end()
    }
}

/// The reason phrase of the statuses that [`Shape::Http`] is used with.
fn reason(status: u16) -> &'static str {
    match status {
        401 => "Unauthorized",
        403 => "Forbidden",
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
        assert_eq!(body(Error::no_token()), r#"{"message":"Token not found","error":"Unauthorized","statusCode":401}"#);
        assert_eq!(body(Error::unauthorized()), r#"{"message":"Unauthorized","statusCode":401}"#);
        assert_eq!(
            body(Error::forbidden()),
            r#"{"message":"Forbidden resource","error":"Forbidden","statusCode":403}"#
        );
        assert_eq!(body(Error::protocol(415, "a")), r#"{"statusCode":415,"message":"a"}"#);
        assert_eq!(body(Error::service(404, "a")), r#"{"message":"a","status":404}"#);
        assert_eq!(body(Error::remote(400, "a")), r#"{"status":400,"message":"a"}"#);
        assert_eq!(
            body(Error::invalid(vec!["a".into()]).hint("b")),
            r#"{"message":["a"],"error":"Bad Request","statusCode":400,"hint":"b"}"#
        );
        assert_eq!(
            body(Error::remote(503, "a").with("orderId", "b".into())),
            r#"{"status":503,"message":"a","orderId":"b"}"#
        );
    }

    #[test]
    fn an_outage_names_the_service_and_asks_to_try_again() {
        let reply = Error::unavailable("The catalogue").into_reply();
        assert_eq!(reply.status, 503);
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(text, r#"{"status":503,"message":"The catalogue is unavailable, please try again"}"#);
    }

    #[test]
    fn an_internal_error_reveals_nothing_to_the_client() {
        assert_eq!(body(Error::internal("secret")), r#"{"statusCode":500,"message":"Internal server error"}"#);
    }
}
