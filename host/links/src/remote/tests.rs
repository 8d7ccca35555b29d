//! Calls over a real nats-server to hosts that the tests simulate, with behaviour that a real host does not show.

use super::*;
use async_nats::service::PingResponse;
use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use souk_bindings::call::CallContext;
use souk_manifest::state;
use souk_manifest::{self as manifest, Application, HostValues, LoadOptions, NatsConfig};
use souk_nats::Nats;
use souk_runtime::{CallError, Failure};
use souk_test::nats as nats_server;
use tokio_util::task::AbortOnDropHandle;

async fn nats(server: &nats_server::Nats) -> Nats {
    let config = NatsConfig { servers: vec![server.url().parse().unwrap()], ..NatsConfig::default() };
    Nats::connect(&config, "test").await.unwrap()
}

/// A caller, and a client for the simulated hosts.
async fn both(server: &nats_server::Nats) -> (Remote, Client) {
    let remote = Remote::open(nats(server).await).await.unwrap();
    (remote, async_nats::connect(server.url()).await.unwrap())
}

fn target(remote: &Remote, idempotent: bool) -> Target {
    let function = CalledFunction {
        interface: "n:p/i".to_owned(),
        name: "f".to_owned(),
        signature: "f: func()".to_owned(),
        digest: "0a1b".to_owned(),
    };
    Target::function(remote, &"shop".into(), function, idempotent)
}

/// Takes the calls of `target`.
async fn host(client: &Client, target: &Target) -> Subscriber {
    let calls = client.queue_subscribe(target.subject.clone(), "shop".to_owned()).await.unwrap();
    queue_group::round_trip(client).await;
    calls
}

fn context() -> CallContext {
    CallContext::new("trace-1", Duration::from_secs(60))
}

async fn call(remote: &Remote, target: &Target) -> Result<Bytes, CallError> {
    remote.call(target, "caller", Bytes::from_static(b"{}"), &context()).await
}

async fn answer(client: &Client, call: Message, headers: Option<HeaderMap>, payload: &'static str) {
    let reply = call.reply.unwrap();
    client.publish_with_headers(reply, headers.unwrap_or_default(), payload.into()).await.unwrap();
}

#[tokio::test]
async fn a_call_carries_its_context_and_its_answer_comes_back() {
    let server = nats_server::Nats::start();
    let (remote, client) = both(&server).await;
    let target = target(&remote, false);
    assert!(target.subject.ends_with(".call.shop.n:p/i.f.0a1b"), "{}", target.subject);
    let mut calls = host(&client, &target).await;
    let serving = async {
        let taken = calls.next().await.unwrap();
        let envelope = wire::read(taken.headers.as_ref(), Duration::from_secs(5)).unwrap();
        assert_eq!((&*envelope.context.trace, envelope.caller.as_str()), ("trace-1", "caller"));
        assert_eq!(taken.payload, "{}");
        answer(&client, taken, None, "[1]").await;
    };
    let (answered, ()) = tokio::join!(call(&remote, &target), serving);
    assert_eq!(answered.unwrap(), "[1]");
}

#[tokio::test]
async fn a_call_without_a_host_fails_at_once() {
    let server = nats_server::Nats::start();
    let (remote, _) = both(&server).await;
    for idempotent in [false, true] {
        let error = call(&remote, &target(&remote, idempotent)).await.unwrap_err();
        assert_eq!(error.failure, Failure::Unreachable, "{error}");
    }
}

#[tokio::test]
async fn a_callee_that_falls_silent_is_lost_and_its_call_cancelled() {
    let server = nats_server::Nats::start();
    let (remote, client) = both(&server).await;
    let target = target(&remote, false);
    let mut calls = host(&client, &target).await;
    let mut cancelled = client.subscribe(remote.nats().subjects().cancel("shop")).await.unwrap();
    queue_group::round_trip(&client).await;
    let error = call(&remote, &target).await.unwrap_err();
    assert_eq!(error.failure, Failure::Lost, "{error}");
    let taken = calls.next().await.unwrap();
    let id = wire::read(taken.headers.as_ref(), Duration::from_secs(5)).unwrap().id.unwrap();
    assert_eq!(cancelled.next().await.unwrap().payload, id);
    // A late answer is ignored.
    answer(&client, taken, None, "[1]").await;
}

#[tokio::test]
async fn a_call_that_reports_that_it_runs_is_not_lost_and_the_reports_use_no_memory() {
    let server = nats_server::Nats::start();
    let (remote, client) = both(&server).await;
    let target = target(&remote, false);
    let mut calls = host(&client, &target).await;
    let serving = async {
        let taken = calls.next().await.unwrap();
        for _ in 0..1000 {
            client.publish_with_headers(taken.reply.clone().unwrap(), wire::working(), Bytes::new()).await.unwrap();
        }
        // Twice as long as the caller would wait for a silent call.
        let mut tick = tokio::time::interval(WORKING_INTERVAL);
        for _ in 0..=2 * (LOST_AFTER.as_millis() / WORKING_INTERVAL.as_millis()) {
            tick.tick().await;
            client.publish_with_headers(taken.reply.clone().unwrap(), wire::working(), Bytes::new()).await.unwrap();
        }
        answer(&client, taken, None, "[2]").await;
    };
    let (answered, ()) = tokio::join!(call(&remote, &target), serving);
    assert_eq!(answered.unwrap(), "[2]");
}

#[tokio::test]
async fn a_lost_call_that_may_be_repeated_is_sent_to_another_host_and_only_so_often() {
    let server = nats_server::Nats::start();
    let (remote, client) = both(&server).await;
    let target = target(&remote, true);
    let mut calls = host(&client, &target).await;
    let serving = async {
        drop(calls.next().await.unwrap());
        let again = calls.next().await.unwrap();
        answer(&client, again, None, "[3]").await;
    };
    let (answered, ()) = tokio::join!(call(&remote, &target), serving);
    assert_eq!(answered.unwrap(), "[3]");
    let error = call(&remote, &target).await.unwrap_err();
    assert_eq!(error.failure, Failure::Lost, "{error}");
    let taken = calls.by_ref().take(MAX_ATTEMPTS as usize).collect::<Vec<_>>().await;
    let ids: std::collections::BTreeSet<_> =
        taken.iter().map(|call| wire::read(call.headers.as_ref(), Duration::ZERO).unwrap().id).collect();
    assert_eq!(ids.len(), MAX_ATTEMPTS as usize, "each attempt has an id of its own");
    // There was no further attempt: the next message is this one.
    client.publish(target.subject.clone(), "end".into()).await.unwrap();
    assert_eq!(calls.next().await.unwrap().payload, "end");
}

/// Answers probes for a host of `target`'s component with the id `live`.
async fn there(client: &Client, remote: &Remote) -> AbortOnDropHandle<()> {
    let mut asked = client.subscribe("$SRV.PING.test-shop").await.unwrap();
    queue_group::round_trip(client).await;
    let name = format!("{}-shop", remote.nats().subjects().application());
    let answer = PingResponse {
        kind: "io.nats.micro.v1.ping_response".to_owned(),
        name,
        id: "live".to_owned(),
        version: "1.0.0".to_owned(),
        metadata: Default::default(),
    };
    let (client, answer) = (client.clone(), Bytes::from(serde_json::to_vec(&answer).unwrap()));
    AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(asked) = asked.next().await {
            client.publish(asked.reply.unwrap(), answer.clone()).await.unwrap();
        }
    }))
}

#[tokio::test]
async fn a_host_that_hangs_gets_no_calls_after_a_call_to_it_was_lost() {
    let server = nats_server::Nats::start();
    let (remote, client) = both(&server).await;
    let (once, often) = (target(&remote, false), target(&remote, true));
    // NATS has no other to choose.
    let mut hung = host(&client, &once).await;
    let _there = there(&client, &remote).await;
    let mut live = client.subscribe(call::host_subject(&once.subject, "live")).await.unwrap();
    queue_group::round_trip(&client).await;
    let serving = async {
        for result in ["[1]", "[2]"] {
            let taken = live.next().await.unwrap();
            answer(&client, taken, None, result).await;
        }
    };
    let calling = async {
        assert_eq!(call(&remote, &often).await.unwrap(), "[1]");
        // A call that must not be sent twice goes to the other host at once.
        assert_eq!(call(&remote, &once).await.unwrap(), "[2]");
    };
    tokio::join!(calling, serving);
    drop(hung.next().await.unwrap());
    // A host that answers probes but takes no calls any more does not make calls fail.
    drop(live);
    queue_group::round_trip(&client).await;
    let serving = async {
        let taken = hung.next().await.unwrap();
        answer(&client, taken, None, "[3]").await;
    };
    let (answered, ()) = tokio::join!(call(&remote, &once), serving);
    assert_eq!(answered.unwrap(), "[3]");
}

#[tokio::test]
async fn a_failure_of_the_callee_is_not_repeated_and_says_the_same_here() {
    let server = nats_server::Nats::start();
    let (remote, client) = both(&server).await;
    let target = target(&remote, true);
    let mut calls = host(&client, &target).await;
    for failure in [Failure::Trapped, Failure::Overloaded, Failure::Deadline, Failure::NotExported, Failure::Mismatch] {
        let serving = async {
            let taken = calls.next().await.unwrap();
            answer(&client, taken, Some(wire::failed(failure)), "").await;
        };
        let (answered, ()) = tokio::join!(call(&remote, &target), serving);
        let error = answered.unwrap_err();
        assert_eq!((error.failure, &*error.component), (failure, "shop"));
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_its_call() {
    let server = nats_server::Nats::start();
    let (remote, client) = both(&server).await;
    let target = target(&remote, true);
    let mut calls = host(&client, &target).await;
    let mut cancelled = client.subscribe(remote.nats().subjects().cancel("shop")).await.unwrap();
    queue_group::round_trip(&client).await;
    // The connection must outlive the call.
    let caller = tokio::spawn({
        let remote = remote.clone();
        async move { call(&remote, &target).await.map(|_| ()) }
    });
    let taken = calls.next().await.unwrap();
    caller.abort();
    let id = wire::read(taken.headers.as_ref(), Duration::ZERO).unwrap().id.unwrap();
    assert_eq!(cancelled.next().await.unwrap().payload, id);
}

#[tokio::test]
async fn a_deadline_ends_the_wait_for_a_callee_that_still_runs() {
    let server = nats_server::Nats::start();
    let (remote, client) = both(&server).await;
    let target = target(&remote, true);
    let _calls = host(&client, &target).await;
    let context = CallContext::new("t", LOST_AFTER / 4);
    let error = remote.call(&target, "-", Bytes::new(), &context).await.unwrap_err();
    assert_eq!(error.failure, Failure::Deadline, "{error}");
}

#[tokio::test]
async fn more_than_a_message_may_hold_is_refused_before_it_is_sent() {
    let server = nats_server::Nats::start_with("max_payload: 4096");
    let (remote, client) = both(&server).await;
    let target = target(&remote, false);
    let _calls = host(&client, &target).await;
    let payload = Bytes::from(vec![b' '; 5000]);
    let error = remote.call(&target, "-", payload, &context()).await.unwrap_err();
    assert_eq!(error.failure, Failure::RequestTooLarge);
    assert!(error.to_string().contains("max_payload"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_fail_when_nats_goes_and_work_again_when_it_is_back() {
    let mut server = nats_server::Nats::start();
    let (remote, client) = both(&server).await;
    let (once, often) = (target(&remote, false), target(&remote, true));
    let mut calls = host(&client, &once).await;
    let under_way = tokio::spawn({
        let (remote, once) = (remote.clone(), once.clone());
        async move { call(&remote, &once).await }
    });
    calls.next().await.unwrap();
    tokio::task::block_in_place(|| server.kill(0));
    let error = under_way.await.unwrap().unwrap_err();
    assert_eq!(error.failure, Failure::Lost, "{error}");
    let error = call(&remote, &once).await.unwrap_err();
    assert_eq!(error.failure, Failure::Unreachable, "{error}");
    // The call waits for NATS first, but not forever.
    let error = call(&remote, &often).await.unwrap_err();
    assert_eq!(error.failure, Failure::Unreachable, "{error}");
    tokio::task::block_in_place(|| server.resume(0));
    let serving = tokio::spawn(async move {
        while let Some(taken) = calls.next().await {
            answer(&client, taken, None, "[4]").await;
        }
    });
    let start = tokio::time::Instant::now();
    while let Err(error) = call(&remote, &once).await {
        assert_eq!(error.failure, Failure::Unreachable, "{error}");
        assert!(start.elapsed() < Duration::from_secs(60), "NATS is back, and nobody notices");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    serving.abort();
}

/// An application whose component `stand-in` is off while `bank` is set.
fn conditional(bank: &str) -> Application {
    let folder = tempfile::tempdir().unwrap();
    let text = "spin_manifest_version = 2\n[application]\nname = \"test\"\n[variables]\nbank = { default = \"\" }\n\
                [component.stand-in]\nsource = \"s.wasm\"\n[component.stand-in.tool.souk]\nunless = \"bank\"\n";
    std::fs::write(folder.path().join("spin.toml"), text).unwrap();
    let options = LoadOptions {
        manifest: folder.path().to_owned(),
        process_env: [("SPIN_VARIABLE_BANK".to_owned(), bank.to_owned())].into(),
        ..LoadOptions::default()
    };
    let secrets = state::secrets_of(folder.path());
    let host = HostValues { url: "http://localhost".to_owned(), secrets };
    manifest::read(&options).unwrap().fill_in(&host).unwrap().application
}

#[tokio::test]
async fn hosts_that_start_together_learn_of_each_other_and_do_not_wait_for_a_silent_service() {
    let server = nats_server::Nats::start();
    let (one, other) = (nats(&server).await, nats(&server).await);
    let (set, empty) = (conditional("b"), conditional(""));
    // First there is no host, and then a service of the same name that never answers.
    agree(&one, &set, false).await.unwrap();
    let silent = async_nats::connect(server.url()).await.unwrap();
    let _silent = silent.subscribe("$SRV.INFO.test_host").await.unwrap();
    queue_group::round_trip(&silent).await;
    agree(&one, &set, false).await.unwrap();

    let _here = Presence::start(&one, &set).await.unwrap();
    agree(&one, &set, true).await.unwrap();
    let _there = Presence::start(&other, &empty).await.unwrap();
    // If one host asks before the other is visible, only the other learns of it.
    queue_group::round_trip(other.client()).await;
    let (one_says, other_says) = tokio::join!(agree(&one, &set, true), agree(&other, &empty, true));
    assert!(one_says.unwrap_err().to_string().contains("`stand-in` is off at this host"));
    assert!(other_says.unwrap_err().to_string().contains("`stand-in` takes part at this host"));
}

#[tokio::test]
async fn a_call_for_a_version_on_trial_goes_to_its_host_and_without_that_host_to_any_other() {
    let server = nats_server::Nats::start();
    let (remote, client) = both(&server).await;
    let target = target(&remote, false);
    let mut all = host(&client, &target).await;
    let trial = Trial { id: "one".into(), share: 500 };
    remote.set_trials(&std::collections::BTreeMap::from([("shop".to_owned(), trial)]));
    let mut tried_out = client.subscribe(call::trial_subject(&target.subject, "one")).await.unwrap();
    queue_group::round_trip(&client).await;
    for (draw, is_there) in [(499, true), (500, true), (499, false)] {
        if !is_there {
            tried_out.unsubscribe().await.unwrap();
            queue_group::round_trip(&client).await;
        }
        let context = CallContext { draw, ..context() };
        let answering = async {
            let calls = if draw < 500 && is_there { &mut tried_out } else { &mut all };
            answer(&client, calls.next().await.unwrap(), None, "1").await;
        };
        let calling = remote.call(&target, "caller", Bytes::from_static(b"{}"), &context);
        let (answered, ()) = tokio::join!(calling, answering);
        assert_eq!(&answered.unwrap()[..], b"1", "{draw}");
    }
}

#[tokio::test]
async fn a_repeatable_call_whose_answer_from_a_version_on_trial_is_too_large_for_a_message_is_sent_elsewhere() {
    let server = nats_server::Nats::start();
    let (remote, client) = both(&server).await;
    for idempotent in [true, false] {
        let target = target(&remote, idempotent);
        let mut all = host(&client, &target).await;
        let trial = Trial { id: "one".into(), share: 500 };
        remote.set_trials(&std::collections::BTreeMap::from([("shop".to_owned(), trial)]));
        let mut tried_out = client.subscribe(call::trial_subject(&target.subject, "one")).await.unwrap();
        queue_group::round_trip(&client).await;
        let context = CallContext { draw: 0, ..context() };
        let calling = remote.call(&target, "caller", Bytes::from_static(b"{}"), &context);
        let answering = async {
            let taken = tried_out.next().await.unwrap();
            answer(&client, taken, Some(wire::failed(Failure::ResponseTooLarge)), "").await;
            if idempotent {
                answer(&client, all.next().await.unwrap(), None, "1").await;
            }
        };
        let (answered, ()) = tokio::join!(calling, answering);
        match idempotent {
            true => assert_eq!(answered.unwrap(), "1"),
            false => assert_eq!(answered.unwrap_err().failure, Failure::ResponseTooLarge),
        }
    }
}
