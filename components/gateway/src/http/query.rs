//! Query strings and forms, in the notation of the `qs` package: `a=1&a=2` and `a[]=1` are lists, `a[b]=1` is nested.
//!
//! They become the JSON that they stand for, so that one set of rules validates queries, forms and JSON bodies. As in
//! `qs`, brackets nest at most five deep, and deeper brackets stay part of the last key. Unlike `qs`, there is no
//! `arrayLimit`: keys that are all indices make a list, however large they are.

use super::error::Error;
use serde::ser::{Serialize, Serializer};

/// The most parameters, body-parser's default; more are refused.
const MAX_PARAMETERS: usize = 1000;
/// How deep brackets nest.
const MAX_DEPTH: usize = 5;

/// A parameter's value, or what is nested under its name.
enum Node {
    Text(String),
    Nested(Vec<(String, Node)>),
}

/// The JSON object that a query string stands for; empty for an empty one.
///
/// # Errors
/// 400 when it is not the percent-encoding of UTF-8, and 413 when it has more than 1000 parameters.
pub(crate) fn to_json(query: &str) -> Result<String, Error> {
    if query.is_empty() {
        return Ok(String::new());
    }
    // The parser would put U+FFFD in the place of other bytes, and a name would be stored with it.
    if percent_encoding::percent_decode_str(query).decode_utf8().is_err() {
        return Err(Error::bad_request("The parameters are not the percent-encoding of UTF-8"));
    }
    let mut root = Vec::new();
    for (i, (key, value)) in form_urlencoded::parse(query.as_bytes()).enumerate() {
        if i == MAX_PARAMETERS {
            return Err(Error::protocol(413, "too many parameters"));
        }
        let (name, path) = split(&key);
        if !name.is_empty() {
            insert(&mut root, name, &path, value.into_owned());
        }
    }
    serde_json::to_string(&Object(&root)).map_err(|e| Error::internal(&e.to_string()))
}

/// `a[b][]` into `a` and `["b", ""]`.
fn split(key: &str) -> (&str, Vec<&str>) {
    let Some(start) = key.find('[').filter(|start| *start > 0 && key.ends_with(']')) else { return (key, Vec::new()) };
    let (name, brackets) = key.split_at(start);
    let inner = brackets.strip_prefix('[').and_then(|b| b.strip_suffix(']')).unwrap_or_default();
    (name, inner.splitn(MAX_DEPTH, "][").collect())
}

fn insert(fields: &mut Vec<(String, Node)>, name: &str, path: &[&str], value: String) {
    let name = if name.is_empty() { fields.len().to_string() } else { name.to_owned() };
    let existing = fields.iter_mut().find(|(key, _)| *key == name).map(|(_, node)| node);
    match (existing, path.split_first()) {
        (None, None) => fields.push((name, Node::Text(value))),
        (None, Some((first, rest))) => {
            let mut nested = Vec::new();
            insert(&mut nested, first, rest, value);
            fields.push((name, Node::Nested(nested)));
        }
        (Some(Node::Nested(nested)), path) => {
            let (first, rest) = path.map_or(("", [].as_slice()), |(first, rest)| (*first, rest));
            insert(nested, first, rest, value);
        }
        (Some(node @ Node::Text(_)), path) => {
            let first = std::mem::replace(node, Node::Nested(Vec::new()));
            if let Node::Nested(nested) = node {
                nested.push(("0".to_owned(), first));
                let (first, rest) = path.map_or(("", [].as_slice()), |(first, rest)| (*first, rest));
                insert(nested, first, rest, value);
            }
        }
    }
}

/// Fields that are always written as an object.
struct Object<'a>(&'a [(String, Node)]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, node)| (key, node)))
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Text(text) => serializer.serialize_str(text),
            // If all keys are indices, it is a list, in the order of the indices: `items[1]=b&items[0]=a` is
            // `["a","b"]`.
            Node::Nested(fields) => {
                let mut list: Vec<(usize, &Node)> =
                    fields.iter().map_while(|(key, node)| Some((key.parse().ok()?, node))).collect();
                if list.len() < fields.len() {
                    return Object(fields).serialize(serializer);
                }
                list.sort_by_key(|(position, _)| *position);
                serializer.collect_seq(list.iter().map(|(_, node)| node))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(query: &str) -> String {
        to_json(query).unwrap()
    }

    #[test]
    fn plain_parameters_are_texts_in_their_order() {
        assert_eq!(json(""), "");
        assert_eq!(json("page=1&limit=10"), r#"{"page":"1","limit":"10"}"#);
        assert_eq!(json("b=%C3%A9+x&a"), r#"{"b":"é x","a":""}"#);
        assert_eq!(json("a=%22&b=\\"), r#"{"a":"\"","b":"\\"}"#);
    }

    #[test]
    fn what_is_not_utf_8_is_refused() {
        for query in ["name=%ff", "a=1&na%c3me=x", "a=%c3&b=%a9", "a=%C3%28"] {
            let reply = to_json(query).unwrap_err().into_reply();
            assert_eq!(reply.status, 400, "{query}");
        }
        assert_eq!(json("a=%c3%a9%&b=%zz%0"), r#"{"a":"é%","b":"%zz%0"}"#);
    }

    #[test]
    fn repeated_and_bracketed_names_are_lists() {
        assert_eq!(json("page=1&page=2"), r#"{"page":["1","2"]}"#);
        assert_eq!(json("page[]=1&limit=2"), r#"{"page":["1"],"limit":"2"}"#);
        assert_eq!(json("page%5B%5D=1"), r#"{"page":["1"]}"#);
        assert_eq!(json("a=1&a[]=2&a=3"), r#"{"a":["1","2","3"]}"#);
    }

    #[test]
    fn names_in_brackets_nest() {
        assert_eq!(
            json("items[1][id]=2&items[0][id]=1&items[0][quantity]=3"),
            r#"{"items":[{"id":"1","quantity":"3"},{"id":"2"}]}"#
        );
        assert_eq!(json("a[b][c]=1"), r#"{"a":{"b":{"c":"1"}}}"#);
    }

    #[test]
    fn depth_and_number_are_bounded() {
        assert_eq!(json("a[b][c][d][e][f][g]=1"), r#"{"a":{"b":{"c":{"d":{"e":{"f][g":"1"}}}}}}"#);
        let many = vec!["a=1"; MAX_PARAMETERS].join("&");
        assert!(to_json(&many).is_ok());
        assert_eq!(to_json(&(many + "&a=1")).unwrap_err().into_reply().status, 413);
    }

    #[test]
    fn odd_brackets_are_part_of_the_name() {
        assert_eq!(json("a[=1&[b]=2&c]=3&=4"), r#"{"a[":"1","[b]":"2","c]":"3"}"#);
    }
}
