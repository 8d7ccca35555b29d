//! `http-error-code` of `wasi:http/types@0.2`: the kind of failure that ended a body.
//!
//! wasmtime's own function looks for an error code of that interface and does not find it, because wasmtime stores the
//! error type that both versions of `wasi:http` share with the stream.

use crate::Ctx;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

/// The error of a stream, of `wasi:io/error`.
type StreamError = wasmtime::Error;

fn http_error_code(ctx: &mut Ctx, error: Resource<StreamError>) -> wasmtime::Result<Option<ErrorCode>> {
    let error = ctx.table.get(&error)?;
    Ok(match error.downcast_ref::<ErrorCode>() {
        Some(code) => Some(code.clone()),
        None => error.downcast_ref().map(code),
    })
}

/// The code for an error that can end a body; for any other error, the code of a protocol error.
fn code(error: &Error) -> ErrorCode {
    match error {
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        Error::ConnectionTimeout => ErrorCode::ConnectionTimeout,
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::ConnectionWriteTimeout => ErrorCode::ConnectionWriteTimeout,
        Error::DestinationUnavailable => ErrorCode::DestinationUnavailable,
        Error::TlsProtocolError => ErrorCode::TlsProtocolError,
        Error::HttpRequestBodySize(size) => ErrorCode::HttpRequestBodySize(*size),
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::HttpResponseBodySize(size) => ErrorCode::HttpResponseBodySize(*size),
        Error::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        Error::InternalError(_) => ErrorCode::InternalError(None),
        _ => ErrorCode::HttpProtocolError,
    }
}

/// Replaces wasmtime's function in a linker that allows it.
///
/// # Errors
/// When the interface is not linked.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:http/types@0.2.12")?.func_wrap(
        "http-error-code",
        |mut store: StoreContextMut<'_, Ctx>, (error,): (Resource<StreamError>,)| {
            Ok((http_error_code(store.data_mut(), error)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ctx;

    #[test]
    fn the_code_of_a_body_that_broke_off_is_known_each_time_it_is_asked_for() {
        let mut ctx = ctx(|_| {});
        let broken = ctx.table.push(StreamError::from(Error::ConnectionTerminated)).unwrap();
        let other = ctx.table.push(StreamError::msg("another error")).unwrap();
        for _ in 0..2 {
            let code = http_error_code(&mut ctx, Resource::new_borrow(broken.rep())).unwrap();
            assert!(matches!(code, Some(ErrorCode::ConnectionTerminated)), "{code:?}");
            assert!(http_error_code(&mut ctx, Resource::new_borrow(other.rep())).unwrap().is_none());
            assert_eq!(ctx.table.get(&other).unwrap().to_string(), "another error");
        }
    }
}
