//! What a component spends its processor time on: a profile that the Firefox profiler opens, sampled while somebody asks.
//!
//! The clock of processor slices interrupts a guest that computes when it ticks, every five milliseconds; that is a sample of
//! its stack. A guest that only begins to compute after the tick is interrupted as well, by the tick before; such a one is
//! no sample, or a component of many short calls would seem to compute all the time.
//!
//! While nobody asks it costs a look at a flag at such an interruption.

use super::error::CallError;
use super::{Engine, Failure, Pool};
use parking_lot::Mutex;
use souk_bindings::Ctx;
use souk_bindings::boundary::Running;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wasmtime::component::Component;
use wasmtime::{GuestProfiler, StoreContextMut};

souk_manifest::fixed_limits! {
    /// The fixed limits of profiles.
    pub(crate) const FIXED_LIMITS = "profiles";

    /// The longest time that a component is profiled for at once.
    pub const MAX_PROFILE_TIME: Duration = Duration::from_secs(60);
    /// The most samples of a profile; further ones are left out.
    const MAX_SAMPLES: usize = 50_000, "samples";
}

/// Where the samples of one component go; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Profiler(Arc<State>);

#[derive(Default)]
struct State {
    on: AtomicBool,
    profile: Mutex<Option<Taken>>,
}

struct Taken {
    profiler: GuestProfiler,
    samples: usize,
}

/// A profile of a component.
pub struct Profile {
    /// The file.
    pub json: Vec<u8>,
    /// How many samples it has.
    pub samples: usize,
}

impl Profiler {
    /// The guest of `store` was interrupted by the clock.
    pub(super) fn sample(&self, store: &StoreContextMut<'_, Ctx>) {
        if !self.0.on.load(Ordering::Relaxed) || !Running::has_seen_a_tick() {
            return;
        }
        if let Some(taken) = self.0.profile.lock().as_mut().filter(|taken| taken.samples < MAX_SAMPLES) {
            taken.samples += 1;
            taken.profiler.sample(store, Engine::tick());
        }
    }

    /// Begins a profile, until what is returned is dropped; `None` when there is one already.
    fn begin(&self, code: &Component, name: &str) -> wasmtime::Result<Option<Profiling<'_>>> {
        let mut profile = self.0.profile.lock();
        if profile.is_some() {
            return Ok(None);
        }
        let profiler = GuestProfiler::new_component(code.engine(), name, Engine::tick(), code.clone(), [])?;
        *profile = Some(Taken { profiler, samples: 0 });
        self.0.on.store(true, Ordering::Relaxed);
        Ok(Some(Profiling(self)))
    }
}

/// A profile that is taken; dropped, it ends without one.
struct Profiling<'a>(&'a Profiler);

impl Profiling<'_> {
    fn take(&self) -> Option<Taken> {
        self.0.0.on.store(false, Ordering::Relaxed);
        self.0.0.profile.lock().take()
    }
}

impl Drop for Profiling<'_> {
    fn drop(&mut self) {
        self.take();
    }
}

impl Pool {
    /// Profiles the version that serves for `time`; `None` when somebody else profiles it now.
    ///
    /// # Errors
    /// When wasmtime makes no profile of it.
    pub async fn profile(&self, time: Duration) -> Result<Option<Profile>, CallError> {
        let failed = |error: wasmtime::Error| CallError::new(self.component(), Failure::Mismatch, format!("{error:#}"));
        let version = self.active();
        let Some(profiling) = self.profiler().begin(&version.compiled.code, self.component()).map_err(failed)? else {
            return Ok(None);
        };
        tokio::time::sleep(time.min(MAX_PROFILE_TIME)).await;
        let Some(Taken { profiler, samples }) = profiling.take() else { return Ok(None) };
        let mut json = Vec::new();
        profiler.finish(&mut json).map_err(failed)?;
        Ok(Some(Profile { json, samples }))
    }
}
