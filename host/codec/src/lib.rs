//! Converts component values to JSON and back, by the WIT types of a function.
//!
//! The command line, remote links and stored messages use it. A [`FunctionCodec`] is created once, at start-up. It
//! holds the types as a tree that includes the JSON names, so that a call neither walks wasmtime's type tables nor
//! converts names to camel case. Values are written directly to bytes and read directly from them.
//!
//! | WIT | JSON |
//! |---|---|
//! | `bool`, `string` | the same |
//! | `char` | string of one character |
//! | `s8` to `u32`, `f32`, `f64` | number; an `f32` as the `f64` of the same value, so that every parser keeps it |
//! | `s64`, `u64` | number from -2^53 to 2^53, otherwise string: many parsers round larger ones; both forms are read |
//! | `list`, `list<_, N>`, `tuple` | array |
//! | `map` | array of `[key, value]`: keys need not be strings, and order is kept |
//! | `record` | object, keys in camel case |
//! | `flags` | array of names in camel case |
//! | `enum` | name in camel case |
//! | `variant` | `{"case": payload}`, or `"case"` for a case without payload |
//! | `result` | `{"ok": value}` or `{"err": error}`; a side without a type has the value `null` |
//! | `option<T>` | the value or `null`; an absent field or parameter is read as none |
//! | `option<option<T>>` | `null` or `{"some": inner}`, so that none and some(none) differ |
//! | parameters | object by name in camel case; an array by position is read too |
//! | results | the value of the one result; `null` for a function without a result |
//!
//! Every value that is not refused is written in exactly one form, and reading that form gives the same value again.
//!
//! The codec refuses NaN and infinities (JSON has none), and unknown, missing or repeated keys (a misspelt optional
//! field would otherwise be lost silently). Its creation refuses handles, two names that are the same in camel case
//! (`a-1` and `a1`) and types that nest more than [`MAX_DEPTH`] deep. Errors have the place and the kind of value that
//! was found, never the value itself: it may be a password. The caller must bound the size of the text. A value that is
//! read takes at most [`MAX_VALUE_BYTES`] of memory, or the limit set by [`FunctionCodec::within`], and the JSON that
//! is written is not longer either.

mod decode;
mod encode;
mod exact;
mod form;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod parse;
mod shape;
pub mod signature;
#[cfg(test)]
mod tests;
mod trail;

pub use shape::{MAX_DEPTH, camel_case};
pub use trail::CodecError;

use self::decode::Seed;
use self::encode::{Arguments, Typed};
use self::exact::{Sender, adopt_fields};
use self::shape::{Field, Shape, TypePath};
use self::trail::{Step, Trail};
use serde::de::DeserializeSeed;
use std::io;
use wasmtime::component::Val;
use wasmtime::component::types::ComponentFunc;

/// The most memory, in bytes, that a value may take when it is read, unless [`FunctionCodec::within`] sets another
/// limit. It is the default of a component's limit `call_bytes`, so that a call over JSON can carry the same values as
/// one without.
pub const MAX_VALUE_BYTES: usize = 16 << 20;

/// Reads and writes the parameters and results of one function.
#[derive(Debug)]
pub struct FunctionCodec {
    /// Always [`Shape::Params`].
    params: Shape,
    result: Option<Shape>,
    /// The most memory that a value may take, in bytes.
    max_bytes: usize,
}

impl FunctionCodec {
    /// Creates the codec of a function, at start-up.
    ///
    /// # Errors
    /// Names the first place in the function's type that JSON cannot carry (see the module's documentation).
    pub fn of(func: &ComponentFunc) -> Result<Self, CodecError> {
        let params = Shape::params(func.params())?;
        // A component function has at most one result.
        let result = match func.results().next() {
            Some(ty) => Some(Shape::of(&ty, &TypePath::root("result"))?),
            None => None,
        };
        Ok(FunctionCodec { params, result, max_bytes: MAX_VALUE_BYTES })
    }

    /// The codec of the function that `signature` describes, as [`signature`](signature::signature) writes it. `None`
    /// if the text is not a signature, or if JSON cannot carry its types.
    pub fn read(signature: &str) -> Option<Self> {
        let parse::Parsed { params, result } = parse::function(signature)?;
        Some(FunctionCodec { params, result, max_bytes: MAX_VALUE_BYTES })
    }

    /// Whether a caller that was built for this function's type may call a function of the type of `callee`: every
    /// parameter value has an exact equivalent there, and every result value has one here ([`exact`]).
    pub fn can_call(&self, callee: &FunctionCodec) -> bool {
        let result = match (&callee.result, &self.result) {
            (Some(from), Some(to)) => from.is_exact(to, Sender::Callee),
            (None, None) => true,
            _ => false,
        };
        result && self.params.is_exact(&callee.params, Sender::Caller)
    }

    /// Converts `values`, arguments of a `caller` that [can call](Self::can_call) this function, to arguments of this
    /// function; `None` when the values do not fit.
    pub fn adopt_params(&self, caller: &FunctionCodec, values: Vec<Val>) -> Option<Vec<Val>> {
        let names = caller.fields().iter().map(|field| field.name.wit.clone());
        adopt_fields(self.fields(), names.zip(values).collect())
    }

    /// Converts `values`, results of a callee that this function's type [can call](Self::can_call), to results of this
    /// function's type; `None` when the values do not fit.
    pub fn adopt_results(&self, values: Vec<Val>) -> Option<Vec<Val>> {
        match &self.result {
            Some(shape) => values.into_iter().map(|value| shape.adopt(value)).collect(),
            None => values.is_empty().then_some(values),
        }
    }

    /// The same codec, with at most `max_bytes` of memory for a value.
    #[must_use]
    pub fn within(self, max_bytes: u64) -> Self {
        FunctionCodec { max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX), ..self }
    }

    /// The types of the parameters and of the result as JSON, for a program that shows a form for them:
    /// `{"params": [{"name": "id", "type": {"kind": "u64"}}], "result": {"kind": "string"}}`.
    pub fn form(&self) -> serde_json::Value {
        form::of_function(self.fields(), self.result.as_ref())
    }

    /// The most bytes of memory that a value may take.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Writes the parameters as an object.
    ///
    /// # Errors
    /// When a value does not fit its type, is a NaN or an infinity, or when the JSON would exceed
    /// [`max_bytes`](Self::max_bytes).
    pub fn encode_params(&self, values: &[Val]) -> Result<Vec<u8>, CodecError> {
        self.encode_params_within(self.max_bytes, values)?.ok_or_else(|| too_much(self.max_bytes))
    }

    /// As [`encode_params`](Self::encode_params), but `None` when the JSON would be more than `max_bytes`.
    ///
    /// # Errors
    /// When a value does not fit its type, or is a NaN or an infinity.
    pub fn encode_params_within(&self, max_bytes: usize, values: &[Val]) -> Result<Option<Vec<u8>>, CodecError> {
        write(max_bytes, &|trail, out| serde_json::to_writer(out, &Arguments { values, fields: self.fields(), trail }))
    }

    /// Reads the parameters from an object, or from an array by position.
    ///
    /// # Errors
    /// When the text is not JSON, does not fit the types, or would take more than [`max_bytes`](Self::max_bytes).
    pub fn decode_params(&self, json: &[u8]) -> Result<Vec<Val>, CodecError> {
        self.params(json, Trail::with_memory(self.max_bytes))
    }

    /// As [`decode_params`](Self::decode_params), with memory that `more` reserves: it is called with a number of bytes
    /// before they are used, and returns whether they are available.
    ///
    /// # Errors
    /// When the text is not JSON or does not fit the types, or `more` refuses.
    pub fn decode_params_in(&self, json: &[u8], more: &dyn Fn(usize) -> bool) -> Result<Vec<Val>, CodecError> {
        self.params(json, Trail::with_memory_from(more))
    }

    fn params(&self, json: &[u8], trail: Trail<'_>) -> Result<Vec<Val>, CodecError> {
        match read(&self.params, json, &trail)? {
            Val::Tuple(values) => Ok(values),
            other => Ok(vec![other]),
        }
    }

    /// Writes the function's result; `null` when it has none.
    ///
    /// # Errors
    /// When the value does not fit its type, is a NaN or an infinity, or when the JSON would exceed
    /// [`max_bytes`](Self::max_bytes).
    pub fn encode_results(&self, values: &[Val]) -> Result<Vec<u8>, CodecError> {
        self.encode_results_within(self.max_bytes, values)?.ok_or_else(|| too_much(self.max_bytes))
    }

    /// As [`encode_results`](Self::encode_results), but `None` when the JSON would be more than `max_bytes`.
    ///
    /// # Errors
    /// When the value does not fit its type, or is a NaN or an infinity.
    pub fn encode_results_within(&self, max_bytes: usize, values: &[Val]) -> Result<Option<Vec<u8>>, CodecError> {
        match (values, &self.result) {
            ([], None) => Ok(Some(b"null".to_vec())),
            ([value], Some(shape)) => write(max_bytes, &|trail, out| {
                serde_json::to_writer(out, &Typed { value, shape, trail, step: Step::Root })
            }),
            (values, shape) => Err(CodecError {
                path: "$".to_owned(),
                message: format!("expected {} results, found {}", usize::from(shape.is_some()), values.len()),
            }),
        }
    }

    /// Reads the function's result.
    ///
    /// # Errors
    /// When the text is not JSON, does not fit the type, or would take more than [`max_bytes`](Self::max_bytes).
    pub fn decode_results(&self, json: &[u8]) -> Result<Vec<Val>, CodecError> {
        let trail = Trail::with_memory(self.max_bytes);
        match &self.result {
            Some(shape) => Ok(vec![read(shape, json, &trail)?]),
            None => match serde_json::from_slice::<()>(json) {
                Ok(()) => Ok(Vec::new()),
                Err(_) => Err(CodecError {
                    path: "$".to_owned(),
                    message: "expected null, because the function has no result".to_owned(),
                }),
            },
        }
    }

    /// How many results the function has: one or none.
    pub fn result_count(&self) -> usize {
        usize::from(self.result.is_some())
    }

    fn fields(&self) -> &[Field] {
        match &self.params {
            Shape::Params(fields) => fields,
            _ => &[],
        }
    }
}

fn too_much(max_bytes: usize) -> CodecError {
    CodecError { path: "$".to_owned(), message: format!("its JSON would be more than {max_bytes} bytes") }
}

/// JSON output of at most `max_bytes`. The value's own size is no bound: escapes can make a string six times as long.
struct Bounded {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if more.len() > self.max_bytes - self.bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(
    max_bytes: usize,
    part: &dyn Fn(&Trail<'_>, &mut Bounded) -> serde_json::Result<()>,
) -> Result<Option<Vec<u8>>, CodecError> {
    let trail = Trail::default();
    let mut out = Bounded { bytes: Vec::with_capacity(128), max_bytes };
    match part(&trail, &mut out) {
        Ok(()) => Ok(Some(out.bytes)),
        Err(error) if error.is_io() => Ok(None),
        Err(error) => Err(trail.error(&error)),
    }
}

fn read(shape: &Shape, json: &[u8], trail: &Trail<'_>) -> Result<Val, CodecError> {
    let mut input = serde_json::Deserializer::from_slice(json);
    let value = Seed { shape, trail, step: Step::Root }.deserialize(&mut input);
    value.and_then(|value| input.end().map(|()| value)).map_err(|e| trail.error(&e))
}
