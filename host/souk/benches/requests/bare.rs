//! What a link costs in wasmtime alone, without Souk: one component calls a function of another, which returns its
//! argument.
//!
//! The rows show what isolation costs and what Souk adds. "Composed" links the two into one component with one store:
//! they share a failure and their limits. "Nested" and "by task" give each component its own store, as Souk does, and
//! the import is a host function. Nested, the host function runs the callee within the caller's own wait; the callee may
//! be in an engine that has no concurrency, and so nothing `async`. By task, it starts a task for the callee, which an
//! `async` import needs.

use std::fmt::Write as _;
use std::sync::Arc;
use tokio::sync::{Mutex, oneshot};
use wasmtime::component::{Component, Linker, TypedFunc};
use wasmtime::{Config, Engine, Store};

/// Calls of one round.
const CALLS: u32 = 50_000;
/// The interface between caller and callee.
const CONTRACT: &str = "bench:link/numbers@1.0.0";

type Call = TypedFunc<(u64,), (u64,)>;

/// A component whose function returns its argument.
fn callee() -> String {
    format!(
        r#"(core module $m (func (export "answer") (param i64) (result i64) local.get 0))
        (core instance $i (instantiate $m))
        (func $answer (param "n" u64) (result u64) (canon lift (core func $i "answer")))
        (instance $numbers (export "answer" (func $answer)))
        (export "{CONTRACT}" (instance $numbers))"#
    )
}

/// A component that calls [`callee`]'s function.
fn caller() -> String {
    format!(
        r#"(import "{CONTRACT}" (instance $numbers (export "answer" (func (param "n" u64) (result u64)))))
        (core func $answer (canon lower (func $numbers "answer")))
        (core module $m
            (import "numbers" "answer" (func $answer (param i64) (result i64)))
            (func (export "run") (param i64) (result i64) (call $answer (local.get 0))))
        (core instance $i (instantiate $m (with "numbers" (instance (export "answer" (func $answer))))))
        (func $run (param "n" u64) (result u64) (canon lift (core func $i "run")))
        (export "run" (func $run))"#
    )
}

fn composed() -> String {
    format!(
        r#"(component $callee {}) (component $caller {})
        (instance $one (instantiate $callee))
        (instance $two (instantiate $caller (with "{CONTRACT}" (instance $one "{CONTRACT}"))))
        (export "run" (func $two "run"))"#,
        callee(),
        caller()
    )
}

/// Measures and prints the rows; returns them as text for the table in `docs/benchmarks/`.
pub(crate) fn rows() -> String {
    let mut config = Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    config.wasm_component_model_async(false).concurrency_support(false);
    let without = Engine::new(&config).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut table = String::from(
        "\n## A link in wasmtime alone\n\nWithout HTTP, deadline, trace and pools. The first line is a call without a link.\n\n\
         | call | CPU, us |\n|---|---|\n",
    );
    println!("{:<44} {:>8}", "wasmtime alone", "CPU us");
    for (name, how) in [
        ("host to component", How::Alone),
        ("two components composed into one", How::Composed),
        ("a link, nested in the caller's task", How::Nested),
        ("the same, callee without concurrency", How::NestedWithout),
        ("a link by a task of its own", How::ByTask),
    ] {
        let mut rounds: Vec<f64> =
            (0..crate::ROUNDS).map(|_| runtime.block_on(round(&engine, &without, how))).collect();
        let cost = crate::median(&mut rounds);
        println!("{name:<44} {cost:>8.2}");
        writeln!(table, "| {name} | {cost:.2} |").unwrap();
    }
    println!();
    table
}

#[derive(Clone, Copy)]
enum How {
    Alone,
    Composed,
    Nested,
    NestedWithout,
    ByTask,
}

/// Microseconds of one call.
async fn round(engine: &Engine, without: &Engine, how: How) -> f64 {
    let (mut store, run) = match how {
        How::Alone => instance(engine, &callee(), &Linker::new(engine), Some(CONTRACT)).await,
        How::Composed => instance(engine, &composed(), &Linker::new(engine), None).await,
        How::Nested | How::NestedWithout | How::ByTask => {
            let of_callee = if matches!(how, How::NestedWithout) { without } else { engine };
            let callee = instance(of_callee, &callee(), &Linker::new(of_callee), Some(CONTRACT)).await;
            let linker = linked(engine, Arc::new(Mutex::new(callee)), matches!(how, How::ByTask));
            instance(engine, &caller(), &linker, None).await
        }
    };
    let before = cpu_nanoseconds();
    for n in 0..CALLS {
        let (answer,) = run.call_async(&mut store, (n.into(),)).await.unwrap();
        assert_eq!(answer, u64::from(n));
    }
    (cpu_nanoseconds() - before) / f64::from(CALLS) / 1e3
}

/// A linker whose function calls `callee`, which has a store of its own.
fn linked(engine: &Engine, callee: Arc<Mutex<(Store<()>, Call)>>, by_task: bool) -> Linker<()> {
    let call = async |callee: Arc<Mutex<(Store<()>, Call)>>, params: (u64,)| {
        let mut callee = callee.lock().await;
        let (store, answer) = &mut *callee;
        answer.call_async(store, params).await
    };
    let mut linker = Linker::new(engine);
    let mut numbers = linker.instance(CONTRACT).unwrap();
    numbers
        .func_wrap_async("answer", move |_, params: (u64,)| {
            let callee = callee.clone();
            Box::new(async move {
                if !by_task {
                    return call(callee, params).await;
                }
                let (sender, answer) = oneshot::channel();
                tokio::spawn(async move { sender.send(call(callee, params).await) });
                answer.await?
            })
        })
        .unwrap();
    linker
}

async fn instance(engine: &Engine, text: &str, linker: &Linker<()>, within: Option<&str>) -> (Store<()>, Call) {
    let component = Component::new(engine, wat::parse_str(format!("(component {text})")).unwrap()).unwrap();
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(1_000_000);
    let instance = linker.instantiate_async(&mut store, &component).await.unwrap();
    let call = match within {
        Some(interface) => {
            let interface = component.get_export_index(None, interface).unwrap();
            let answer = component.get_export_index(Some(&interface), "answer").unwrap();
            instance.get_typed_func(&mut store, answer).unwrap()
        }
        None => instance.get_typed_func(&mut store, "run").unwrap(),
    };
    (store, call)
}

/// The processor time of this thread.
fn cpu_nanoseconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
