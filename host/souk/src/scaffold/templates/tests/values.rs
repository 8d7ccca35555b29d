//! The component `<<component>>`.

use souk_test::{App, json};

#[test]
fn a_value_is_kept_under_its_key() {
    let app = App::start();
    let get = |key| app.call("<<component>>", "<<contract>>#get", json!({ "key": key }));
    assert_eq!(get("colour"), Ok(json!(null)));
    for value in ["red", "blue"] {
        let set = app.call("<<component>>", "<<contract>>#set", json!({ "key": "colour", "value": value }));
        assert_eq!(set, Ok(json!(null)));
    }
    assert_eq!(get("colour"), Ok(json!("blue")));
}
