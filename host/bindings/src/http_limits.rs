//! How much of the host's memory the `wasi:http` values of one instance may take.
//!
//! wasmtime keeps `fields`, `request` and `response` in the instance's table of resources and bounds the size of each
//! `fields`, but neither their sum nor the other texts of a request. So the limit on one value depends on how many
//! resources the instance has. An honest instance has few, and each may be as large as wasmtime allows; beyond
//! [`FEW_RESOURCES`], new ones may have at most [`MAX_SMALL_HEADERS_BYTES`]. The sum is at most ([`FEW_RESOURCES`] +
//! [`COUNT_INTERVAL`]) × [`MAX_LARGE_HEADERS_BYTES`] + [`MAX_RESOURCES`](super::MAX_RESOURCES) × [`MAX_SMALL_HEADERS_BYTES`]: 52 MiB, a little
//! less than the default of an instance's own memory.
//!
//! wasmtime's setting covers only new `fields`. The heads of responses that the instance is sent have the same limits,
//! and so have the parts of bodies that wait to be sent ([`MessageLimits`]). The functions in [`add_to_linker`] replace
//! wasmtime's own where a guest could get around it: a copy of large `fields`, and a request's method, authority and
//! path.

mod wasi_0_2;

use crate::{Ctx, release_candidate};
use http::{HeaderMap, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceTable};
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::http::types::{HostFields, HostRequest, Method};
use wasmtime_wasi_http::{Error, WasiHttpCtx, WasiHttpView};

souk_manifest::fixed_limits! {
    /// The fixed limits of HTTP requests and responses of a component.
    pub(crate) const FIXED_LIMITS = "components";

    /// The number of resources up to which each set of HTTP headers of an instance may be large.
    pub const FEW_RESOURCES: usize = 128, "handles";
    /// The most bytes of one set of HTTP headers in an instance with few resources; wasmtime's default.
    pub const MAX_LARGE_HEADERS_BYTES: usize = 128 << 10, bytes;
    /// The most bytes of one set of HTTP headers in an instance with many resources: the usual limit of servers for a
    /// request's head.
    pub const MAX_SMALL_HEADERS_BYTES: usize = 8 << 10, bytes;
    /// The most bytes that one write of a component's body copies, in an instance with few resources; the host holds up
    /// to two such chunks for each body.
    const MAX_LARGE_CHUNK_BYTES: usize = 64 << 10, bytes;
    /// The most bytes that one such write copies in an instance with many resources.
    const MAX_SMALL_CHUNK_BYTES: usize = 4 << 10, bytes;
    /// After how many calls of `wasi:http` the resources of an instance are counted again.
    const COUNT_INTERVAL: u32 = 32, "calls";
    /// The longest method; the longest registered one is `UPDATEREDIRECTREF`.
    const MAX_METHOD_BYTES: usize = 64, bytes;
    /// The longest authority of a request: a name of 255 bytes, a port, and space for user information.
    const MAX_AUTHORITY_BYTES: usize = 1 << 10, bytes;
}

/// The number of an instance's resources, counted from time to time.
#[derive(Debug, Default)]
pub(crate) struct ResourceCount {
    calls: u32,
    many: Arc<AtomicBool>,
}

impl ResourceCount {
    /// Sets the limit on the next `fields`. Call it before each call of `wasi:http`.
    pub(crate) fn set_limit(&mut self, table: &mut ResourceTable, http: &mut WasiHttpCtx) {
        if self.calls.is_multiple_of(COUNT_INTERVAL) {
            self.many.store(table.iter_mut().nth(FEW_RESOURCES).is_some(), Ordering::Relaxed);
            http.set_field_size_limit(self.limit());
        }
        self.calls = self.calls.wrapping_add(1);
    }

    fn many(&self) -> bool {
        self.many.load(Ordering::Relaxed)
    }

    fn limit(&self) -> usize {
        limit(self.many())
    }

    /// The limits of the instance's requests.
    pub(crate) fn messages(&self) -> MessageLimits {
        MessageLimits(self.many.clone())
    }
}

fn limit(many: bool) -> usize {
    if many { MAX_SMALL_HEADERS_BYTES } else { MAX_LARGE_HEADERS_BYTES }
}

/// The limits of an instance's requests. The instance may keep the heads of their responses, and another component or a
/// server chooses how large they are. A body is copied in chunks of limited size.
#[derive(Clone, Default)]
pub(crate) struct MessageLimits(Arc<AtomicBool>);

impl MessageLimits {
    fn many(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The most bytes that one write of a body copies.
    pub(crate) fn chunk_bytes(&self) -> usize {
        if self.many() { MAX_SMALL_CHUNK_BYTES } else { MAX_LARGE_CHUNK_BYTES }
    }

    /// Checks the head of a response.
    ///
    /// # Errors
    /// When the head is too large for an instance with that many resources.
    pub(crate) fn check<B>(&self, response: Response<B>) -> Result<Response<B>, Error> {
        let bytes = size(response.headers());
        if bytes > limit(self.many()) {
            return Err(Error::HttpResponseHeaderSectionSize(u32::try_from(bytes).ok()));
        }
        Ok(response)
    }
}

/// Checks the trailers of a response.
///
/// # Errors
/// When they are larger than those of any instance may be.
pub(crate) fn check_trailers(trailers: &HeaderMap) -> Result<(), Error> {
    let bytes = size(trailers);
    if bytes > MAX_SMALL_HEADERS_BYTES {
        return Err(Error::HttpResponseTrailerSectionSize(u32::try_from(bytes).ok()));
    }
    Ok(())
}

/// The size of `fields`, as wasmtime counts it.
pub(crate) fn size(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + size_of_val(value)).sum()
}

/// Refuses a copy of `fields` that is too large for an instance with many resources. A copy shares the bytes until the
/// guest changes it; then wasmtime makes a real copy.
fn check_copy(ctx: &mut Ctx, fields: &Resource<FieldMap>) -> wasmtime::Result<()> {
    let bytes = size(ctx.table.get(fields)?);
    ctx.http();
    let most = ctx.resources.limit();
    if ctx.resources.many() && bytes > most {
        wasmtime::bail!(
            "component `{}` copied `fields` of {bytes} bytes while it had more than {FEW_RESOURCES} resources, when a \
             copy may have {most}; drop requests, responses and fields that are not in use",
            ctx.grants.component
        );
    }
    Ok(())
}

fn clone(ctx: &mut Ctx, fields: Resource<FieldMap>) -> wasmtime::Result<Resource<FieldMap>> {
    check_copy(ctx, &fields)?;
    HostFields::clone(&mut ctx.http(), fields)
}

fn set_method(ctx: &mut Ctx, request: Resource<Request>, method: Method) -> wasmtime::Result<Result<(), ()>> {
    match &method {
        Method::Other(name) if name.len() > MAX_METHOD_BYTES => Ok(Err(())),
        _ => HostRequest::set_method(&mut ctx.http(), request, method),
    }
}

fn set_authority(
    ctx: &mut Ctx,
    request: Resource<Request>,
    authority: Option<String>,
) -> wasmtime::Result<Result<(), ()>> {
    if authority.as_ref().is_some_and(|authority| authority.len() > MAX_AUTHORITY_BYTES) {
        return Ok(Err(()));
    }
    HostRequest::set_authority(&mut ctx.http(), request, authority)
}

fn set_path(ctx: &mut Ctx, request: Resource<Request>, path: Option<String>) -> wasmtime::Result<Result<(), ()>> {
    if path.as_ref().is_some_and(|path| path.len() > ctx.resources.limit()) {
        return Ok(Err(()));
    }
    HostRequest::set_path_with_query(&mut ctx.http(), request, path)
}

/// Replaces the functions of `wasi:http` whose memory wasmtime does not bound. Call it after wasmtime's own functions
/// are linked.
///
/// # Errors
/// When the interface is not linked.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    bound_0_3(&mut linker.instance("wasi:http/types@0.3.0")?)?;
    bound_0_3(&mut linker.instance(&release_candidate::name("wasi:http/types"))?)?;
    wasi_0_2::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Replaces these functions in `wasi:http/types@0.3`.
fn bound_0_3(types: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    types.func_wrap("[method]fields.clone", |mut store: StoreContextMut<'_, Ctx>, (fields,)| {
        Ok((clone(store.data_mut(), fields)?,))
    })?;
    types.func_wrap("[method]request.set-method", |mut store: StoreContextMut<'_, Ctx>, (request, method)| {
        Ok((set_method(store.data_mut(), request, method)?,))
    })?;
    types.func_wrap("[method]request.set-authority", |mut store: StoreContextMut<'_, Ctx>, (request, authority)| {
        Ok((set_authority(store.data_mut(), request, authority)?,))
    })?;
    types.func_wrap("[method]request.set-path-with-query", |mut store: StoreContextMut<'_, Ctx>, (request, path)| {
        Ok((set_path(store.data_mut(), request, path)?,))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_RESOURCES;
    use crate::tests::ctx;
    use bytes::Bytes;
    use http_body_util::Empty;

    /// Fills a new `fields` with values until one is refused; returns its size.
    fn fill(ctx: &mut Ctx, fields: &Resource<FieldMap>) -> usize {
        let own = || Resource::new_own(fields.rep());
        while HostFields::append(&mut ctx.http(), own(), "x".into(), vec![b'x'; 4_000]).is_ok() {}
        size(ctx.table.get(fields).unwrap())
    }

    #[test]
    fn few_fields_may_be_large_and_the_sum_of_all_is_bounded() {
        let mut ctx = ctx(|_| {});
        let (mut sum, mut count) = (0, 0);
        while let Ok(fields) = HostFields::new(&mut ctx.http()) {
            let size = fill(&mut ctx, &fields);
            if count == 0 {
                assert!(size > MAX_LARGE_HEADERS_BYTES - 5_000, "{size}");
            }
            sum += size;
            count += 1;
        }
        assert_eq!(count, MAX_RESOURCES);
        assert!(
            sum <= (FEW_RESOURCES + 1) * MAX_LARGE_HEADERS_BYTES + MAX_RESOURCES * MAX_SMALL_HEADERS_BYTES,
            "{sum}"
        );
    }

    #[test]
    fn fields_that_are_made_before_they_are_filled_are_counted_too() {
        let mut ctx = ctx(|_| {});
        let all: Vec<_> = (0..1_000).map(|_| HostFields::new(&mut ctx.http()).unwrap()).collect();
        let sum: usize = all.iter().map(|fields| fill(&mut ctx, fields)).sum();
        let large = FEW_RESOURCES + COUNT_INTERVAL as usize;
        assert!(sum <= large * MAX_LARGE_HEADERS_BYTES + 1_000 * MAX_SMALL_HEADERS_BYTES, "{sum}");
    }

    #[test]
    fn heads_that_are_sent_to_a_guest_have_the_same_limits() {
        let mut ctx = ctx(|_| {});
        let limit = ctx.resources.messages();
        let response = |bytes: usize| Response::builder().header("x", "x".repeat(bytes)).body(()).unwrap();
        assert!(limit.check(response(100_000)).is_ok() && limit.chunk_bytes() == MAX_LARGE_CHUNK_BYTES);
        assert!(matches!(limit.check(response(200_000)), Err(Error::HttpResponseHeaderSectionSize(Some(200_041)))));
        let held: Vec<_> = (0..1_000).map(|_| HostFields::new(&mut ctx.http()).unwrap()).collect();
        assert!(limit.check(response(100_000)).is_err() && limit.check(response(8_000)).is_ok(), "{}", held.len());
        assert_eq!(limit.chunk_bytes(), MAX_SMALL_CHUNK_BYTES);
        assert!(check_trailers(response(8_000).headers()).is_ok());
        assert!(check_trailers(response(9_000).headers()).is_err());
    }

    #[test]
    fn copies_and_texts_of_requests_are_bounded() {
        let mut ctx = ctx(|_| {});
        let large = HostFields::new(&mut ctx.http()).unwrap();
        fill(&mut ctx, &large);
        let own = || Resource::new_own(large.rep());
        let copies = std::iter::from_fn(|| clone(&mut ctx, own()).ok()).count();
        assert!(copies <= FEW_RESOURCES + COUNT_INTERVAL as usize, "{copies}");

        let (request, _) =
            Request::new(http::Method::GET, None, None, None, FieldMap::default(), None, Empty::<Bytes>::new());
        let request = ctx.table.push(request).unwrap();
        let own = || Resource::new_own(request.rep());
        let long = |bytes| Some("a".repeat(bytes));
        assert_eq!(set_method(&mut ctx, own(), Method::Other("A".repeat(100))).unwrap(), Err(()));
        assert_eq!(set_method(&mut ctx, own(), Method::Other("BREW".into())).unwrap(), Ok(()));
        assert_eq!(set_authority(&mut ctx, own(), long(2_000)).unwrap(), Err(()));
        assert_eq!(set_authority(&mut ctx, own(), long(100)).unwrap(), Ok(()));
        let path = |bytes| Some(format!("/{}", "a".repeat(bytes)));
        assert_eq!(
            set_path(&mut ctx, own(), path(MAX_SMALL_HEADERS_BYTES)).unwrap(),
            Err(()),
            "there are many resources"
        );
        assert_eq!(set_path(&mut ctx, own(), path(4_000)).unwrap(), Ok(()));
    }
}
