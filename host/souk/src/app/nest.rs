//! The components' part in a NestJS system: imports that Nest services answer, and exports that answer Nest clients.

use souk_bindings::Ctx;
use souk_bindings::boundary::Boundaries;
use souk_links::durable::Queue;
use souk_links::nest::{self, Caller, NestError, Service};
use souk_manifest::{Application, Component as Declared, Diagnostic};
use souk_nats::Nats;
use souk_runtime::{Exported, Pool};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};

/// Whether a component answers patterns with functions of durable links, whose messages are stored first.
pub(super) fn has_events(
    engine: &wasmtime::Engine,
    application: &Application,
    codes: &BTreeMap<String, Component>,
) -> bool {
    let serving = application.components.values().filter(|declared| !declared.nest.serves.is_empty());
    let mut codes = serving.filter_map(|declared| Some((declared, codes.get(&declared.name)?)));
    codes.any(|(declared, code)| nest::has_events(&Exported::of(engine, code), &declared.nest.serves))
}

/// Links the imports that `calls` of `declared` names. Returns the mistakes: what does not fit the component, or the
/// missing NATS.
#[must_use]
pub(super) fn link(
    linker: &mut Linker<Ctx>,
    engine: &wasmtime::Engine,
    application: &Application,
    declared: &Declared,
    code: &Component,
    nats: Option<&Nats>,
    boundaries: &Boundaries,
) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    let Some(first) = declared.nest.calls.first() else { return mistakes };
    let Some(nats) = nats else { return vec![no_nats(application, declared, first.line)] };
    let slots = usize::try_from(declared.limits.outbound_requests).unwrap_or(usize::MAX);
    let caller = Caller {
        engine,
        importer: code,
        name: &declared.name.as_str().into(),
        patterns: &declared.nest.calls,
        slots: &Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))),
        nats,
        boundaries,
    };
    let component_type = code.component_type();
    let imports = component_type.imports(engine).map(|(import, _)| import);
    for import in imports.filter(|import| declared.nest.calls.iter().any(|pattern| pattern.interface.covers(import))) {
        let functions_without_unavailable = match nest::link(linker, &caller, import) {
            Ok(functions) => functions,
            Err(error) => {
                mistakes.push(failed(application, declared, &error));
                continue;
            }
        };
        for function in functions_without_unavailable {
            tracing::warn!(
                component = %declared.name,
                "{function} has no error for a Nest service that is unavailable: then `{}` traps",
                declared.name,
            );
        }
    }
    mistakes
}

/// The patterns that the components of `pools` answer; adds to `mistakes` the tables that do not fit their components,
/// and a missing NATS.
pub(super) fn services(
    application: &Application,
    pools: &BTreeMap<String, Arc<Pool>>,
    queue: Option<&Queue>,
    nats: Option<&Nats>,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Service> {
    let mut services = Vec::new();
    for declared in application.components.values() {
        // Components on other hosts have no pool here.
        let (Some(first), Some(pool)) = (declared.nest.serves.first(), pools.get(&declared.name)) else { continue };
        if nats.is_none() {
            mistakes.push(no_nats(application, declared, first.line));
            continue;
        }
        match Service::of(pool, &declared.nest.serves, &declared.limits, queue) {
            Ok(service) => services.push(service),
            Err(error) => mistakes.push(failed(application, declared, &error)),
        }
    }
    services
}

fn failed(application: &Application, declared: &Declared, NestError { line, error }: &NestError) -> Diagnostic {
    application.mistake_at(*line, &declared.name, error.to_string(), error.fix())
}

fn no_nats(application: &Application, declared: &Declared, line: usize) -> Diagnostic {
    let message = "has patterns of a NestJS system, which are messages on NATS, but no NATS is configured on this host";
    let fix = "name the system's server: `--nats nats://HOST:4222`, or `servers` under [nats] of runtime-config.toml";
    application.mistake_at(line, &declared.name, message, fix)
}
