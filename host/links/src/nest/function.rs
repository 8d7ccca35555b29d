//! Maps one function of a contract to a pattern of Nest: `data` becomes the parameters and the result becomes the
//! response, and in the other direction. The same table serves both directions, and everything is prepared at start-up.

use super::direction::Direction;
use super::errors::Errors;
use super::leave_out::LeaveOut;
use super::packet::Outcome;
use crate::check::{LinkTypeError, Mismatch};
use serde_json::value::RawValue;
use souk_codec::signature::{signature, sync_signature};
use souk_codec::{CodecError, FunctionCodec, camel_case};
use souk_manifest::NestPattern;
use std::collections::BTreeMap;
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, Type};

/// The package for adapters: its functions take and return JSON.
const PACKAGE: &str = "nest:microservices";
/// The functions of that package, as every component must have them. They may be `async`.
const REQUEST: &str = "handle: func(pattern: string, data: string) -> result<string, variant { \
                       exception(string), unavailable(string) }>";
const EVENT: &str = "handle: func(pattern: string, data: string) -> result<_, variant { retry(string), \
                     reject(string) }>";

/// A function and how its values are written in packets.
#[derive(Debug)]
pub(super) struct Function {
    /// The codec of its values.
    pub codec: FunctionCodec,
    form: Form,
    /// Whether the result is a `result`, whose `ok` is the response.
    fallible: bool,
    /// Whether the function has no parameters, so that `data` is ignored.
    without_parameters: bool,
    /// Whether it returns no value, so that the content of a response is ignored.
    without_value: bool,
    /// The members that are left out of its answers.
    leave_out: LeaveOut,
}

#[derive(Debug)]
enum Form {
    /// The JSON of the packet unchanged, with the pattern: a function of `nest:microservices`.
    Json,
    /// Values by the codec.
    Values {
        /// The JSON name of the one parameter that is the whole `data`; `None` when `data` has all parameters by name.
        data: Option<String>,
        errors: Errors,
    },
}

impl Function {
    /// Prepares `pattern`'s function, of this type.
    ///
    /// # Errors
    /// When the type has what packets cannot carry, or the table does not fit it.
    pub(super) fn of(pattern: &NestPattern, ty: &ComponentFunc, direction: Direction) -> Result<Self, LinkTypeError> {
        let interface = pattern.interface.to_string();
        let wrong = |mismatch: Mismatch| LinkTypeError::new(&interface, &pattern.function, mismatch);
        let not_json = |error| LinkTypeError::not_json(&interface, &pattern.function, &error);
        let codec = FunctionCodec::of(ty).map_err(not_json)?;
        let result = match ty.results().next() {
            Some(Type::Result(result)) => Some(result),
            _ => None,
        };
        let value = ty.results().next();
        let ok = result.as_ref().map_or(value.as_ref().cloned(), |result| result.ok());
        if direction != Direction::Inbound && !pattern.leave_out.is_empty() {
            let fix = "remove `leave_out`: it is for answers of a component";
            return Err(wrong(Mismatch::new("cannot use `leave_out`", fix)));
        }
        let leave_out = LeaveOut::of(pattern, ok.as_ref()).map_err(wrong)?;
        let form = if pattern.interface.package == PACKAGE {
            let expected = if direction == Direction::Event { EVENT } else { REQUEST };
            let found = sync_signature(&pattern.function, ty);
            if found != REQUEST && found != EVENT {
                let fix = format!("build the component against `{expected}`");
                return Err(wrong(Mismatch::new(format!("is `{found}`"), fix)));
            }
            if pattern.data.is_some() || pattern.errors.values().any(|error| error.pattern_only) {
                let fix = "remove `data` and `errors`: the function gets the JSON, and answers with JSON";
                return Err(wrong(Mismatch::new("cannot use `data` or `errors`", fix)));
            }
            Form::Json
        } else {
            let data = match &pattern.data {
                Some(name) if ty.params().len() == 1 && ty.params().all(|(param, _)| param == name) => {
                    Some(camel_case(name))
                }
                Some(name) => {
                    let found = signature(&pattern.function, ty);
                    let problem = format!("has `data = \"{name}\"`, but `{name}` is not its only parameter: {found}");
                    let fix = "remove `data`, so that the message's data has the parameters by name; or write an \
                               adapter";
                    return Err(wrong(Mismatch::new(problem, fix)));
                }
                None => None,
            };
            let error = result.as_ref().and_then(|result| result.err());
            let errors = Errors::of(pattern, result.is_some(), error.as_ref(), direction).map_err(wrong)?;
            Form::Values { data, errors }
        };
        let without_value = match &result {
            Some(result) => result.ok().is_none(),
            None => ty.results().len() == 0,
        };
        let (fallible, without_parameters) = (result.is_some(), ty.params().len() == 0);
        Ok(Function { codec, form, fallible, without_parameters, without_value, leave_out })
    }

    /// The arguments in `data`, as the codec's JSON.
    pub(super) fn arguments(&self, pattern: &str, data: &str) -> String {
        match &self.form {
            Form::Json => {
                format!(r#"{{"pattern":{},"data":{}}}"#, super::packet::text(pattern), super::packet::text(data))
            }
            Form::Values { data: Some(name), .. } => format!(r#"{{"{name}":{data}}}"#),
            // Nest's clients always send some data, even to a handler without parameters.
            Form::Values { .. } if self.without_parameters || data == "null" => "{}".to_owned(),
            Form::Values { .. } => data.to_owned(),
        }
    }

    /// The answer to a request, from the values that a component returned.
    ///
    /// # Errors
    /// When the values do not fit, or an adapter's text is not JSON.
    pub(super) fn outcome(&self, results: &[Val]) -> Result<Answer, CodecError> {
        let json = String::from_utf8(self.codec.encode_results(results)?).unwrap_or_default();
        if !self.fallible {
            return self.leave_out.apply(json).map(Answer::Response);
        }
        // The codec writes exactly this around the value.
        let inner = |key: &str| json.strip_prefix(key).and_then(|rest| rest.strip_suffix('}'));
        match (&self.form, inner(r#"{"ok":"#), inner(r#"{"err":"#)) {
            (Form::Json, Some(text), _) => adapter_json(text).map(Answer::Response),
            (Form::Json, _, Some(error)) => match case(error) {
                (name, Some(text)) if name == "exception" => adapter_json(text).map(Answer::Error),
                (_, Some(text)) => Ok(Answer::Error(super::errors::packet(&503.into(), &unquoted(text)))),
                _ => Ok(Answer::Error(super::errors::internal())),
            },
            (_, Some(ok), _) => self.leave_out.apply(ok.to_owned()).map(Answer::Response),
            (Form::Values { errors, .. }, _, Some(error)) => {
                let (name, payload) = case(error);
                Ok(Answer::Error(errors.packet_of(&name, payload.map(unquoted).as_deref())))
            }
            _ => Ok(Answer::Error(super::errors::internal())),
        }
    }

    /// The pattern, if the parameters name one, and the data of the message for a call with these parameters.
    ///
    /// # Errors
    /// When a value cannot be written as JSON, or an adapter's text is not JSON.
    pub(super) fn message(&self, params: &[Val]) -> Result<(Option<String>, String), CodecError> {
        if let (Form::Json, [Val::String(pattern), Val::String(data)]) = (&self.form, params) {
            return Ok((Some(pattern.clone()), checked_json(data)?));
        }
        let json = String::from_utf8(self.codec.encode_params(params)?).unwrap_or_default();
        let data = match &self.form {
            Form::Values { data: Some(name), .. } => {
                let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(&json).unwrap_or_default();
                fields.get(name.as_str()).map_or_else(|| "null".to_owned(), |value| value.get().to_owned())
            }
            _ => json,
        };
        Ok((None, data))
    }

    /// The function's result for a reply; `None` when an error is not in the table.
    ///
    /// # Errors
    /// When the response does not fit the function's type.
    pub(super) fn results(&self, outcome: &Outcome<'_>) -> Result<Option<Vec<Val>>, CodecError> {
        let json = match (&self.form, outcome) {
            (Form::Json, Outcome::Response(json)) => format!(r#"{{"ok":{}}}"#, super::packet::text(json)),
            (Form::Json, Outcome::Error(json)) => {
                format!(r#"{{"err":{{"exception":{}}}}}"#, super::packet::text(json))
            }
            (Form::Values { .. }, Outcome::Response(json)) => {
                // A Nest handler may return a value that the contract does not have.
                let json = if self.without_value { "null" } else { json };
                if self.fallible { format!(r#"{{"ok":{json}}}"#) } else { json.to_owned() }
            }
            (Form::Values { errors, .. }, Outcome::Error(json)) => match errors.case_of(json) {
                Some(error) => format!(r#"{{"err":{error}}}"#),
                None => return Ok(None),
            },
        };
        self.codec.decode_results(json.as_bytes()).map(Some)
    }

    /// Whether one function may serve several patterns, because it gets the pattern as a parameter.
    pub(super) fn takes_any_pattern(&self) -> bool {
        matches!(self.form, Form::Json)
    }
}

/// A component's answer to a request, as JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Response(String),
    Error(String),
}

/// The name and the payload of a variant's case, or the name of an enum, as the codec writes them.
fn case(json: &str) -> (String, Option<&str>) {
    if let Ok(name) = serde_json::from_str::<String>(json) {
        return (name, None);
    }
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    fields.into_iter().next().map_or_else(Default::default, |(name, payload)| (name, Some(payload.get())))
}

/// A payload as it is written into a message: a string without its quotes, anything else as JSON.
fn unquoted(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_else(|_| json.to_owned())
}

/// The JSON in an adapter's string. It may go into a packet only if it is a single JSON value.
fn adapter_json(quoted: &str) -> Result<String, CodecError> {
    checked_json(&unquoted(quoted))
}

fn checked_json(text: &str) -> Result<String, CodecError> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(json) => Ok(json.get().to_owned()),
        Err(error) => {
            Err(CodecError { path: "$".to_owned(), message: format!("the adapter's text is not JSON: {error}") })
        }
    }
}

#[cfg(test)]
#[path = "function_tests.rs"]
mod tests;
