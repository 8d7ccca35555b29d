//! The same limits for `wasi:http/types@0.2`, whose setters wasmtime does not limit either.

use super::{MAX_AUTHORITY_BYTES, MAX_METHOD_BYTES, check_copy};
use crate::Ctx;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{HostFields, HostOutgoingRequest, Method, Scheme};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest as Request;
use wasmtime_wasi_http::{FieldMap, WasiHttpView};

/// The interface as wasmtime names it; components that import an older 0.2 are linked to it too.
const TYPES: &str = "wasi:http/types@0.2.12";

/// A setter's result: `Err` for a refused value.
type Set = wasmtime::Result<Result<(), ()>>;

fn clone(ctx: &mut Ctx, fields: Resource<FieldMap>) -> wasmtime::Result<Resource<FieldMap>> {
    check_copy(ctx, &fields)?;
    HostFields::clone(&mut ctx.http(), fields)
}

fn set_method(ctx: &mut Ctx, request: Resource<Request>, method: Method) -> Set {
    match &method {
        Method::Other(name) if name.len() > MAX_METHOD_BYTES => Ok(Err(())),
        _ => HostOutgoingRequest::set_method(&mut ctx.http(), request, method),
    }
}

fn set_scheme(ctx: &mut Ctx, request: Resource<Request>, scheme: Option<Scheme>) -> Set {
    match &scheme {
        Some(Scheme::Other(name)) if name.len() > MAX_METHOD_BYTES => Ok(Err(())),
        _ => HostOutgoingRequest::set_scheme(&mut ctx.http(), request, scheme),
    }
}

fn set_authority(ctx: &mut Ctx, request: Resource<Request>, authority: Option<String>) -> Set {
    if authority.as_ref().is_some_and(|authority| authority.len() > MAX_AUTHORITY_BYTES) {
        return Ok(Err(()));
    }
    HostOutgoingRequest::set_authority(&mut ctx.http(), request, authority)
}

fn set_path(ctx: &mut Ctx, request: Resource<Request>, path: Option<String>) -> Set {
    if path.as_ref().is_some_and(|path| path.len() > ctx.resources.limit()) {
        return Ok(Err(()));
    }
    HostOutgoingRequest::set_path_with_query(&mut ctx.http(), request, path)
}

/// Replaces the functions of `wasi:http@0.2` whose memory wasmtime does not bound, in a linker that allows it.
///
/// # Errors
/// When the interface is not linked.
pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap("[method]fields.clone", |mut store: StoreContextMut<'_, Ctx>, (fields,)| {
        Ok((clone(store.data_mut(), fields)?,))
    })?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, Ctx>, (request, method)| Ok((set_method(store.data_mut(), request, method)?,)),
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-scheme",
        |mut store: StoreContextMut<'_, Ctx>, (request, scheme)| Ok((set_scheme(store.data_mut(), request, scheme)?,)),
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, Ctx>, (request, authority)| {
            Ok((set_authority(store.data_mut(), request, authority)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: StoreContextMut<'_, Ctx>, (request, path)| Ok((set_path(store.data_mut(), request, path)?,)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::{FEW_RESOURCES, MAX_SMALL_HEADERS_BYTES};
    use super::*;
    use crate::tests::ctx;

    #[test]
    fn texts_of_requests_are_bounded() {
        let mut ctx = ctx(|_| {});
        // There are many resources, so each new text may be small.
        for _ in 0..2 * FEW_RESOURCES {
            HostFields::new(&mut ctx.http()).unwrap();
        }
        let headers = HostFields::new(&mut ctx.http()).unwrap();
        let request = HostOutgoingRequest::new(&mut ctx.http(), headers).unwrap();
        let own = || Resource::new_own(request.rep());
        let long = |bytes| Some("a".repeat(bytes));
        assert_eq!(set_method(&mut ctx, own(), Method::Other("A".repeat(100))).unwrap(), Err(()));
        assert_eq!(set_method(&mut ctx, own(), Method::Other("BREW".into())).unwrap(), Ok(()));
        assert_eq!(set_scheme(&mut ctx, own(), Some(Scheme::Other("a".repeat(100)))).unwrap(), Err(()));
        assert_eq!(set_scheme(&mut ctx, own(), Some(Scheme::Https)).unwrap(), Ok(()));
        assert_eq!(set_authority(&mut ctx, own(), long(2_000)).unwrap(), Err(()));
        assert_eq!(set_authority(&mut ctx, own(), long(100)).unwrap(), Ok(()));
        let path = |bytes| Some(format!("/{}", "a".repeat(bytes)));
        assert_eq!(set_path(&mut ctx, own(), path(MAX_SMALL_HEADERS_BYTES)).unwrap(), Err(()));
        assert_eq!(set_path(&mut ctx, own(), path(4_000)).unwrap(), Ok(()));
    }
}
