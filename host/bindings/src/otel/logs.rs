//! Log records of guests become lines of the host's log, within the limit on what the component may print.

use super::{GuestRecord, LogRecord, attributes, name, nanoseconds, value, wit_logs as wit};
use crate::trace::Attribute;
use crate::{Ctx, printable};

/// How many bytes a line counts for in addition to its text.
const LINE_BYTES: usize = 64;

/// The lowest of OpenTelemetry's severity numbers for an error, a warning and information.
const ERROR: u8 = 17;
const WARN: u8 = 13;
const INFO: u8 = 9;

impl wit::Host for Ctx {
    fn on_emit(&mut self, data: wit::LogRecord) -> wasmtime::Result<()> {
        if self.call.tape.as_ref().is_some_and(|tape| tape.is_replayed()) {
            return Ok(());
        }
        let body = match data.body.as_deref().map(value) {
            Some(Attribute::Text(text)) => text.to_string(),
            Some(Attribute::Name(name)) => name.to_owned(),
            Some(Attribute::Number(number)) => number.to_string(),
            None => name(&data.event_name.clone().unwrap_or_default()).into(),
        };
        let body = self.grants.hidden.apply(&body);
        let component = self.grants.component.clone();
        let dropped = {
            let component = component.clone();
            move |lines| {
                tracing::warn!(
                    target: "guest", %component,
                    "component `{component}` logs more than is kept: {lines} records of the last second are dropped"
                );
            }
        };
        if !self.grants.output.admits(body.len() + LINE_BYTES, dropped) {
            return Ok(());
        }
        let (trace, text) = (&self.call.trace, printable(&body));
        // A record without a severity counts as information.
        let severity = data.severity_number.unwrap_or(INFO);
        match severity {
            ERROR.. => tracing::error!(target: "guest", %component, %trace, "{text}"),
            WARN.. => tracing::warn!(target: "guest", %component, %trace, "{text}"),
            INFO.. => tracing::info!(target: "guest", %component, %trace, "{text}"),
            _ => tracing::debug!(target: "guest", %component, %trace, "{text}"),
        }
        if !self.grants.telemetry.is_on() {
            return Ok(());
        }
        let span = &self.call.span;
        let log = LogRecord {
            time: data.timestamp.or(data.observed_timestamp).map_or(0, nanoseconds),
            severity: data.severity_number.unwrap_or_default(),
            severity_text: String::from(name(&data.severity_text.unwrap_or_default())),
            body,
            attributes: attributes(&data.attributes.unwrap_or_default()),
            trace: span.trace_id().map(|id| id.bytes().to_vec()).unwrap_or_default(),
            span: span.id().map(|id| id.bytes().to_vec()).unwrap_or_default(),
        };
        // The sink counts the records that it drops.
        self.grants.telemetry.send(GuestRecord::Log { component, log });
        Ok(())
    }
}
