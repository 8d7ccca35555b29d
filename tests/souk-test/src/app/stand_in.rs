//! A server that stands in for a server that the application calls.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tiny_http::{Header, Server};

/// A server on a free loopback port that answers as the test says. In the manifest, make the real server's URL a
/// variable and grant it with `allowed_outbound_hosts = ["{{ api_url }}"]`; in the test, set the variable to
/// [`StandIn::url`]:
///
/// ```no_run
/// use souk_test::{App, StandIn};
///
/// let rates = StandIn::start(|request| (200, format!("{{\"path\":\"{}\"}}", request.path)));
/// let app = App::builder().variable("rates_url", rates.url()).start();
/// app.get("/convert?from=usd");
/// assert_eq!(rates.received().len(), 1);
/// ```
///
/// If the test's answer panics, as a wrong assertion in it does, the client gets a 500, and the test fails when the
/// stand-in is dropped.
pub struct StandIn {
    server: Arc<Server>,
    received: Arc<Mutex<Vec<Received>>>,
    /// What the first panic of the answer said.
    panicked: Arc<Mutex<Option<String>>>,
}

/// A request that a stand-in received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl StandIn {
    /// Starts a server that answers every request with the status and body that `answer` returns. The content type is
    /// JSON if the body begins with a brace or a bracket, and text otherwise.
    pub fn start<B: Into<Vec<u8>>>(answer: impl Fn(&Received) -> (u16, B) + Send + 'static) -> StandIn {
        let server = Arc::new(Server::http("127.0.0.1:0").expect("a free port"));
        let (received, panicked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None)));
        let (serving, kept, failed) = (server.clone(), received.clone(), panicked.clone());
        thread::spawn(move || {
            for mut request in serving.incoming_requests() {
                let mut body = Vec::new();
                let _ = request.as_reader().read_to_end(&mut body);
                let headers = request.headers().iter();
                let headers = headers.map(|h| (h.field.to_string().to_lowercase(), h.value.to_string())).collect();
                let (method, path) = (request.method().to_string(), request.url().to_owned());
                let seen = Received { method, path, headers, body };
                let answered = catch_unwind(AssertUnwindSafe(|| answer(&seen)));
                let (status, body): (u16, Vec<u8>) = match answered {
                    Ok((status, body)) => (status, body.into()),
                    Err(panic) => {
                        let text = said(&*panic);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text.clone());
                        (500, text.into_bytes())
                    }
                };
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
                let kind = match body.first() {
                    Some(b'{' | b'[') => "application/json",
                    _ => "text/plain; charset=utf-8",
                };
                let header = Header::from_bytes("content-type", kind).expect("a header");
                let _ =
                    request.respond(tiny_http::Response::from_data(body).with_status_code(status).with_header(header));
            }
        });
        StandIn { server, received, panicked }
    }

    /// The server's URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.server_addr().to_ip().expect("a loopback address"))
    }

    /// The requests that the server received, in order.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.unblock();
        let panicked = self.panicked.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A second panic would end the process.
        if let Some(text) = panicked.filter(|_| !thread::panicking()) {
            panic!("the answer of a stand-in panicked: {text}");
        }
    }
}

/// The text of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

impl std::fmt::Debug for StandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandIn").field("url", &self.url()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_fails_when_the_answer_of_its_stand_in_panics_and_the_next_request_is_answered_too() {
        let server = StandIn::start(|request| match request.path.as_str() {
            "/good" => (200, "good"),
            other => panic!("nobody calls {other}"),
        });
        for (path, status) in [("/a", 500), ("/good", 200), ("/b", 500)] {
            let url = format!("{}{path}", server.url());
            assert_eq!(super::super::http::send("GET", &url, &[], None).status, status, "{path}");
        }
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(server)));
        assert_eq!(said(&*dropped.unwrap_err()), "the answer of a stand-in panicked: nobody calls /a");
    }
}
