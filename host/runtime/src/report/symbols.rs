//! Source lines of a component's functions, from the symbols beside its file.
//!
//! They are read when a place in the code fails for the first time, and only if the file has not changed since it was
//! loaded. The result for a place is kept, but not the symbols, because they are many times larger than the code.

use super::frames::Frame;
use super::sections::{Module, modules, symbols_of, without_symbols};
use crate::load;
use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

souk_manifest::fixed_limits! {
    /// The fixed limits of symbols.
    pub(super) const FIXED_LIMITS = "log";

    /// The largest file with symbols that is read.
    const MAX_SYMBOLS_BYTES: u64 = 256 << 20, bytes;
    /// The most places of a component whose source lines are kept.
    const MAX_PLACES: usize = 1_024, "places";
}

/// The symbols of one component.
pub struct Symbols {
    file: PathBuf,
    /// The state of the file when it was loaded.
    loaded: Stamp,
    /// The functions at each place in the code, the innermost inlined one first.
    known: Mutex<HashMap<usize, Arc<[Frame]>>>,
}

/// Size and time of a file, which show whether it has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let data = file.metadata().ok()?;
        Some(Stamp { length: data.len(), modified: data.modified().ok() })
    }
}

impl Symbols {
    /// The symbols of the component that was just loaded from `file`; `None` if there are none.
    pub fn of(file: &Path) -> Option<Arc<Self>> {
        if !symbols_of(file).exists() {
            return None;
        }
        let loaded = Stamp::of(file)?;
        Some(Arc::new(Symbols { file: file.to_owned(), loaded, known: Mutex::default() }))
    }

    /// `frames` with their source lines, and with the functions that were inlined. A frame without symbols is not
    /// changed.
    pub(super) async fn resolve(self: &Arc<Self>, frames: Vec<Frame>) -> Vec<Frame> {
        let offsets: Vec<usize> = frames.iter().filter_map(|frame| frame.offset).collect();
        let new: Vec<usize> = {
            let known = self.known.lock();
            offsets.into_iter().filter(|offset| !known.contains_key(offset)).collect()
        };
        if !new.is_empty() {
            let this = self.clone();
            let found = tokio::task::spawn_blocking(move || this.look_up(&new)).await.unwrap_or_default();
            let mut known = self.known.lock();
            if known.len() + found.len() > MAX_PLACES {
                known.clear();
            }
            known.extend(found);
        }
        let known = self.known.lock();
        let resolved = frames.into_iter().flat_map(|frame| {
            let found = frame.offset.and_then(|offset| known.get(&offset)).filter(|found| !found.is_empty());
            match found {
                Some(found) => {
                    let mut found = found.to_vec();
                    // The function that is not inlined keeps its name from the code, which includes its module.
                    if let Some(last) = found.last_mut() {
                        last.function.clone_from(&frame.function);
                    }
                    found
                }
                None => vec![frame],
            }
        });
        resolved.collect()
    }

    /// The functions at these places; the result contains all of them, so that none is searched for again.
    fn look_up(&self, offsets: &[usize]) -> HashMap<usize, Arc<[Frame]>> {
        let mut found: HashMap<usize, Arc<[Frame]>> = offsets.iter().map(|offset| (*offset, Arc::default())).collect();
        if Stamp::of(&self.file) != Some(self.loaded) {
            return found;
        }
        let (Some(file), Some(symbols)) = (read(&self.file), read(&symbols_of(&self.file))) else { return found };
        if without_symbols(&symbols).as_deref() != Some(&*file) {
            return found;
        }
        // The code as it was compiled, because the offsets refer to it.
        let Ok(code) = load::component(&file) else { return found };
        let (Ok(compiled), Ok(described)) = (modules(&code), modules(&symbols)) else { return found };
        for (compiled, described) in
            compiled.iter().zip(&described).filter(|(_, described)| !described.debug.is_empty())
        {
            let Some(context) = context(described) else { continue };
            for (offset, frames) in &mut found {
                if compiled.code.contains(offset) {
                    *frames = functions(&context, *offset, compiled.code.start);
                }
            }
        }
        found
    }
}

fn read(file: &Path) -> Option<Vec<u8>> {
    (file.metadata().ok()?.len() <= MAX_SYMBOLS_BYTES).then(|| std::fs::read(file).ok()).flatten()
}

type Reader<'a> = EndianSlice<'a, LittleEndian>;

fn context<'a>(module: &Module<'a>) -> Option<Context<Reader<'a>>> {
    let section = |id: SectionId| {
        let bytes = module.debug.get(id.name()).copied().unwrap_or_default();
        Ok::<_, addr2line::gimli::Error>(EndianSlice::new(bytes, LittleEndian))
    };
    Context::from_dwarf(Dwarf::load(section).ok()?).ok()
}

/// The functions at the place; DWARF counts from the beginning of the code.
fn functions(context: &Context<Reader<'_>>, offset: usize, start: usize) -> Arc<[Frame]> {
    let mut functions = Vec::new();
    let address = offset.saturating_sub(start) as u64;
    let Ok(mut frames) = context.find_frames(address).skip_all_loads() else { return Arc::default() };
    while let Ok(Some(frame)) = frames.next() {
        let Some(name) = frame.function.as_ref().and_then(|function| function.raw_name().ok()) else { continue };
        let place = frame.location.and_then(|location| {
            let (file, line) = (location.file?, location.line?);
            Some(format!("{file}:{line}"))
        });
        functions.push(Frame { place, ..Frame::named(&name, Some(offset)) });
    }
    functions.into()
}
