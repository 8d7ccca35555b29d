//! A test component whose HTTP handler is of WASI 0.2 and whose imports are `func`: `/CALL/ARGUMENT...`.

use spin_sdk::http::{Request, Response};
use spin_sdk::{http_component, wit_bindgen};

wit_bindgen::generate!({
    world: "souk-test:mixed/caller",
    path: "../wit/func",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use souk_test::mixed::{events, work};

include!("../../answer.rs");

#[http_component]
fn handle(request: Request) -> Response {
    let path = request.header("spin-path-info").and_then(|path| path.as_str()).unwrap_or_default();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (status, value) = match segments.as_slice() {
        ["next", name] => worked(work::next(&item(name)).map(shown)),
        ["next"] => worked(work::next(&item("")).map(shown)),
        ["hold", ms] => worked(work::hold(number(ms))),
        ["compute", own, theirs] => {
            compute(number(own));
            worked(work::compute(number(theirs)))
        }
        ["linger", ms] => worked(work::linger(number(ms))),
        ["forever"] => worked(work::forever()),
        ["boom"] => worked(work::boom()),
        ["note", id] => stored(events::note(id)),
        _ => unknown(),
    };
    Response::builder().status(status).header("content-type", "application/json").body(value.to_string()).build()
}
