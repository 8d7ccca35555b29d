//! Downloads one file, over https or from this machine, with limits and redirects.

use super::connect::{Connector, connector};
use bytes::Bytes;
use http::header::{LOCATION, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use souk_manifest::check_download_url;
use std::error::Error as _;
use std::io;
use std::time::Duration;
use tokio::time::timeout;

souk_manifest::fixed_limits! {
    /// The fixed limits of downloads.
    pub(crate) const FIXED_LIMITS = "downloads of components";

    /// The largest component that is fetched.
    pub(crate) const MAX_COMPONENT_BYTES: u64 = 256 << 20, bytes;
    /// How long a server may take to answer, and to send the next bytes.
    const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
    /// The most redirects that are followed for one component.
    const MAX_REDIRECTS: usize = 5, "redirects";
}

/// Why a component could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The server cannot be reached.
    #[error("it cannot be fetched: {0}")]
    Unreachable(String),
    /// The server does not answer.
    #[error("the server did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Late,
    /// The server refuses the request.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// The server redirects to a place from which no component may be fetched.
    #[error("it redirects to {to}, which {why}")]
    Redirect {
        /// The place, without credentials.
        to: String,
        /// Why not.
        why: &'static str,
    },
    /// The file is too large.
    #[error("it is larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
    /// The file has another digest.
    #[error("its digest is sha256:{found}, not sha256:{expected}")]
    Digest {
        /// The digest in the manifest.
        expected: String,
        /// The digest of the file.
        found: String,
    },
    /// The registry does not provide it.
    #[error("{why}")]
    Package {
        /// What is wrong.
        why: String,
        /// What would fix it.
        fix: String,
    },
    /// The file cannot be stored.
    #[error("it cannot be written: {0}")]
    Disk(io::Error),
}

#[cfg(feature = "oci")]
impl From<crate::package::PackageError> for Refused {
    fn from(error: crate::package::PackageError) -> Self {
        let (why, fix) = error.into_parts();
        Refused::Package { why, fix }
    }
}

impl Refused {
    /// What would fix it.
    pub(super) fn fix(&self) -> &str {
        match self {
            Refused::Package { fix, .. } => fix,
            Refused::Unreachable(_) | Refused::Late => {
                "try again; or download the file, and write its path as `source`"
            }
            Refused::Status(_) => "correct the URL; or download the file, and write its path as `source`",
            Refused::Redirect { .. } => "name a URL that leads to the file only by https",
            Refused::TooLarge(_) => "build a smaller file: its compilation needs as much memory",
            Refused::Digest { .. } => {
                "find out why it changed; only if the file is one that you trust, correct `digest`"
            }
            Refused::Disk(_) => "make room for it in the state folder, and let the host write there",
        }
    }
}

/// Fetches files.
pub(super) struct Client {
    client: legacy::Client<Connector, Empty<Bytes>>,
    /// The largest allowed file.
    most: u64,
}

impl Client {
    /// A client for files of at most `most` bytes. It trusts the same certificate authorities as components' requests.
    pub(super) fn new(most: u64) -> Result<Self, Refused> {
        let connector = connector().map_err(|error| Refused::Unreachable(error.to_string()))?;
        Ok(Client { client: legacy::Client::builder(TokioExecutor::new()).build(connector), most })
    }

    /// The body of the file at `url`.
    pub(super) async fn get(&self, url: &Uri) -> Result<FileBody, Refused> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = Request::new(Empty::new());
            request.uri_mut().clone_from(&url);
            request
                .headers_mut()
                .insert(USER_AGENT, HeaderValue::from_static(concat!("souk/", env!("CARGO_PKG_VERSION"))));
            let response = timeout(ANSWER_TIMEOUT, self.client.request(request)).await.map_err(|_| Refused::Late)?;
            let response = response.map_err(|error| Refused::Unreachable(cause(&error)))?;
            match response.status() {
                StatusCode::OK => {
                    let body = response.into_body();
                    if body.size_hint().lower() > self.most {
                        return Err(Refused::TooLarge(self.most));
                    }
                    return Ok(FileBody { body, most: self.most, left: self.most });
                }
                status if status.is_redirection() => {
                    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
                    url = redirected(&url, location.ok_or(Refused::Status(status))?)?;
                }
                status => return Err(Refused::Status(status)),
            }
        }
        Err(Refused::Redirect { to: "still another URL".to_owned(), why: "is one too many" })
    }
}

/// The innermost cause, which says what happened.
pub(crate) fn cause(error: &legacy::Error) -> String {
    let mut deepest = error.source();
    while let Some(next) = deepest.and_then(|error| error.source()) {
        deepest = Some(next);
    }
    deepest.map_or_else(|| error.to_string(), ToString::to_string)
}

/// The URL to which a redirect from `url` to `location` leads.
fn redirected(url: &Uri, location: &str) -> Result<Uri, Refused> {
    let absolute = match (location.starts_with("//"), location.starts_with('/'), url.scheme_str(), url.authority()) {
        (true, _, Some(scheme), _) => format!("{scheme}:{location}"),
        (false, true, Some(scheme), Some(authority)) => format!("{scheme}://{authority}{location}"),
        _ => location.to_owned(),
    };
    // A fragment is never sent.
    let absolute = absolute.split('#').next().unwrap_or_default();
    let to: Uri = absolute.parse().map_err(|_| Refused::Redirect { to: "something".into(), why: "is not a URL" })?;
    let host = to.host().unwrap_or("nowhere").to_owned();
    if to.scheme_str() != Some("https") {
        return Err(Refused::Redirect { to: host, why: "is not https" });
    }
    match check_download_url(&to) {
        Ok(()) => Ok(to),
        Err(why) => Err(Refused::Redirect { to: host, why }),
    }
}

/// The body of a file, limited in size.
pub(super) struct FileBody {
    body: Incoming,
    most: u64,
    left: u64,
}

impl FileBody {
    /// The next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        loop {
            let frame = timeout(ANSWER_TIMEOUT, self.body.frame()).await.map_err(|_| Refused::Late)?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| Refused::Unreachable(error.to_string()))?;
            let Ok(bytes) = frame.into_data() else { continue };
            self.left = self.left.checked_sub(bytes.len() as u64).ok_or(Refused::TooLarge(self.most))?;
            return Ok(Some(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_to_https_and_takes_no_login_along() {
        let from: Uri = "https://a.test/x?y".parse().unwrap();
        for (location, to) in [
            ("https://b.test/z", Some("https://b.test/z")),
            ("/z#part", Some("https://a.test/z")),
            ("//b.test/z", Some("https://b.test/z")),
            ("http://b.test/z", None),
            ("http://127.0.0.1/z", None),
            ("https://user:s3cret@b.test/z", None),
            ("https://169.254.169.254/z", None),
            ("z", None),
            ("", None),
        ] {
            match redirected(&from, location) {
                Ok(uri) => assert_eq!(Some(uri.to_string().as_str()), to, "{location}"),
                Err(refused) => {
                    assert!(to.is_none() && !refused.to_string().contains("s3cret"), "{location}: {refused}")
                }
            }
        }
        let local: Uri = "http://127.0.0.1:1/x".parse().unwrap();
        assert!(redirected(&local, "/y").is_err());
    }
}
