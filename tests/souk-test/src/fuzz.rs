//! Fuzz targets as tests: first every input of the corpus, then random inputs for a few seconds.
//!
//! Unlike `cargo fuzz`, these runs need no nightly compiler. Both call the same function and share the corpus, a folder
//! for each target in `tests/fuzz/corpus/`. A random input is a corpus input with a few changes, because purely random
//! bytes seldom get past the first character of a format. `FUZZ_SECONDS=600` makes a run longer.

use crate::random::Random;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The maximum length of a random input.
const MAX_INPUT_BYTES: usize = 4096;

/// Runs `target` on the corpus of `name`, and then on random inputs for `FUZZ_SECONDS` (5 by default).
///
/// # Panics
/// When the target panics; the message names a file with the input. Also when the corpus is empty.
pub fn check(name: &str, target: impl Fn(&[u8])) {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus")).join(name);
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display())) {
        kept.push(std::fs::read(entry.unwrap().path()).unwrap());
    }
    assert!(!kept.is_empty(), "{} has no input", root.display());
    // The order of a folder's files differs between machines, but a seed must give the same inputs everywhere.
    kept.sort();
    for input in &kept {
        run(name, &target, input);
    }
    let seconds = std::env::var("FUZZ_SECONDS").map_or(5, |text| text.parse().expect("FUZZ_SECONDS is a number"));
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let (mut random, start, mut runs) = (Random::new(seed), Instant::now(), 0_u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        // The clock is read once for 64 inputs: some targets take less time than reading it.
        for _ in 0..64 {
            run(name, &target, &mutated(&mut random, &kept));
            runs += 1;
        }
    }
    println!("{name}: {} kept inputs and {runs} random ones (seed {seed}) held", kept.len());
}

/// Runs one input. If it fails, writes it to a file that can be added to the corpus.
fn run(name: &str, target: &impl Fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let file = std::env::temp_dir().join(format!("fuzz-{name}-{}", std::process::id()));
        std::fs::write(&file, input).unwrap();
        eprintln!("{name}: failed on {} (keep it in tests/fuzz/corpus/{name})", file.display());
        resume_unwind(panic);
    }
}

/// A corpus input with up to eight changes.
fn mutated(random: &mut Random, kept: &[Vec<u8>]) -> Vec<u8> {
    let mut input = kept[random.below(kept.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        match random.below(7) {
            // Change a byte, or a bit.
            0 if at < input.len() => input[at] = random.next_u64() as u8,
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            // Insert a byte that formats give a meaning to.
            2 => input.insert(at, b"\"\\{}[]:,=&%.-+0 \n\r\0"[random.below(19)]),
            // Remove a part, or repeat a part.
            3 => drop(input.drain(at..(at + random.below(16)).min(input.len()))),
            4 => {
                let part = input[at..(at + random.below(64)).min(input.len())].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, part);
            }
            // Insert a part of another corpus input.
            5 => {
                let other = &kept[random.below(kept.len())];
                let from = random.below(other.len() + 1);
                let part = other[from..(from + random.below(64)).min(other.len())].to_vec();
                input.splice(at..at, part);
            }
            // Insert a number just beyond a limit of some type.
            _ => {
                let bounds = ["18446744073709551616", "-9223372036854775809", "1e999", "4294967296", "-1", "65536"];
                input.splice(at..at, bounds[random.below(bounds.len())].bytes());
            }
        }
    }
    input.truncate(MAX_INPUT_BYTES);
    input
}
