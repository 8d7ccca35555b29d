//! Redis triggers: components get the messages of a real Redis server.

use crate::harness::app::texts;
use crate::harness::redis::Redis;
use crate::harness::{App, Host, build, eventually};

fn app(server: &Redis) -> App {
    App::alone("redis").variable("server", format!("redis://127.0.0.1:{}", server.port()))
}

/// Publishes `messages` on `channel`; returns the number of subscribers that got each one.
async fn publish(server: &Redis, channel: &str, messages: &[&str]) -> Vec<i64> {
    let client = redis::Client::open(server.database()).unwrap();
    // A large message takes its time.
    let config = redis::AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let mut reached = Vec::new();
    for message in messages {
        let publish = redis::cmd("PUBLISH").arg(channel).arg(message).query_async(&mut connection).await;
        reached.push(publish.unwrap());
    }
    reached
}

async fn heard(host: &Host, component: &str, text: &str) {
    host.wait_for_log(&format!("{component} heard {text} of {} bytes", text.len())).await;
}

#[tokio::test]
async fn each_component_of_a_channel_gets_its_messages_and_no_others() {
    let server = Redis::start(&[]);
    let host = app(&server).variable("channel", "mine").start().await;
    assert_eq!(publish(&server, "mine", &["hello"]).await, [1], "one connection for all channels of a server");
    heard(&host, "one", "hello").await;
    heard(&host, "two", "hello").await;
    assert_eq!(publish(&server, "news", &["unheard"]).await, [0]);
    publish(&server, "other", &["for two"]).await;
    heard(&host, "two", "for two").await;
    assert_eq!(host.log_count("one heard for two"), 0);
    assert_eq!(host.log_count("unheard"), 0);
}

#[tokio::test]
async fn a_message_that_a_component_refuses_or_traps_on_is_lost_and_the_next_is_not() {
    let server = Redis::start(&[]);
    let host = app(&server).start().await;
    publish(&server, "other", &["refuse", "boom", "after"]).await;
    heard(&host, "two", "after").await;
    host.wait_for_log("component `two` answered a message of the channel `other` with").await;
    host.wait_for_log("a message of the channel `other` is lost: component `two`: trapped").await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_lost_and_a_large_one_is_not() {
    let server = Redis::start(&[]);
    let host = app(&server).start().await;
    let (large, larger) = ("x".repeat(1 << 20), "x".repeat((1 << 20) + 1));
    publish(&server, "other", &[&larger, &large]).await;
    host.wait_for_log("of 1048576 bytes").await;
    host.wait_for_log("a message of 1048577 bytes of the channel `other` is lost").await;
}

#[tokio::test]
async fn a_message_of_any_size_takes_no_memory_of_the_host_and_the_next_one_arrives() {
    // The server would end the connection by itself otherwise.
    let server = Redis::start(&["--client-output-buffer-limit", "pubsub 0 0 0"]);
    let host = app(&server).start().await;
    publish(&server, "other", &["first"]).await;
    heard(&host, "two", "first").await;
    let before = host.peak_bytes();
    let huge = "x".repeat(200 << 20);
    publish(&server, "other", &[&huge, "after"]).await;
    heard(&host, "two", "after").await;
    host.wait_for_log(&format!("a message of {} bytes of the channel `other` is lost", huge.len())).await;
    // The kernel counts the memory of threads a little late, so the peak may even sink.
    let grown = host.peak_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "the host has grown by {} MiB", grown >> 20);
    assert_eq!(host.log_count("is connected again"), 0);
}

#[tokio::test]
async fn a_lost_connection_is_opened_again() {
    let mut server = Redis::start(&[]);
    let host = app(&server).start().await;
    server.kill();
    host.wait_for_log("is lost: ").await;
    server.resume();
    host.wait_for_log("is connected again").await;
    publish(&server, "news", &["again"]).await;
    heard(&host, "one", "again").await;
}

#[tokio::test]
async fn a_server_that_is_not_there_or_refuses_is_an_error_at_the_start_that_shows_no_password() {
    let server = Redis::start(&["--requirepass", "swordfish"]);
    for (address, shown) in [
        ("redis://127.0.0.1:9".to_owned(), "redis://127.0.0.1:9/0".to_owned()),
        (format!("redis://:herring@127.0.0.1:{}", server.port()), format!("redis://127.0.0.1:{}/0", server.port())),
    ] {
        let said = App::alone("redis").variable("server", address).start_fails().await;
        let what = format!(": component `one`: Redis at {shown}: ");
        assert!(said.contains(&what) && said.contains("fix: start the server"), "{said}");
        assert!(!said.contains("herring"), "{said}");
    }
    let right = format!("redis://:swordfish@127.0.0.1:{}", server.port());
    App::alone("redis").variable("server", right).start().await;
}

/// A component with the message handler of Spin 1 and 2, which returns an error for each message.
const OLD: &str = r#"(component
    (core module $m
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 64)
        (func (export "handle") (param i32 i32) (result i32) i32.const 1))
    (core instance $m (instantiate $m))
    (func $handle (param "message" (list u8)) (result (result))
        (canon lift (core func $m "handle") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
    (instance $handler (export "handle-message" (func $handle)))
    (export "fermyon:spin/inbound-redis" (instance $handler)))"#;

#[tokio::test]
async fn a_component_with_spins_older_interface_gets_messages_too() {
    let server = Redis::start(&[]);
    let manifest = format!(
        "spin_manifest_version = 2\napplication.name = \"old\"\n[[trigger.redis]]\nchannel = \"old\"\naddress = \
         \"redis://127.0.0.1:{}\"\ncomponent = \"old\"\n[component.old]\nsource = \"old.wasm\"\n",
        server.port()
    );
    let host = App::inline(&manifest).component("old.wasm", OLD).start().await;
    let reached = || async { (publish(&server, "old", &["x"]).await == [1]).then_some(()) };
    eventually("the subscription", reached).await;
    host.wait_for_log("component `old` answered a message of the channel `old` with an error").await;
}

#[tokio::test]
async fn channels_begin_and_end_with_a_reload_and_those_that_stay_lose_no_message() {
    let server = Redis::start(&[]);
    let app = app(&server);
    let host = app.start().await;
    let more = "[[trigger.redis]]\nchannel = \"more\"\ncomponent = \"one\"\n";
    let app = app.append(more);
    let stays = async {
        for n in 0..100 {
            assert_eq!(publish(&server, "news", &[&format!("message-{n}")]).await, [1]);
        }
    };
    let (output, ()) = futures::join!(app.souk("reload", &[]), stays);
    let (out, err) = texts(&output);
    assert!(out.contains("applied: triggers of Redis"), "{out}{err}");
    publish(&server, "more", &["one more"]).await;
    heard(&host, "one", "one more").await;
    heard(&host, "one", "message-99").await;
    heard(&host, "two", "message-99").await;
    for n in 0..100 {
        assert_eq!(host.log_count(&format!("one heard message-{n} of")), 1, "{n}");
    }
    // One of two components of a channel leaves it, and another channel ends.
    let two = "[[trigger.redis]]\nchannel = \"{{ channel }}\"\ncomponent = \"two\"\n";
    let app = app.replace(more, "").replace(two, "");
    let (out, err) = texts(&app.souk("reload", &[]).await);
    assert!(out.contains("applied: triggers of Redis"), "{out}{err}");
    // The connection for it has no other channel.
    eventually("the channel ends", || async { (publish(&server, "more", &["gone"]).await == [0]).then_some(()) }).await;
    publish(&server, "news", &["for one"]).await;
    heard(&host, "one", "for one").await;
    publish(&server, "other", &["for two"]).await;
    heard(&host, "two", "for two").await;
    assert_eq!(host.log_count("two heard for one"), 0);
}

#[tokio::test]
async fn a_version_that_takes_no_messages_is_refused_and_one_that_does_takes_them_without_a_loss() {
    let server = Redis::start(&[]);
    let app = app(&server).component("empty.wasm", "(component)");
    let host = app.start().await;
    let listener = std::fs::read(build::component("listener")).unwrap();
    // The same code with a section of its own, so that it is another file.
    let app = app.file("second.wasm", [&listener[..], b"\0\x05\x04note"].concat());
    let file = |name: &str| app.path(name).to_str().unwrap().to_owned();
    let (empty, second) = (file("empty.wasm"), file("second.wasm"));
    let output = app.souk("deploy", &["one", &empty]).await;
    let (out, error) = texts(&output);
    assert!(!output.status.success(), "{out}");
    for words in ["component `one`", "has a Redis trigger but no longer exports", "inbound-redis", "fix: "] {
        assert!(error.contains(words), "{words} is missing: {error}");
    }
    let messages = async {
        for n in 0..100 {
            assert_eq!(publish(&server, "news", &[&format!("message-{n}")]).await, [1]);
        }
    };
    let arguments = ["one", &second];
    let (output, ()) = futures::join!(app.souk("deploy", &arguments), messages);
    let (out, error) = texts(&output);
    assert!(out.contains("version 2 serves"), "{out}{error}");
    publish(&server, "news", &["the last"]).await;
    heard(&host, "one", "the last").await;
    for n in 0..100 {
        heard(&host, "one", &format!("message-{n}")).await;
    }
    assert_eq!(host.log_count("is lost"), 0);
}
