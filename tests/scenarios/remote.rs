//! One application on two hosts: calls to a component on the other host, with and without failures.
//!
//! `front` and the other components that serve HTTP run on the first host; the components that they call run on the
//! second. A NATS server connects the hosts. A caller must see no difference from the local links in `isolation`.

use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::{App, Client, Host, eventually};
use async_nats::service::{Info, PingResponse, Stats};
use async_nats::{HeaderMap, RequestErrorKind};
use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::{Value, json};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

const CALLERS: &str = "front,front-fresh,other,hasty";
const CALLEES: &str = "rogue,fresh,calm";
pub(super) const DEEDS: &str = "souk-test:rogue/deeds@1.0.0";

/// An application on two hosts.
pub(super) struct Pair {
    nats: Nats,
    app: App,
    pub(super) caller: Host,
    pub(super) callee: Host,
}

impl Pair {
    pub(super) async fn start() -> Pair {
        Pair::of(App::alone("rogue"), Nats::start()).await
    }

    pub(super) async fn of(app: App, nats: Nats) -> Pair {
        let callee = callee(&app, &nats).await;
        let caller = caller(&app, &nats).await;
        Pair { nats, app, caller, callee }
    }

    pub(super) fn client(&self) -> Client {
        self.caller.client()
    }

    async fn nats(&self) -> async_nats::Client {
        async_nats::connect(self.nats.url()).await.unwrap()
    }
}

pub(super) async fn caller(app: &App, nats: &Nats) -> Host {
    app.start_at("127.0.0.1:0", "state", &["--nats", &nats.url(), "--only", CALLERS]).await
}

async fn callee(app: &App, nats: &Nats) -> Host {
    app.start_at("127.0.0.1:0", "state-1", &["--nats", &nats.url(), "--only", CALLEES]).await
}

/// The subject of a function, as its host announces it: it ends with a digest of the function's type.
async fn subject(nats: &async_nats::Client, component: &str, function: &str) -> String {
    let info = nats.request(format!("$SRV.INFO.rogue-{component}"), "".into()).await.unwrap();
    let info: Info = serde_json::from_slice(&info.payload).unwrap();
    let name = format!("deeds-{function}");
    let subject = info.endpoints.into_iter().find(|endpoint| endpoint.name == name).unwrap().subject;
    let known = format!("souk.rogue.call.{component}.souk-test:rogue/deeds/1_0_0.{function}.");
    let digest = subject.strip_prefix(&known).unwrap_or_else(|| panic!("{subject}"));
    assert!(digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{subject}");
    subject
}

#[tokio::test]
async fn a_call_to_another_host_passes_values_both_ways() {
    let pair = Pair::start().await;
    let client = pair.client();
    assert_eq!(client.get("/rogue/answer/42").await.expect(200), 42);
    assert_eq!(client.get("/rogue/bare/42").await.expect(200), 42);
    assert_eq!(client.get("/rogue/big/100000").await.expect(200), 100_000);
    assert_eq!(client.get("/rogue/read-variable/greeting").await.expect(200), "hello");
    let said = pair.caller.log().join("\n");
    assert!(said.contains("rogue (on another host)") && said.contains("-> rogue (on another host)"), "{said}");
}

#[tokio::test]
async fn a_callees_failure_looks_the_same_on_this_and_on_another_host() {
    let alone = App::alone("rogue").start().await;
    let pair = Pair::start().await;
    for path in ["/rogue/boom", "/rogue/hold/600000", "/rogue/forever", "/rogue/grow/4096"] {
        let (local, remote) = (alone.client().get(path).await, pair.client().get(path).await);
        assert_eq!(local.expect_unavailable(), remote.expect_unavailable(), "{path}");
    }
    // The callee's own error is a value like any other.
    let path = "/rogue/open-database/none";
    assert_eq!(alone.client().get(path).await.expect_failed(), pair.client().get(path).await.expect_failed());
    // If the contract has no error type, the caller traps.
    pair.client().get("/rogue/bare/0").await.expect(500);
    assert_eq!(pair.client().get("/rogue/answer/1").await.expect(200), 1);
}

#[tokio::test]
async fn an_overloaded_component_on_another_host_refuses_at_once() {
    let pair = Pair::start().await;
    let client = pair.client();
    let answers = join_all((0..64).map(|_| client.get("/rogue/hold/1500"))).await;
    let refused = answers.iter().filter(|answer| answer.status != 200);
    let refused: Vec<_> = refused.map(crate::harness::Answer::expect_unavailable).collect();
    assert!(!refused.is_empty() && refused.iter().all(|message| message.contains("overloaded")), "{refused:?}");
    assert_eq!(client.get("/rogue/answer/1").await.expect(200), 1);
}

#[tokio::test]
async fn a_component_that_no_host_runs_is_unavailable_at_once_and_again_there_when_one_does() {
    let Pair { nats, app, caller, callee: first } = Pair::start().await;
    let client = caller.client();
    client.get("/rogue/answer/1").await.expect(200);
    first.stop().await;
    let message = client.get("/rogue/answer/1").await.expect_unavailable();
    assert!(message.contains("rogue cannot be reached"), "{message}");
    let _callee = callee(&app, &nats).await;
    assert_eq!(client.get("/rogue/answer/2").await.expect(200), 2);
}

#[tokio::test]
async fn a_callee_whose_host_is_killed_is_lost_and_its_caller_is_told() {
    let pair = Pair::start().await;
    let client = pair.client();
    let call = tokio::spawn(async move { client.get("/other/insert-and-hold/killed/600000").await });
    pair.callee.wait_for_log("holding killed").await;
    drop(pair.callee);
    let message = call.await.unwrap().expect_unavailable();
    assert!(message.contains("calm was lost"), "{message}");
}

#[tokio::test]
async fn a_suspended_caller_still_gets_the_answer_that_came_meanwhile() {
    let pair = Pair::start().await;
    let (client, nats) = (pair.client(), pair.nats().await);
    // The call takes longer than a caller waits without a sign of life from the callee's host.
    let call = tokio::spawn(async move { client.get("/other/insert-and-hold/meanwhile/2000").await });
    pair.callee.wait_for_log("holding meanwhile").await;
    let count = subject(&nats, "calm", "count-rows").await;
    pair.caller.hang();
    eventually("it is done", || async {
        let rows = nats.request(count.clone(), r#"{"note":"meanwhile"}"#.into()).await.unwrap();
        (rows.payload == r#"{"ok":1}"#).then_some(())
    })
    .await;
    pair.caller.wake();
    call.await.unwrap().expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_is_gone_makes_calls_fail_at_once_and_its_return_needs_no_restart() {
    let Pair { mut nats, app: _app, caller, callee: _callee } = Pair::start().await;
    let client = caller.client();
    client.get("/rogue/answer/1").await.expect(200);
    tokio::task::block_in_place(|| nats.kill(0));
    for _ in 0..20 {
        let message = client.get("/rogue/answer/1").await.expect_unavailable();
        assert!(message.contains("rogue"), "{message}");
    }
    client.get("/other/self/hello").await.expect(200);
    tokio::task::block_in_place(|| nats.resume(0));
    eventually("calls are answered again", || async {
        (client.get("/rogue/answer/3").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_its_call_on_the_other_host() {
    let pair = Pair::start().await;
    let client = pair.client();
    let leaver = client.fresh();
    let call = tokio::spawn(async move { leaver.try_get("/other/insert-and-hold/cancelled/25000").await.is_ok() });
    pair.callee.wait_for_log("holding cancelled").await;
    call.abort();
    // The callee holds the database's write lock until it is cancelled, for longer than the binding's busy timeout.
    eventually("the write lock is free", || async {
        (client.get("/rogue/insert-row/after").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(client.get("/other/count-rows/cancelled").await.expect(200), 0);
}

#[tokio::test]
async fn a_call_whose_cancellation_was_read_first_is_not_begun() {
    let pair = Pair::start().await;
    let nats = pair.nats().await;
    nats.publish("souk.rogue.cancel.calm", "call-1".into()).await.unwrap();
    let answer = subject(&nats, "calm", "answer").await;
    // A host that answers these requests has received the cancellation before.
    for _ in 0..8 {
        nats.request(answer.clone(), r#"{"n":5}"#.into()).await.unwrap();
    }
    let headers: HeaderMap = [("Souk-Call".parse().unwrap(), "call-1".parse().unwrap())].into_iter().collect();
    let insert = subject(&nats, "calm", "insert-row").await;
    let inbox = nats.new_inbox();
    nats.publish_with_reply_and_headers(insert.clone(), inbox, headers, r#"{"note":"early"}"#.into()).await.unwrap();
    let later = nats.request(insert, r#"{"note":"later"}"#.into()).await.unwrap();
    assert!(later.payload.starts_with(br#"{"ok""#), "{later:?}");
    assert_eq!(pair.client().get("/other/count-rows/early").await.expect(200), 0);
    assert_eq!(pair.client().get("/other/count-rows/later").await.expect(200), 1);
}

#[tokio::test]
async fn an_answer_that_is_larger_than_a_message_is_refused_and_the_log_names_the_fix() {
    let pair = Pair::start().await;
    let message = pair.client().get("/rogue/big/350000").await.expect_unavailable();
    assert!(message.contains("rogue answered with too much"), "{message}");
    pair.callee.wait_for_log("max_payload").await;
    assert_eq!(pair.client().get("/rogue/answer/1").await.expect(200), 1);
}

#[tokio::test]
async fn a_call_can_be_sent_by_hand_and_a_wrong_one_is_refused_with_its_code() {
    let pair = Pair::start().await;
    let nats = pair.nats().await;
    let subject = subject(&nats, "calm", "answer").await;
    let answer = nats.request(subject.clone(), r#"{"n":5}"#.into()).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&answer.payload).unwrap(), json!({ "ok": 5 }));
    for (headers, payload, code) in [
        (vec![], r#"{"n":"five"}"#, "400"),
        (vec![], "not JSON", "400"),
        (vec![("Souk-Hops", "17")], r#"{"n":5}"#, "508"),
        (vec![("Souk-Hops", "many")], r#"{"n":5}"#, "400"),
        (vec![("Souk-Deadline", "1000")], r#"{"n":5}"#, "504"),
        (vec![("Souk-Timeout", "0")], r#"{"n":5}"#, "504"),
    ] {
        let map: HeaderMap = headers.iter().map(|(k, v)| ((*k).parse().unwrap(), (*v).parse().unwrap())).collect();
        let answer = nats.request_with_headers(subject.clone(), map, payload.into()).await.unwrap();
        let found = answer.headers.unwrap();
        assert_eq!(found.get("Nats-Service-Error-Code").unwrap().as_str(), code, "{headers:?} {payload}");
        assert!(found.get("Nats-Service-Error").is_some());
    }
    let text = pair.callee.log().join("\n");
    assert!(!text.contains("five"), "an argument is in the log:\n{text}");
}

#[tokio::test]
async fn every_component_is_a_service_of_nats_with_its_functions_types_and_counts() {
    let pair = Pair::start().await;
    let nats = pair.nats().await;
    let inbox = nats.new_inbox();
    let mut pongs = nats.subscribe(inbox.clone()).await.unwrap();
    nats.publish_with_reply("$SRV.PING", inbox, "".into()).await.unwrap();
    let mut names = std::collections::BTreeSet::new();
    while names.len() < 8 {
        let pong: PingResponse = serde_json::from_slice(&pongs.next().await.unwrap().payload).unwrap();
        assert_eq!((pong.kind.as_str(), pong.version.as_str()), ("io.nats.micro.v1.ping_response", "1.0.0"));
        let named = pong.metadata.get("component").map_or("rogue_host".to_owned(), |name| format!("rogue-{name}"));
        assert_eq!(named, pong.name);
        names.insert(pong.name);
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "rogue-calm",
            "rogue-fresh",
            "rogue-front",
            "rogue-front-fresh",
            "rogue-hasty",
            "rogue-other",
            "rogue-rogue",
            "rogue_host"
        ]
    );
    let info = nats.request("$SRV.INFO.rogue-calm", "".into()).await.unwrap();
    let info: Info = serde_json::from_slice(&info.payload).unwrap();
    let names: std::collections::BTreeSet<_> = info.endpoints.iter().map(|endpoint| &endpoint.name).collect();
    assert_eq!(names.len(), info.endpoints.len(), "{names:?}");
    let answer = info.endpoints.iter().find(|endpoint| endpoint.name == "deeds-answer").unwrap();
    let subject = subject(&nats, "calm", "answer").await;
    assert_eq!((&answer.subject, answer.queue_group.as_str()), (&subject, "calm"));
    assert!(subject.ends_with(&format!(".{}", answer.metadata["type"])), "{subject}");
    assert_eq!(answer.metadata["interface"], DEEDS);
    assert_eq!(
        answer.metadata["signature"],
        "answer: func(n: u32) -> result<u32, variant { unavailable(string), failed(string) }>"
    );
    pair.client().get("/other/answer/1").await.expect(200);
    nats.request(subject, "junk".into()).await.unwrap();
    let one = format!("$SRV.STATS.rogue-calm.{}", info.id);
    let stats: Stats = serde_json::from_slice(&nats.request(one, "".into()).await.unwrap().payload).unwrap();
    let answer = stats.endpoints.iter().find(|endpoint| endpoint.name == "deeds-answer").unwrap();
    assert_eq!((answer.requests, answer.errors), (2, 1));
    assert_eq!(answer.last_error.as_ref().unwrap().code, 400);
    let front: Info =
        serde_json::from_slice(&nats.request("$SRV.INFO.rogue-front", "".into()).await.unwrap().payload).unwrap();
    assert!(front.endpoints.iter().any(|e| e.name == "http" && e.subject == "souk.rogue.http.front"), "{front:?}");
}

#[tokio::test]
async fn a_single_host_can_be_called_by_its_service_id() {
    let pair = Pair::start().await;
    let nats = pair.nats().await;
    let pong = nats.request("$SRV.PING.rogue-calm", "".into()).await.unwrap();
    let pong: PingResponse = serde_json::from_slice(&pong.payload).unwrap();
    let own = format!("{}.{}", subject(&nats, "calm", "answer").await, pong.id);
    let answer = nats.request(own.clone(), r#"{"n":5}"#.into()).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&answer.payload).unwrap(), json!({ "ok": 5 }));
    pair.callee.stop().await;
    let error = nats.request(own, r#"{"n":5}"#.into()).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::NoResponders, "{error}");
}

#[tokio::test]
async fn a_resumed_host_can_be_called_by_its_id_with_the_documented_permissions() {
    let users = |publish: &str, subscribe: &str| {
        format!(
            "no_auth_user: host\nauthorization {{ users: [{{ user: host, password: p, permissions: {{ publish: [{publish}], \
             subscribe: [{subscribe}] }} }}] }}"
        )
    };
    let each = |what: &dyn Fn(&str) -> String| {
        format!("{CALLERS},{CALLEES}").split(',').map(what).collect::<Vec<_>>().join(", ")
    };
    let publish = each(&|name| format!("\"souk.rogue.call.{name}.>\", \"souk.rogue.cancel.{name}\""));
    let subscribe = each(&|name| format!("\"souk.rogue.http.{name}\", \"souk.rogue.http.{name}.*\""));
    let record = "\"$KV.souk_rogue_cluster.>\", \"$JS.API.STREAM.CREATE.KV_souk_rogue_cluster\", \
                  \"$JS.API.STREAM.MSG.GET.KV_souk_rogue_cluster\"";
    let publish = format!("\"_INBOX.>\", \"$JS.API.STREAM.INFO.*\", {record}, {publish}");
    let config = users(
        &format!("{publish}, \"souk.rogue.http.>\", \"$SRV.PING.*\", \"$SRV.INFO.*\""),
        &format!("\"$SRV.>\", {publish}, {subscribe}"),
    );
    let pair = Pair::of(App::alone("rogue"), Nats::start_with(&config)).await;
    let client = pair.client();
    client.get("/rogue/answer/1").await.expect(200);
    pair.callee.client().get("/other/self/hello").await.expect(200);
    pair.callee.hang();
    let message = client.get("/rogue/answer/1").await.expect_unavailable();
    assert!(message.contains("rogue was lost"), "{message}");
    pair.callee.wake();
    eventually("it is called", || async { (client.get("/rogue/answer/2").await.status == 200).then_some(()) }).await;
    for host in [&pair.caller, &pair.callee] {
        assert_eq!(host.log_count("Permissions Violation"), 0, "{:#?}", host.log());
    }
}

#[tokio::test]
async fn a_host_that_stops_answers_what_it_has_taken() {
    let Pair { nats: _nats, app: _app, caller, callee } = Pair::start().await;
    let client = caller.client();
    let call = tokio::spawn(async move { client.get("/other/insert-and-hold/last/1500").await });
    callee.wait_for_log("holding last").await;
    callee.stop().await;
    call.await.unwrap().expect(200);
    let message = caller.client().get("/other/answer/1").await.expect_unavailable();
    assert!(message.contains("calm cannot be reached"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_when_a_host_stops_under_load() {
    let pair = Pair::start().await;
    let nats = pair.nats().await;
    let subject = subject(&nats, "calm", "answer").await;
    let (callee, answered) = (pair.callee, AtomicUsize::new(0));
    let flood = join_all((0..16).map(async |_| {
        loop {
            match nats.request(subject.clone(), r#"{"n":5}"#.into()).await {
                Ok(answer) => {
                    assert_eq!(&answer.payload[..], br#"{"ok":5}"#);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => {
                    // Any other error means that the host had received the call and did not answer.
                    assert_eq!(error.kind(), RequestErrorKind::NoResponders, "{error}");
                    return;
                }
            }
        }
    }));
    let stop = async {
        eventually("calls are answered", || async { (answered.load(Ordering::SeqCst) > 500).then_some(()) }).await;
        callee.stop().await;
    };
    futures::join!(flood, stop);
}

#[tokio::test]
async fn souk_call_reaches_components_on_other_hosts() {
    let pair = Pair::start().await;
    let call = async |function: &str, arguments: Value| {
        let output = pair.app.call("rogue", function, Some(arguments)).await;
        let (out, err) = texts(&output);
        (output.status.success(), out, err)
    };
    assert_eq!(call("souk-test:rogue/deeds#answer", json!({ "n": 7 })).await.1.trim(), "7");
    assert_eq!(call("souk-test:rogue/bare@1.0.0#answer", json!([8])).await.1.trim(), "8");
    let (succeeded, _, err) = call("souk-test:rogue/deeds#open-database", json!({ "label": "none" })).await;
    assert!(!succeeded && err.contains("failed"), "{err}");
    let (_, _, err) = call("souk-test:rogue/deeds#answer", json!({ "m": 7 })).await;
    assert!(err.contains("do not fit") && err.contains("answer: func(n: u32)"), "{err}");
    let (_, _, err) = call("souk-test:rogue/deeds#none", json!({})).await;
    assert!(err.contains("souk-test:rogue/deeds@1.0.0#answer"), "{err}");
    let (out, _) = texts(&pair.app.souk("call", &["--list"]).await);
    assert!(out.contains(&format!("rogue {DEEDS} (on another host)")) && out.contains("answer: func"), "{out}");
    drop(pair.callee);
    let (out, _) = texts(&pair.app.souk("call", &["--list"]).await);
    assert!(out.contains("no host that runs it answers"), "{out}");
    let (_, err) = texts(&pair.app.call("rogue", "souk-test:rogue/deeds#answer", Some(json!({ "n": 7 }))).await);
    assert!(err.contains("none answers") && err.contains("--only rogue"), "{err}");
}

#[tokio::test]
async fn a_link_can_be_remote_although_its_target_runs_here() {
    let marked = format!("[component.front.tool.souk]\nremote = [\"{DEEDS}\"]");
    let nats = Nats::start();
    let app = App::alone("rogue").append(&marked).argument("--nats").argument(nats.url());
    let host = app.start().await;
    assert_eq!(host.client().get("/rogue/answer/7").await.expect(200), 7);
    let client = async_nats::connect(nats.url()).await.unwrap();
    let stats = client.request("$SRV.STATS.rogue-rogue", "".into()).await.unwrap();
    let stats: Stats = serde_json::from_slice(&stats.payload).unwrap();
    assert_eq!(stats.endpoints.iter().map(|endpoint| endpoint.requests).sum::<usize>(), 1);

    let error = App::alone("rogue").append(&marked).start_fails().await;
    assert!(error.contains("in `remote`, but no NATS is configured") && error.contains("fix: "), "{error}");
}

#[tokio::test]
async fn souk_call_says_when_this_host_may_not_reach_the_other() {
    for refused in ["$SRV.INFO.rogue-rogue", "souk.rogue.call.rogue.>"] {
        let nats = Nats::start_with(&format!(
            "authorization {{ users: [ {{ user: all, password: a }}, {{ user: few, password: f, permissions: {{ publish: {{ deny: \
             [\"{refused}\"] }} }} }} ] }}"
        ));
        let app = App::alone("rogue");
        for (user, login) in [("all", "all:a"), ("few", "few:f")] {
            fs::write(
                app.path(&format!("{user}.toml")),
                format!("[nats]\nservers = [\"nats://{login}@127.0.0.1:{}\"]", nats.port(0)),
            )
            .unwrap();
        }
        let (all, few) = (app.path("all.toml"), app.path("few.toml"));
        let config = |file: &std::path::PathBuf| file.to_str().unwrap().to_owned();
        let start = async |state: &str, file: &str, only: &str| {
            app.start_at("127.0.0.1:0", state, &["--runtime-config-file", file, "--only", only]).await
        };
        let callee = start("state-1", &config(&all), CALLEES).await;
        let caller = start("state", &config(&few), CALLERS).await;
        let output = app.call("rogue", "souk-test:rogue/deeds#answer", Some(json!({ "n": 7 }))).await;
        let (_, error) = texts(&output);
        let said = format!("NATS user may not publish to `{}", refused.trim_end_matches('>'));
        assert!(!output.status.success() && error.contains(&said) && error.contains("fix: "), "{error}");
        assert!(!error.contains("none answers"), "{error}");
        caller.stop().await;
        callee.stop().await;
    }
}
