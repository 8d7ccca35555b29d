//! `static_response` of `[[trigger.http]]`: a fixed response of the host, for every method.
//!
//! Refused: a status that is not a complete response, a body where the status allows none, and headers for framing or
//! the connection, which only the host sets.

use super::table::{At, Table};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use toml::de::DeValue;

/// A response without a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticResponse {
    /// Its status; 200 when the manifest has none.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; may be empty.
    pub body: String,
}

/// Headers that frame a response or belong to its connection.
const HOSTS_OWN: [&str; 7] =
    ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// Reads `static_response`: its line, and the response if it has no mistakes.
pub(super) fn read(trigger: &mut Table<'_, '_>) -> Option<(usize, Option<StaticResponse>)> {
    let (line, _) = trigger.value("static_response")?;
    let Some(mut table) = trigger.table("static_response") else { return Some((line, None)) };
    table.line = line;
    let status = read_status(&mut table);
    let headers = read_headers(&mut table);
    let body = table.string("body");
    table.finish();
    let (Some(status), Some(headers)) = (status, headers) else { return Some((line, None)) };
    if let Some(body) = body.as_ref().filter(|body| !body.value.is_empty())
        && matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
    {
        let message = format!("a response with the status {} has no body", status.as_u16());
        table_error(trigger, body, &message);
        return Some((line, None));
    }
    let body = body.map(|body| body.value).unwrap_or_default();
    Some((line, Some(StaticResponse { status, headers, body })))
}

fn table_error(trigger: &Table<'_, '_>, body: &At<String>, message: &str) {
    trigger.error(body.line, message, "remove `body`, or choose another `status_code`");
}

fn read_status(table: &mut Table<'_, '_>) -> Option<StatusCode> {
    let Some((line, value)) = table.value("status_code") else { return Some(StatusCode::OK) };
    let number = match value.get_ref() {
        DeValue::Integer(number) => u16::from_str_radix(number.as_str(), number.radix()).ok(),
        other => {
            table.mismatch("status_code", line, "a number", other);
            return None;
        }
    };
    let status = number.filter(|number| (200..=599).contains(number)).and_then(|n| StatusCode::from_u16(n).ok());
    if status.is_none() {
        table.error(line, "`status_code` is not the status of a complete response", "write a number from 200 to 599");
    }
    status
}

fn read_headers(table: &mut Table<'_, '_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let Some(entries) = table.table("headers") else { return Some(headers) };
    let mut good = true;
    for (name, value) in entries.string_entries() {
        let header = HeaderName::try_from(name.value).ok().zip(HeaderValue::try_from(value).ok());
        match header.filter(|(header, _)| !HOSTS_OWN.contains(&header.as_str())) {
            Some((name, value)) => {
                headers.append(name, value);
            }
            None => {
                good = false;
                let message = format!("`{}` in `headers` cannot be set", name.value.escape_debug());
                let fix = "write a header's name and its value in one line; length and connection are the host's";
                entries.error(name.line, message, fix);
            }
        }
    }
    good.then_some(headers)
}
