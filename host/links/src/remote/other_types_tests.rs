//! Hosts are replaced one after the other, and a contract gains an optional field meanwhile.

use super::super::called::ExpectedType;
use super::*;
use crate::remote::{Remote, Serving, Target};
use crate::test_pool::pool;
use souk_bindings::call::CallContext;
use souk_codec::FunctionCodec;
use souk_manifest::NatsConfig;
use souk_runtime::Failure;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinSet;
use wasmtime::component::Val;
use wasmtime::component::types::ComponentFunc;
use wit_types::{STRING, Ty, func, option, record};

const INTERFACE: &str = "n:p/i@1.0.0";

/// A version of the contract: what `f` returns, as text and as a type.
#[derive(Clone, Copy)]
struct Contract {
    text: &'static str,
    fields: fn() -> Ty,
}

const U32: Ty = Ty::Prim("u32");
const OLD: Contract = Contract {
    text: r#"(record (field "id" u32) (field "size" u32))"#,
    fields: || record([("id", U32), ("size", U32)]),
};
const NEW: Contract = Contract {
    text: r#"(record (field "id" u32) (field "note" (option string)) (field "size" u32))"#,
    fields: || record([("id", U32), ("note", option(STRING)), ("size", U32)]),
};
/// A contract that gained a field which is not optional.
const OTHER: Contract = Contract {
    text: r#"(record (field "id" u32) (field "size" u32) (field "note" string))"#,
    fields: || record([("id", U32), ("size", U32), ("note", STRING)]),
};

impl Contract {
    fn ty(self) -> ComponentFunc {
        func(&[("id", U32)], Some(&(self.fields)()))
    }
}

async fn nats(server: &souk_test::nats::Nats) -> Nats {
    let config = NatsConfig { servers: vec![server.url().parse().unwrap()], ..NatsConfig::default() };
    Nats::connect(&config, "test").await.unwrap()
}

struct Callees {
    serving: Serving,
    stop: CancellationToken,
}

impl Callees {
    async fn start(server: &souk_test::nats::Nats, contract: Contract) -> Self {
        let ty = contract.text;
        let text = format!(
            r#"(component
                (type $thing {ty})
                (core module $m
                    (memory (export "memory") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                    (func (export "f") (param i32) (result i32) i32.const 0))
                (core instance $i (instantiate $m))
                (func $f (param "id" u32) (result $thing)
                    (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
                (instance $contract (export "thing" (type $thing)) (export "f" (func $f)))
                (export "{INTERFACE}" (instance $contract)))"#
        );
        let stop = CancellationToken::new();
        let serving =
            Serving::start(&nats(server).await, [pool("shop", &text)].iter(), "1", stop.clone()).await.unwrap();
        Callees { serving, stop }
    }

    async fn finish(self) {
        self.stop.cancel();
        assert!(self.serving.finish(Duration::from_secs(60)).await);
    }
}

/// A host with a caller that is built for `contract`.
struct Caller {
    remote: Remote,
    target: Target,
    codec: FunctionCodec,
}

impl Caller {
    async fn start(server: &souk_test::nats::Nats, contract: Contract) -> Arc<Self> {
        let (remote, ty) = (Remote::open(nats(server).await).await.unwrap(), contract.ty());
        let function = CalledFunction::new(INTERFACE, "f", &ty);
        let component = "shop".to_owned();
        let expected = ExpectedType { caller: "front".to_owned(), component, function: function.clone() };
        expected::publish(remote.nats(), &[expected]).await.unwrap();
        let target = Target::function(&remote, &"shop".into(), function, false);
        Arc::new(Caller { remote, target, codec: FunctionCodec::of(&ty).unwrap() })
    }

    async fn call(&self) -> Result<Vec<Val>, Failure> {
        let context = CallContext::new("trace", Duration::from_secs(60));
        let params = self.codec.encode_params(&[Val::U32(7)]).unwrap();
        let answer = self.remote.call(&self.target, "front", params.into(), &context).await;
        answer.map(|answer| self.codec.decode_results(&answer).unwrap()).map_err(|error| error.failure)
    }

    /// Calls 50 times a second until `stop`; counts the answers in `answered`.
    async fn load(self: Arc<Self>, answered: Arc<AtomicUsize>, stop: CancellationToken) {
        let (mut tick, mut calls) = (tokio::time::interval(Duration::from_millis(20)), JoinSet::new());
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let (caller, answered) = (self.clone(), answered.clone());
            calls.spawn(async move {
                caller.call().await.unwrap();
                answered.fetch_add(1, Ordering::SeqCst);
            });
        }
        while let Some(ended) = calls.join_next().await {
            ended.unwrap();
        }
    }
}

/// Callers under load; no call may fail.
struct Load {
    answered: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn of(caller: &Arc<Caller>) -> Self {
        let (answered, stop) = (Arc::<AtomicUsize>::default(), CancellationToken::new());
        let task = tokio::spawn(caller.clone().load(answered.clone(), stop.clone()));
        Load { answered, stop, task }
    }

    /// Waits for 25 more answers.
    async fn goes_on(&self) {
        let before = self.answered.load(Ordering::SeqCst);
        while self.answered.load(Ordering::SeqCst) < before + 25 {
            assert!(!self.task.is_finished(), "a call has failed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn finish(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_hosts_are_replaced_and_a_record_gains_an_optional_field_whichever_side_goes_first() {
    for callees_first in [true, false] {
        let server = souk_test::nats::Nats::start();
        let old_caller = Caller::start(&server, OLD).await;
        let old_callees = Callees::start(&server, OLD).await;
        let old = Load::of(&old_caller);
        old.goes_on().await;
        let replace_callees = async |old_callees: Callees| {
            let new_callees = Callees::start(&server, NEW).await;
            old.goes_on().await;
            old_callees.finish().await;
            old.goes_on().await;
            new_callees
        };
        let (new, callees) = if callees_first {
            let callees = replace_callees(old_callees).await;
            (Load::of(&Caller::start(&server, NEW).await), callees)
        } else {
            let new = Load::of(&Caller::start(&server, NEW).await);
            new.goes_on().await;
            (new, replace_callees(old_callees).await)
        };
        new.goes_on().await;
        old.goes_on().await;
        old.finish().await;
        new.goes_on().await;
        new.finish().await;
        callees.finish().await;
    }
}

#[tokio::test]
async fn a_caller_whose_type_is_not_exactly_that_of_a_host_is_refused_with_both_types() {
    let server = souk_test::nats::Nats::start();
    let caller = Caller::start(&server, OTHER).await;
    let callees = Callees::start(&server, OLD).await;
    let context = CallContext::new("trace", Duration::from_secs(60));
    let error = caller.remote.call(&caller.target, "front", "{\"id\":1}".into(), &context).await.unwrap_err();
    assert_eq!(error.failure, Failure::Mismatch);
    let text = error.to_string();
    assert!(text.contains("size: u32 }` there") && text.contains("note: string }` here"), "{text}");
    callees.finish().await;
}
