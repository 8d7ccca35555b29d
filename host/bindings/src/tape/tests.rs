//! Tapes that are recorded and replayed.

use super::*;
use crate::call::CallContext;
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

/// Records what `calls` does with a tape, and returns the recording, if it was kept.
fn recorded(secrets: &[&str], calls: impl FnOnce(&Tape)) -> Option<Recording> {
    let question = Question::Function { interface: "a:b/c".into(), name: "f".into(), arguments: "[]".into() };
    recorded_as(question, secrets, calls)
}

/// The same for the call `question`.
fn recorded_as(question: Question, secrets: &[&str], calls: impl FnOnce(&Tape)) -> Option<Recording> {
    let (sender, kept) = mpsc::channel();
    let secrets = Arc::new(Secrets::of(secrets.iter().copied()));
    let variables = BTreeMap::from([("open".to_owned(), "one".to_owned()), ("key".to_owned(), "hidden-1".to_owned())]);
    let sink = Arc::new(move |recording| sender.send(recording).unwrap());
    let recorder = Arc::new(Recorder::new("shop".into(), &variables, &[], secrets, sink));
    let mut context = CallContext::new("request", Duration::from_secs(9));
    let tape = recorder.begin(&mut context, "", question).unwrap();
    calls(&tape);
    tape.ends(Answer::Returned("1".into()));
    drop((tape, context));
    kept.try_recv().ok()
}

fn call(tape: &Tape, import: &'static str, arguments: &str, live: impl FnOnce() -> u64) -> wasmtime::Result<u64> {
    now(asked(Some(tape), import, || arguments.to_owned()), live)
}

#[test]
fn a_replay_answers_as_recorded_and_calls_nothing() {
    let recording = recorded(&[], |tape| {
        assert_eq!(call(tape, "one", "a", || 1).unwrap(), 1);
        assert_eq!(call(tape, "two", "b", || 2).unwrap(), 2);
        assert_eq!(tape.read(ClockKind::Wall, || 7), 7);
    })
    .unwrap();
    let again: Recording = serde_json::from_str(&serde_json::to_string(&recording).unwrap()).unwrap();
    let tape = Tape::replay(&again, Arc::default()).unwrap();
    assert_eq!(tape.read(ClockKind::Wall, || unreachable!()), 7);
    assert_eq!(tape.read(ClockKind::Wall, || unreachable!()), 7, "reading more often is no difference");
    assert_eq!(call(&tape, "one", "a", || unreachable!()).unwrap(), 1);
    let missing = tape.difference().unwrap();
    assert_eq!((missing.at, missing.recorded.as_deref(), missing.now), (1, Some("two b"), None));
    assert_eq!(call(&tape, "two", "b", || unreachable!()).unwrap(), 2);
    assert_eq!(tape.difference(), None);
    assert!(call(&tape, "three", "c", || unreachable!()).unwrap_err().to_string().contains("three was not called"));
    assert_eq!(tape.difference().unwrap().now.as_deref(), Some("three c"));
}

#[test]
fn a_replay_says_where_it_differs_first_and_nothing_goes_on_from_there() {
    let long = "x".repeat(MAX_SHOWN_BYTES);
    let recording = recorded(&[], |tape| {
        call(tape, "one", &format!("{long}a"), || 1).unwrap();
        call(tape, "two", "b", || 2).unwrap();
    })
    .unwrap();
    let tape = Tape::replay(&recording, Arc::default()).unwrap();
    assert!(call(&tape, "one", &format!("{long}b"), || unreachable!()).is_err(), "what is not shown is compared, too");
    assert!(call(&tape, "two", "b", || unreachable!()).is_err());
    assert_eq!(tape.difference().unwrap().at, 0);
}

#[test]
fn an_import_that_is_not_recorded_ends_a_replay_with_its_name() {
    let recording = recorded(&[], |tape| {
        call(tape, "one", "a", || 1).unwrap();
        unrecorded(Some(tape), "spin:redis/redis#open").unwrap();
    })
    .unwrap();
    let tape = Tape::replay(&recording, Arc::default()).unwrap();
    call(&tape, "one", "a", || unreachable!()).unwrap();
    assert!(unrecorded(Some(&tape), "spin:redis/redis#open").is_err());
    assert!(tape.difference().unwrap().now.unwrap().contains("spin:redis/redis#open"));
}

#[test]
fn secrets_are_named_and_in_no_recording() {
    let recording = recorded(&["hidden-1"], |tape| drop(call(tape, "one", "key hidden-1", || 1))).unwrap();
    let text = serde_json::to_string(&recording).unwrap();
    assert!(!text.contains("hidden-1"), "{text}");
    assert_eq!(recording.head.secrets, ["key"]);
    assert_eq!(recording.variables, BTreeMap::from([("open".to_owned(), "one".to_owned())]));
    // Now the variable has another value.
    let tape = Tape::replay(&recording, Arc::new(Secrets::of(["hidden-2"].into_iter()))).unwrap();
    assert_eq!(call(&tape, "one", "key hidden-2", || unreachable!()).unwrap(), 1);
    let result = recorded(&["hidden-1"], |tape| {
        now(asked(Some(tape), "one", String::new), || "hidden-1".to_owned()).unwrap();
    });
    assert!(result.is_none(), "a call whose result holds one is not kept");
}

#[test]
fn a_secret_with_line_ends_is_in_no_recording() {
    let key = "-----BEGIN KEY-----\nMIIB\n-----END KEY-----";
    let body = serde_json::json!({ "key": key }).to_string();
    // As the arguments of an outgoing request and of a statement are written.
    let recording = recorded(&[key], |tape| drop(call(tape, "one", &format!("{body:?}"), || 1))).unwrap();
    let text = serde_json::to_string(&recording).unwrap();
    assert!(!text.contains("MIIB"), "{text}");
    let result = recorded(&[key], |tape| {
        now(asked(Some(tape), "one", String::new), || body.clone()).unwrap();
    });
    assert!(result.is_none(), "a call whose result holds one is not kept");
}

#[test]
fn the_log_does_not_have_the_address_of_a_request_that_is_not_recorded() {
    let question = Question::Request {
        plain: true,
        method: "GET".into(),
        uri: "http://127.0.0.1:3000/reset?token=hidden-1".into(),
        headers: Vec::new(),
        body: String::new(),
    };
    let log = crate::tests::Log::capture();
    assert!(recorded_as(question, &["hidden-1"], |_| {}).is_none());
    let lines = log.lines();
    assert!(lines.len() == 1 && lines[0].contains("(a request) is not recorded"), "{lines:?}");
    assert!(!lines[0].contains("hidden-1") && !lines[0].contains("/reset"), "{lines:?}");
}

#[test]
fn a_call_that_takes_too_much_is_not_kept() {
    let large = "x".repeat(MAX_RECORDING_BYTES / 2);
    assert!(
        recorded(&[], |tape| {
            for _ in 0..3 {
                now(asked(Some(tape), "one", String::new), || large.clone()).unwrap();
            }
        })
        .is_none()
    );
    assert!(
        recorded(&[], |tape| {
            for _ in 0..=MAX_RECORDED_IMPORTS {
                call(tape, "one", "", || 1).unwrap();
            }
        })
        .is_none()
    );
}
