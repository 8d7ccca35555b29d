//! Files that the host serves itself: a route of `[[application.tool.souk.static]]`.
//!
//! `tower_http`'s `ServeDir` implements what HTTP requires of a file server (ranges, conditions, entity tags,
//! precompressed variants, content types). Opening a file is our own code: the kernel resolves a path beneath the
//! folder (`openat2` with `RESOLVE_BENEATH`), so that no link and no `..` leads out, even if the folder changes at the
//! same time. Anything but a plain file, and any name that begins with a dot, counts as missing. Each open file counts
//! in the application's `open_files`.
//!
//! A precompressed variant that is older than its file counts as missing too: the file was changed, and its variant
//! was forgotten.
//!
//! `ServeDir` makes entity tags of a file's size and time. In images and packages that can be built again, all files
//! have the same time, and a page that names its scripts by their digests has the same size in every version. So what
//! it gets for the fraction of the second is made of the content ([`Described`]).
//!
//! Small responses are read to their end at once, so that a slow client keeps no file open for them; larger ones are
//! streamed.

use super::body::{self, EdgeBody, MAX_SMALL_BODY_BYTES};
use super::error;
use super::ranges::ByteRange;
use super::request::path_for_log;
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, LAST_MODIFIED,
    LOCATION, RANGE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use souk_bindings::budget::{ApplicationBudget, OpenFile};
use souk_manifest::StaticFolder;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeek, ReadBuf, Take};
use tower_http::services::ServeDir;
use tower_http::services::fs::{Backend, File as ServedFile, Metadata as ServedMetadata, ServeFileSystemResponseBody};

souk_manifest::fixed_limits! {
    /// The fixed limits of files that the host serves.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// How much of a file is read at a time for a client.
    const FILE_CHUNK_BYTES: usize = 64 * 1024, bytes;
    /// The longest path of a file that the host looks up.
    const MAX_FILE_PATH_BYTES: usize = 1024, bytes;
}

/// What to escape in a file's path, so that it is the path of a URL.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');
/// The extensions of precompressed variants, those that `ServeDir` is configured for.
const VARIANTS: [&str; 3] = ["br", "gz", "zst"];

/// The files of one route.
pub(super) struct StaticFiles {
    folder: Folder,
    /// The path of the fallback as a URL has it.
    fallback: Option<String>,
    /// The route's path without a trailing slash; empty for `/...`.
    prefix: String,
}

impl StaticFiles {
    /// The files of `folder`; open files count in `budget`.
    pub(super) fn new(folder: &StaticFolder, budget: &Arc<ApplicationBudget>) -> Self {
        let root = folder.folder.as_path().into();
        let fallback = folder.fallback.as_ref().map(|page| format!("/{}", utf8_percent_encode(page, ESCAPED)));
        StaticFiles {
            folder: Folder { root, budget: budget.clone(), requested: OsString::new(), is_head: false },
            fallback,
            prefix: folder.pattern.prefix().to_owned(),
        }
    }

    /// Answers a request for `path`, the part of the URL that the route's wildcard matches.
    pub(super) async fn answer(
        &self,
        head: &Parts,
        path: &str,
        query: Option<&str>,
        trace: &str,
    ) -> Response<EdgeBody> {
        if head.method != Method::GET && head.method != Method::HEAD {
            let mut response = error::response(StatusCode::METHOD_NOT_ALLOWED, "a file is read with GET");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if path.is_empty() {
            // A page's relative links need a folder's path.
            return moved(&format!("{}/", self.prefix), query);
        }
        let Some(name) = name(path) else { return missing() };
        let answer = match self.ask(head, path, query).await {
            Err(error) if is_missing(&error) => match &self.fallback {
                Some(page) if !has_extension(&name) => self.ask(head, page, None).await,
                _ => return missing(),
            },
            answer => answer,
        };
        match answer {
            Ok(response) => finish(response, &head.method).await,
            Err(error) if is_missing(&error) => missing(),
            Err(error) => failed(&error, path, trace),
        }
    }

    /// Asks `ServeDir`; errors come from the system. A part is sent only to GET, and only of the file that the client
    /// has the beginning of (`If-Range`, which `ServeDir` does not know).
    async fn ask(
        &self,
        head: &Parts,
        path: &str,
        query: Option<&str>,
    ) -> io::Result<Response<ServeFileSystemResponseBody>> {
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = Uri::try_from(target).map_err(io::Error::other)?;
        *request.headers_mut() = head.headers.clone();
        let range = head.headers.get(RANGE).and_then(ByteRange::parse).filter(|_| head.method == Method::GET);
        let mut response = self.serve(request.clone(), range).await?;
        let is_part = matches!(response.status(), StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE);
        let corrected =
            if is_part && head.headers.get(IF_RANGE).is_some_and(|known| !is_same(known, response.headers())) {
                Some(None)
            } else {
                range.and_then(|range| range.corrected(&response))
            };
        if let Some(range) = corrected {
            response = self.serve(request, range).await?;
        }
        if response.status() == StatusCode::NOT_FOUND {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(response)
    }

    async fn serve(
        &self,
        mut request: Request<Empty<Bytes>>,
        range: Option<ByteRange>,
    ) -> io::Result<Response<ServeFileSystemResponseBody>> {
        request.headers_mut().remove(RANGE);
        if let Some(range) = range.and_then(ByteRange::header) {
            request.headers_mut().insert(RANGE, range);
        }
        let name = name(request.uri().path()).unwrap_or_default();
        let requested = Path::new(&name).file_name().unwrap_or_default().to_owned();
        let is_head = request.method() == Method::HEAD;
        ServeDir::with_backend("", Folder { requested, is_head, ..self.folder.clone() })
            .redirect_path_prefix(&*self.prefix)
            .with_buf_chunk_size(FILE_CHUNK_BYTES)
            .precompressed_br()
            .precompressed_gzip()
            .precompressed_zstd()
            .try_call(request)
            .await
    }
}

/// The path decoded to a file's name; `None` when no file here can have it.
fn name(path: &str) -> Option<String> {
    let name = percent_decode_str(path).decode_utf8().ok()?;
    // `//host/` in a redirect would lead to another server.
    let plain = !name.contains("//") && !name.contains("/.") && !name.contains('\\') && !name.contains('\0');
    (plain && name.len() <= MAX_FILE_PATH_BYTES).then(|| name.into_owned())
}

/// Whether a path most likely names a file, and not a page of a browser application.
fn has_extension(name: &str) -> bool {
    Path::new(name).extension().is_some()
}

/// Whether the value of `If-Range` is the entity tag or the date of the file with these headers. A weak tag is never.
fn is_same(known: &HeaderValue, headers: &HeaderMap) -> bool {
    [ETAG, LAST_MODIFIED].iter().any(|name| headers.get(name) == Some(known))
}

fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory | PermissionDenied | InvalidInput)
}

fn moved(path: &str, query: Option<&str>) -> Response<EdgeBody> {
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let Ok(target) = HeaderValue::try_from(target) else { return missing() };
    let mut response = Response::new(EdgeBody::full(Bytes::new()));
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, target);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    response
}

fn missing() -> Response<EdgeBody> {
    error::response(StatusCode::NOT_FOUND, "there is no such file")
}

fn failed(error: &io::Error, path: &str, trace: &str) -> Response<EdgeBody> {
    let path = path_for_log(path);
    if error.kind() == io::ErrorKind::QuotaExceeded {
        tracing::warn!(
            trace,
            "the file {path} is not served: the application has as many files open as `open_files` \
                               allows"
        );
        return error::response(StatusCode::SERVICE_UNAVAILABLE, "too many files are being sent");
    }
    tracing::error!(trace, "the file {path} cannot be served: {error}");
    error::response(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read")
}

/// Adds the headers that every file's response has; reads a small body to its end.
async fn finish(response: Response<ServeFileSystemResponseBody>, method: &Method) -> Response<EdgeBody> {
    let (mut head, file) = response.into_parts();
    if head.status.is_client_error() {
        return refused(&head);
    }
    let headers = &mut head.headers;
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Browsers check the entity tag each time, so that a newly deployed page is seen at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if head.status == StatusCode::OK {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    if head.status == StatusCode::NOT_MODIFIED {
        // HTTP wants it here too, and `ServeDir` leaves it out: a cache takes these headers for the file's.
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    if let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) {
        // Without a charset, browsers assume Latin-1.
        if value.starts_with("text/") && !value.contains("charset") {
            let value = HeaderValue::try_from(format!("{value}; charset=utf-8"));
            value.into_iter().for_each(|value| drop(headers.insert(CONTENT_TYPE, value)));
        }
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let to_head = *method == Method::HEAD;
    if !to_head && length.is_some_and(|length| length > MAX_SMALL_BODY_BYTES) {
        return Response::from_parts(head, EdgeBody::file(Box::pin(file)));
    }
    match file.collect().await {
        Ok(_) if to_head => Response::from_parts(head, EdgeBody::full(Bytes::new())),
        Ok(all) => body::whole(Response::from_parts(head, all.to_bytes()), to_head),
        Err(error) => failed(&error, "-", "-"),
    }
}

/// The file does not match the request's condition or range: the same status, with an error body.
fn refused(head: &http::response::Parts) -> Response<EdgeBody> {
    let mut response = error::response(head.status, "the file does not fit the request's condition or range");
    if let Some(range) = head.headers.get(CONTENT_RANGE) {
        response.headers_mut().insert(CONTENT_RANGE, range.clone());
    }
    response
}

/// The folder in which `ServeDir` opens files.
#[derive(Clone)]
struct Folder {
    root: Arc<Path>,
    budget: Arc<ApplicationBudget>,
    /// The name of the file that the client asks for: a file with this name is no variant of another one.
    requested: OsString,
    is_head: bool,
}

/// What `ServeDir` needs to know of a file or folder.
#[derive(Clone)]
struct Described {
    metadata: Metadata,
    /// Stands for the content, in place of the fraction of the second at which the file was changed.
    distinction: u32,
}

impl Described {
    /// Of a small file, which is read to its end for each response, all hosts that serve the same content make the
    /// same. Reading a larger one each time would cost too much: it is known by its inode and what changes with it.
    fn of(file: &File, metadata: Metadata) -> io::Result<Self> {
        let mut hash = DefaultHasher::new();
        match usize::try_from(metadata.len()) {
            Ok(length) if metadata.is_file() && length <= MAX_SMALL_BODY_BYTES => {
                let mut content = vec![0; length];
                file.read_exact_at(&mut content, 0)?;
                hash.write(&content);
            }
            _ => {
                let changed = (metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
                (metadata.ino(), changed).hash(&mut hash);
            }
        }
        // As many as a second has nanoseconds.
        let distinction = u32::try_from(hash.finish() % 1_000_000_000).unwrap_or_default();
        Ok(Described { metadata, distinction })
    }
}

impl ServedMetadata for Described {
    fn is_dir(&self) -> bool {
        self.metadata.is_dir()
    }

    fn modified(&self) -> io::Result<SystemTime> {
        let whole = seconds(&self.metadata).ok_or(io::ErrorKind::Unsupported)?;
        Ok(UNIX_EPOCH + Duration::new(whole, self.distinction))
    }

    fn len(&self) -> u64 {
        self.metadata.len()
    }
}

/// An open file or folder, which counts in the budget. A file that changes while it is sent has as many bytes as the
/// response's head says, or its reading fails: a client must not take the next response for a part of it.
struct Opened {
    /// The rest of the bytes that the file had when it was opened.
    file: Take<tokio::fs::File>,
    described: Described,
    _counted: OpenFile,
}

impl Folder {
    /// Opens a plain file or a folder; everything else counts as missing. The description is for an entity tag if
    /// `is_tagged`. Blocks on the disk.
    fn find(&self, path: &Path, is_tagged: bool) -> io::Result<(File, Described, OpenFile)> {
        let counted = self.budget.open_file().ok_or(io::ErrorKind::QuotaExceeded)?;
        let root = File::open(&self.root)?;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let (file, metadata) = open(&root, path)?;
        if let Some(original) = self.original_of(path)
            && open(&root, &original).is_ok_and(|(_, original)| seconds(&metadata) < seconds(&original))
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        let described = match is_tagged {
            true => Described::of(&file, metadata)?,
            false => Described { metadata, distinction: 0 },
        };
        Ok((file, described, counted))
    }

    /// The path of the file of which `path` is a precompressed variant.
    fn original_of(&self, path: &Path) -> Option<PathBuf> {
        let is_variant = path.extension().and_then(OsStr::to_str).is_some_and(|end| VARIANTS.contains(&end));
        (is_variant && path.file_name() != Some(self.requested.as_os_str())).then(|| path.with_extension(""))
    }

    async fn look(self, path: PathBuf, is_tagged: bool) -> io::Result<(File, Described, OpenFile)> {
        tokio::task::spawn_blocking(move || self.find(&path, is_tagged)).await?
    }
}

/// Opens a plain file or a folder beneath `root`.
fn open(root: &File, path: &Path) -> io::Result<(File, Metadata)> {
    // A pipe or a device must not block the thread.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).map_err(|errno| match errno {
        // A link that leads out, a circular link, a device without a driver, or a name that is too long.
        Errno::XDEV | Errno::LOOP | Errno::NXIO | Errno::NAMETOOLONG => io::ErrorKind::NotFound.into(),
        errno => io::Error::from(errno),
    })?;
    let file = File::from(file);
    let metadata = file.metadata()?;
    if metadata.is_file() || metadata.is_dir() { Ok((file, metadata)) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// When a file was changed, in whole seconds: a copy of a folder may write a file just after its variant.
fn seconds(metadata: &Metadata) -> Option<u64> {
    Some(metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

impl Backend for Folder {
    type File = Opened;
    type Metadata = Described;
    type OpenFuture = Pin<Box<dyn Future<Output = io::Result<Opened>> + Send>>;
    type MetadataFuture = Pin<Box<dyn Future<Output = io::Result<Described>> + Send>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let found = self.clone().look(path, true);
        Box::pin(async move {
            let (file, described, counted) = found.await?;
            if described.metadata.is_dir() {
                return Err(io::ErrorKind::NotFound.into());
            }
            let file = tokio::fs::File::from_std(file).take(described.metadata.len());
            Ok(Opened { file, described, _counted: counted })
        })
    }

    /// For GET, `ServeDir` only asks this way whether the path is a folder's.
    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let found = self.clone().look(path, self.is_head);
        Box::pin(async move { found.await.map(|(_, described, _)| described) })
    }
}

impl ServedFile for Opened {
    type Metadata = Described;
    type MetadataFuture<'a> = std::future::Ready<io::Result<Described>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        std::future::ready(Ok(self.described.clone()))
    }
}

impl AsyncRead for Opened {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, wanted) = (buffer.filled().len(), buffer.remaining());
        ready!(Pin::new(&mut self.file).poll_read(cx, buffer))?;
        if buffer.filled().len() == before && wanted > 0 && self.file.limit() > 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        // `ServeDir` only seeks to the start of a range.
        if let io::SeekFrom::Start(start) = position {
            let left = self.described.metadata.len().saturating_sub(start);
            self.file.set_limit(left);
        }
        Pin::new(self.file.get_mut()).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(self.file.get_mut()).poll_complete(cx)
    }
}

#[cfg(test)]
mod tests;
