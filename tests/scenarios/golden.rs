//! Replays what was recorded of the system that the store replaces (`tests/golden.json`), in its order, against the
//! repository's own application: the catalogue's groups.
//!
//! A response must be the recorded one, or the one listed in `tests/golden-differences.json` with its reason; an entry
//! of that list that is not needed fails too. The recording leaves out some of its own steps; those that later answers
//! depend on are in [`LEFT_OUT`], and products that it created unseen are filled in by their ids.

use crate::harness::{Answer, App, Client, build};
use base64::Engine as _;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One recorded request with its answer.
#[derive(Deserialize)]
struct Recorded {
    group: String,
    name: String,
    method: String,
    path_template: String,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    status: u16,
    content_type: Option<String>,
    response_normalised: Value,
    etag_present: bool,
}

/// An intended difference from the recording.
#[derive(Deserialize)]
struct Difference {
    group: String,
    name: String,
    /// Read by people.
    #[serde(rename = "reason")]
    _reason: String,
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    status: u16,
    body: Value,
}

/// How many products the catalogue starts with.
const SEEDED: u64 = 47;

/// Steps that the recording left out: the group and name of the entry before which they were made.
const LEFT_OUT: &[(&str, &str, &str, &str, &str)] = &[
    ("products-update", "price only", "PATCH", "/api/products/54", r#"{"name":"Lamp v3"}"#),
    ("products-delete", "delete twice", "DELETE", "/api/products/55", ""),
];

/// The groups that need the catalogue and no other service.
fn is_ours(group: &str) -> bool {
    matches!(group, "routing" | "body-parsing") || group.starts_with("products-")
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let path = build::root().join("tests").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[tokio::test]
async fn the_catalogue_answers_as_the_recorded_system_did() {
    let host = App::store().start().await;
    let client = host.client();
    let mut differences: BTreeMap<(String, String), Expected> =
        read::<Difference>("golden-differences.json").into_iter().map(|d| ((d.group, d.name), d.expected)).collect();
    let (mut wrong, mut replayed, mut newest) = (Vec::new(), 0, SEEDED);

    for recorded in read::<Recorded>("golden.json").iter().filter(|r| is_ours(&r.group)) {
        let key = (recorded.group.clone(), recorded.name.clone());
        fill_in(&client, &mut newest, recorded).await;
        let answer = send(&client, recorded).await;
        if answer.status == 201 {
            newest = answer.json()["id"].as_u64().expect("an id");
        }
        replayed += 1;

        let as_recorded =
            compare(&answer, recorded.status, recorded.content_type.as_deref(), &recorded.response_normalised)
                .and_then(|()| etag(&answer, recorded));
        let verdict = match (differences.remove(&key), as_recorded) {
            (Some(_), Ok(())) => {
                Err("answered as recorded: its entry in golden-differences.json is not needed".to_owned())
            }
            // An intended answer is an error or a page like any other: JSON.
            (Some(e), Err(_)) => compare(&answer, e.status, Some("application/json; charset=utf-8"), &e.body),
            (None, as_recorded) => as_recorded,
        };
        if let Err(why) = verdict {
            wrong.push(format!("{} / {} ({} {}):\n    {why}", key.0, key.1, recorded.method, recorded.path_template));
        }
    }
    // What is left for other groups is other scenarios' business.
    let unknown: Vec<_> = differences.keys().filter(|(group, _)| is_ours(group)).collect();
    assert!(unknown.is_empty(), "golden-differences.json names what golden.json does not have: {unknown:?}");
    assert!(wrong.is_empty(), "{} of {replayed} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Makes the steps that the recording left out before this one; `newest` is the highest id of a product so far.
async fn fill_in(client: &Client, newest: &mut u64, recorded: &Recorded) {
    for (_, _, method, path, body) in LEFT_OUT.iter().filter(|l| l.0 == recorded.group && l.1 == recorded.name) {
        let headers: &[_] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        let body = (!body.is_empty()).then(|| body.as_bytes().to_vec());
        let answer = client.send(method.parse().unwrap(), path, headers, body).await;
        assert_eq!(answer.status, 200, "left out: {method} {path}: {answer:?}");
    }
    // The id that this step's product must get, so that later steps find it there.
    let id = match (recorded.method.as_str(), recorded.status) {
        ("POST", 201) => recorded.response_normalised["id"].as_u64(),
        _ => None,
    };
    let Some(id) = id else { return };
    while *newest + 1 < id {
        let body = json!({ "name": "filler", "price": 1 }).to_string().into_bytes();
        let headers = [("content-type", "application/json")];
        let made = client.send(Method::POST, "/api/products", &headers, Some(body)).await.expect(201);
        *newest = made["id"].as_u64().expect("an id");
    }
}

async fn send(client: &Client, recorded: &Recorded) -> Answer {
    let headers: Vec<(&str, &str)> = recorded.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let body = recorded.body.as_deref().map(body);
    client.send(recorded.method.parse().unwrap(), &recorded.path_template, &headers, body).await
}

/// The bytes of a recorded body, which is text, `<base64:...>`, or shortened: `START...<N bytes>...END`.
fn body(text: &str) -> Vec<u8> {
    if let Some(encoded) = text.strip_prefix("<base64:").and_then(|t| t.strip_suffix('>')) {
        return base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    }
    let Some((start, rest)) = text.split_once("...<") else { return text.into() };
    let (length, end) = rest.split_once(" bytes>...").expect("a shortened body");
    let length: usize = length.parse().unwrap();
    // What was left out repeats the last character before the gap.
    let fill = start.chars().last().unwrap().to_string().repeat(length - start.len() - end.len());
    format!("{start}{fill}{end}").into_bytes()
}

fn compare(answer: &Answer, status: u16, content_type: Option<&str>, expected: &Value) -> Result<(), String> {
    let got = || format!("got {answer:?}");
    if answer.status != status {
        return Err(format!("status {status} expected, {}", got()));
    }
    if answer.header("content-type") != content_type {
        return Err(format!("content type {content_type:?} expected, {}", got()));
    }
    if let Some(length) = counted(expected, "bytes") {
        return if answer.body.len() == length {
            Ok(())
        } else {
            Err(format!("{length} bytes expected, not {}", answer.body.len()))
        };
    }
    if expected.as_str() == Some("") {
        return if answer.body.is_empty() { Ok(()) } else { Err(format!("no body expected, {}", got())) };
    }
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| format!("JSON expected, {}", got()))?;
    if matches(expected, &body) { Ok(()) } else { Err(format!("expected {expected}, {}", got())) }
}

fn etag(answer: &Answer, recorded: &Recorded) -> Result<(), String> {
    let present = answer.header("etag").is_some();
    if present == recorded.etag_present {
        Ok(())
    } else {
        Err(format!("etag: {present}, recorded: {}", recorded.etag_present))
    }
}

/// The N of a placeholder `<N UNIT>`.
fn counted(expected: &Value, unit: &str) -> Option<usize> {
    let text = expected.as_str()?.strip_prefix('<')?.strip_suffix('>')?;
    text.strip_suffix(unit)?.trim_end().parse().ok()
}

/// Equality, where the recording's placeholders stand for what changes from run to run.
fn matches(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::String(e), Value::String(g)) if e == "<iso>" => is_iso_time(g),
        (Value::String(_), Value::Array(rows)) => counted(expected, "rows") == Some(rows.len()),
        (Value::Array(e), Value::Array(g)) => e.len() == g.len() && e.iter().zip(g).all(|(e, g)| matches(e, g)),
        (Value::Object(e), Value::Object(g)) => {
            e.len() == g.len() && e.iter().all(|(key, e)| g.get(key).is_some_and(|g| matches(e, g)))
        }
        _ => expected == got,
    }
}

/// `2024-02-27T15:50:27.545Z`.
fn is_iso_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}
