//! The component `<<component>>`, linked to `<<callee>>` by a durable link.

use souk_test::App;

#[test]
fn a_message_is_delivered_after_it_was_stored() {
    let app = App::start();
    assert_eq!(app.put("<<base>>/1", "milk").status, 202);
    app.wait_for_deliveries();
    assert_eq!(app.get("<<base>>/1").text(), "milk\n");
}
