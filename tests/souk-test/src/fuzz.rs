//! Fuzz targets as tests: every kept input, then random ones for a few seconds.
//!
//! `cargo fuzz` needs a nightly compiler; these runs need nothing. Both call the same function and share the kept inputs,
//! a folder for each target in `tests/fuzz/corpus/`. Random inputs are kept ones changed in some places, because bytes
//! at random would seldom get past the first character of a format. `FUZZ_SECONDS=600` makes a run longer.

use crate::random::Random;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The longest input that is made.
const MAX_INPUT_BYTES: usize = 4096;

/// Runs `target` on the kept inputs of `name`, and then on random ones for `FUZZ_SECONDS` (5 by default).
///
/// # Panics
/// When the target does, after writing the input to a file that the message names; and when no input is kept.
pub fn check(name: &str, target: impl Fn(&[u8])) {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus")).join(name);
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display())) {
        kept.push(std::fs::read(entry.unwrap().path()).unwrap());
    }
    assert!(!kept.is_empty(), "{} has no input", root.display());
    // The order of a folder is not the same on two machines, and the seed is to mean the same.
    kept.sort();
    for input in &kept {
        run(name, &target, input);
    }
    let seconds = std::env::var("FUZZ_SECONDS").map_or(5, |text| text.parse().expect("FUZZ_SECONDS is a number"));
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let (mut random, start, mut runs) = (Random::new(seed), Instant::now(), 0_u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        // The clock is asked once in so many inputs: some targets take less time than asking.
        for _ in 0..64 {
            run(name, &target, &mutated(&mut random, &kept));
            runs += 1;
        }
    }
    println!("{name}: {} kept inputs and {runs} random ones (seed {seed}) held", kept.len());
}

/// One input; where it fails, it is written to a file, to become a kept one.
fn run(name: &str, target: &impl Fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let file = std::env::temp_dir().join(format!("fuzz-{name}-{}", std::process::id()));
        std::fs::write(&file, input).unwrap();
        eprintln!("{name}: failed on {} (keep it in tests/fuzz/corpus/{name})", file.display());
        resume_unwind(panic);
    }
}

/// A kept input with up to eight changes.
fn mutated(random: &mut Random, kept: &[Vec<u8>]) -> Vec<u8> {
    let mut input = kept[random.below(kept.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        match random.below(7) {
            // Another byte, or another bit.
            0 if at < input.len() => input[at] = random.next_u64() as u8,
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            // A byte that formats give a meaning to.
            2 => input.insert(at, b"\"\\{}[]:,=&%.-+0 \n\r\0"[random.below(19)]),
            // Without a part, or with a part twice.
            3 => drop(input.drain(at..(at + random.below(16)).min(input.len()))),
            4 => {
                let part = input[at..(at + random.below(64)).min(input.len())].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, part);
            }
            // With a part of another kept input.
            5 => {
                let other = &kept[random.below(kept.len())];
                let from = random.below(other.len() + 1);
                let part = other[from..(from + random.below(64)).min(other.len())].to_vec();
                input.splice(at..at, part);
            }
            // A number that is at some bound.
            _ => {
                let bounds = ["18446744073709551616", "-9223372036854775809", "1e999", "4294967296", "-1", "65536"];
                input.splice(at..at, bounds[random.below(bounds.len())].bytes());
            }
        }
    }
    input.truncate(MAX_INPUT_BYTES);
    input
}
