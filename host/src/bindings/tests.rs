//! What the bindings' tests share.

use super::*;
use crate::bindings::http_client::{AllowedHosts, Client, Internal, tls_config};
use std::time::Duration;

/// The state of an instance of the component `tested`, granted what `grant` adds.
pub(crate) fn ctx(grant: impl FnOnce(&mut Grants)) -> Ctx {
    let component: Arc<str> = "tested".into();
    let tls = tls_config().unwrap();
    let client = Client::new(component.clone(), AllowedHosts::default(), 1, Internal::default(), tls);
    let mut grants = Grants::nothing(component, ComponentLimits::default(), Arc::new(client));
    grant(&mut grants);
    Ctx::new(Arc::new(grants), CallContext::new("trace", Duration::from_secs(60))).unwrap()
}

/// A store as the runtime makes it.
pub(crate) fn store(ctx: Ctx) -> wasmtime::Store<Ctx> {
    let mut config = wasmtime::Config::new();
    config.wasm_component_model_async(true);
    let mut store = wasmtime::Store::new(&wasmtime::Engine::new(&config).unwrap(), ctx);
    store.limiter(|ctx| &mut ctx.limits);
    store
}

#[tokio::test]
async fn the_bindings_link_side_by_side() {
    let store = store(ctx(|_| {}));
    add_to_linker(&mut Linker::new(store.engine())).unwrap();
}

#[tokio::test]
async fn files_are_there_when_granted_and_an_instance_fails_when_their_folder_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let granted = |path: PathBuf| {
        let state = ctx(|_| {});
        let mut grants = Grants::nothing("tested".into(), ComponentLimits::default(), state.grants.http.clone());
        grants.files = Some(path);
        Ctx::new(Arc::new(grants), state.call)
    };
    assert!(granted(dir.path().to_owned()).is_ok());
    let error = granted(dir.path().join("gone")).err().unwrap().to_string();
    assert!(error.contains("`tested`"), "{error}");
}
