//! Maps the client's errors to the error codes of `wasi:http`.
//!
//! The guest learns only the kind of failure; addresses and the libraries' own messages go to the log.

use super::connect::ConnectError;
use crate::outbound::Unreachable;
use hyper_util::client::legacy;
use std::error::Error as StdError;
use std::io;
use tokio_rustls::rustls;
use wasmtime_wasi_http::Error;

/// The error code of a request that has failed before its response.
pub(super) fn of_request(error: &legacy::Error) -> Error {
    let first = first_known(error);
    if error.is_connect() {
        first.unwrap_or(Error::ConnectionTerminated)
    } else {
        first.unwrap_or(Error::HttpProtocolError)
    }
}

/// The error code of a response body that has failed.
pub(super) fn of_body(error: &hyper::Error) -> Error {
    first_known(error).unwrap_or(Error::HttpProtocolError)
}

/// The name of an error's kind, for metrics.
pub(super) fn name(error: &Error) -> &'static str {
    match error {
        Error::HttpRequestDenied | Error::DestinationIpProhibited => "denied",
        Error::DnsError { .. } | Error::DestinationNotFound => "not-found",
        Error::DestinationUnavailable | Error::ConnectionRefused | Error::ConnectionTerminated => "unavailable",
        Error::ConnectionTimeout | Error::ConnectionReadTimeout | Error::HttpResponseTimeout => "timeout",
        Error::ConnectionLimitReached => "connection-limit",
        Error::TlsCertificateError | Error::TlsAlertReceived { .. } | Error::TlsProtocolError => "tls",
        Error::LoopDetected => "loop",
        _ => "other",
    }
}

/// An error and its causes in one line for the log.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// The code of the innermost cause that has one: the outer layers only say that something failed.
fn first_known(error: &(dyn StdError + 'static)) -> Option<Error> {
    // `source` of an `io::Error` skips the error that it wraps, so it is unwrapped here.
    let wrapped =
        error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).map(|inner| inner as &(dyn StdError + 'static));
    wrapped.or_else(|| error.source()).and_then(first_known).or_else(|| code(error))
}

fn code(error: &(dyn StdError + 'static)) -> Option<Error> {
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        return Some(match error {
            ConnectError::Unreachable(Unreachable::Special) => Error::DestinationIpProhibited,
            ConnectError::Unreachable(Unreachable::Unresolved(_)) => Error::DnsError { rcode: None, info_code: None },
            ConnectError::Timeout => Error::ConnectionTimeout,
            ConnectError::NoHost => Error::HttpRequestUriInvalid,
        });
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(match error {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Error::TlsCertificateError,
            rustls::Error::AlertReceived(alert) => Error::TlsAlertReceived {
                alert_id: Some((*alert).into()),
                alert_message: alert.as_str().map(str::to_owned),
            },
            _ => Error::TlsProtocolError,
        });
    }
    // The guest's own body reported this, and hyper passed it back.
    if let Some(Error::HttpRequestBodySize(size)) = error.downcast_ref::<Error>() {
        return Some(Error::HttpRequestBodySize(*size));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return match error {
            _ if error.is_parse_too_large() => Some(Error::HttpResponseHeaderSectionSize(None)),
            _ if error.is_incomplete_message() => Some(Error::HttpResponseIncomplete),
            _ if error.is_timeout() => Some(Error::HttpResponseTimeout),
            _ if error.is_canceled() || error.is_closed() || error.is_body_write_aborted() => {
                Some(Error::ConnectionTerminated)
            }
            _ => None,
        };
    }
    match error.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::ConnectionRefused => Some(Error::ConnectionRefused),
        io::ErrorKind::HostUnreachable => Some(Error::DestinationUnavailable),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => Some(Error::DestinationIpUnroutable),
        io::ErrorKind::TimedOut => Some(Error::ConnectionTimeout),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(Error::ConnectionTerminated),
        _ => None,
    }
}
