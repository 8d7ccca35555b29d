//! Hosts that deploy, and a client that can only publish on NATS.

use super::agreement::{Intent, Plan, TriedOut};
use super::intents::{Forged, IntentError, Intents, ReadOutcome};
use super::tests::{SECRET, application, connected};
use bytes::Bytes;
use souk_manifest::Application;
use souk_nats::Nats;
use souk_test::nats::Nats as Server;
use std::collections::BTreeSet;

const POSTGRES: &str = "postgres://me:s3cret@db.test/shop";

fn intent(number: u64, digest: &str) -> Intent {
    Intent {
        number,
        digest: digest.to_owned(),
        size: 3,
        at: "2026-01-01T00:00:00Z".to_owned(),
        by: "somebody".to_owned(),
        known: Vec::new(),
        previous: None,
    }
}

fn with(server: &Server, secret: Option<&str>) -> Application {
    application(&server.url(), POSTGRES, "k", secret)
}

async fn host(nats: &Nats, application: &Application, kept: Option<&[u8]>) -> Intents {
    Intents::open(nats, application, kept).await.unwrap().expect("a secret of the cluster")
}

async fn write(host: &Intents, component: &str, number: u64, digest: &str) -> Result<Bytes, IntentError> {
    write_caller(host, component, &[], ("a host", number, digest)).await
}

/// Deploys a version of `component`, which calls the components `called`, at the host with this id.
async fn write_caller(
    host: &Intents,
    component: &str,
    called: &[&str],
    (id, number, digest): (&str, u64, &str),
) -> Result<Bytes, IntentError> {
    let (called, here) = (names(called), BTreeSet::new());
    let plan = Plan { component, called: &called, is_trial: false, host: id, here: &here };
    host.write(&plan, |before| intent(number, digest).follows(before, [])).await
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Begins a trial of `component`, which calls nothing.
async fn try_out(host: &Intents, component: &str, trial: &TriedOut) -> Result<Bytes, IntentError> {
    try_out_caller(host, component, &[], trial).await
}

/// Begins a trial of `component`, which calls the components `called`.
async fn try_out_caller(
    host: &Intents,
    component: &str,
    called: &[&str],
    trial: &TriedOut,
) -> Result<Bytes, IntentError> {
    let called = names(called);
    let plan = Plan { component, called: &called, is_trial: true, host: &trial.host, here: &trial.here };
    host.begin_trial(&plan, trial).await
}

/// A trial of version 2 at a host that runs the components `here`.
fn trial_at(host: &str, here: &[&str]) -> TriedOut {
    TriedOut { name: format!("host {host}"), here: names(here), ..TriedOut::new(2, 500, host.to_owned()) }
}

/// Publishes a record as a client without the secret does.
async fn publish(nats: &Nats, bytes: &Bytes) {
    nats.jetstream().publish("$KV.souk_shop_deployments.agreed", bytes.clone()).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn an_intent_reaches_the_other_hosts_and_its_number_only_rises() {
    for server in [Server::start(), Server::cluster()] {
        let application = with(&server, Some(SECRET));
        let nats = connected(&server, &application).await;
        let (one, other) = (host(&nats, &application, None).await, host(&nats, &application, None).await);
        assert_eq!(other.look().await.unwrap(), ReadOutcome::Same);
        let mut kept = Bytes::new();
        for number in 1..=8 {
            // Two hosts deploy two components at once; neither deployment is lost.
            let (w, p) = (format!("w{number}"), format!("p{number}"));
            let (first, second) = tokio::join!(write(&one, "web", number, &w), write(&other, "products", number, &p));
            first.unwrap();
            second.unwrap();
            for host in [&one, &other] {
                if let ReadOutcome::New(bytes) = host.look().await.unwrap() {
                    kept = bytes;
                }
                let known = host.known().intents;
                assert_eq!((known["web"].number, known["products"].number), (number, number));
            }
        }
        let web = one.of("web").unwrap();
        assert_eq!((web.previous.as_deref(), web.known.len()), (Some("w7"), 8), "{web:?}");
        let overtaken = write(&other, "web", 8, "x").await.unwrap_err();
        assert!(matches!(overtaken, IntentError::Overtaken { number: 8, .. }), "{overtaken}");
        // A host that starts reads the same, with and without a kept record.
        for kept in [None, Some(&*kept)] {
            let third = host(&nats, &application, kept).await;
            third.look().await.unwrap();
            assert_eq!(third.known(), one.known());
        }
    }
}

#[tokio::test]
async fn a_client_that_can_only_publish_can_neither_deploy_nor_replay_a_deployment() {
    let server = Server::start();
    let application = with(&server, Some(SECRET));
    let nats = connected(&server, &application).await;
    let one = host(&nats, &application, None).await;
    let first = write(&one, "web", 1, "w1").await.unwrap();
    let second = write(&one, "web", 2, "w2").await.unwrap();
    let other = host(&nats, &application, Some(&second)).await;
    assert_eq!(other.of("web").unwrap().digest, "w2", "what was kept is known");

    // An old record, for a host that knows a newer one and for a host that has kept nothing.
    publish(&nats, &first).await;
    assert_eq!(other.look().await.unwrap(), ReadOutcome::Forged(Forged::Replayed { number: 1, known: 2 }));
    assert_eq!(other.look().await.unwrap(), ReadOutcome::Same, "it is reported once");
    assert_eq!(other.of("web").unwrap().digest, "w2");
    let fresh = host(&nats, &application, None).await;
    assert_eq!(fresh.look().await.unwrap(), ReadOutcome::Forged(Forged::Replayed { number: 1, known: 0 }));
    assert_eq!(fresh.of("web"), None);

    let refused = write(&fresh, "products", 1, "p1").await.unwrap_err();
    assert!(matches!(refused, IntentError::Unknown { .. }), "its record would lack `web`: {refused}");

    // A record that is signed with another secret, one that was changed, and bytes that are not a record.
    let elsewhere = Server::start();
    let stranger = with(&elsewhere, Some("the secret of somebody else"));
    let of_stranger = host(&connected(&elsewhere, &stranger).await, &stranger, None).await;
    let by_stranger = write(&of_stranger, "web", 9, "evil").await.unwrap();
    let changed = String::from_utf8(second.to_vec()).unwrap().replace("w2", "w3");
    for bytes in [by_stranger, changed.into(), Bytes::from_static(b"{}"), Bytes::new()] {
        publish(&nats, &bytes).await;
        assert_eq!(other.look().await.unwrap(), ReadOutcome::Forged(Forged::Unsigned));
    }
    assert_eq!(other.of("web").unwrap().digest, "w2");

    // The next deployment replaces it, and the hosts go on.
    write(&other, "web", 3, "w3").await.unwrap();
    for host in [&one, &fresh] {
        host.look().await.unwrap();
        assert_eq!(host.of("web").unwrap().digest, "w3");
    }
    assert!(Intents::open(&nats, &with(&server, None), None).await.unwrap().is_none(), "there is no secret");
}

#[tokio::test]
async fn one_host_at_a_time_tries_out_a_version_until_it_says_so_or_a_newer_one_is_deployed() {
    let server = Server::start();
    let application = with(&server, Some(SECRET));
    let nats = connected(&server, &application).await;
    let (one, other) = (host(&nats, &application, None).await, host(&nats, &application, None).await);
    write(&one, "web", 2, "w2").await.unwrap();
    let trial = TriedOut::new(3, 500, "one".to_owned());
    try_out(&one, "web", &trial).await.unwrap();
    other.look().await.unwrap();
    assert_eq!(other.known().tried_out("web"), Some(&trial));
    assert_eq!(other.known().all_tried_out().collect::<Vec<_>>(), [("web", &trial)]);
    let refused = try_out(&other, "web", &TriedOut::new(3, 1, "other".to_owned())).await.unwrap_err();
    assert!(refused.to_string().contains("version 3 of `web` is being tried out at another host\n"), "{refused}");
    // Only its own host ends it.
    other.end_trial("web", "other", 3).await.unwrap();
    assert_eq!(other.known().tried_out("web"), Some(&trial));
    assert_eq!(other.known().tried_out_by("one"), [("web".to_owned(), 3)]);
    one.end_trial("web", "one", 3).await.unwrap();
    assert!(one.known().is_without_trials());
    // A deployment to all hosts ends the trial of a host that is gone.
    try_out(&one, "web", &trial).await.unwrap();
    write(&other, "web", 3, "w3").await.unwrap();
    assert_eq!(other.known().tried_out("web"), None);
    try_out(&other, "web", &TriedOut::new(4, 1, "other".to_owned())).await.unwrap();
    assert_eq!(other.of("web").unwrap().digest, "w3");
    // Also when that host has numbered its versions further than the host that deploys.
    try_out(&other, "web", &TriedOut::new(9, 1, "other".to_owned())).await.unwrap();
    assert_eq!((other.newest("web"), other.newest("products")), (Some(9), None));
    write(&one, "web", 4, "w4").await.unwrap();
    assert!(one.known().tried_out("web").is_none() && one.known().is_without_trials());
    assert_eq!(one.newest("web"), Some(4));
}

#[tokio::test]
async fn of_two_trials_that_begin_at_one_moment_and_exclude_each_other_the_second_is_refused() {
    let server = Server::start();
    let application = with(&server, Some(SECRET));
    let nats = connected(&server, &application).await;
    let (one, other) = (host(&nats, &application, None).await, host(&nats, &application, None).await);
    // The component at each host, and what each host runs: the same component; one host runs both; so does the other.
    for (first, second, here, there) in [
        ("web", "web", vec!["web"], vec!["web"]),
        ("web", "callee", vec!["web", "callee"], vec!["callee"]),
        ("web", "callee", vec!["web"], vec!["web", "callee"]),
    ] {
        for _ in 0..8 {
            let (at_one, at_other) = (trial_at("one", &here), trial_at("other", &there));
            // Neither host has read that the other one tries a version out.
            let (first_began, second_began) =
                tokio::join!(try_out(&one, first, &at_one), try_out(&other, second, &at_other));
            let (refused, began) = match (first_began, second_began) {
                (Ok(_), Err(refused)) => (refused, (first, &at_one)),
                (Err(refused), Ok(_)) => (refused, (second, &at_other)),
                results => panic!("{first} and {second}: {results:?}"),
            };
            let said = refused.to_string();
            let place = format!("another host ({})", began.1.name);
            for part in [place, format!("version 2 of `{}`", began.0), "fix: wait for its end".to_owned()] {
                assert!(said.contains(&part), "{part} is missing: {said}");
            }
            one.look().await.unwrap();
            assert_eq!(one.known().all_tried_out().collect::<Vec<_>>(), [began]);
            one.end_trial(began.0, &began.1.host, 2).await.unwrap();
        }
    }
    // A version of a caller is checked only against the versions that serve.
    try_out(&one, "callee", &trial_at("one", &["callee"])).await.unwrap();
    let refused = try_out_caller(&other, "web", &["callee"], &trial_at("other", &["web"])).await.unwrap_err();
    assert!(refused.to_string().contains("version 2 of `callee`, which it calls, is being"), "{refused}");
    let refused = write_caller(&other, "web", &["callee"], ("other", 2, "w2")).await.unwrap_err();
    assert!(refused.to_string().contains("version 2 of `callee`, which it calls, is being"), "{refused}");
    assert_eq!(other.of("web"), None);
    // What no trial excludes begins, and so does another trial at the same host.
    try_out(&other, "web", &trial_at("other", &["web"])).await.unwrap();
    try_out_caller(&one, "more", &["callee"], &trial_at("one", &["callee", "more"])).await.unwrap();
    // So does a version that the host has tried out, although it calls one that is tried out now.
    write_caller(&other, "web", &["callee"], ("other", 2, "w2")).await.unwrap();
    assert_eq!(other.of("web").unwrap().digest, "w2");
}

#[tokio::test]
async fn a_record_that_was_read_while_the_host_wrote_the_next_one_is_no_replay() {
    let server = Server::start();
    let application = with(&server, Some(SECRET));
    let nats = connected(&server, &application).await;
    let one = host(&nats, &application, None).await;
    let first = write(&one, "web", 1, "w1").await.unwrap();
    assert!(one.is_last(&first));
    let mut reading = std::pin::pin!(one.look());
    tokio::select! {
        biased;
        read = &mut reading => panic!("the answer is here already: {read:?}"),
        () = std::future::ready(()) => {}
    }
    let second = write(&one, "web", 2, "w2").await.unwrap();
    assert_eq!(reading.await.unwrap(), ReadOutcome::Same);
    assert!(one.is_last(&second) && !one.is_last(&first), "the host keeps the last one");
    assert_eq!(one.look().await.unwrap(), ReadOutcome::Same);
    assert_eq!(one.of("web").unwrap().digest, "w2");
}

#[tokio::test]
async fn hosts_take_turns_and_one_that_was_killed_is_passed_over() {
    let server = Server::start();
    let application = with(&server, Some(SECRET));
    let nats = connected(&server, &application).await;
    let (one, other) = (host(&nats, &application, None).await, host(&nats, &application, None).await);
    let turn = one.turn().await.unwrap();
    let waiting = tokio::spawn(async move { other.turn().await.is_some() });
    turn.end().await;
    assert!(waiting.await.unwrap());
    // The host that had the turn is gone and has not passed it on.
    assert!(one.turn().await.is_some());
}

#[test]
fn an_intent_knows_the_last_files_before_it() {
    let mut last: Option<Intent> = None;
    for number in 1..=40 {
        last =
            Some(intent(number, &format!("d{number}")).follows(last.as_ref(), [format!("s{number}"), String::new()]));
    }
    let last = last.unwrap();
    assert_eq!((last.known.len(), last.previous.as_deref()), (16, Some("d39")));
    assert_eq!((last.known.first().unwrap().as_str(), last.known.last().unwrap().as_str()), ("s33", "d40"));
}

#[tokio::test]
async fn what_a_nats_without_its_data_lacks_is_recorded_by_the_next_deployment() {
    let server = Server::start();
    let application = with(&server, Some(SECRET));
    let nats = connected(&server, &application).await;
    let (one, other) = (host(&nats, &application, None).await, host(&nats, &application, None).await);
    for number in 1..=3 {
        write(&one, "web", number, &format!("w{number}")).await.unwrap();
    }
    other.look().await.unwrap();
    assert!(one.is_recorded() && other.is_recorded());
    nats.jetstream().delete_stream("KV_souk_shop_deployments").await.unwrap();
    for host in [&one, &other] {
        assert_eq!(host.look().await.unwrap(), ReadOutcome::Same);
        assert!(!host.is_recorded());
        assert_eq!(host.of("web").unwrap().digest, "w3", "it stays valid");
    }
    write(&one, "products", 1, "p1").await.unwrap();
    let fresh = host(&nats, &application, None).await;
    for host in [&other, &fresh] {
        assert!(matches!(host.look().await.unwrap(), ReadOutcome::New(_)));
        assert!(host.is_recorded());
        assert_eq!((host.of("web").unwrap().digest, host.of("products").unwrap().digest), ("w3".into(), "p1".into()));
    }
}

#[tokio::test]
async fn after_a_change_of_the_secret_a_host_signs_the_record_that_it_has_kept_again() {
    let server = Server::start();
    let (old, new) = (with(&server, Some(SECRET)), with(&server, Some("the secret after the change")));
    let nats = connected(&server, &old).await;
    let before = host(&nats, &old, None).await;
    let stale = write(&before, "web", 1, "w1").await.unwrap();
    let kept = write(&before, "products", 1, "p1").await.unwrap();
    // A host that has kept nothing, or not the last record, cannot know who has written it.
    for kept in [None, Some(&*stale)] {
        let other = host(&nats, &new, kept).await;
        assert_eq!(other.look().await.unwrap(), ReadOutcome::Forged(Forged::Unsigned));
        // So its own record would lack a component, and it writes none.
        let written = write(&other, "web", 2, "w2").await.map(drop);
        let tried_out = try_out(&other, "web", &trial_at("other", &["web"])).await.map(drop);
        for refused in [other.check().await, written, tried_out] {
            let said = refused.unwrap_err().to_string();
            for part in ["fix: start a host that ran before", "`nats stream rm KV_souk_shop_deployments`"] {
                assert!(said.contains(part), "{part} is missing: {said}");
            }
        }
    }
    let one = host(&nats, &new, Some(&kept)).await;
    let ReadOutcome::New(signed) = one.look().await.unwrap() else { panic!("it was not signed again") };
    assert!(one.is_last(&signed));
    assert_eq!(one.look().await.unwrap(), ReadOutcome::Same);
    for kept in [None, Some(&*stale), Some(&*kept), Some(&*signed)] {
        let other = host(&nats, &new, kept).await;
        other.look().await.unwrap();
        assert_eq!((other.of("web").unwrap().digest, other.of("products").unwrap().digest), ("w1".into(), "p1".into()));
        other.check().await.unwrap();
    }
    write(&one, "web", 2, "w2").await.unwrap();
    // A record of the time before the change is still not accepted.
    publish(&nats, &kept).await;
    assert_eq!(one.look().await.unwrap(), ReadOutcome::Forged(Forged::Unsigned));
    assert_eq!(one.of("web").unwrap().digest, "w2");
}

#[tokio::test]
async fn the_first_deployment_after_a_change_of_the_secret_keeps_the_versions_of_other_components() {
    let server = Server::start();
    let (old, new) = (with(&server, Some(SECRET)), with(&server, Some("the secret after the change")));
    let nats = connected(&server, &old).await;
    let before = host(&nats, &old, None).await;
    write(&before, "web", 1, "w1").await.unwrap();
    let kept = write(&before, "products", 1, "p1").await.unwrap();
    // So that the record is not the one that was kept.
    publish(&nats, &Bytes::from_static(b"{}")).await;
    let one = host(&nats, &new, Some(&kept)).await;
    assert_eq!(one.look().await.unwrap(), ReadOutcome::Forged(Forged::Unsigned));
    write(&one, "web", 2, "w2").await.unwrap();
    let fresh = host(&nats, &new, None).await;
    fresh.look().await.unwrap();
    assert_eq!((fresh.of("web").unwrap().digest, fresh.of("products").unwrap().digest), ("w2".into(), "p1".into()));
}
