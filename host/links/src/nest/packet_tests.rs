//! Packets as the NestJS system writes them, and input that is no packet.

use super::*;
use proptest::prelude::*;

fn incoming(text: &str) -> Option<(String, Option<String>)> {
    Incoming::parse(text.as_bytes()).map(|packet| (packet.data.to_owned(), packet.id.map(str::to_owned)))
}

/// Id, response, error, and whether it is the last.
type Read<'a> = (Option<String>, Option<&'a str>, Option<&'a str>, bool);

fn read(text: &str) -> Option<Read<'_>> {
    Reply::parse(text.as_bytes()).map(|reply| {
        let (response, error) = match reply.outcome {
            Some(Outcome::Response(json)) => (Some(json), None),
            Some(Outcome::Error(json)) => (None, Some(json)),
            None => (None, None),
        };
        (reply.id, response, error, reply.last)
    })
}

#[test]
fn requests_and_events_are_read_as_nest_writes_them() {
    for (text, data, id) in [
        (r#"{"pattern":"auth.login.user","data":{"a":1},"id":"2ae85"}"#, r#"{"a":1}"#, Some(r#""2ae85""#)),
        (r#"{"pattern":{"cmd":"sum"},"data":[1,2],"id":"x"}"#, "[1,2]", Some(r#""x""#)),
        (r#"{"pattern":"payment.succeeded","data":{"a":1}}"#, r#"{"a":1}"#, None),
        // A client may leave out the pattern, and an id `null` counts as no id.
        (r#"{"data":{"id":"1"},"id":"x1"}"#, r#"{"id":"1"}"#, Some(r#""x1""#)),
        (r#"{"pattern":null,"id":7}"#, "null", Some("7")),
        (r#"{"pattern":"a","data":null,"id":null}"#, "null", None),
        // JSON that is not a packet is the data of an event.
        (r#"{"id":"x3"}"#, r#"{"id":"x3"}"#, None),
        (" [1,2,3] ", "[1,2,3]", None),
        (r#""abc""#, r#""abc""#, None),
        ("null", "null", None),
    ] {
        assert_eq!(incoming(text), Some((data.to_owned(), id.map(str::to_owned))), "{text}");
    }
}

#[test]
fn input_that_is_not_json_is_no_packet() {
    for text in ["", "hello", "{", r#"{"data":1,"id":"x"} {}"#, r#"{"data":01}"#, "\u{feff}{}"] {
        assert_eq!(incoming(text), None, "{text}");
        assert_eq!(read(text), None, "{text}");
    }
    // A repeated key is ambiguous.
    assert_eq!(incoming(r#"{"data":1,"data":2}"#), None);
    assert_eq!(read(r#"{"response":1,"response":2}"#), None);
    assert!(Incoming::parse(b"{\"data\":\"\xff\"}").is_none());
}

#[test]
fn replies_are_read_as_nest_writes_them() {
    let id = || Some("a".to_owned());
    for (text, expected) in [
        (r#"{"response":{"id":1},"isDisposed":true,"id":"a"}"#, (id(), Some(r#"{"id":1}"#), None, true)),
        (r#"{"err":{"status":404},"isDisposed":true,"id":"a"}"#, (id(), None, Some(r#"{"status":404}"#), true)),
        // A stream of two, and its end.
        (r#"{"response":1,"id":"a"}"#, (id(), Some("1"), None, false)),
        (r#"{"response":2,"isDisposed":false,"id":"a"}"#, (id(), Some("2"), None, false)),
        (r#"{"isDisposed":true,"id":"a"}"#, (id(), None, None, true)),
        // A handler that returned null, and one that threw a text.
        (r#"{"response":null,"isDisposed":true,"id":"a"}"#, (id(), Some("null"), None, true)),
        (r#"{"err":"no","id":"a"}"#, (id(), None, Some(r#""no""#), true)),
        (r#"{"err":null,"response":3,"isDisposed":true}"#, (None, Some("3"), None, true)),
        (r#"{"err":"","response":3,"isDisposed":true,"id":""}"#, (None, Some("3"), None, true)),
        // A program that is not Nest answers with the response alone.
        ("[1]", (None, Some("[1]"), None, true)),
        (r#"{"a":1}"#, (None, Some(r#"{"a":1}"#), None, true)),
    ] {
        assert_eq!(read(text), Some(expected), "{text}");
    }
}

#[test]
fn packets_are_written_as_nest_writes_them() {
    assert_eq!(message(r#"{"cmd":"sum"}"#, "[1]", Some("a\"b")), r#"{"pattern":{"cmd":"sum"},"data":[1],"id":"a\"b"}"#);
    assert_eq!(message("payment.succeeded", "{}", None), r#"{"pattern":"payment.succeeded","data":{}}"#);
    assert_eq!(message("{not json", "1", None), r#"{"pattern":"{not json","data":1}"#);
    let id = Some(r#""x""#);
    assert_eq!(reply(&Outcome::Response("null"), id), r#"{"response":null,"isDisposed":true,"id":"x"}"#);
    assert_eq!(reply(&Outcome::Error("{}"), None), r#"{"err":{},"isDisposed":true}"#);
}

#[test]
fn a_million_brackets_neither_overflow_nor_panic() {
    let deep = format!(r#"{{"pattern":"a","data":{}{},"id":"x"}}"#, "[".repeat(500_000), "]".repeat(500_000));
    assert_eq!(incoming(&deep).unwrap().0.len(), 1_000_000);
    assert_eq!(incoming(&"[".repeat(1_000_000)), None);
    assert!(read(&deep.replace("pattern", "response")).is_some());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = (Incoming::parse(&bytes), Reply::parse(&bytes));
    }

    #[test]
    fn almost_packets_are_read_or_refused(text in r#"[\{\}\[\]",:01 a-e]{0,12}("(data|id|err|response|isDisposed|pattern)":[\{\}\[\]",:01tn]{0,6}){0,4}\}?"#) {
        let _ = (Incoming::parse(text.as_bytes()), Reply::parse(text.as_bytes()));
    }

    #[test]
    fn a_request_is_read_as_it_was_written(pattern in "[a-z.]{1,9}", data: String, id: String) {
        let (json, quoted) = (text(&data), text(&id));
        let packet = message(&pattern, &json, Some(&id));
        prop_assert_eq!(Incoming::parse(packet.as_bytes()), Some(Incoming { data: &json, id: Some(&quoted) }));
        let answer = reply(&Outcome::Response(&json), Some(&quoted));
        let read = Reply::parse(answer.as_bytes()).unwrap();
        prop_assert_eq!((read.id.unwrap_or_default(), read.outcome, read.last), (id, Some(Outcome::Response(&json)), true));
    }
}
