//! A test component that frames its responses and requests as its caller asks, correctly or not.
//!
//! The last segment of the path says what it does, and the query gives the parameters:
//!
//! - `/answer`: answers with `status`, the headers `head` (`name:value`, any number of them; the host may refuse
//!   some), the content length `length` (any text), and a body with one write for each number in `writes` (`3,0,5`),
//!   `pause` ms apart. Without `writes` there is no body at all. The body repeats `mark`. `end` says how the body ends:
//!   `trailers`, `error`, `trap` (after the body), `early` (a trap before the head), `refuse` (an error code instead of
//!   a response), `hold` (the stream stays open for 30 ms); otherwise it ends normally.
//! - `/via`: sends the request to `to`, with the query `query` and a body framed by `length` and `writes` as above, and
//!   forwards the response unchanged.
//! - `/length`: answers with the length of the request's body, or with 400 if the body broke off.

use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::exports::http::handler;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme, Trailers};
use spin_sdk::wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult};
use spin_sdk::wasip3::{spawn, wit_future, wit_stream};

/// How a body ends: with trailers, without trailers, or with an error.
type End = Result<Option<Trailers>, ErrorCode>;

struct Unruly;
spin_sdk::wasip3::http::service::export!(Unruly with_types_in spin_sdk::wasip3);

/// The parameters of the query.
struct Plan(Vec<(String, String)>);

impl Plan {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// The headers, without those that the host refuses: a malicious guest would ignore the refusal, too.
    fn headers(&self) -> Fields {
        let headers = Fields::new();
        let lengths = self.all("length").map(|length| ("content-length", length));
        for (name, value) in self.all("head").filter_map(|head| head.split_once(':')).chain(lengths) {
            let _ = headers.append(name, value.as_bytes());
        }
        headers
    }

    /// The body, which a task writes while it is read, and the end of the body.
    fn body(&self) -> (Option<StreamReader<u8>>, FutureReader<End>) {
        let (ended, trailers) = wit_future::new(|| Ok(None));
        let end = self.get("end").unwrap_or_default().to_owned();
        let (mut writer, contents) = match self.get("writes") {
            Some(_) => {
                let (writer, contents) = wit_stream::new();
                (Some(writer), Some(contents))
            }
            None => (None, None),
        };
        let writes = self.get("writes").into_iter().flat_map(|writes| writes.split(','));
        let writes: Vec<usize> = writes.filter_map(|size| size.parse().ok()).collect();
        let pause: u64 = self.get("pause").and_then(|pause| pause.parse().ok()).unwrap_or_default();
        let mut pattern = self.get("mark").unwrap_or("-").to_owned().into_bytes().into_iter().cycle();
        spawn(async move {
            for (number, size) in writes.into_iter().enumerate() {
                if pause > 0 && number > 0 {
                    monotonic_clock::wait_for(pause * 1_000_000).await;
                }
                let Some(writer) = &mut writer else { break };
                if !writer.write_all(pattern.by_ref().take(size).collect()).await.is_empty() {
                    break;
                }
            }
            if end == "hold" {
                monotonic_clock::wait_for(30_000_000).await;
            }
            drop(writer);
            match end.as_str() {
                "trap" => panic!("after the body, with the secret detail swordfish"),
                "error" => drop(ended.write(Err(ErrorCode::InternalError(Some("as asked for".to_owned())))).await),
                "trailers" => {
                    let fields = Fields::new();
                    for (name, value) in [("x-sum", "7"), ("content-length", "3"), ("trailer", "te"), ("te", "gzip")] {
                        let _ = fields.append(name, value.as_bytes());
                    }
                    drop(ended.write(Ok(Some(fields))).await);
                }
                _ => drop(ended),
            }
        });
        (contents, trailers)
    }

    async fn answer(&self) -> Result<Response, ErrorCode> {
        match self.get("end") {
            Some("early") => panic!("before the head, with the secret detail swordfish"),
            Some("refuse") => return Err(ErrorCode::InternalError(Some("as asked for".to_owned()))),
            _ => {}
        }
        let (contents, trailers) = self.body();
        let (response, _sent) = Response::new(self.headers(), contents, trailers);
        if let Some(status) = self.get("status").and_then(|status| status.parse().ok()) {
            let _ = response.set_status_code(status);
        }
        Ok(response)
    }

    async fn send(&self, from: &Request) -> Result<Response, ErrorCode> {
        let (contents, trailers) = self.body();
        let (request, _sent) = Request::new(self.headers(), contents, trailers, None);
        let refused = |()| ErrorCode::HttpRequestUriInvalid;
        let target = self.get("to").unwrap_or_default();
        let (authority, path) = target.split_at(target.find('/').unwrap_or(target.len()));
        request.set_method(&from.get_method()).map_err(refused)?;
        request.set_scheme(Some(&Scheme::Http)).map_err(refused)?;
        request.set_authority(Some(authority)).map_err(refused)?;
        let path = format!("{path}?{}", self.get("query").unwrap_or_default());
        request.set_path_with_query(Some(&path)).map_err(refused)?;
        client::send(request).await
    }
}

impl handler::Guest for Unruly {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let plan = Plan(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
        match path.rsplit('/').next() {
            Some("via") => match plan.send(&request).await {
                Ok(response) => Ok(response),
                Err(code) => text(502, &format!("{code:?}")),
            },
            Some("length") => match length(request).await {
                Ok(length) => text(200, &length.to_string()),
                Err(code) => text(400, &format!("{code:?}")),
            },
            _ => plan.answer().await,
        }
    }
}

fn text(status: u16, text: &str) -> Result<Response, ErrorCode> {
    let query = vec![
        ("status".to_owned(), status.to_string()),
        ("mark".to_owned(), text.to_owned()),
        ("writes".to_owned(), text.len().to_string()),
        ("head".to_owned(), "content-type:text/plain".to_owned()),
    ];
    let plan = Plan(query);
    let (contents, trailers) = plan.body();
    let (response, _sent) = Response::new(plan.headers(), contents, trailers);
    let _ = response.set_status_code(status);
    Ok(response)
}

/// Reads the request's body to its end.
async fn length(request: Request) -> Result<usize, ErrorCode> {
    let (_done, done) = wit_future::new(|| Ok(()));
    let (mut stream, trailers) = Request::consume_body(request, done);
    let mut length = 0;
    loop {
        let (status, read) = stream.read(Vec::with_capacity(4096)).await;
        length += read.len();
        if !matches!(status, StreamResult::Complete(_)) {
            break;
        }
    }
    trailers.await?;
    Ok(length)
}
