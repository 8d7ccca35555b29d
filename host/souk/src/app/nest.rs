//! The components' part in a NestJS system: imports that Nest services answer, exports that answer Nest clients.

use super::error::StartError;
use souk_bindings::Ctx;
use souk_links::durable::Queue;
use souk_links::nest::{self, Caller, NestError, Service};
use souk_manifest::{Application, Component as Declared};
use souk_nats::Nats;
use souk_runtime::{Exported, Pool};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};

/// Whether a component answers patterns with functions whose messages are stored first.
pub(super) fn has_events(
    engine: &wasmtime::Engine,
    application: &Application,
    codes: &BTreeMap<String, Component>,
) -> bool {
    let serving = application.components.values().filter(|declared| !declared.nest.serves.is_empty());
    let mut codes = serving.filter_map(|declared| Some((declared, codes.get(&declared.name)?)));
    codes.any(|(declared, code)| nest::has_events(&Exported::of(engine, code), &declared.nest.serves))
}

/// Links the imports of `declared` that its table `calls` names.
///
/// # Errors
/// When there is no NATS, or the table does not fit the component.
pub(super) fn link(
    linker: &mut Linker<Ctx>,
    engine: &wasmtime::Engine,
    application: &Application,
    declared: &Declared,
    code: &Component,
    nats: Option<&Nats>,
) -> Result<(), StartError> {
    let Some(first) = declared.nest.calls.first() else { return Ok(()) };
    let Some(nats) = nats else { return Err(no_nats(application, declared, first.line)) };
    let slots = usize::try_from(declared.limits.outbound_requests).unwrap_or(usize::MAX);
    let caller = Caller {
        engine,
        importer: code,
        name: &declared.name.as_str().into(),
        patterns: &declared.nest.calls,
        slots: &Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))),
        nats,
    };
    let component_type = code.component_type();
    let imports = component_type.imports(engine).map(|(import, _)| import);
    for import in imports.filter(|import| declared.nest.calls.iter().any(|pattern| pattern.interface.covers(import))) {
        let functions_without_unavailable =
            nest::link(linker, &caller, import).map_err(|error| failed(application, declared, error))?;
        for function in functions_without_unavailable {
            tracing::warn!(
                component = %declared.name,
                "{function} has no error that could say that a Nest service is unavailable: when it is, `{}` traps",
                declared.name,
            );
        }
    }
    Ok(())
}

/// What the components of `pools` answer.
///
/// # Errors
/// When there is no NATS, or a table does not fit its component.
pub(super) fn services(
    application: &Application,
    pools: &BTreeMap<String, Arc<Pool>>,
    queue: Option<&Queue>,
    nats: Option<&Nats>,
) -> Result<Vec<Service>, StartError> {
    let mut services = Vec::new();
    for declared in application.components.values() {
        // Of those that run on other hosts there is no pool.
        let (Some(first), Some(pool)) = (declared.nest.serves.first(), pools.get(&declared.name)) else { continue };
        if nats.is_none() {
            return Err(no_nats(application, declared, first.line));
        }
        let service = Service::of(pool, &declared.nest.serves, &declared.limits, queue);
        services.push(service.map_err(|error| failed(application, declared, error))?);
    }
    Ok(services)
}

fn failed(application: &Application, declared: &Declared, NestError { line, error }: NestError) -> StartError {
    StartError::Link {
        manifest: application.manifest.display().to_string(),
        line,
        component: declared.name.clone(),
        error: Box::new(error),
    }
}

fn no_nats(application: &Application, declared: &Declared, line: usize) -> StartError {
    StartError::Unfit {
        manifest: application.manifest.display().to_string(),
        line,
        component: declared.name.clone(),
        message: "has patterns of a NestJS system, which are messages on NATS, and this host knows no NATS".to_owned(),
        fix: "name the system's server: `--nats nats://HOST:4222`, or `servers` under [nats] of runtime-config.toml"
            .to_owned(),
    }
}
