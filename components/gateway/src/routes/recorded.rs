//! The recorded requests and responses, for the tests of the routes.

use crate::http::error::Error;
use serde_json::Value;

/// The cases of these groups, with the intended differences applied.
pub(super) fn cases(groups: &[&str]) -> Vec<Value> {
    let read = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap();
    let differences = read(include_str!("../../../../tests/golden-differences.json"));
    let mut cases = read(include_str!("../../../../tests/golden.json"));
    cases.retain(|case| groups.iter().any(|group| case["group"] == **group));
    for case in &mut cases {
        let same = |d: &&Value| d["group"] == case["group"] && d["name"] == case["name"];
        if let Some(difference) = differences.iter().find(same) {
            case["status"] = difference["expected"]["status"].clone();
            case["response_normalised"] = difference["expected"]["body"].clone();
        }
    }
    cases
}

/// A case's name for failure messages.
pub(super) fn title(case: &Value) -> String {
    format!("{} / {}", case["group"], case["name"])
}

/// The status and body of an error.
pub(super) fn sent(error: Error) -> (u16, Value) {
    let reply = error.into_reply();
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

/// The recorded status and body.
pub(super) fn expected(case: &Value) -> (u16, Value) {
    (u16::try_from(case["status"].as_u64().unwrap()).unwrap(), case["response_normalised"].clone())
}
