//! A client of the administration API, on the listener of `--admin` or on the control socket.

use super::{Answer, App, Host};
use http::{HeaderMap, Method};

/// The arguments with which a host serves the API on a free port.
pub(crate) const ARGUMENTS: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// The API of one host.
#[derive(Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl App {
    /// The application with the API on a free port.
    pub(crate) fn administered(self) -> App {
        ARGUMENTS.into_iter().fold(self, App::argument)
    }
}

impl Api {
    /// The API at the address that `host` announced, without a token.
    pub(crate) fn of(host: &Host) -> Api {
        let log = host.log();
        let url = log.iter().find_map(|line| line.strip_prefix("Administration: ")).expect("an administration");
        Api { http: super::client::builder().build().unwrap(), base: url.to_owned(), token: None }
    }

    /// The API on the control socket of the host of `app`.
    pub(crate) fn on_socket(app: &App) -> Api {
        Api::on(app.state())
    }

    /// The API on the control socket of the host of `app` that [`App::start_at`] started with the state folder `state`.
    pub(crate) fn at(app: &App, state: &str) -> Api {
        Api::on(app.folder().join(state))
    }

    fn on(state: std::path::PathBuf) -> Api {
        let socket = state.join("run/control.sock");
        Api {
            http: super::client::builder().unix_socket(socket).build().unwrap(),
            base: "http://souk".to_owned(),
            token: None,
        }
    }

    /// The same API, on a new connection.
    pub(crate) fn fresh(&self) -> Api {
        Api { http: super::client::builder().build().unwrap(), ..self.clone() }
    }

    /// The same API with this token.
    pub(crate) fn with(&self, token: &str) -> Api {
        Api { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The API's URL: `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// `GET path`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    /// Sends a request and reads the whole response.
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base)).body(body.to_owned());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        // They replace the headers that the client sends by default.
        let mut given = HeaderMap::new();
        for (name, value) in headers {
            given.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let response = request.headers(given).send().await.unwrap_or_else(|e| panic!("{method} {path}: {e:?}"));
        let (status, version, headers) = (response.status().as_u16(), response.version(), response.headers().clone());
        let answer = Answer { status, version, headers, body: response.bytes().await.unwrap() };
        for (name, value) in [("cache-control", "no-store"), ("x-content-type-options", "nosniff")] {
            assert_eq!(answer.header(name), Some(value), "{method} {path}: {answer:?}");
        }
        assert!(answer.header("access-control-allow-origin").is_none(), "{method} {path}: {answer:?}");
        if answer.status >= 400 && answer.status != 503 && method != Method::HEAD {
            let problem = answer.json();
            assert_eq!(problem["status"], answer.status, "{method} {path}: {answer:?}");
            assert!(problem["message"].is_string(), "{method} {path}: {answer:?}");
        }
        answer
    }
}

/// Both tokens of an application, from `souk admin token`: first the read token, then the full one.
pub(crate) async fn tokens(app: &App, arguments: &[&str]) -> (String, String) {
    let (out, err) = super::app::texts(&app.souk("admin", &[&["token"], arguments].concat()).await);
    let token =
        |name: &str| out.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{out}{err}"));
    (token("read ").to_owned(), token("full ").to_owned())
}
