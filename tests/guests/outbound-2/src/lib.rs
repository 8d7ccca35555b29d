//! A component that uses the server that a request names, through `fermyon:spin/{redis,postgres,mysql,mqtt}@2.0.0` or
//! `spin:postgres@3.0.0`. The path names the operation, the header `address` the server, and the header `text` and the
//! body are the arguments.

use spin_sdk::http::{Request, Response};
use spin_sdk::redis::RedisParameter;
use spin_sdk::{http_component, mqtt, mysql, pg, pg3, redis};
use std::fmt::Debug;

#[http_component]
fn handle(request: Request) -> Response {
    let header = |name| request.header(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    // SQL statements contain characters that a URL cannot contain, so they are in a header.
    let (address, text) = (header("address"), header("text"));
    match answer(&header("spin-path-info"), &address, &text, request.body()) {
        Ok(answer) => Response::builder().status(200).header("content-type", "text/plain").body(answer).build(),
        Err(error) => Response::builder()
            .status(502)
            .header("content-type", "application/json")
            .body(format!("{{\"failed\":{error:?}}}"))
            .build(),
    }
}

fn answer(path: &str, address: &str, text: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    match path {
        "/redis/set" => redis(address)?.set(text, body).map(done).map_err(shown),
        "/redis/get" => redis(address)?.get(text).map(Option::unwrap_or_default).map_err(shown),
        "/redis/execute" => {
            let mut words = text.split(' ');
            let command = words.next().unwrap_or_default();
            let arguments: Vec<_> = words.map(|word| RedisParameter::Binary(word.as_bytes().to_vec())).collect();
            redis(address)?.execute(command, &arguments).map(shown).map(String::into_bytes).map_err(shown)
        }
        "/postgres-2" => {
            let connection = pg::Connection::open(address).map_err(shown)?;
            connection.query(text, &[]).map(|result| shown(result.rows).into_bytes()).map_err(shown)
        }
        "/postgres-3" => {
            let connection = pg3::Connection::open(address).map_err(shown)?;
            connection.query(text, &[]).map(|result| shown(result.rows).into_bytes()).map_err(shown)
        }
        "/mysql" => {
            let connection = mysql::Connection::open(address).map_err(shown)?;
            connection.query(text, &[]).map(|result| shown(result.rows).into_bytes()).map_err(shown)
        }
        "/mqtt" => {
            let connection = mqtt::Connection::open(address, "", "", 30).map_err(shown)?;
            connection.publish(text, body, mqtt::Qos::ExactlyOnce).map(done).map_err(shown)
        }
        _ => Err(format!("there is no {path}")),
    }
}

fn redis(address: &str) -> Result<redis::Connection, String> {
    redis::Connection::open(address).map_err(shown)
}

fn shown(value: impl Debug) -> String {
    format!("{value:?}")
}

fn done(_: ()) -> Vec<u8> {
    b"done".to_vec()
}
