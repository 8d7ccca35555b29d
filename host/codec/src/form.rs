//! Describes a function's types as JSON, from which a program can create an input form. Each type is an object with its
//! `kind` and its parts.
//!
//! Names are the same as in the JSON of values, so [`FunctionCodec`](super::FunctionCodec) can read the result of a
//! form. wasmtime does not keep the names of records and variants, so there are none here.

use super::shape::{Case, Field, Name, Shape, Side};
use serde_json::{Value, json};

pub(super) fn of_function(params: &[Field], result: Option<&Shape>) -> Value {
    json!({ "params": fields(params), "result": result.map(of) })
}

fn of(shape: &Shape) -> Value {
    let kind = match shape {
        Shape::Bool => "bool",
        Shape::S8 => "s8",
        Shape::U8 => "u8",
        Shape::S16 => "s16",
        Shape::U16 => "u16",
        Shape::S32 => "s32",
        Shape::U32 => "u32",
        Shape::S64 => "s64",
        Shape::U64 => "u64",
        Shape::Float32 => "f32",
        Shape::Float64 => "f64",
        Shape::Char => "char",
        Shape::String => "string",
        Shape::List(element) => return json!({ "kind": "list", "of": of(element) }),
        Shape::FixedLengthList(element, length) => {
            return json!({ "kind": "list", "of": of(element), "length": length });
        }
        Shape::Map(key, value) => return json!({ "kind": "map", "key": of(key), "value": of(value) }),
        Shape::Record(parts) | Shape::Params(parts) => return json!({ "kind": "record", "fields": fields(parts) }),
        Shape::Tuple(parts) => return json!({ "kind": "tuple", "of": parts.iter().map(of).collect::<Vec<_>>() }),
        Shape::Variant(cases) => {
            return json!({ "kind": "variant", "cases": cases.iter().map(of_case).collect::<Vec<_>>() });
        }
        Shape::Enum(cases) => return json!({ "kind": "enum", "names": names(cases) }),
        Shape::Flags(flags) => return json!({ "kind": "flags", "names": names(flags) }),
        // An option of an option has a form of its own in JSON.
        Shape::Option(inner) => {
            let nested = matches!(**inner, Shape::Option(_));
            return json!({ "kind": "option", "of": of(inner), "nested": nested });
        }
        Shape::Result(ok, err) => return json!({ "kind": "result", "ok": side(ok), "err": side(err) }),
    };
    json!({ "kind": kind })
}

fn fields(fields: &[Field]) -> Vec<Value> {
    fields.iter().map(|field| json!({ "name": field.name.json, "type": of(&field.shape) })).collect()
}

fn of_case(case: &Case) -> Value {
    json!({ "name": case.name.json, "type": case.payload.as_ref().map(of) })
}

fn names(names: &[Name]) -> Vec<&str> {
    names.iter().map(|name| name.json.as_str()).collect()
}

fn side(side: &Side) -> Option<Value> {
    side.as_deref().map(of)
}

#[cfg(test)]
mod tests {
    use crate::FunctionCodec;
    use serde_json::json;
    use wit_types::{STRING, Ty, U64, func, list, option, record, result, variant};

    #[test]
    fn a_form_has_every_part_of_a_type_under_the_names_of_json() {
        let order = record([("order-id", U64), ("tags", list(STRING)), ("note", option(option(STRING)))]);
        let error = variant([("not-found", None), ("invalid", Some(STRING))]);
        let function =
            func(&[("new-order", order), ("size", Ty::Enum(vec!["big-one"]))], Some(&result(None, Some(error))));
        let fields = json!([
            { "name": "orderId", "type": { "kind": "u64" } },
            { "name": "tags", "type": { "kind": "list", "of": { "kind": "string" } } },
            { "name": "note", "type": { "kind": "option", "nested": true, "of":
                { "kind": "option", "nested": false, "of": { "kind": "string" } } } },
        ]);
        let error = json!({ "kind": "variant", "cases":
            [{ "name": "notFound", "type": null }, { "name": "invalid", "type": { "kind": "string" } }] });
        let expected = json!({
            "params": [
                { "name": "newOrder", "type": { "kind": "record", "fields": fields } },
                { "name": "size", "type": { "kind": "enum", "names": ["bigOne"] } },
            ],
            "result": { "kind": "result", "ok": null, "err": error },
        });
        assert_eq!(FunctionCodec::of(&function).unwrap().form(), expected);
    }
}
