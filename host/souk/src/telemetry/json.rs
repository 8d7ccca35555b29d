//! The log as JSON, one object per line: first `time`, `level`, `component`, `version`, `trace` and `message`, if the
//! record has them, then its other fields under their names.

use serde::Serializer as _;
use serde::ser::SerializeMap as _;
use serde_json::Value;
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

souk_manifest::fixed_limits! {
    /// The fixed limits of records as JSON.
    pub(crate) const FIXED_LIMITS = "process";

    /// The longest text of one field of a record in JSON; the rest of a longer one is left out.
    const MAX_FIELD_BYTES: usize = 8 << 10, bytes;
}

/// The fields that come first, in this order.
const FIRST: [&str; 4] = ["component", "version", "trace", "message"];

/// The format.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = Vec::new();
        let mut json = serde_json::Serializer::new(&mut line);
        let written = (|| {
            let mut object = json.serialize_map(None)?;
            object
                .serialize_entry("time", &humantime::format_rfc3339_micros(souk_manifest::clock::now()).to_string())?;
            object.serialize_entry("level", metadata.level().as_str())?;
            for first in FIRST {
                if let Some((_, value)) = fields.0.iter().find(|(name, _)| *name == first) {
                    object.serialize_entry(first, value)?;
                }
            }
            object.serialize_entry("target", metadata.target())?;
            for (name, value) in fields.0.iter().filter(|(name, _)| !FIRST.contains(name)) {
                object.serialize_entry(name, value)?;
            }
            object.end()
        })();
        written.map_err(|_| fmt::Error)?;
        writeln!(writer, "{}", String::from_utf8(line).map_err(|_| fmt::Error)?)
    }
}

/// The fields of a record, in output order.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        self.0.push((field.name(), value));
    }

    fn add_text(&mut self, field: &Field, text: &str) {
        let kept = text.get(..text.floor_char_boundary(MAX_FIELD_BYTES)).unwrap_or_default();
        let text = match text.len() - kept.len() {
            0 => kept.to_owned(),
            more => format!("{kept}... ({more} bytes left out)"),
        };
        self.add(field, text.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_record_is_one_line_whose_known_fields_come_first() {
        let buffer = Buffer::default();
        let log = {
            let buffer = buffer.clone();
            tracing_subscriber::fmt().with_writer(move || buffer.clone()).event_format(Json).finish()
        };
        let _log = tracing::subscriber::set_default(log);
        let component = String::from("orders");
        tracing::info!(target: "access", status = 200_u16, trace = "t-1", %component, "GET \"/a\"\nb");
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let (time, rest) = text.split_once(",\"level\"").unwrap();
        assert!(time.starts_with("{\"time\":\"2") && time.ends_with("Z\""), "{time}");
        let expected =
            r#":"INFO","component":"orders","trace":"t-1","message":"GET \"/a\"\nb","target":"access","status":200}"#;
        assert_eq!(rest.trim_end(), expected);
        buffer.0.lock().unwrap().clear();
        tracing::warn!(why = "\u{1}".repeat(17 << 20), "{}", "ä".repeat(17 << 20));
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let record: Value = serde_json::from_str(&text).unwrap();
        assert!(text.len() < 64 << 10, "{}", text.len());
        let message = record["message"].as_str().unwrap();
        assert!(message.starts_with("ää") && message.ends_with("... (35643392 bytes left out)"), "{message}");
    }
}
