//! `wasi:http/handler` as an import: a middleware calls it to pass a request on, as in Spin 4.1. Also the functions
//! that send a request, because a request without a host goes to the application's own routes, as in Spin.
//!
//! The import has the type of `wasi:http/client`'s `send`, so wasmtime's own function serves both. Only the request's
//! destination differs, and the hooks decide it. The call knows which component comes next ([`CallContext::rest`]), so
//! one pool serves a middleware in every chain.

use super::{Client, Processing};
use crate::call::CallContext;
use crate::http_limits::{self, MessageLimits};
use crate::{Ctx, pending, tape};
use http::Request;
use http::uri::Authority;
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as OutgoingHandler;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::p3::Request as Request03;
use wasmtime_wasi_http::p3::Response as Response03;
use wasmtime_wasi_http::p3::bindings::http::client::HostWithStore;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttp, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

/// The host for a request that does not name one.
const NO_HOST: &str = "self";

/// The `wasi:http` hooks for requests that a middleware passes on.
pub(crate) struct NextHooks {
    client: Arc<Client>,
    /// The call that the instance serves now.
    pub(crate) call: CallContext,
    limits: MessageLimits,
}

impl NextHooks {
    pub(crate) fn new(client: Arc<Client>, call: CallContext, limits: MessageLimits) -> Self {
        NextHooks { client, call, limits }
    }
}

impl WasiHttpHooks for NextHooks {
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        self.limits.chunk_bytes()
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Processing,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Processing), Error>> + Send> {
        let (client, call, limits) = (self.client.clone(), self.call.clone(), self.limits.clone());
        Box::new(async move {
            tape::unrecorded(call.tape.as_deref(), "wasi:http/handler#handle")
                .map_err(|error| Error::InternalError(Some(error.to_string())))?;
            let response = client.send_next(request, options.unwrap_or_default(), &call).await?;
            Ok((limits.check(response)?, Box::new(std::future::ready(Ok(()))) as Processing))
        })
    }
}

/// The return type of both functions of WASI 0.3.
type Sent = wasmtime::Result<(Result<Resource<Response03>, ErrorCode>,)>;

/// Sends `request` with the hooks of `view`.
async fn send(
    accessor: &Accessor<Ctx>,
    view: fn(&mut Ctx) -> WasiHttpCtxView<'_>,
    request: Resource<Request03>,
) -> Sent {
    // wasmtime takes the request out of the table of resources, whose size limits each of them.
    let bytes = accessor.with(|mut store| {
        let ctx = store.get();
        let chunks = 2 * ctx.resources.messages().chunk_bytes();
        let request = ctx.table.get_mut(&request)?;
        request.authority.get_or_insert(Authority::from_static(NO_HOST));
        let path = request.path_with_query.as_ref().map_or(0, |path| path.as_str().len());
        wasmtime::error::Ok(http_limits::size(&request.headers) + path + chunks)
    })?;
    let _call = pending::begin(accessor, bytes)?;
    match WasiHttp::send(&accessor.with_getter::<WasiHttp>(view), request).await {
        Ok(response) => Ok((Ok(response),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

type Sent02 = wasmtime::Result<(
    Result<Resource<HostFutureIncomingResponse>, wasmtime_wasi_http::p2::bindings::http::types::ErrorCode>,
)>;

fn handle_0_2(
    ctx: &mut Ctx,
    request: Resource<HostOutgoingRequest>,
    options: Option<Resource<wasmtime_wasi_http::p2::bindings::http::types::RequestOptions>>,
) -> Sent02 {
    let authority = &mut ctx.table.get_mut(&request)?.authority;
    authority.get_or_insert_with(|| NO_HOST.to_owned());
    match OutgoingHandler::handle(&mut ctx.http(), request, options) {
        Ok(response) => Ok((Ok(response),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// Links `wasi:http/handler`, and replaces wasmtime's functions that send. Call it after those are linked.
///
/// # Errors
/// When an interface is not linked.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker
        .instance("wasi:http/handler@0.3.0")?
        .func_wrap_concurrent("handle", |accessor, (request,)| Box::pin(send(accessor, Ctx::http_to_next, request)))?;
    linker.allow_shadowing(true);
    linker
        .instance("wasi:http/client@0.3.0")?
        .func_wrap_concurrent("send", |accessor, (request,)| Box::pin(send(accessor, Ctx::http, request)))?;
    linker
        .instance("wasi:http/outgoing-handler@0.2.12")?
        .func_wrap("handle", |mut store: StoreContextMut<'_, Ctx>, (request, options)| {
            handle_0_2(store.data_mut(), request, options)
        })?;
    linker.allow_shadowing(false);
    Ok(())
}
