//! One component misbehaves, and only its own calls may fail.
//!
//! `/rogue/...` calls the misbehaving component, which has tight limits; `/other/...` calls a bystander with its own
//! sandbox and grants.

use crate::harness::app::texts;
use crate::harness::{App, Client, Host, eventually, raw, undisturbed};
use futures::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: u64 = 1 << 20;
/// The bystanders: a component alone, and a component that calls another one over a link.
const OTHERS: &[&str] = &["/other/self/hello", "/other/answer/7"];

async fn start() -> (Host, Client) {
    let host = App::new("rogue").start().await;
    let client = host.client();
    (host, client)
}

/// Calls `path` `times` at once.
async fn at_once(client: &Client, path: &str, times: usize) -> Vec<crate::harness::Answer> {
    join_all((0..times).map(|_| client.get(path))).await
}

/// Waits until the host uses almost no CPU time: no call continues after its caller got an answer.
async fn wait_until_quiet(host: &Host) {
    eventually("the host stops computing", || async {
        let before = host.cpu_ticks();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        (host.cpu_ticks() - before <= 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_linked_call_passes_values_both_ways() {
    let (_host, client) = start().await;
    assert_eq!(client.get("/rogue/answer/42").await.expect(200), 42);
    assert_eq!(client.get("/rogue/bare/42").await.expect(200), 42);
    assert_eq!(client.get("/rogue/big/100000").await.expect(200), 100_000);
}

#[tokio::test]
async fn a_call_that_carries_too_much_fails_alone_and_the_log_names_the_limit() {
    let (host, client) = start().await;
    let answers = undisturbed(&client, OTHERS, at_once(&client, "/rogue/big/2500000", 6)).await;
    for answer in answers {
        answer.expect_unavailable();
    }
    host.wait_for_log("raise `call_bytes` under [component.rogue.tool.souk.limits]").await;
    assert_eq!(client.get("/rogue/answer/1").await.expect(200), 1);
}

#[tokio::test]
async fn calls_that_nobody_waits_for_have_a_bound_together_and_so_have_streams() {
    // A deadline that a busy machine does not reach: what ends a call here is the bound.
    let limits = "call_deadline = \"30s\"\ncall_bytes = \"1MiB\"\n";
    let app = App::alone("rogue").replace("call_deadline = 2000\n", limits).replace("\"32MiB\"", "\"96MiB\"");
    let host = app.start().await;
    let client = host.client();
    assert_eq!(client.get("/rogue/hoard-calls/10/1000000").await.expect(200), 10);
    assert_eq!(client.get("/rogue/hoard-calls/1000/1").await.expect(200), 1000);
    assert_eq!(client.get("/rogue/hoard-streams/2000").await.expect(200), 2000);
    for path in ["/rogue/hoard-calls/24/1000000", "/rogue/hoard-calls/3000/1", "/rogue/hoard-streams/20000"] {
        undisturbed(&client, OTHERS, client.get(path)).await.expect_unavailable();
    }
    host.wait_for_log("calls that are not answered yet").await;
    host.wait_for_log("handle limit exceeded").await;
    assert_eq!(client.get("/rogue/answer/1").await.expect(200), 1);
}

#[tokio::test]
async fn a_component_that_loops_for_ever_is_stopped_and_others_do_not_notice() {
    let (host, client) = start().await;
    let answers = undisturbed(&client, OTHERS, at_once(&client, "/rogue/forever", 6)).await;
    for answer in answers {
        let message = answer.expect_unavailable();
        assert!(message.contains("rogue"), "{message}");
    }
    wait_until_quiet(&host).await;
    assert_eq!(client.get("/rogue/answer/1").await.expect(200), 1);
}

#[tokio::test]
async fn a_component_that_eats_memory_is_stopped_at_its_limit_and_the_memory_returns() {
    let (host, client) = start().await;
    for path in OTHERS.iter().chain(&["/rogue/grow/8"]) {
        client.get(path).await.expect(200);
    }
    let before = host.rss_bytes();
    let greedy = async {
        for _ in 0..4 {
            for answer in at_once(&client, "/rogue/grow/4096", 8).await {
                let message = answer.expect_unavailable();
                assert!(message.contains("rogue"), "{message}");
            }
        }
    };
    undisturbed(&client, OTHERS, greedy).await;
    eventually("the memory returns", || async { (host.rss_bytes() < before + 48 * MIB).then_some(()) }).await;
    assert_eq!(client.get("/rogue/grow/8").await.expect(200), 8);
}

#[tokio::test]
async fn a_trap_fails_its_own_call_only() {
    let (host, client) = start().await;
    let traps = async {
        for _ in 0..10 {
            // Well-behaved calls to the same component, at the same time as the calls that trap.
            let (boom, held) =
                futures::join!(at_once(&client, "/rogue/boom", 3), at_once(&client, "/rogue/hold/20", 3));
            for answer in boom {
                let message = answer.expect_unavailable();
                assert!(message.contains("rogue"), "{message}");
            }
            for answer in held {
                assert_eq!(answer.expect(200), 20);
            }
        }
    };
    undisturbed(&client, OTHERS, traps).await;
    // The log has the details that the caller did not get.
    host.wait_for_log("swordfish").await;
}

#[tokio::test]
async fn a_component_that_traps_while_it_answers_http_gives_500() {
    let (host, client) = start().await;
    let boom = undisturbed(&client, OTHERS, client.get("/rogue/self/boom")).await;
    boom.expect(500);
    host.wait_for_log("swordfish").await;
    client.get("/rogue/self/hello").await.expect(200);
}

#[tokio::test]
async fn a_dead_callee_without_an_error_type_traps_its_caller_alone() {
    let (_host, client) = start().await;
    let traps = async {
        for answer in at_once(&client, "/rogue/bare/0", 4).await {
            answer.expect(500);
        }
    };
    undisturbed(&client, OTHERS, traps).await;
    assert_eq!(client.get("/rogue/bare/1").await.expect(200), 1);
}

#[tokio::test]
async fn a_link_without_an_error_type_is_warned_about_at_start_up() {
    let (host, _client) = start().await;
    let warning = host.wait_for_log("souk-test:rogue/bare@1.0.0").await;
    assert!(host.log().iter().any(|l| l.contains("bare@1.0.0") && l.contains("answer")), "{warning}");
}

#[tokio::test]
async fn a_database_that_was_not_granted_cannot_be_opened() {
    let (host, client) = start().await;
    assert_eq!(client.get("/rogue/open-database/default").await.expect(200), 1);
    for path in ["/rogue/open-database/orders", "/fresh/open-database/default", "/fresh/insert-row/a"] {
        let message = undisturbed(&client, OTHERS, client.get(path)).await.expect_failed();
        assert!(message.contains("AccessDenied") || message.contains("NoSuchDatabase"), "{path}: {message}");
    }
    let fix = "to allow it add it to sqlite_databases of [component.rogue] in the manifest";
    host.wait_for_log(&format!("component `rogue` was refused the database \"orders\"; {fix}")).await;
}

#[tokio::test]
async fn a_key_value_store_that_was_not_granted_cannot_be_opened() {
    let (host, client) = start().await;
    client.get("/rogue/key-value-set/default/a/1").await.expect(200);
    for path in [
        "/rogue/key-value-get/secrets/a",
        "/fresh/key-value-get/default/a",
        "/fresh/key-value-set/default/a/2",
        "/fresh/key-value-increment/default/a",
    ] {
        let message = client.get(path).await.expect_failed();
        assert!(message.contains("AccessDenied") || message.contains("NoSuchStore"), "{path}: {message}");
    }
    assert_eq!(client.get("/rogue/key-value-get/default/a").await.expect(200), "1");
    let fix = "to allow it add it to key_value_stores of [component.rogue] in the manifest";
    host.wait_for_log(&format!("component `rogue` was refused the key-value store \"secrets\"; {fix}")).await;
}

#[tokio::test]
async fn a_variable_that_was_not_granted_cannot_be_read() {
    let (host, client) = start().await;
    assert_eq!(client.get("/rogue/read-variable/greeting").await.expect(200), "hello");
    for path in ["/rogue/read-variable/token", "/fresh/read-variable/greeting"] {
        let message = client.get(path).await.expect_failed();
        assert!(message.contains("Undefined"), "{path}: {message}");
    }
    let fix = "to allow it add it under [component.rogue.variables] in the manifest";
    host.wait_for_log(&format!("component `rogue` was refused the variable `token`; {fix}")).await;
}

#[tokio::test]
async fn a_variable_of_the_environment_overrides_the_default() {
    let host = App::new("rogue").variable("greeting", "good day").start().await;
    assert_eq!(host.client().get("/rogue/read-variable/greeting").await.expect(200), "good day");
}

/// A server that counts its connections and answers each with 204.
async fn server() -> (u16, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, connections) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
        }
    });
    (port, connections)
}

#[tokio::test]
async fn a_host_that_was_not_granted_cannot_be_called() {
    let ((granted, calls), (other, untouched)) = (server().await, server().await);
    let host = App::new("rogue").variable("granted_port", granted).start().await;
    let client = host.client();
    assert_eq!(client.get(&format!("/rogue/fetch?http://127.0.0.1:{granted}/")).await.expect(200), 204);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let refused = [
        format!("/rogue/fetch?http://127.0.0.1:{other}/"),
        format!("/rogue/fetch?http://localhost:{other}/"),
        format!("/rogue/fetch?http://localhost:{granted}/"),
        format!("/rogue/fetch?http://127.0.0.1:{granted}@127.0.0.1:{other}/"),
        format!("/rogue/fetch?http://[::ffff:127.0.0.1]:{other}/"),
        format!("/rogue/fetch?http://{}/", host.address()),
        "/rogue/fetch?http://other.spin.internal/self/hello".to_owned(),
        // A caller does not get its callee's grants, and a callee does not get its caller's.
        format!("/fresh/fetch?http://127.0.0.1:{granted}/"),
    ];
    for path in refused {
        undisturbed(&client, OTHERS, client.get(&path)).await.expect_failed();
    }
    assert_eq!(untouched.load(Ordering::SeqCst), 0, "a connection was opened to a host that was not granted");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_thousand_calls_at_once_are_served_or_refused_and_others_do_not_notice() {
    let (host, client) = start().await;
    for path in OTHERS.iter().chain(&["/rogue/hold/1"]) {
        client.get(path).await.expect(200);
    }
    let before = host.rss_bytes();
    // Ten connections with a hundred requests each, so that the limit on open files does not matter.
    let crowd: Vec<Client> = (0..10).map(|_| client.http2()).collect();
    let calls = join_all(crowd.iter().map(|client| at_once(client, "/rogue/hold/100", 100)));
    let answers: Vec<_> = undisturbed(&client, OTHERS, calls).await.into_iter().flatten().collect();
    assert_eq!(answers.len(), 1_000);
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert!(!served.is_empty(), "none of a thousand calls was served");
    for answer in refused {
        // The link refused the call (`front` reports it) or, if no instance of `front` was free, the host did.
        let body = answer.expect(503);
        assert!(body.get("unavailable").is_some() || answer.header("retry-after").is_some(), "{answer:?}");
    }
    for answer in at_once(&client, "/rogue/answer/3", 8).await {
        assert_eq!(answer.expect(200), 3);
    }
    drop(crowd);
    eventually("the memory returns", || async { (host.rss_bytes() < before + 96 * MIB).then_some(()) }).await;
}

#[tokio::test]
async fn a_component_whose_instances_are_all_taken_is_refused_with_503_and_retry_after() {
    let host =
        App::new("rogue").append("[component.other.tool.souk.limits]\ninstances = 1\nwaiting = 0\n").start().await;
    let client = host.client();
    let busy = tokio::spawn({
        let client = client.clone();
        async move { client.get("/other/self/hold/2000").await }
    });
    host.wait_for_log("holding on").await;
    let refused = client.get("/other/self/hello").await;
    let message = refused.expect(503);
    assert!(message["message"].as_str().is_some(), "{refused:?}");
    let seconds = refused.header("retry-after").expect("Retry-After");
    assert!(seconds.parse::<u32>().is_ok(), "{refused:?}");
    busy.await.unwrap().expect(200);
    client.get("/other/self/hello").await.expect(200);
}

#[tokio::test]
async fn a_component_with_max_reuse_1_gets_a_fresh_sandbox_for_each_call() {
    let (_host, client) = start().await;
    for _ in 0..5 {
        assert_eq!(client.get("/fresh/count").await.expect(200), 1);
    }
}

#[tokio::test]
async fn an_instance_is_reused_after_success() {
    let (_host, client) = start().await;
    let counts: Vec<u64> = join_in_order(&client, "/other/count", 5).await;
    assert_eq!(counts, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_instance_that_trapped_is_not_reused() {
    let host = App::new("rogue").replace("instances = 8", "instances = 1").start().await;
    let client = host.client();
    assert_eq!(join_in_order(&client, "/rogue/count", 2).await, [1, 2]);
    client.get("/rogue/boom").await.expect_unavailable();
    assert_eq!(join_in_order(&client, "/rogue/count", 2).await, [1, 2]);
}

#[tokio::test]
async fn the_reason_of_a_trap_is_the_guests_own_panic() {
    let host = App::new("rogue").start().await;
    host.client().get("/rogue/boom").await.expect_unavailable();
    let line = host.wait_for_log("trapped: panicked at ").await;
    assert!(line.contains("/src/lib.rs:") && line.contains(": boom, with the secret detail swordfish ("), "{line}");
}

#[tokio::test]
async fn a_developer_is_told_why_a_component_failed_and_nobody_else_is() {
    // Not with the scenarios' client, which fails on the details that only a developer may see.
    let told = |host: Host| async move {
        let mut stream = raw::connect(host.address()).await;
        raw::send(&mut stream, "GET /rogue/self/boom HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        raw::read_to_end(&mut stream).await
    };
    let developer = told(App::alone("rogue").argument("--dev").start().await).await;
    assert!(developer.starts_with("HTTP/1.1 500"), "{developer}");
    assert!(developer.contains(r#""reason":"panicked at "#) && developer.contains("front's own boom"), "{developer}");
    let other = told(App::alone("rogue").start().await).await;
    assert!(other.ends_with(r#"{"status":500,"message":"front failed"}"#), "{other}");
    let refused = App::alone("rogue").souk("up", &["--dev", "--listen", "0.0.0.0:0"]).await;
    let (_, message) = texts(&refused);
    assert!(refused.status.code() == Some(1) && message.contains("fix: leave out --dev"), "{message}");
}

async fn join_in_order(client: &Client, path: &str, times: usize) -> Vec<u64> {
    let mut counts = Vec::new();
    for _ in 0..times {
        counts.push(client.get(path).await.expect(200).as_u64().unwrap());
    }
    counts
}

#[tokio::test]
async fn a_transaction_that_was_left_open_is_rolled_back_and_its_instance_not_reused() {
    let host = App::new("rogue").replace("instances = 8", "instances = 1").start().await;
    let client = host.client();
    assert_eq!(client.get("/rogue/count").await.expect(200), 1);
    client.get("/rogue/begin-and-leave/left").await.expect(200);
    // The write lock is free again, for this component and for another one on the same database.
    undisturbed(&client, OTHERS, client.get("/other/insert-row/mine")).await.expect(200);
    client.get("/rogue/insert-row/mine").await.expect(200);
    assert_eq!(client.get("/rogue/count-rows/left").await.expect(200), 0);
    assert_eq!(client.get("/rogue/count-rows/mine").await.expect(200), 2);
    assert_eq!(client.get("/rogue/count").await.expect(200), 1, "the instance was used again");
}

#[tokio::test]
async fn a_deadline_stops_a_callee_that_waits_and_its_caller_is_told() {
    let (_host, client) = start().await;
    let answer = undisturbed(&client, OTHERS, client.get("/rogue/hold/600000")).await;
    let message = answer.expect_unavailable();
    assert!(message.contains("rogue"), "{message}");
}

#[tokio::test]
async fn a_deadline_at_the_edge_answers_504_whether_the_guest_waits_or_computes() {
    let (host, client) = start().await;
    for path in ["/hasty/self/hold/600000", "/hasty/self/forever", "/hasty/hold/600000", "/hasty/forever"] {
        let answer = undisturbed(&client, OTHERS, client.get(path)).await;
        // Over a link, the caller may get the error just before its own deadline, which is the same one.
        match answer.status {
            503 if !path.contains("self") => drop(answer.expect_unavailable()),
            _ => drop(answer.expect(504)),
        }
    }
    wait_until_quiet(&host).await;
    client.get("/hasty/self/hello").await.expect(200);
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_its_calls_and_their_transactions() {
    let (host, client) = start().await;
    let leaver = client.fresh();
    let call = tokio::spawn(async move { leaver.try_get("/other/insert-and-hold/cancelled/25000").await.is_ok() });
    host.wait_for_log("holding cancelled").await;
    call.abort();
    // The callee holds the database's write lock until it is cancelled, for longer than the binding's busy timeout.
    eventually("the write lock is free", || async {
        (client.get("/rogue/insert-row/after").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(client.get("/other/count-rows/cancelled").await.expect(200), 0);
}

#[tokio::test]
async fn a_transaction_that_is_committed_stays() {
    let (_host, client) = start().await;
    client.get("/other/insert-and-hold/kept/1").await.expect(200);
    assert_eq!(client.get("/rogue/count-rows/kept").await.expect(200), 1);
}

#[tokio::test]
async fn compare_and_swap_loses_no_increment() {
    let (_host, client) = start().await;
    let answers = at_once(&client, "/other/key-value-increment/default/n", 50).await;
    let mut numbers: Vec<u64> = answers.iter().map(|a| a.expect(200).as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn databases_and_key_value_stores_outlive_the_host() {
    let app = App::new("rogue");
    let host = app.start().await;
    let client = host.client();
    client.get("/rogue/insert-row/durable").await.expect(200);
    client.get("/rogue/key-value-set/default/city/Bergen").await.expect(200);
    host.stop().await;

    let host = app.start().await;
    let client = host.client();
    assert_eq!(client.get("/rogue/count-rows/durable").await.expect(200), 1);
    assert_eq!(client.get("/rogue/key-value-get/default/city").await.expect(200), "Bergen");
    drop(host);
}

#[tokio::test]
async fn committed_data_survives_a_kill() {
    let app = App::new("rogue");
    let host = app.start().await;
    host.client().get("/rogue/insert-row/durable").await.expect(200);
    // Dropping the host kills it (SIGKILL).
    drop(host);
    let host = app.start().await;
    assert_eq!(host.client().get("/rogue/count-rows/durable").await.expect(200), 1);
}

#[tokio::test]
async fn the_output_of_a_component_is_logged_under_its_name() {
    let (host, client) = start().await;
    client.get("/rogue/print/mene-tekel").await.expect(200);
    let printed = eventually("the line is logged", || async {
        // The access log shows the path, too.
        host.log().into_iter().find(|line| line.contains("mene-tekel") && !line.contains("/print/"))
    })
    .await;
    assert!(printed.contains("rogue"), "{printed}");
}

#[tokio::test]
async fn a_secret_variable_is_never_printed() {
    let (host, client) = start().await;
    client.get("/rogue/read-variable/token").await.expect_failed();
    client.get("/other/self/hello").await.expect(200);
    assert_eq!(host.log_count("swordfish"), 0, "{:?}", host.log());
}
