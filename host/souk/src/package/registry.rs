//! A registry client: the part of OCI's distribution protocol that packages need.
//!
//! It speaks https, or http to this machine if the operator asks for it (`--plain-http`). The registry's credentials
//! and tokens go only to the registry; a separate token server gets only the credentials stored under its own name. It
//! gets none if it may be another registry's, because the token that it returns goes to this registry.
//! Redirects are followed without credentials and tokens. Every read is limited by the announced size before it starts.
//! Neither credentials nor tokens are logged.

use super::credentials::{Credentials, is_token_server_of};
use super::layout::{Layout, Section};
use super::token::{Challenge, bearer};
use super::{MAX_MANIFEST_BYTES, Name, PackageError, digest_of, named, size_of};
use crate::fetch::{Connector, cause, connector};
use bytes::Bytes;
use futures::stream;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use souk_manifest::check_download_url;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

souk_manifest::fixed_limits! {
    /// The fixed limits of registries.
    pub(super) const FIXED_LIMITS = "packages";

    /// How long a registry may take to answer, and to send the next bytes.
    const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
    /// How long a registry may take to receive a blob and to answer.
    const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);
    /// The most redirects that are followed for one blob.
    const MAX_REDIRECTS: usize = 5, "redirects";
    /// The largest answer of a token server.
    const MAX_TOKEN_BYTES: u64 = 64 << 10, bytes;
    /// How much of a registry's error is read.
    const MAX_ERROR_BYTES: u64 = 4 << 10, bytes;
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// One repository of a registry.
pub(crate) struct Registry {
    client: legacy::Client<Connector, Body>,
    name: Name,
    scheme: &'static str,
    /// The actions that a token must allow, in the syntax of its scope.
    actions: &'static str,
    credentials: Credentials,
    /// The `authorization` header that the registry has asked for.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Registry {
    /// A client for the repository of `name`; it sends nothing yet.
    ///
    /// # Errors
    /// When the registry's address is not allowed.
    pub(crate) fn open(name: &Name, plain_http: bool, push: bool) -> Result<Self, PackageError> {
        Registry::with(name, plain_http, push, Credentials::of_user())
    }

    pub(super) fn with(name: &Name, plain: bool, push: bool, credentials: Credentials) -> Result<Self, PackageError> {
        if plain && !name.is_loopback() {
            let why = "`--plain-http` is for a registry on this machine";
            return Err(PackageError::new(name, why, "leave it out, and serve the registry by https"));
        }
        let broken = |why: String| PackageError::new(name, why, "correct the certificates of this machine");
        let connector = connector().map_err(|error| broken(error.to_string()))?;
        let registry = Registry {
            client: legacy::Client::builder(TokioExecutor::new()).build(connector),
            name: name.clone(),
            scheme: if plain { "http" } else { "https" },
            actions: if push { "pull,push" } else { "pull" },
            credentials,
            authorization: Mutex::new(None),
        };
        let root = registry.url("")?;
        check_download_url(&root).map_err(|why| registry.error(format!("the registry's address {why}")))?;
        Ok(registry)
    }

    /// The name of the package.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    fn error(&self, why: impl ToString) -> PackageError {
        PackageError::new(&self.name, why, "correct the name of the package, or ask who keeps the registry")
    }

    fn away(&self, why: impl ToString) -> PackageError {
        PackageError::new(&self.name, why, "try again, or start the package from a file").away()
    }

    fn url(&self, path: &str) -> Result<Uri, PackageError> {
        let text = format!("{}://{}/v2/{}/{path}", self.scheme, self.name.authority(), self.name.repository());
        text.parse().map_err(|_| self.error("the name does not form a URL"))
    }

    /// Whether a URL belongs to the registry itself.
    fn is_own(&self, url: &Uri) -> bool {
        let authority = url.authority().map(http::uri::Authority::as_str);
        url.scheme_str() == Some(self.scheme)
            && authority.is_some_and(|a| a.eq_ignore_ascii_case(self.name.authority()))
    }

    /// Sends one request; `authorization` is for that server only.
    async fn once(
        &self,
        method: &Method,
        url: &Uri,
        headers: &HeaderMap,
        body: Body,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, PackageError> {
        let limit = if *method == Method::PUT { UPLOAD_TIMEOUT } else { ANSWER_TIMEOUT };
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.clone();
        *request.headers_mut() = headers.clone();
        let agent = HeaderValue::from_static(concat!("souk/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        let answer = timeout(limit, self.client.request(request)).await;
        let answer =
            answer.map_err(|_| self.away(format!("the registry did not answer within {} s", limit.as_secs())))?;
        answer.map_err(|error| self.away(format!("the registry cannot be reached: {}", cause(&error))))
    }

    /// Sends a request to the registry itself; if the registry asks for a login, sends it again with one.
    async fn send(
        &self,
        method: Method,
        url: &Uri,
        headers: HeaderMap,
        body: impl Fn() -> Body,
    ) -> Result<Response<Incoming>, PackageError> {
        let authorization = self.authorization.lock().clone();
        let answer = self.once(&method, url, &headers, body(), authorization).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let challenge = Challenge::of(answer.headers(), self.name.repository(), self.actions);
        let authorization = self.authorize(challenge.ok_or_else(|| self.error("asks for an unknown login"))?).await?;
        *self.authorization.lock() = Some(authorization.clone());
        self.once(&method, url, &headers, body(), Some(authorization)).await
    }

    /// The `authorization` header that answers the registry's challenge.
    async fn authorize(&self, challenge: Challenge) -> Result<HeaderValue, PackageError> {
        let (registry, repository) = (self.name.authority(), self.name.repository());
        let login = || format!("log in, so that auth.json has an entry for it: skopeo login {registry}");
        let refused = |host: &str, fix: String| PackageError::new(&self.name, format!("{host} requires a login"), fix);
        let own = self.credentials.find(registry, repository)?;
        let url = match challenge {
            Challenge::Basic => return own.ok_or_else(|| refused(registry, login())),
            Challenge::Bearer { url } => url,
        };
        self.check(&url, "its token server")?;
        // Credentials stored under that server's own name, so another server never gets the registry's. If it is not
        // the registry's own, they must be the registry's too, which that could ask for itself.
        let host = url.authority().map(ToString::to_string).unwrap_or_default();
        let stored = self.credentials.find(&host, repository)?;
        let credentials = stored.filter(|stored| is_token_server_of(&host, registry) || own.as_ref() == Some(stored));
        let is_entry_missing = credentials.is_none() && own.is_some();
        let answer = self.once(&Method::GET, &url, &HeaderMap::new(), empty(), credentials).await?;
        if answer.status() != StatusCode::OK {
            let fix = match is_entry_missing {
                true => format!("copy the entry of {registry} in auth.json to {host}, which issues its tokens"),
                false => login(),
            };
            return Err(refused(&host, fix));
        }
        let text = self.read(answer.into_body(), MAX_TOKEN_BYTES).await?;
        bearer(&text).ok_or_else(|| self.error("its token server returns no token"))
    }

    /// Refuses a URL from a registry to which nothing may be sent.
    fn check(&self, url: &Uri, what: &str) -> Result<(), PackageError> {
        let plain = url.scheme_str() == Some("http") && self.scheme != "http";
        let why = if plain { Err("is http") } else { check_download_url(url) };
        why.map_err(|why| self.error(format!("{what} {why}")))
    }

    /// GET of something in the repository, following redirects.
    async fn get(&self, path: &str, headers: HeaderMap) -> Result<Response<Incoming>, PackageError> {
        let mut url = self.url(path)?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = match self.is_own(&url) {
                true => self.send(Method::GET, &url, headers.clone(), empty).await?,
                false => self.once(&Method::GET, &url, &headers, empty(), None).await?,
            };
            if answer.status() == StatusCode::OK {
                return Ok(answer);
            }
            if !answer.status().is_redirection() {
                return Err(self.refused(answer).await);
            }
            url = self.location(&url, answer.headers())?;
            self.check(&url, "a redirect")?;
        }
        Err(self.error(format!("redirects more than {MAX_REDIRECTS} times")))
    }

    /// The URL that a response's `location` refers to.
    fn location(&self, from: &Uri, headers: &HeaderMap) -> Result<Uri, PackageError> {
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok()).unwrap_or_default();
        let absolute = match (location.starts_with('/'), from.scheme_str(), from.authority()) {
            (true, Some(scheme), Some(authority)) if !location.starts_with("//") => {
                format!("{scheme}://{authority}{location}")
            }
            _ => location.to_owned(),
        };
        let url: Result<Uri, _> = absolute.parse();
        url.ok().filter(|url| url.authority().is_some()).ok_or_else(|| self.error("gives an invalid URL in `location`"))
    }

    /// The error for a refusal of the registry, with the registry's message.
    async fn refused(&self, answer: Response<Incoming>) -> PackageError {
        let status = answer.status();
        let text = self.read(answer.into_body(), MAX_ERROR_BYTES).await.unwrap_or_default();
        let said: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let message = said.pointer("/errors/0/message").and_then(serde_json::Value::as_str).map(super::shown);
        let why = format!("the registry answered {status}{}", message.map(|m| format!(" ({m})")).unwrap_or_default());
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            self.away(why)
        } else {
            self.error(why)
        }
    }

    /// Reads a body of at most `most` bytes.
    async fn read(&self, body: Incoming, most: u64) -> Result<Vec<u8>, PackageError> {
        let mut bytes = Vec::new();
        self.stream(body, most, |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })
        .await?;
        Ok(bytes)
    }

    /// Reads a body of at most `most` bytes; a longer announced body is refused before it is read.
    async fn stream(
        &self,
        mut body: Incoming,
        most: u64,
        mut to: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), PackageError> {
        let too_large = || PackageError::bad(&self.name, format!("sends more than {most} bytes"));
        if body.size_hint().lower() > most {
            return Err(too_large());
        }
        let mut left = most;
        loop {
            let frame =
                timeout(ANSWER_TIMEOUT, body.frame()).await.map_err(|_| self.away("the registry stopped sending"))?;
            let Some(frame) = frame else { return Ok(()) };
            let frame = frame.map_err(|error| self.away(format!("the connection broke off: {error}")))?;
            let Ok(chunk) = frame.into_data() else { continue };
            left = left.checked_sub(chunk.len() as u64).ok_or_else(too_large)?;
            to(&chunk).map_err(|error| PackageError::io(&self.name, &error))?;
        }
    }

    /// The manifest that the name refers to, and its digest.
    pub(super) async fn manifest(&self) -> Result<(Vec<u8>, String), PackageError> {
        let accept = [(ACCEPT, HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE))].into_iter().collect();
        let answer = self.get(&format!("manifests/{}", self.name.version()), accept).await?;
        let text = self.read(answer.into_body(), MAX_MANIFEST_BYTES).await?;
        let digest = digest_of(&text);
        match self.name.digest() {
            Some(named) if named != digest => {
                Err(PackageError::bad(&self.name, format!("the registry returned another package, {digest}")))
            }
            _ => Ok((text, digest)),
        }
    }

    /// Gets a blob, which must have the size and the digest of its descriptor.
    pub(crate) async fn blob(&self, descriptor: &OciDescriptor, to: &mut File) -> Result<(), PackageError> {
        let answer = self.get(&format!("blobs/{}", descriptor.digest), HeaderMap::new()).await?;
        let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
        self.stream(answer.into_body(), size_of(descriptor), |chunk| {
            hash.update(chunk);
            bytes += chunk.len() as u64;
            to.write_all(chunk)
        })
        .await?;
        let found = named(hash);
        if found != descriptor.digest || bytes != size_of(descriptor) {
            let why = format!("the digest of a blob is {found}, and not {}", descriptor.digest);
            return Err(PackageError::bad(&self.name, why));
        }
        Ok(())
    }

    /// Uploads a blob of the layout to the repository, unless it exists there; returns whether it was sent.
    async fn put_blob(&self, layout: &Layout, blob: &OciDescriptor) -> Result<bool, PackageError> {
        let there = self.url(&format!("blobs/{}", blob.digest))?;
        if self.send(Method::HEAD, &there, HeaderMap::new(), empty).await?.status() == StatusCode::OK {
            return Ok(false);
        }
        let nothing = || [(CONTENT_LENGTH, HeaderValue::from(0))].into_iter().collect();
        let url = self.url("blobs/uploads/")?;
        let started = self.send(Method::POST, &url, nothing(), empty).await?;
        if started.status() != StatusCode::ACCEPTED {
            return Err(self.refused(started).await);
        }
        let upload = self.location(&url, started.headers())?;
        if !self.is_own(&upload) {
            return Err(self.error("wants the upload at another address"));
        }
        let joint = if upload.query().is_some() { '&' } else { '?' };
        let upload: Uri = format!("{upload}{joint}digest={}", blob.digest)
            .parse()
            .map_err(|_| self.error("gives an invalid upload address"))?;
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (CONTENT_LENGTH, HeaderValue::from(size_of(blob))),
        ];
        // Open it here first, so that a missing blob is an error and not a partial body.
        layout.blob(blob)?;
        let body = || match layout.blob(blob) {
            Ok(section) => streamed(section, size_of(blob)),
            Err(_) => empty(),
        };
        let stored = self.send(Method::PUT, &upload, headers.into_iter().collect(), body).await?;
        if stored.status() != StatusCode::CREATED {
            return Err(self.refused(stored).await);
        }
        Ok(true)
    }

    /// Uploads the layout's manifest under the package's name.
    async fn put_manifest(&self, layout: &Layout) -> Result<(), PackageError> {
        let version = self.name.digest().unwrap_or(self.name.version());
        let url = self.url(&format!("manifests/{version}"))?;
        let headers = [(CONTENT_TYPE, HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE))];
        let body =
            || Full::new(Bytes::from(layout.text.clone())).map_err(|never: Infallible| match never {}).boxed_unsync();
        let stored = self.send(Method::PUT, &url, headers.into_iter().collect(), body).await?;
        if stored.status() != StatusCode::CREATED {
            return Err(self.refused(stored).await);
        }
        Ok(())
    }
}

/// Pushes a package and calls `note` for each blob; returns the digest.
///
/// # Errors
/// When the registry rejects it.
pub(crate) async fn push(registry: &Registry, file: &Path, note: impl Fn(&str)) -> Result<String, PackageError> {
    let layout = Layout::open(file)?;
    for blob in [&layout.manifest.config].into_iter().chain(&layout.manifest.layers) {
        let kib = size_of(blob).div_ceil(1 << 10);
        match registry.put_blob(&layout, blob).await? {
            true => note(&format!("  pushed {} ({kib} KiB)", blob.digest)),
            false => note(&format!("   there {} ({kib} KiB)", blob.digest)),
        }
    }
    registry.put_manifest(&layout).await?;
    Ok(layout.digest)
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// The bytes of a file as a body.
fn streamed(section: Section, size: u64) -> Body {
    let chunks = stream::unfold((section, size), |(mut section, left)| async move {
        if left == 0 {
            return None;
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 16);
        // A blocking read in an async context: 64 KiB from the page cache.
        let mut buffer = vec![0; most];
        let chunk = section.read_exact(&mut buffer).map(|()| Frame::data(Bytes::from(buffer)));
        let left = if chunk.is_ok() { left - most as u64 } else { 0 };
        Some((chunk, (section, left)))
    });
    StreamBody::new(chunks).boxed_unsync()
}
