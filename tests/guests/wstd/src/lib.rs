//! A component as users of the crate wstd build it: wstd offers WASI 0.2 as async Rust.

use wstd::http::{Body, Client, Error, Request, Response};
use wstd::time::Duration;

#[wstd::http_server]
async fn main(mut request: Request<Body>) -> Result<Response<Body>, Error> {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let text = match path.as_str() {
        "/wstd/echo" => request.body_mut().str_contents().await?.to_owned(),
        "/wstd/later" => {
            wstd::task::sleep(Duration::from_millis(20)).await;
            "later".to_owned()
        }
        "/wstd/fetch" => {
            let mut answer = Client::new().send(Request::get(query).body(Body::empty())?).await?;
            answer.body_mut().str_contents().await?.to_owned()
        }
        "/wstd/fail" => return Err(std::io::Error::other("as it should").into()),
        _ => format!("Hello from {path}"),
    };
    Ok(Response::new(text.into()))
}
