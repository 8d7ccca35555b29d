//! Contains panics of the host: a panic while it serves a guest fails only that call.
//!
//! HTTP calls run in the task of their connection, and a message from another host waits for its answer: without this,
//! a panic in a binding would end the connection, or leave the caller waiting for its deadline. The instance is not
//! reused, because the panic may have left it in an inconsistent state.

use souk_bindings::Slice;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use wasmtime::Result;

/// Runs a guest's `call`, turns a panic into an error, and gives the permit of `slice` back whenever the call waits: a
/// waiting guest is not busy, and must not stop a busy one from running.
///
/// It takes the call by reference, because its future has kilobytes: each function that takes it by value keeps two
/// copies, and four such functions made every call move 40 KB.
///
/// # Errors
/// The error of `call`, or that the host panicked.
pub(super) async fn drive<T>(slice: &Slice, mut call: Pin<&mut impl Future<Output = Result<T>>>) -> Result<T> {
    std::future::poll_fn(|cx| {
        let computing = slice.compute();
        // A call that has panicked is not polled again.
        let poll = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic))));
        drop(computing);
        if poll.is_pending() {
            slice.release();
        }
        poll
    })
    .await
}

fn panicked(panic: &(dyn Any + Send)) -> wasmtime::Error {
    let message = message(panic);
    wasmtime::format_err!("the host panicked, which is a bug in Souk, not in the component: {message}")
}

pub(super) fn message(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compiled, Failure, Fairness, Pool, PoolConfig, VersionConfig, VersionId};
    use souk_bindings::boundary::Boundaries;
    use souk_bindings::call::CallContext;
    use souk_bindings::http_client::{Client, Internal, tls_config};
    use souk_bindings::outbound::AllowedHosts;
    use souk_bindings::{Ctx, Grants};
    use souk_manifest::limits::ComponentLimits;
    use std::sync::Arc;
    use std::time::Duration;
    use wasmtime::StoreContextMut;
    use wasmtime::component::{Component, Linker};

    /// Exports `well`, which returns, and `badly`, which calls the host's `boom`.
    const COMPONENT: &str = r#"(component
        (import "boom" (func $boom))
        (core func $lowered (canon lower (func $boom)))
        (core module $m
            (import "" "boom" (func $boom))
            (func (export "badly") call $boom)
            (func (export "well")))
        (core instance $i (instantiate $m (with "" (instance (export "boom" (func $lowered))))))
        (func $badly (canon lift (core func $i "badly")))
        (func $well (canon lift (core func $i "well")))
        (instance $deeds (export "badly" (func $badly)) (export "well" (func $well)))
        (export "test:panic/deeds@1.0.0" (instance $deeds)))"#;

    fn pool() -> Arc<Pool> {
        let mut config = wasmtime::Config::new();
        config.wasm_component_model_async(true).epoch_interruption(true);
        let engine = wasmtime::Engine::new(&config).unwrap();
        let component = Component::new(&engine, wat::parse_str(COMPONENT).unwrap()).unwrap();
        let mut linker = Linker::new(&engine);
        linker
            .root()
            .func_wrap("boom", |_: StoreContextMut<'_, Ctx>, (): ()| -> Result<()> { panic!("boom") })
            .unwrap();
        let compiled = Compiled::link("shop".into(), &engine, &component, &mut linker).unwrap();
        let internal = Internal::default();
        let client = Client::new("shop".into(), AllowedHosts::default(), 1, internal, tls_config().unwrap());
        let limits = ComponentLimits { instances: 1, ..ComponentLimits::default() };
        let grants = Arc::new(Grants::nothing("shop".into(), limits.clone(), Arc::new(client)));
        let version = VersionConfig { id: VersionId::first("", ""), compiled, grants };
        let boundaries = Boundaries::measured().unwrap();
        Pool::new(PoolConfig { version, limits, fairness: Fairness::new(2), boundaries })
    }

    #[tokio::test]
    async fn a_panic_of_the_host_fails_its_own_call_and_the_component_goes_on() {
        let pool = pool();
        let position = |name| pool.position("test:panic/deeds@1.0.0", name).unwrap();
        for _ in 0..3 {
            let call = |name| pool.call(position(name), &[], CallContext::new("trace", Duration::from_secs(60)));
            assert!(call("well").await.unwrap().is_empty());
            let error = call("badly").await.unwrap_err();
            assert_eq!(error.failure, Failure::Trapped);
            assert!(error.detail.contains("the host panicked") && error.detail.contains(": boom | "), "{error}");
            assert!(!error.message().contains("boom"), "{}", error.message());
        }
    }

    async fn contain<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
        drive(&Slice::of(&Arc::default()), std::pin::pin!(call)).await
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_other_outcomes_stay_as_they_are() {
        assert_eq!(contain(async { Ok(7) }).await.unwrap(), 7);
        let error = contain::<()>(async { wasmtime::bail!("a trap") }).await.unwrap_err();
        assert_eq!(error.to_string(), "a trap");
        let number = std::hint::black_box(3);
        for text in ["boom 3", "boom"] {
            let panicking = async {
                tokio::task::yield_now().await;
                if text.ends_with('3') { panic!("boom {number}") } else { panic!("boom") }
            };
            let error = contain::<()>(panicking).await.unwrap_err().to_string();
            assert!(error.contains("the host panicked") && error.ends_with(text), "{error}");
        }
    }
}
