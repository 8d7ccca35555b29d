//! The binding on a real Redis, through the older interface, because a test can call its functions without a guest.

use super::spin_2::wit::{self, HostConnection};
use crate::Ctx;
use crate::boundary::Boundaries;
use crate::outbound::Dialer;
use crate::outbound::tests::allow;
use crate::tests::ctx;
use crate::trace::{Filter, Tracer};
use ::redis::cmd;
use futures::FutureExt as _;
use souk_test::redis::Redis;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wasmtime::component::Resource;

/// An instance that may reach what `entries` allow.
fn reaching(entries: &[&str]) -> Ctx {
    ctx(|grants| grants.outbound = Dialer::default().grant(&allow(entries)))
}

const LOOPBACK: &[&str] = &["redis://127.0.0.1:*"];

async fn open(ctx: &mut Ctx, url: &str) -> Resource<super::host::Handle> {
    ctx.open(url.to_owned()).await.unwrap().unwrap()
}

#[tokio::test]
async fn every_function_does_what_its_contract_says() {
    let mut ctx = reaching(LOOPBACK);
    let c = open(&mut ctx, &Redis::shared().database()).await;
    let again = || Resource::new_borrow(c.rep());
    assert_eq!(ctx.get(again(), "k".into()).await.unwrap().unwrap(), None);
    ctx.set(again(), "k".into(), b"a\0b".to_vec()).await.unwrap().unwrap();
    assert_eq!(ctx.get(again(), "k".into()).await.unwrap().unwrap().unwrap(), b"a\0b");
    assert_eq!(ctx.incr(again(), "n".into()).await.unwrap().unwrap(), 1);
    assert!(matches!(ctx.incr(again(), "k".into()).await.unwrap(), Err(wit::Error::TypeError)));
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(ctx.sadd(again(), "s".into(), names(&["x", "y", "x"])).await.unwrap().unwrap(), 2);
    let mut members = ctx.smembers(again(), "s".into()).await.unwrap().unwrap();
    members.sort();
    assert_eq!(members, ["x", "y"]);
    assert!(matches!(ctx.get(again(), "s".into()).await.unwrap(), Err(wit::Error::TypeError)));
    assert_eq!(ctx.srem(again(), "s".into(), names(&["x", "z"])).await.unwrap().unwrap(), 1);
    assert_eq!(ctx.del(again(), names(&["k", "n", "none"])).await.unwrap().unwrap(), 2);
    ctx.publish(again(), "channel".into(), b"hello".to_vec()).await.unwrap().unwrap();
    HostConnection::drop(&mut ctx, c).await.unwrap();
}

#[tokio::test]
async fn a_command_is_measured_and_is_a_span_without_its_keys_and_values() {
    let tracer = Tracer::sampled(1.0, true);
    let boundaries = Boundaries::measured().unwrap().traced(tracer.clone());
    let mut ctx = ctx(|grants| {
        grants.outbound = Dialer::default().grant(&allow(LOOPBACK));
        grants.boundaries = boundaries.of_component("shop");
    });
    ctx.call.span = tracer.root(None);
    let c = open(&mut ctx, &Redis::shared().database()).await;
    let again = || Resource::new_borrow(c.rep());
    ctx.set(again(), "secret".into(), b"secret".to_vec()).await.unwrap().unwrap();
    assert!(matches!(ctx.incr(again(), "secret".into()).await.unwrap(), Err(wit::Error::TypeError)));
    let secret = wit::RedisParameter::Binary(b"secret".to_vec());
    ctx.execute(again(), "strlen".into(), vec![secret]).await.unwrap().unwrap();
    let trace = tracer.list(&Filter::default(), 1).remove(0).trace.to_string();
    let spans = tracer.find(&trace).unwrap().spans;
    let shown: Vec<_> = spans.iter().map(|span| (&*span.name, span.error.as_deref())).collect();
    assert_eq!(shown, [("SET", None), ("INCRBY", Some("type-error")), ("STRLEN", None)]);
    assert!(!format!("{spans:?}").contains("secret"), "{spans:?}");
    let measured = prometheus::TextEncoder::new().encode_to_string(&boundaries.registry().unwrap().gather()).unwrap();
    assert!(measured.contains(r#"db_system_name="redis",error_type="type-error""#), "{measured}");
}

#[tokio::test]
async fn any_command_gives_its_answer_as_a_flat_list() {
    let mut ctx = reaching(LOOPBACK);
    let c = open(&mut ctx, &Redis::shared().database()).await;
    let mut run = async |command: &str, arguments: Vec<wit::RedisParameter>| {
        ctx.execute(Resource::new_borrow(c.rep()), command.to_owned(), arguments).await.unwrap()
    };
    let text = |text: &str| wit::RedisParameter::Binary(text.as_bytes().to_vec());
    let set = run("SET", vec![text("n"), wit::RedisParameter::Int64(-7)]).await.unwrap();
    assert!(matches!(&set[..], [wit::RedisResult::Status(status)] if status == "OK"), "{set:?}");
    let many = run("MGET", vec![text("n"), text("none")]).await.unwrap();
    assert!(matches!(&many[..], [wit::RedisResult::Binary(n), wit::RedisResult::Nil] if n == b"-7"), "{many:?}");
    let length = run("STRLEN", vec![text("n")]).await.unwrap();
    assert!(matches!(length[..], [wit::RedisResult::Int64(2)]), "{length:?}");
    let error = run("NO-SUCH-COMMAND", vec![]).await.unwrap_err();
    assert!(matches!(&error, wit::Error::Other(text) if text.contains("unknown command")), "{error:?}");
}

#[tokio::test]
async fn a_server_that_was_not_granted_and_a_malformed_address_are_invalid_addresses() {
    let url = Redis::shared().database();
    for (entries, address) in [
        (&["redis://127.0.0.1:1"][..], url.as_str()),
        (&["redis://localhost:*"], &url),
        (&["https://127.0.0.1:*"], &url),
        (&[], &url),
        (LOOPBACK, "unix:/run/redis.sock"),
        (LOOPBACK, "http://127.0.0.1"),
        (LOOPBACK, "nonsense"),
        (&["*://*:*"], "rediss://127.0.0.1:6379/#insecure"),
    ] {
        let opened = reaching(entries).open(address.to_owned()).await.unwrap();
        assert!(matches!(opened, Err(wit::Error::InvalidAddress)), "{entries:?} {address}");
    }
    // A name that leads to an address that only an entry for the address grants.
    let named = url.replace("127.0.0.1", "localhost");
    let opened = reaching(&["*://*:*"]).open(named).await.unwrap();
    assert!(matches!(&opened, Err(wit::Error::Other(why)) if why.contains("not on the public internet")), "{opened:?}");
}

#[tokio::test]
async fn a_server_that_is_away_or_wants_another_password_is_an_error_without_the_password() {
    let server = Redis::start(&["--requirepass", "s3cret"]);
    let mut ctx = reaching(LOOPBACK);
    let port = server.port();
    for address in [format!("redis://:not-s3cret@127.0.0.1:{port}"), "redis://:not-s3cret@127.0.0.1:1".to_owned()] {
        let error = ctx.open(address).await.unwrap().unwrap_err();
        let wit::Error::Other(why) = &error else { panic!("{error:?}") };
        assert!(why.starts_with("cannot connect to redis://127.0.0.1") && !why.contains("s3cret"), "{why}");
    }
    open(&mut ctx, &format!("redis://:s3cret@127.0.0.1:{port}")).await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error_and_ends_its_connection_alone() {
    let url = Redis::shared().database();
    let mut ctx = reaching(LOOPBACK);
    let c = open(&mut ctx, &url).await;
    let again = || Resource::new_borrow(c.rep());
    let mebibyte = vec![b'x'; 1 << 20];
    ctx.set(again(), "large".into(), mebibyte.repeat(12)).await.unwrap().unwrap();
    assert_eq!(ctx.get(again(), "large".into()).await.unwrap().unwrap().unwrap().len(), 12 << 20);
    let too_large = ctx.set(again(), "larger".into(), mebibyte.repeat(17)).await.unwrap().unwrap_err();
    assert!(matches!(&too_large, wit::Error::Other(why) if why.contains("16 MiB")), "{too_large:?}");

    // Short elements use much more memory than they have bytes.
    let client = ::redis::Client::open(url.as_str()).unwrap();
    let mut own = client.get_multiplexed_async_connection().await.unwrap();
    let script =
        "for i = 1, 400 do local t = {} for j = 1, 1000 do t[j] = 1 end redis.call('RPUSH', KEYS[1], unpack(t)) end";
    cmd("EVAL").arg(script).arg(1).arg("list").exec_async(&mut own).await.unwrap();
    let all = ["list", "0", "-1"].map(|text| wit::RedisParameter::Binary(text.into())).to_vec();
    let too_large = ctx.execute(again(), "LRANGE".into(), all).await.unwrap().unwrap_err();
    assert!(matches!(&too_large, wit::Error::Other(why) if why.contains("larger than 16 MiB")), "{too_large:?}");
    let lost = ctx.get(again(), "none".into()).await.unwrap().unwrap_err();
    assert!(matches!(&lost, wit::Error::Other(why) if why.contains("open another")), "{lost:?}");
    let other = open(&mut ctx, &url).await;
    assert_eq!(ctx.get(other, "none".into()).await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn an_instance_holds_a_limited_number_of_connections_and_dropped_ones_make_room() {
    let url = Redis::shared().database();
    let mut ctx = reaching(LOOPBACK);
    let mut held = Vec::new();
    let refused = loop {
        match ctx.open(url.clone()).await.unwrap() {
            Ok(connection) => held.push(connection),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, wit::Error::TooManyConnections) && held.len() == 32, "{refused:?}: {}", held.len());
    HostConnection::drop(&mut ctx, held.pop().unwrap()).await.unwrap();
    open(&mut ctx, &url).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("redis://:p@{}", silent.local_addr().unwrap());
    let error = reaching(LOOPBACK).open(address).await.unwrap().unwrap_err();
    assert!(matches!(&error, wit::Error::Other(why) if why.contains("no answer for 5s")), "{error:?}");
}

/// A server that answers until the first `SET`, and then reads nothing.
async fn deaf_server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        loop {
            let length = client.read(&mut buffer).await.unwrap();
            let commands = buffer[..length].iter().filter(|byte| **byte == b'*').count();
            if buffer[..length].windows(5).any(|part| part == b"SET\r\n") {
                std::future::pending::<()>().await;
            }
            client.write_all(&b"+OK\r\n".repeat(commands)).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_command_that_is_cancelled_ends_its_connection_and_waits_nowhere() {
    let mut ctx = reaching(LOOPBACK);
    let c = open(&mut ctx, &deaf_server().await).await;
    let mut set = || ctx.set(Resource::new_borrow(c.rep()), "k".into(), vec![b'x'; 15 << 20]).now_or_never();
    assert!(set().is_none());
    for _ in 0..3 {
        let lost = set().expect("at once").unwrap().unwrap_err();
        assert!(matches!(&lost, wit::Error::Other(why) if why.contains("open another")), "{lost:?}");
    }
}
