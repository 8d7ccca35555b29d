//! The component `<<component>>`.

use souk_test::{App, json};

#[test]
fn somebody_is_greeted_by_name() {
    let app = App::start();
    let greet = |name| app.call("<<component>>", "<<contract>>#greet", json!({ "name": name }));
    assert_eq!(greet("Ann"), Ok(json!("Hello, Ann!")));
    assert_eq!(greet(""), Err(json!({ "invalid": "say whom to greet" })));
}
