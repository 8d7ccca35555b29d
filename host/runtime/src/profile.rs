//! Profiles of a component's processor time, for the Firefox profiler, sampled on request.
//!
//! Every five milliseconds, the clock of processor slices interrupts each guest that computes; that gives a sample of
//! its stack. A guest that only begins to compute after the tick is also interrupted, because of the previous tick.
//! This does not count as a sample; otherwise a component with many short calls would seem to compute all the time.
//!
//! Without a request it costs one check of a flag at each interruption.

use super::background::background;
use super::error::CallError;
use super::{Engine, Failure, Pool};
use parking_lot::Mutex;
use souk_bindings::Ctx;
use souk_bindings::boundary::Running;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::component::Component;
use wasmtime::{GuestProfiler, StoreContextMut};

souk_manifest::fixed_limits! {
    /// The fixed limits of profiles.
    pub(crate) const FIXED_LIMITS = "profiles";

    /// The longest time of one profile.
    pub const MAX_PROFILE_TIME: Duration = Duration::from_secs(60);
    /// The most samples of a profile; further ones are left out.
    const MAX_SAMPLES: usize = 50_000, "samples";
    /// How long the samples of a profile may take together; further ones are left out. It bounds the memory of deep
    /// stacks, which wasmtime's profiler does not tell.
    const MAX_SAMPLING_TIME: Duration = Duration::from_millis(250);
}

/// Collects the samples of one component; cheap to clone.
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
    /// What the samples have taken together.
    time: Duration,
}

/// A profile of a component.
pub struct Profile {
    /// The profile's file.
    pub json: Vec<u8>,
    /// The number of its samples.
    pub samples: usize,
}

impl Profiler {
    /// Called when the clock has interrupted the guest of `store`.
    pub(super) fn sample(&self, store: &StoreContextMut<'_, Ctx>) {
        if !self.0.on.load(Ordering::Relaxed) || !Running::has_seen_a_tick() {
            return;
        }
        let has_room = |taken: &&mut Taken| taken.samples < MAX_SAMPLES && taken.time < MAX_SAMPLING_TIME;
        if let Some(taken) = self.0.profile.lock().as_mut().filter(has_room) {
            let begun = Instant::now();
            taken.samples += 1;
            taken.profiler.sample(store, Engine::tick());
            taken.time += begun.elapsed();
        }
    }

    /// Begins a profile, which ends when the returned value is dropped; `None` when one is already being taken.
    fn begin(&self, code: &Component, name: &str) -> wasmtime::Result<Option<Profiling<'_>>> {
        let mut profile = self.0.profile.lock();
        if profile.is_some() {
            return Ok(None);
        }
        let profiler = GuestProfiler::new_component(code.engine(), name, Engine::tick(), code.clone(), [])?;
        *profile = Some(Taken { profiler, samples: 0, time: Duration::ZERO });
        self.0.on.store(true, Ordering::Relaxed);
        Ok(Some(Profiling(Some(self))))
    }

    fn end(&self) -> Option<Taken> {
        self.0.on.store(false, Ordering::Relaxed);
        self.0.profile.lock().take()
    }
}

/// A profile that is being taken; dropping it ends it without a result. Empty once it has ended: another one may have
/// begun since.
struct Profiling<'a>(Option<&'a Profiler>);

impl Profiling<'_> {
    fn take(&mut self) -> Option<Taken> {
        self.0.take()?.end()
    }
}

impl Drop for Profiling<'_> {
    fn drop(&mut self) {
        self.take();
    }
}

impl Pool {
    /// Profiles the active version for `time`; `None` when it is already being profiled.
    ///
    /// # Errors
    /// When wasmtime cannot profile it.
    pub async fn profile(&self, time: Duration) -> Result<Option<Profile>, CallError> {
        let failed = |error: wasmtime::Error| CallError::new(self.component(), Failure::Mismatch, format!("{error:#}"));
        let version = self.active();
        let Some(mut profiling) = self.profiler().begin(&version.compiled.code, self.component()).map_err(failed)?
        else {
            return Ok(None);
        };
        tokio::time::sleep(time.min(MAX_PROFILE_TIME)).await;
        let Some(Taken { profiler, samples, .. }) = profiling.take() else { return Ok(None) };
        // A long profile takes a while to write.
        let written = background(move || {
            let mut json = Vec::new();
            profiler.finish(&mut json).map(|()| json)
        });
        let written = written.await.unwrap_or_else(|| wasmtime::bail!("the profile was not written"));
        Ok(Some(Profile { json: written.map_err(failed)?, samples }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_has_ended_does_not_end_the_next_one() {
        let engine = wasmtime::Engine::default();
        let code = Component::new(&engine, wat::parse_str("(component)").unwrap()).unwrap();
        let profiler = Profiler::default();
        let mut first = profiler.begin(&code, "one").unwrap().unwrap();
        assert!(profiler.begin(&code, "one").unwrap().is_none(), "one at a time");
        assert!(first.take().is_some());
        // The first one is being written.
        let mut second = profiler.begin(&code, "one").unwrap().unwrap();
        drop(first);
        assert!(profiler.0.on.load(Ordering::Relaxed));
        assert!(second.take().is_some());
    }
}
