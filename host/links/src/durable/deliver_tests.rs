//! What happens to messages whose function has another type now, in both kinds of queue.

use super::*;
use crate::durable::message::NewMessage;
use crate::durable::operator::{self, Event, Request, Selection};
use crate::durable::{FileQueue, JetStreamQueue};
use crate::test_pool;
use souk_bindings::trace::Redaction;
use souk_manifest::NatsConfig;
use souk_nats::Nats;
use std::collections::BTreeSet;
use tokio::time::Instant;

const INTERFACE: &str = "n:p/i@1.0.0";
const LIMIT_BYTES: u64 = 64 << 20;

/// The component `target`, whose function `f` takes an `n` of this type and answers `ok`.
pub(in crate::durable) fn pool(ty: &str) -> Arc<Pool> {
    let core = match ty {
        "string" => "i32 i32",
        "u64" => "i64",
        _ => "i32",
    };
    let text = format!(
        r#"(component
            (type $error (variant (case "retry" string) (case "reject" string)))
            (core module $m
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                (func (export "f") (param {core}) (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $f (param "n" {ty}) (result (result (error $error)))
                (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
            (instance $contract (export "error" (type $error)) (export "f" (func $f)))
            (export "{INTERFACE}" (instance $contract)))"#
    );
    test_pool::pool("target", &text)
}

/// The digest of the function of [`pool`].
fn digest_of(ty: &str) -> String {
    let pool = pool(ty);
    DeliveryWorker::of(&pool, pool.limits()).unwrap().handlers.read().all[0].ty.digest().to_owned()
}

async fn store(queue: &Queue, digest: &str, arguments: &str) -> String {
    let message = NewMessage {
        key: Key { target: "target".into(), interface: INTERFACE.into(), function: "f".into() },
        caller: "caller".into(),
        trace: "trace".into(),
        traceparent: None,
        hops: 1,
        due: None,
        digest: digest.into(),
        arguments: arguments.to_owned(),
    };
    match queue.publish(message, Instant::now() + Duration::from_secs(60)).await.unwrap() {
        crate::durable::Published::Stored(id) => id,
        other => panic!("{other:?}"),
    }
}

/// Waits until `meant` is true for the message; `None` means that the message is gone.
async fn until(queue: &Queue, id: &str, meant: impl Fn(Option<&Event>) -> bool) -> Option<Event> {
    loop {
        let event = queue.show(id.to_owned()).await.unwrap();
        if meant(event.as_ref()) {
            return event;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn started(queue: &Queue, ty: &str) -> (Deliveries, CancellationToken) {
    let (pool, stop) = (pool(ty), CancellationToken::new());
    let pools = [(&pool, pool.limits())].into_iter();
    (Deliveries::start(queue, pools, &[], stop.clone()).await.unwrap(), stop)
}

async fn of_another_type(queue: &Queue) {
    let (old, new) = (digest_of("u32"), digest_of("string"));
    assert_ne!(old, new);
    let stored = store(queue, &old, r#"{"n":1}"#).await;
    let (deliveries, stop) = started(queue, "string").await;
    let is = |state: &'static str| move |event: Option<&Event>| event.is_some_and(|event| event.state == state);
    let event = until(queue, &stored, is("stranded")).await.unwrap();
    assert_eq!(event.attempts, 0, "{event:?}");
    assert!(event.reason.as_deref().is_some_and(|reason| reason.contains("of another type")), "{event:?}");
    // An operator may retry it; it is stranded again as long as no version takes it.
    let retry = || Request::Retry(Selection::One(stored.clone()));
    operator::run(Some(queue), retry()).await.unwrap();
    until(queue, &stored, is("stranded")).await;
    // A message with the current type whose arguments do not fit is a dead letter: no other version can take it.
    let wrong = store(queue, &new, r#"{"n":1}"#).await;
    until(queue, &wrong, is("dead")).await;
    operator::run(Some(queue), Request::Drop(Selection::One(wrong))).await.unwrap();
    stop.cancel();
    deliveries.finish(Duration::from_secs(60)).await;
    // A third type, which the stored arguments fit.
    let (deliveries, stop) = started(queue, "u64").await;
    if matches!(queue, Queue::JetStream(_)) {
        operator::run(Some(queue), retry()).await.unwrap();
    }
    until(queue, &stored, |event| event.is_none()).await;
    let kept = store(queue, &new, r#"{"n":"a text"}"#).await;
    until(queue, &kept, is("stranded")).await;
    assert_eq!(operator::run(Some(queue), Request::Drop(Selection::One(kept))).await.unwrap().total, 1);
    assert_eq!(queue.list(false, 10).await.unwrap().total, 0);
    stop.cancel();
    deliveries.finish(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_message_of_another_type_is_delivered_if_it_fits_and_otherwise_stays_without_an_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let file = FileQueue::open(&folder.path().join("queue.db"), LIMIT_BYTES).unwrap();
    of_another_type(&Queue::File(file)).await;
}

#[tokio::test]
async fn on_nats_a_message_of_another_type_is_delivered_if_it_fits_and_otherwise_stays() {
    let server = souk_test::nats::Nats::start();
    let servers = server.url().split(',').map(|url| url.parse().unwrap()).collect();
    let nats = Nats::connect(&NatsConfig { servers, ..NatsConfig::default() }, "an app").await.unwrap();
    let components = BTreeSet::from(["target".to_owned()]);
    of_another_type(&Queue::JetStream(JetStreamQueue::open(nats, LIMIT_BYTES, components).await.unwrap())).await;
}

/// The component `target`, whose function `f` answers `reject` with the text that is its argument.
fn rejecting() -> Arc<Pool> {
    let text = format!(
        r#"(component
            (type $error (variant (case "retry" string) (case "reject" string)))
            (core module $m
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                (func (export "f") (param i32 i32) (result i32)
                    (i32.store8 (i32.const 0) (i32.const 1))
                    (i32.store8 (i32.const 4) (i32.const 1))
                    (i32.store (i32.const 8) (local.get 0))
                    (i32.store (i32.const 12) (local.get 1))
                    i32.const 0))
            (core instance $i (instantiate $m))
            (func $f (param "n" string) (result (result (error $error)))
                (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
            (instance $contract (export "error" (type $error)) (export "f" (func $f)))
            (export "{INTERFACE}" (instance $contract)))"#
    );
    test_pool::pool("target", &text)
}

#[tokio::test]
async fn the_reason_of_a_dead_letter_is_stored_without_secrets_and_its_end_has_no_part_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::File(FileQueue::open(&folder.path().join("queue.db"), LIMIT_BYTES).unwrap());
    let pool = rejecting();
    pool.hidden().set(Redaction::of(["sk_live_1"].into_iter()));
    let digest = DeliveryWorker::of(&pool, pool.limits()).unwrap().handlers.read().all[0].ty.digest().to_owned();
    let said = |text: &str| serde_json::json!({ "n": text }).to_string();
    let short = store(&queue, &digest, &said("no access with sk_live_1")).await;
    let long = store(&queue, &digest, &said(&format!("{}sk_live_1", "x".repeat(MAX_REASON_BYTES - 4)))).await;
    let stop = CancellationToken::new();
    let pools = [(&pool, pool.limits())].into_iter();
    let deliveries = Deliveries::start(&queue, pools, &[], stop.clone()).await.unwrap();
    let is_dead = |event: Option<&Event>| event.is_some_and(|event| event.state == "dead");
    let short = until(&queue, &short, is_dead).await.unwrap();
    assert_eq!(short.reason.as_deref(), Some("no access with ***"));
    let long = until(&queue, &long, is_dead).await.unwrap();
    assert!(long.reason.as_deref().is_some_and(|reason| reason.ends_with("xx***")), "{long:?}");
    stop.cancel();
    deliveries.finish(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_worker_has_the_limits_that_it_is_given_before_a_version_with_them_serves() {
    let pool = pool("u32");
    let pause = Duration::from_millis(7);
    let limits = ComponentLimits {
        deliveries: 3,
        delivery_attempts: 2,
        delivery_backoff_most: pause,
        call_deadline: pause,
        ..pool.limits().clone()
    };
    let worker = DeliveryWorker::of(&pool, &limits).unwrap();
    assert_eq!((worker.deliveries(), worker.attempts), (3, 2));
    assert_eq!((worker.backoff.longest(), worker.call_deadline), (pause, pause));
}
