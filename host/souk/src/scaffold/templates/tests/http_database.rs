//! The component `<<component>>`.

use souk_test::App;

#[test]
fn lines_are_kept_in_their_order() {
    let app = App::start();
    for line in ["milk", "bread"] {
        assert_eq!(app.post("<<base>>/", line).status, 201);
    }
    assert_eq!(app.post("<<base>>/", "").status, 400);
    assert_eq!(app.get("<<base>>/").text(), "milk\nbread\n");
}
