//! Fuzz target: any bytes as the JSON of a value of any type.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::FunctionCodec;
use std::sync::OnceLock;
use wit_types::{STRING, Ty, U64, func, list, option, record, result, variant};

/// Functions whose parameter and result are of every kind of type.
fn codecs() -> &'static [FunctionCodec] {
    static CODECS: OnceLock<Vec<FunctionCodec>> = OnceLock::new();
    CODECS.get_or_init(|| {
        let prim = |name| Ty::Prim(name);
        let leaf = || record([("id", U64), ("name", STRING), ("price", prim("s64")), ("note", option(STRING))]);
        let types = [
            leaf(),
            list(leaf()),
            option(option(prim("bool"))),
            list(prim("u8")),
            Ty::Tuple(vec![prim("s8"), prim("u16"), prim("char"), prim("f32"), prim("f64")]),
            variant([("no-thing", None), ("some-text", Some(STRING)), ("more", Some(list(option(U64))))]),
            result(Some(leaf()), Some(Ty::Enum(vec!["not-found", "unavailable"]))),
            Ty::Map(Box::new(STRING), Box::new(list(U64))),
            Ty::Flags(vec!["read", "write", "list-all"]),
            Ty::Fixed(Box::new(prim("s32")), 3),
        ];
        types.iter().map(|ty| FunctionCodec::of(&func(&[("value", ty.clone())], Some(ty))).unwrap()).collect()
    })
}

/// The first byte selects the type, the others are the JSON. A value that is read and written has one form.
///
/// # Panics
/// When the JSON written for a value is read as another value.
pub fn decode(data: &[u8]) {
    let Some((which, json)) = data.split_first() else { return };
    let codec = &codecs()[usize::from(*which) % codecs().len()];
    if let Ok(params) = codec.decode_params(json) {
        // One parameter and one result, of the same type.
        let written = codec.encode_results(&params).unwrap();
        let again = codec.decode_results(&written).unwrap();
        assert_eq!(written, codec.encode_results(&again).unwrap());
    }
    let _ = codec.decode_results(json);
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_bytes_are_refused_or_read_as_one_value() {
        souk_test::fuzz::check("codec-decode", super::decode);
    }
}
