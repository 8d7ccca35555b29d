//! `leave_out`: removes members from a response that the contract has and the NestJS system does not have.
//!
//! A path such as `user.role` is checked against the function's type at start-up. So a member that is misspelt, or
//! renamed in the contract later, cannot be sent by mistake. The other members keep their order and their text.

use crate::check::Mismatch;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use souk_codec::{CodecError, camel_case};
use souk_manifest::NestPattern;
use std::fmt;
use wasmtime::component::types::Type;

/// Checked paths of members.
#[derive(Debug, Default)]
pub(super) struct LeaveOut(Vec<Vec<String>>);

impl LeaveOut {
    /// The paths of `pattern`, whose function returns `ok`.
    ///
    /// # Errors
    /// When the answer does not have such a member.
    pub(super) fn of(pattern: &NestPattern, ok: Option<&Type>) -> Result<Self, Mismatch> {
        let mut paths = Vec::new();
        for text in &pattern.leave_out {
            let path: Vec<String> = text.split('.').map(str::to_owned).collect();
            if !has(ok, &path) {
                return Err(Mismatch::new(
                    format!("returns nothing that has `{text}`, which `leave_out` names"),
                    "write the names of record fields in camel case, with a dot between a record and its field",
                ));
            }
            paths.push(path);
        }
        Ok(LeaveOut(paths))
    }

    /// Removes the members from `json`, an answer of the function.
    ///
    /// # Errors
    /// When `json` has another structure.
    pub(super) fn apply(&self, json: String) -> Result<String, CodecError> {
        self.0.iter().try_fold(json, |json, path| {
            without(&json, path).map_err(|error| CodecError { path: path.join("."), message: error.to_string() })
        })
    }
}

fn has(ty: Option<&Type>, path: &[String]) -> bool {
    match (ty, path) {
        (_, []) => true,
        (Some(Type::Record(record)), [name, rest @ ..]) => {
            record.fields().any(|field| camel_case(field.name) == *name && has(Some(&field.ty), rest))
        }
        _ => false,
    }
}

fn without(json: &str, path: &[String]) -> serde_json::Result<String> {
    let Some((name, rest)) = path.split_first() else { return Ok(json.to_owned()) };
    let mut members: Members<'_> = serde_json::from_str(json)?;
    if rest.is_empty() {
        members.0.retain(|(key, _)| key != name);
        return serde_json::to_string(&members);
    }
    let mut inner = Vec::new();
    for (key, value) in members.0 {
        let value = if key == *name { RawValue::from_string(without(value.get(), rest)?)? } else { value.to_owned() };
        inner.push((key, value));
    }
    serde_json::to_string(&Members(inner.iter().map(|(key, value)| (key.clone(), value.as_ref())).collect()))
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        input.deserialize_map(Object)
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        let mut map = output.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_left_out_and_the_others_keep_order_and_text() {
        let apply = |path: &[&str], json: &str| {
            LeaveOut(vec![path.iter().map(|name| (*name).to_owned()).collect()]).apply(json.to_owned()).unwrap()
        };
        let json = r#"{"user":{"id":"6","role":"customer","name":"r\u00f4le"},"token":1.50}"#;
        assert_eq!(apply(&["user", "role"], json), r#"{"user":{"id":"6","name":"r\u00f4le"},"token":1.50}"#);
        assert_eq!(apply(&["token"], json), r#"{"user":{"id":"6","role":"customer","name":"r\u00f4le"}}"#);
        assert!(LeaveOut(vec![vec!["a".into()]]).apply("[1]".to_owned()).is_err());
    }
}
