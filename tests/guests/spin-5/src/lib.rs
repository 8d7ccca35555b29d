//! A component as users of Spin's SDK 5 build it: its handler and all its imports are of WASI 0.2.

use spin_sdk::http::{Headers, OutgoingResponse};
use spin_sdk::http::{IncomingRequest, Method, Request, Response, ResponseOutparam, send};
use spin_sdk::http_component;
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{Connection, Value};
use spin_sdk::variables;

use futures::SinkExt as _;
use std::io::Write as _;

#[http_component]
async fn handle(request: IncomingRequest, out: ResponseOutparam) {
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut answer = match path {
        "/echo" => Response::builder()
            .status(201)
            .header("content-type", "text/plain")
            .header("x-echo", "yes")
            .body(request.into_body().await.unwrap())
            .build(),
        "/boom" => panic!("spin-5's own boom, with the secret detail swordfish"),
        "/silent" => return drop(out),
        "/forever" => loop {
            std::hint::black_box(0);
        },
        "/stream" => return stream(out, query.parse().unwrap()).await,
        "/last-words" => {
            print!("said without an end of line");
            std::io::stdout().flush().unwrap();
            text("ok")
        }
        "/fetch" => match fetch(query).await {
            Ok(answer) => answer,
            Err(error) => Response::builder().status(502).body(error).build(),
        },
        "/key-value" => text(key_value().unwrap_or_else(|error| format!("{error:?}"))),
        "/sqlite" => text(sqlite().unwrap_or_else(|error| format!("{error:?}"))),
        "/variable" => text(variables::get(query).unwrap_or_else(|error| format!("{error:?}"))),
        _ => Response::builder().status(404).body("there is no such path").build(),
    };
    let body = std::mem::take(answer.body_mut());
    out.set_with_body(answer.try_into().unwrap(), body).await.unwrap();
}

fn text(body: impl Into<String>) -> Response {
    Response::builder().status(200).header("content-type", "text/plain").body(body.into()).build()
}

/// Streams a body of `chunks` times 64 KiB.
async fn stream(out: ResponseOutparam, chunks: usize) {
    let response =
        OutgoingResponse::new(Headers::from_list(&[("content-type".to_owned(), b"text/plain".to_vec())]).unwrap());
    let mut body = response.take_body();
    out.set(response);
    for n in 0..chunks {
        let letter = b'a' + (n % 26) as u8;
        if body.send(vec![letter; 64 << 10]).await.is_err() {
            return;
        }
    }
}

async fn fetch(url: &str) -> Result<Response, String> {
    let request = Request::builder().method(Method::Post).uri(url).body("from spin-5").build();
    let answer: Response = send(request).await.map_err(|error| format!("{error:?}"))?;
    Ok(text(String::from_utf8_lossy(answer.body())))
}

fn key_value() -> Result<String, spin_sdk::key_value::Error> {
    let store = Store::open_default()?;
    store.set("one", b"1")?;
    store.set("two", b"2")?;
    store.delete("two")?;
    let one = store.get("one")?.unwrap_or_default();
    let denied = matches!(Store::open("other"), Err(spin_sdk::key_value::Error::AccessDenied));
    Ok(format!("{:?} {} {} {denied}", store.get_keys()?, store.exists("two")?, String::from_utf8_lossy(&one)))
}

fn sqlite() -> Result<String, spin_sdk::sqlite::Error> {
    let database = Connection::open_default()?;
    database.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER, b TEXT)", &[])?;
    database.execute("INSERT INTO t VALUES (?, ?)", &[Value::Integer(1), Value::Text("one".to_owned())])?;
    let rows = database.execute("SELECT count(*) > 0, max(b) FROM t", &[])?;
    let row =
        rows.rows().next().map(|row| (row.get::<i64>("count(*) > 0"), row.get::<&str>("max(b)").map(str::to_owned)));
    Ok(format!("{row:?}"))
}
