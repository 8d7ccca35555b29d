//! The resource `fields`.

use super::values;
use wasip2::http::types::{Fields, HeaderError, OutgoingRequest};

/// Two headers with the same name, and one with another name.
fn three() -> Fields {
    let entries = [("x-a", "1"), ("x-b", "2"), ("X-A", "3")];
    Fields::from_list(&entries.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))).unwrap()
}

pub fn check(test: &str) {
    match test {
        "fields/constructor" => assert!(Fields::new().entries().is_empty()),
        "fields/from-list" => {
            assert_eq!(values(&three(), "x-a"), ["1", "3"]);
            let refused = Fields::from_list(&[("no name".to_owned(), b"1".to_vec())]).err();
            assert!(matches!(refused, Some(HeaderError::InvalidSyntax)), "{refused:?}");
            let refused = Fields::from_list(&[("x-a".to_owned(), b"1\r\nx-b: 2".to_vec())]).err();
            assert!(matches!(refused, Some(HeaderError::InvalidSyntax)), "{refused:?}");
            let refused = Fields::from_list(&[("connection".to_owned(), b"close".to_vec())]).err();
            assert!(matches!(refused, Some(HeaderError::Forbidden)), "{refused:?}");
        }
        "fields/get" => {
            assert_eq!(values(&three(), "X-b"), ["2"]);
            assert!(three().get("x-c").is_empty());
        }
        "fields/has" => assert!(three().has("X-B") && !three().has("x-c")),
        "fields/set" => {
            let fields = three();
            fields.set("x-a", &[b"4".to_vec(), b"5".to_vec()]).unwrap();
            assert_eq!(values(&fields, "x-a"), ["4", "5"]);
            assert!(matches!(fields.set("x a", &[]), Err(HeaderError::InvalidSyntax)));
            assert!(matches!(fields.set("host", &[b"a".to_vec()]), Err(HeaderError::Forbidden)));
        }
        "fields/delete" => {
            let fields = three();
            fields.delete("x-A").unwrap();
            assert!(!fields.has("x-a") && fields.has("x-b"));
            fields.delete("x-a").unwrap();
        }
        "fields/append" => {
            let fields = three();
            fields.append("x-b", b"6").unwrap();
            assert_eq!(values(&fields, "x-b"), ["2", "6"]);
            assert!(matches!(fields.append("x-b", b"\n"), Err(HeaderError::InvalidSyntax)));
        }
        "fields/entries" => {
            let entries = three().entries();
            assert_eq!(entries.len(), 3, "{entries:?}");
            assert!(entries.iter().all(|(name, _)| name.starts_with("x-")), "{entries:?}");
        }
        "fields/clone" => {
            let (fields, request) = (three(), OutgoingRequest::new(three()));
            let copy = fields.clone();
            copy.delete("x-a").unwrap();
            assert!(fields.has("x-a") && !copy.has("x-a"));
            // The headers of a request are immutable; a copy of them can be changed.
            let headers = request.headers();
            assert!(matches!(headers.append("x-c", b"1"), Err(HeaderError::Immutable)));
            assert!(matches!(headers.set("x-c", &[b"1".to_vec()]), Err(HeaderError::Immutable)));
            assert!(matches!(headers.delete("x-a"), Err(HeaderError::Immutable)));
            headers.clone().append("x-c", b"1").unwrap();
        }
        _ => panic!("there is no test {test}"),
    }
}
