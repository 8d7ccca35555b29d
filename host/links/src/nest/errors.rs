//! Converts the errors of a contract to those of Nest, `{"status":404,"message":"..."}`, and back, by the manifest's
//! table.
//!
//! A Nest client gets an error as a status and a message. So the table must have each error case that a component can
//! return. In the other direction, an error becomes the case whose status and text fit best. This module compares names
//! and texts only; the contract and the manifest define what an error means.

use super::direction::Direction;
use super::packet::text;
use crate::check::Mismatch;
use serde_json::{Value, json};
use souk_codec::camel_case;
use souk_manifest::NestPattern;
use wasmtime::component::types::Type;

/// The placeholder for a case's payload in a message.
const PAYLOAD: &str = "{}";

/// The errors of one function.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// The case's name in JSON.
    name: String,
    status: Value,
    message: String,
    /// Whether the case has a payload.
    payload: bool,
}

impl Errors {
    /// Selects the entries for a function with this error type; `Err` says what is wrong with them, and the fix.
    pub(super) fn of(
        pattern: &NestPattern,
        fallible: bool,
        error: Option<&Type>,
        direction: Direction,
    ) -> Result<Self, Mismatch> {
        let cases: Vec<(String, Option<Type>)> = match error {
            Some(Type::Variant(variant)) => variant.cases().map(|case| (case.name.to_owned(), case.ty)).collect(),
            Some(Type::Enum(names)) => names.names().map(|name| (name.to_owned(), None)).collect(),
            None if !fallible => Vec::new(),
            _ => {
                return Err(Mismatch::new(
                    "has an error that is neither a variant nor an enum, so that no table can map it to an error of \
                     Nest",
                    "write an adapter that exports nest:microservices/requests",
                ));
            }
        };
        let unknown = |(name, entry): &(&String, &souk_manifest::NestError)| {
            entry.pattern_only && !cases.iter().any(|(case, _)| case == *name)
        };
        if let Some((name, _)) = pattern.errors.iter().find(unknown) {
            let known: Vec<&str> = cases.iter().map(|(name, _)| name.as_str()).collect();
            let fix = format!("its errors are {}", known.join(", "));
            return Err(Mismatch::new(format!("has no error `{name}`"), fix));
        }
        let mut entries = Vec::new();
        for (name, payload) in &cases {
            let Some(error) = pattern.errors.get(name) else {
                if direction == Direction::Inbound {
                    return Err(Mismatch::new(
                        format!("can answer with the error `{name}`, but the manifest maps it to no error of Nest"),
                        format!("write `{name} = {{ status = 400, message = \"...\" }}` under `errors`"),
                    ));
                }
                continue;
            };
            let text = matches!(payload, Some(Type::String));
            if direction == Direction::Outbound && payload.is_some() && !text {
                let problem = format!("has the error `{name}` with a payload that no message of Nest gives");
                return Err(Mismatch::new(problem, "remove it from `errors`, or write an adapter"));
            }
            let message = match (&error.message, payload) {
                (Some(message), _) => message.clone(),
                (None, Some(_)) => PAYLOAD.to_owned(),
                (None, None) => {
                    let problem = format!("has the error `{name}`, whose entry needs a text");
                    return Err(Mismatch::new(problem, "add `message = \"...\"` to it"));
                }
            };
            entries.push(Entry {
                name: camel_case(name),
                status: error.status.clone(),
                message,
                payload: payload.is_some(),
            });
        }
        Ok(Errors(entries))
    }

    /// The Nest error of a case, as JSON.
    pub(super) fn packet_of(&self, name: &str, payload: Option<&str>) -> String {
        match self.0.iter().find(|entry| entry.name == name) {
            Some(entry) => packet(&entry.status, &entry.message.replacen(PAYLOAD, payload.unwrap_or_default(), 1)),
            None => internal(),
        }
    }

    /// The case for an error of Nest, as JSON; `None` when the table has no case with its status. If several have it,
    /// the order is: a case with the same message, a case whose text around the payload fits, a case with a payload,
    /// the first.
    pub(super) fn case_of(&self, json: &str) -> Option<String> {
        let error: Value = serde_json::from_str(json).ok()?;
        let status = error.get("status").or_else(|| error.get("statusCode"))?;
        let text = match error.get("message") {
            Some(Value::String(text)) => text.clone(),
            // A ValidationPipe sends a list of messages.
            Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            _ => String::new(),
        };
        let fitting: Vec<&Entry> = self.0.iter().filter(|entry| entry.status == *status).collect();
        let exact = fitting.iter().find(|entry| !entry.payload && entry.message == text);
        let around =
            || fitting.iter().find(|entry| entry.payload && entry.message != PAYLOAD && entry.inside(&text).is_some());
        let carrying = || fitting.iter().find(|entry| entry.payload);
        let entry = exact.or_else(around).or_else(carrying).or(fitting.first())?;
        Some(match entry.payload {
            true => json!({ &entry.name: entry.inside(&text).unwrap_or(&text) }).to_string(),
            false => json!(entry.name).to_string(),
        })
    }
}

impl Entry {
    /// The part of `text` at the place of the payload in this entry's message.
    fn inside<'t>(&self, text: &'t str) -> Option<&'t str> {
        let (before, after) = self.message.split_once(PAYLOAD)?;
        text.strip_prefix(before)?.strip_suffix(after)
    }
}

/// An error as a Nest service throws it.
pub(super) fn packet(status: &Value, message: &str) -> String {
    format!(r#"{{"status":{status},"message":{}}}"#, text(message))
}

/// Nest's own answer when a handler throws an unknown exception.
pub(super) fn internal() -> String {
    packet(&"error".into(), "Internal server error")
}
