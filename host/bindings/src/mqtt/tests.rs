//! The binding on a real broker, through the older interface, because a test can call its functions without a guest.

use super::spin_2::wit::{Error, HostConnection, Qos};
use crate::Ctx;
use crate::outbound::Dialer;
use crate::outbound::tests::allow;
use crate::tests::ctx;
use souk_test::mosquitto::{Mosquitto, PASSWORD, USER};
use wasmtime::component::Resource;

type Handle = Resource<super::host::Handle>;

/// An instance that may reach what `entries` allow.
fn reaching(entries: &[&str]) -> Ctx {
    ctx(|grants| grants.outbound = Dialer::default().grant(&allow(entries)))
}

const LOOPBACK: &[&str] = &["mqtt://127.0.0.1:*"];

async fn open(ctx: &mut Ctx, address: &str, user: &str, password: &str) -> Result<Handle, Error> {
    ctx.open(address.to_owned(), user.to_owned(), password.to_owned(), 30).await.unwrap()
}

async fn publish(ctx: &mut Ctx, c: &Handle, topic: &str, payload: &[u8], qos: Qos) -> Result<(), Error> {
    ctx.publish(Resource::new_borrow(c.rep()), topic.to_owned(), payload.to_vec(), qos).await.unwrap()
}

fn address(broker: &Mosquitto) -> String {
    format!("mqtt://127.0.0.1:{}", broker.port())
}

#[tokio::test]
async fn messages_of_every_quality_of_service_arrive_in_their_order() {
    let broker = Mosquitto::start();
    let mut subscriber = broker.subscribe("shop/#");
    let mut ctx = reaching(LOOPBACK);
    let c = open(&mut ctx, &format!("{}?client_id=mine", address(&broker)), "", "").await.unwrap();
    let large = vec![b'x'; 3 << 20];
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::AtLeastOnce] {
        publish(&mut ctx, &c, "shop/orders", &large, qos).await.unwrap();
    }
    publish(&mut ctx, &c, "shop/orders", b"", Qos::ExactlyOnce).await.unwrap();
    for (payload, qos) in [(&large[..], 0), (&large, 1), (&large, 2), (&large, 1), (b"", 2)] {
        let (received, of) = subscriber.receive();
        assert!(received == payload && of == qos, "{} bytes, {of}", received.len());
    }
    HostConnection::drop(&mut ctx, c).await.unwrap();
}

#[tokio::test]
async fn an_invalid_message_is_refused_and_the_connection_stays_usable() {
    let broker = Mosquitto::start();
    let mut ctx = reaching(LOOPBACK);
    let c = open(&mut ctx, &address(&broker), "", "").await.unwrap();
    let long = "x".repeat(70_000);
    for topic in ["", "a/+/b", "a/#", "a\0b", &long] {
        let error = publish(&mut ctx, &c, topic, b"x", Qos::AtLeastOnce).await.unwrap_err();
        assert!(matches!(&error, Error::Other(why) if why.contains("topic")), "{error:?}");
    }
    let error = publish(&mut ctx, &c, "a", &vec![0; 5 << 20], Qos::AtLeastOnce).await.unwrap_err();
    assert!(matches!(&error, Error::Other(why) if why.contains("4 MiB")), "{error:?}");
    publish(&mut ctx, &c, "a", b"x", Qos::AtLeastOnce).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_was_not_granted_and_an_invalid_address_have_different_errors() {
    let broker = Mosquitto::start();
    let here = address(&broker);
    for (entries, address) in [
        (&["mqtt://127.0.0.1:1"][..], here.as_str()),
        (&["redis://127.0.0.1:*"], &here),
        (&[], &here),
        (LOOPBACK, "mqtt://localhost"),
        (LOOPBACK, "mqtt://127.0.0.1:1"),
    ] {
        let error = open(&mut reaching(entries), address, "", "geheim").await.unwrap_err();
        assert!(matches!(&error, Error::ConnectionFailed(why) if !why.contains("geheim")), "{address}: {error:?}");
    }
    let file = format!("{here}?ca=/etc/passwd");
    for address in ["http://127.0.0.1", "nonsense", &file] {
        let error = open(&mut reaching(LOOPBACK), address, "", "").await.unwrap_err();
        assert!(matches!(error, Error::InvalidAddress), "{address}: {error:?}");
    }
    let long = "x".repeat(70_000);
    let error = open(&mut reaching(LOOPBACK), &here, &long, "").await.unwrap_err();
    assert!(matches!(error, Error::InvalidAddress), "{error:?}");
}

#[tokio::test]
async fn a_login_is_checked_when_the_connection_is_opened() {
    let broker = Mosquitto::start_with_login();
    let mut ctx = reaching(LOOPBACK);
    let error = open(&mut ctx, &address(&broker), USER, "geheim").await.unwrap_err();
    assert!(matches!(&error, Error::ConnectionFailed(why) if why.contains("NotAuthorized")), "{error:?}");
    let c = open(&mut ctx, &address(&broker), USER, PASSWORD).await.unwrap();
    publish(&mut ctx, &c, "a", b"x", Qos::AtLeastOnce).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_was_killed_costs_its_connections_and_new_ones_find_it_again() {
    let mut broker = Mosquitto::start();
    let mut ctx = reaching(LOOPBACK);
    let c = open(&mut ctx, &address(&broker), "", "").await.unwrap();
    broker.kill();
    let error = publish(&mut ctx, &c, "a", b"x", Qos::AtLeastOnce).await.unwrap_err();
    assert!(matches!(&error, Error::ConnectionFailed(why) if why.contains("open another")), "{error:?}");
    broker.resume();
    let lost = publish(&mut ctx, &c, "a", b"x", Qos::AtLeastOnce).await.unwrap_err();
    assert!(matches!(&lost, Error::ConnectionFailed(why) if why.contains("was lost")), "{lost:?}");
    let c = open(&mut ctx, &address(&broker), "", "").await.unwrap();
    publish(&mut ctx, &c, "a", b"x", Qos::ExactlyOnce).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_alive_and_a_broker_that_never_answers_is_given_up() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("mqtt://{}", listener.local_addr().unwrap());
    let broker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut byte = [0; 256];
        assert!(stream.read(&mut byte).await.unwrap() > 0, "no CONNECT");
        stream.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        for _ in 0..2 {
            let read = stream.read(&mut byte).await.unwrap();
            assert_eq!(byte[..read], [0xc0, 0], "no PINGREQ");
            stream.write_all(&[0xd0, 0]).await.unwrap();
        }
        // From here on the broker is silent.
        (stream, listener)
    });
    let mut ctx = reaching(LOOPBACK);
    let c = open(&mut ctx, &address, "", "").await.unwrap();
    let _silent = broker.await.unwrap();
    let error = publish(&mut ctx, &c, "a", b"x", Qos::AtLeastOnce).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionFailed(_)), "{error:?}");
    let error = open(&mut ctx, &address, "", "").await.unwrap_err();
    assert!(matches!(&error, Error::ConnectionFailed(why) if why.contains("no answer for 5s")), "{error:?}");
}
