//! The component `<<component>>`, linked to `<<callee>>`.

use souk_test::App;

#[test]
fn the_linked_component_greets_by_name() {
    let app = App::start();
    assert_eq!(app.get("<<base>>/Ann").text(), "Hello, Ann!\n");
    assert_eq!(app.get("<<base>>/").status, 400);
}
