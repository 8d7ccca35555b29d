//! The component `<<component>>`.

use souk_test::{App, json};

#[test]
fn a_message_that_comes_twice_is_kept_once() {
    let app = App::start();
    let message = json!({ "id": "1", "text": "milk" });
    for _ in 0..2 {
        assert_eq!(app.call("<<component>>", "<<contract>>#deliver", message.clone()), Ok(json!(null)));
    }
    assert_eq!(app.call("<<component>>", "<<kept>>#read", json!({ "id": "1" })), Ok(json!("milk")));
}
