//! Recorded calls: the arguments of a call to a component and the results of each of its imports, so that the call can
//! be replayed.
//!
//! A sandbox gets nothing but values. A recorded call has a [`Tape`] in its context. Each import records its arguments
//! and its result there ([`over`]), clocks record their values, and random numbers come from a recorded seed
//! ([`clock`]). A replay gives the call a tape of the recording: the imports compare their arguments with it, return
//! the recorded results, and do nothing else.
//!
//! **Order.** Effects (links, statements, operations of stores, requests) are compared one by one, in their order.
//! Reads without effects (clocks, the remaining time) are recorded in separate sequences, so that one more reading of a
//! clock does not count as a difference.
//!
//! **Secrets.** No recording contains the values of secret variables. It only names the variables ([`Secrets`]),
//! compares arguments without such values, and a call whose result contains one is not kept.
//!
//! **Bounded.** The bytes and the imports of a recording are limited; a call that needs more is not kept, and the log
//! says so.
//!
//! Imports that cannot be recorded (streams of rows, Redis, MySQL, MQTT) work normally during a recording, and end a
//! replay with an error that names them.

mod clock;
mod exchange;
mod recorder;
mod recording;
mod secrets;
#[cfg(test)]
mod tests;

pub(crate) use clock::equip;
pub use exchange::{Teed, hidden_bytes, hidden_headers, shown_bytes, shown_headers};
pub(crate) use exchange::{begin, send};
pub use recorder::{FORMAT, Recorder, Taping};
pub use recording::{Answer, Difference, Entry, Head, Question, Reads, Recording};
pub(crate) use recording::{LANES, Lane};
pub use secrets::Secrets;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use wasmtime::bail;

souk_manifest::fixed_limits! {
    /// The fixed limits of recorded calls.
    pub(crate) const FIXED_LIMITS = "recordings";

    /// The most bytes of one recorded call; a call that needs more is not kept.
    pub const MAX_RECORDING_BYTES: usize = 4 << 20, bytes;
    /// The most imports that one recorded call may call.
    pub const MAX_RECORDED_IMPORTS: usize = 10_000, "calls";
    /// The most bytes of an import's arguments that a recording keeps and shows; longer arguments are compared by their
    /// digest.
    pub const MAX_SHOWN_BYTES: usize = 4 << 10, bytes;
}

/// The bytes that an entry counts for in addition to its texts.
const ENTRY_BYTES: usize = 64;
/// The bytes that a reading of a clock counts for.
const READ_BYTES: usize = 8;

/// The imports of one call, while it is recorded or replayed.
pub struct Tape {
    replays: bool,
    seed: [u8; 32],
    secrets: Arc<Secrets>,
    state: Mutex<State>,
    taping: Option<Taping>,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    /// The next entry of a replay.
    at: usize,
    reads: Reads,
    /// How many values of each sequence a replay has read.
    looks: [usize; LANES],
    bytes: usize,
    /// Why the call cannot be kept.
    fault: Option<String>,
    difference: Option<Difference>,
    answer: Option<Answer>,
}

impl State {
    /// The recorded result of the entry at `at`, if its import and arguments are those of `now`.
    fn play(&mut self, at: usize, now: &Entry) -> wasmtime::Result<Box<RawValue>> {
        let import = &now.import;
        let Some(recorded) = self.entries.get(at) else {
            self.difference.get_or_insert(Difference { at, recorded: None, now: Some(now.text()) });
            bail!("{import} was not called when the call was recorded");
        };
        if !recorded.asks_the_same(now) {
            let (was, now) = (Some(recorded.text()), Some(now.text()));
            self.difference.get_or_insert(Difference { at, recorded: was, now });
            bail!("{import} is called otherwise than when the call was recorded");
        }
        match &recorded.result {
            Some(result) => Ok(result.clone()),
            None => bail!("{import} did not return when the call was recorded"),
        }
    }
}

/// An import that is about to be called.
pub(crate) struct Asked<'t> {
    tape: &'t Tape,
    import: &'static str,
    arguments: String,
}

/// Prepares a call of `import`; `arguments` is only called if the call is recorded or replayed.
pub(crate) fn asked<'t>(
    tape: Option<&'t Tape>,
    import: &'static str,
    arguments: impl FnOnce() -> String,
) -> Option<Asked<'t>> {
    tape.map(|tape| Asked { tape, import, arguments: arguments() })
}

/// Calls an import: runs `live`, and records its result if the call is recorded. A replay returns the recorded result
/// and does not run `live`.
///
/// # Errors
/// When a replay differs.
pub(crate) async fn over<T: Serialize + DeserializeOwned>(
    asked: Option<Asked<'_>>,
    live: impl Future<Output = T>,
) -> wasmtime::Result<T> {
    let Some(Asked { tape, import, arguments }) = asked else { return Ok(live.await) };
    match tape.enter(import, arguments)? {
        Entered::Live(slot) => {
            let value = live.await;
            tape.fill(slot, &value);
            Ok(value)
        }
        Entered::Known(json) => Ok(serde_json::from_str(json.get())?),
    }
}

/// The same for an import that returns at once.
///
/// # Errors
/// When a replay differs.
pub(crate) fn now<T: Serialize + DeserializeOwned>(
    asked: Option<Asked<'_>>,
    live: impl FnOnce() -> T,
) -> wasmtime::Result<T> {
    let Some(Asked { tape, import, arguments }) = asked else { return Ok(live()) };
    match tape.enter(import, arguments)? {
        Entered::Live(slot) => {
            let value = live();
            tape.fill(slot, &value);
            Ok(value)
        }
        Entered::Known(json) => Ok(serde_json::from_str(json.get())?),
    }
}

/// Records that the call uses `import`, which cannot be recorded.
///
/// # Errors
/// In a replay, which ends here.
pub(crate) fn unrecorded(tape: Option<&Tape>, import: &str) -> wasmtime::Result<()> {
    let Some(tape) = tape else { return Ok(()) };
    if !tape.replays {
        // The calls before this one can still be replayed.
        return tape.enter(import, UNRECORDED.to_owned()).map(drop);
    }
    let mut state = tape.state.lock();
    let (at, now) = (state.at, Some(format!("{import}, which is not recorded")));
    state.difference.get_or_insert(Difference { at, recorded: None, now });
    bail!("{import} is not recorded")
}

/// Stands for the arguments of an import that is not recorded.
const UNRECORDED: &str = "(not recorded)";

/// How an import gets its result.
pub enum Entered {
    /// It runs, and its result belongs into this entry.
    Live(usize),
    /// The result from the recording.
    Known(Box<RawValue>),
}

impl Tape {
    fn new(replays: bool, seed: [u8; 32], secrets: Arc<Secrets>, taping: Option<Taping>) -> Self {
        Tape { replays, seed, secrets, state: Mutex::default(), taping }
    }

    /// A tape for a replay of `recording`; `secrets` are the current values.
    ///
    /// # Errors
    /// When the recording was changed by hand.
    pub fn replay(recording: &Recording, secrets: Arc<Secrets>) -> anyhow::Result<Arc<Self>> {
        let mut seed = [0; 32];
        hex::decode_to_slice(&recording.seed, &mut seed)?;
        let tape = Tape::new(true, seed, secrets, None);
        *tape.state.lock() =
            State { entries: recording.imports.clone(), reads: recording.reads.clone(), ..State::default() };
        Ok(Arc::new(tape))
    }

    /// Whether this is a replay, in which imports have no effects.
    pub fn is_replayed(&self) -> bool {
        self.replays
    }

    /// Enters the call of `import` with `arguments`.
    ///
    /// # Errors
    /// When a replay differs here, or has differed before.
    pub fn enter(&self, import: &str, arguments: String) -> wasmtime::Result<Entered> {
        let entry = Entry::new(import, &self.secrets.hide(&arguments));
        let mut state = self.state.lock();
        if !self.replays {
            state.bytes += ENTRY_BYTES + entry.import.len() + entry.arguments.len();
            if state.entries.len() >= MAX_RECORDED_IMPORTS {
                state.fault.get_or_insert_with(|| format!("it calls more than {MAX_RECORDED_IMPORTS} imports"));
            } else if state.fault.is_none() {
                state.entries.push(entry);
            }
            return Ok(Entered::Live(state.entries.len().saturating_sub(1)));
        }
        if state.difference.is_some() {
            bail!("the replay has differed before");
        }
        let at = state.at;
        state.at += 1;
        state.play(at, &entry).map(Entered::Known)
    }

    /// Reserves the entry of a call of `import` whose arguments are known later; returns its index.
    ///
    /// # Errors
    /// When a replay has differed before.
    pub(crate) fn reserve(&self, import: &str) -> wasmtime::Result<usize> {
        if let Entered::Live(slot) = self.reserved(import)? {
            return Ok(slot);
        }
        bail!("{import} has no place in the recording")
    }

    fn reserved(&self, import: &str) -> wasmtime::Result<Entered> {
        if !self.replays {
            return self.enter(import, String::new());
        }
        let mut state = self.state.lock();
        if state.difference.is_some() {
            bail!("the replay has differed before");
        }
        state.at += 1;
        Ok(Entered::Live(state.at - 1))
    }

    /// The recorded result of the entry at `slot`, if its arguments are one of `arguments`; an error shows the first of
    /// them.
    ///
    /// # Errors
    /// When the replay differs.
    pub(crate) fn played_at(&self, slot: usize, import: &str, arguments: &[&str]) -> wasmtime::Result<Box<RawValue>> {
        let asked: Vec<_> = arguments.iter().map(|text| Entry::new(import, &self.secrets.hide(text))).collect();
        let mut state = self.state.lock();
        let known = asked.iter().find(|asked| state.entries.get(slot).is_some_and(|entry| entry.asks_the_same(asked)));
        let Some(asked) = known.or(asked.first()).cloned() else { bail!("{import} is asked nothing") };
        state.play(slot, &asked)
    }

    /// Stores the result of the import of entry `slot`.
    pub fn fill<T: Serialize>(&self, slot: usize, value: &T) {
        match to_raw_value(value) {
            Ok(json) => self.fill_raw(slot, json),
            Err(error) => self.cannot_be_kept(format!("an import's result cannot be written as JSON: {error}")),
        }
    }

    /// Stores the result as JSON.
    pub fn fill_raw(&self, slot: usize, json: Box<RawValue>) {
        if self.secrets.are_in(json.get()) {
            return self.cannot_be_kept("the result of an import holds the value of a secret variable".to_owned());
        }
        let mut state = self.state.lock();
        state.bytes += json.get().len();
        if let Some(entry) = state.entries.get_mut(slot) {
            entry.result = Some(json);
        }
        if state.bytes > MAX_RECORDING_BYTES {
            state.entries = Vec::new();
            state.fault.get_or_insert_with(|| format!("it takes more than {MAX_RECORDING_BYTES} bytes"));
        }
    }

    /// Sets the arguments of entry `slot`, which are known only now.
    pub(crate) fn arguments(&self, slot: usize, arguments: &str) {
        let arguments = self.secrets.hide(arguments);
        if let Some(entry) = self.state.lock().entries.get_mut(slot) {
            let Entry { import, result, .. } = std::mem::take(entry);
            *entry = Entry { result, ..Entry::new(&import, &arguments) };
        }
    }

    /// Marks that the call cannot be kept, with the reason.
    pub fn cannot_be_kept(&self, why: String) {
        self.state.lock().fault.get_or_insert(why);
    }

    /// A read without effects: records its value, or returns the recorded one. A replay that reads more often gets the
    /// last value again.
    pub(crate) fn read(&self, lane: Lane, live: impl FnOnce() -> u64) -> u64 {
        let mut state = self.state.lock();
        if !self.replays {
            let seen = live();
            state.bytes += READ_BYTES;
            if state.bytes > MAX_RECORDING_BYTES {
                state.fault.get_or_insert_with(|| format!("it takes more than {MAX_RECORDING_BYTES} bytes"));
            } else {
                state.reads.lane(lane).push(seen);
            }
            return seen;
        }
        let look = state.looks.get_mut(lane as usize).map_or(0, |looks| {
            *looks += 1;
            *looks - 1
        });
        let seen = state.reads.lane(lane);
        seen.get(look).or(seen.last()).copied().unwrap_or_default()
    }

    /// Sets how the call ended.
    pub fn ends(&self, answer: Answer) {
        self.state.lock().answer = Some(answer);
    }

    /// The first difference of a replay from the recorded imports, including imports that it has not called.
    pub fn difference(&self) -> Option<Difference> {
        let state = self.state.lock();
        state.difference.clone().or_else(|| {
            let missing = state.entries.get(state.at)?;
            (missing.arguments != UNRECORDED).then(|| Difference {
                at: state.at,
                recorded: Some(missing.text()),
                now: None,
            })
        })
    }

    /// The number of imports that a replay has called.
    pub fn played(&self) -> usize {
        self.state.lock().at
    }
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").field("replays", &self.replays).finish_non_exhaustive()
    }
}

impl Drop for Tape {
    /// All work that the call has started has ended now, so the recorder gets the recording.
    fn drop(&mut self) {
        let Some(taping) = self.taping.take() else { return };
        let state = std::mem::take(self.state.get_mut());
        taping.end(&hex::encode(self.seed), state.entries, state.reads, state.answer, state.fault, &self.secrets);
    }
}
