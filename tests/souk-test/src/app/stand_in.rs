//! A server that stands in for a server that the application calls.

use std::sync::{Arc, Mutex};
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
pub struct StandIn {
    server: Arc<Server>,
    received: Arc<Mutex<Vec<Received>>>,
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
        let received = Arc::new(Mutex::new(Vec::new()));
        let (serving, kept) = (server.clone(), received.clone());
        thread::spawn(move || {
            for mut request in serving.incoming_requests() {
                let mut body = Vec::new();
                let _ = request.as_reader().read_to_end(&mut body);
                let headers = request.headers().iter();
                let headers = headers.map(|h| (h.field.to_string().to_lowercase(), h.value.to_string())).collect();
                let (method, path) = (request.method().to_string(), request.url().to_owned());
                let seen = Received { method, path, headers, body };
                let (status, body) = answer(&seen);
                kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(seen);
                let body: Vec<u8> = body.into();
                let kind = match body.first() {
                    Some(b'{' | b'[') => "application/json",
                    _ => "text/plain; charset=utf-8",
                };
                let header = Header::from_bytes("content-type", kind).expect("a header");
                let _ =
                    request.respond(tiny_http::Response::from_data(body).with_status_code(status).with_header(header));
            }
        });
        StandIn { server, received }
    }

    /// The server's URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.server_addr().to_ip().expect("a loopback address"))
    }

    /// The requests that the server received, in order.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

impl std::fmt::Debug for StandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandIn").field("url", &self.url()).finish_non_exhaustive()
    }
}
