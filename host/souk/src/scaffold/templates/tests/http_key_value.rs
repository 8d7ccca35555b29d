//! The component `<<component>>`.

use souk_test::App;

#[test]
fn a_value_is_kept_across_a_restart() {
    let app = App::start();
    assert_eq!(app.get("<<base>>/colour").status, 404);
    assert_eq!(app.put("<<base>>/colour", "red").status, 204);
    let app = app.restart();
    assert_eq!(app.get("<<base>>/colour").text(), "red");
}
