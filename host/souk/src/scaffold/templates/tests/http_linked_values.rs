//! The component `<<component>>`, linked to `<<callee>>`.

use souk_test::App;

#[test]
fn the_linked_component_keeps_a_value() {
    let app = App::start();
    assert_eq!(app.get("<<base>>/colour").status, 404);
    assert_eq!(app.put("<<base>>/colour", "red").status, 204);
    assert_eq!(app.get("<<base>>/colour").text(), "red");
}
