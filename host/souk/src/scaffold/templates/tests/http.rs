//! The component `<<component>>`.

use souk_test::App;

#[test]
fn every_request_is_answered() {
    let app = App::start();
    let response = app.get("<<base>>/world");
    assert_eq!((response.status, response.text()), (200, "Hello from <<base>>/world\n".to_owned()));
}
