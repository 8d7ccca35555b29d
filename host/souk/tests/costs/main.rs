//! Counts what one request costs, without measuring time: `cargo test -p souk --features full --test costs`.
//!
//! On a shared machine such as CI's, time measurements say little. So this test counts what a code change affects and a
//! neighbour does not: a request's memory allocations, system calls and instructions. The application runs in this
//! process, on one thread, and its client is at the other end of an in-memory connection ([`served`]). The process runs
//! itself three times: plainly, under `strace`, and under Valgrind's `callgrind` ([`counted`]).
//!
//! It does so three times: on a host that observes nothing, one that measures, as each host does, and one that also keeps
//! a trace of each request. Measuring may add [`MEASURED`] of the instructions, no allocation and no system call; traces
//! may add [`TRACED`]. Left out of this comparison are rows whose instructions differ from run to run, whatever the host
//! observes.
//!
//! Allocations and system calls must equal the numbers in `recorded.json`; instructions may differ by [`TOLERANCE`],
//! and those of such rows, and of rows with several threads, by more. Instructions also depend on the compiler: with another compiler than
//! recorded, or another profile than `dev`, they are shown but not compared. A change that is meant to cost less or
//! more rewrites the file in its commit: `UPDATE_SNAPSHOTS=1`. Of the 630,000 instructions for the static document, half
//! belong to the in-memory connection, which copies its 150 KB twice.
//!
//! Other programs on the machine can only add to a count, so costs that differ are counted up to [`ATTEMPTS`] times, and the
//! least of each counts.
//!
//! This binary has no test harness: `strace` follows the first thread of a process, but a harness runs tests on other
//! threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may stop

mod counted;
mod served;

use counted::{Costs, Recorded};
use served::{Observed, ROWS, Row};
use souk_test::allocations::{COUNTING, Counting};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

/// How much instructions may differ from the recorded number: addresses and hashes vary from run to run.
const TOLERANCE: f64 = 0.03;
/// The same for rows that are not steady.
const TOLERANCE_OF_UNSTEADY: f64 = 0.06;
/// The same for rows with several threads, and for allocations too: how often threads wake each other varies.
const TOLERANCE_OF_THREADS: f64 = 0.1;
/// How many instructions metrics may add to a request. The aim is 1 %; of six runs, each counted once, the highest figure
/// was 1.4 %.
const MEASURED: f64 = 0.015;
/// How many instructions the trace of a request may add to it. The aim is 5 %, which every request to a database meets; a
/// request that only greets is so small that its spans are up to 6.5 % of it.
const TRACED: f64 = 0.075;
/// How often the costs are counted before they differ. On a busy machine a request takes longer, so the guests' clock ticks
/// more often in it, and that only adds to its costs.
const ATTEMPTS: u32 = 3;
/// How many requests of a row are counted.
const REQUESTS: usize = 1_000;
/// The same under Valgrind, where each takes fifty times as long.
const REQUESTS_INSTRUMENTED: usize = 200;
/// The name of this test, for test filters.
const NAME: &str = "requests_cost_what_is_recorded";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [command, requests, state, observed] = args.as_slice()
        && command == served::COMMAND
    {
        served::run(requests.parse().unwrap(), Path::new(state), Observed::named(observed));
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|arg| arg == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let mut filters = args.iter().filter(|arg| !arg.starts_with('-')).peekable();
    if filters.peek().is_some() && !filters.any(|filter| NAME.contains(filter.as_str())) {
        return ExitCode::SUCCESS;
    }
    compare()
}

fn compare() -> ExitCode {
    for app in ["store", "probe"] {
        let build = Command::new(env!("CARGO_BIN_EXE_souk")).args(["build", "-f"]).arg(served::manifest(app)).status();
        assert!(build.unwrap().success(), "souk build -f {}", served::manifest(app).display());
    }
    let folder = tempfile::tempdir().unwrap();
    let count = |attempt, observed| counted::count(folder.path(), attempt, observed, REQUESTS, REQUESTS_INSTRUMENTED);
    let file = recorded_file();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let now = count(1, Observed::Measured);
        std::fs::write(&file, serde_json::to_string_pretty(&now).unwrap() + "\n").unwrap();
        println!("{NAME}: written to {}", file.display());
        return ExitCode::SUCCESS;
    }
    let recorded: Recorded = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let mut least = Observed::ALL.map(|observed| count(1, observed));
    for attempt in 1.. {
        let [off, measured, traced] = &least;
        let (differs, observing_costs_more) = (differs(measured, &recorded), observing(off, measured, traced));
        if !differs && !observing_costs_more {
            break;
        }
        if attempt == ATTEMPTS {
            println!("{NAME}: FAILED");
            if observing_costs_more {
                println!("  fix: make `souk_bindings::boundary` and `souk_bindings::trace` cheaper");
            }
            if differs {
                println!(
                    "  fix: if the change is meant to cost this, write {} again: UPDATE_SNAPSHOTS=1 cargo test -p souk \
                     --features full --test costs",
                    file.display()
                );
            }
            return ExitCode::FAILURE;
        }
        println!("\ncounting once more: the least of all counts is what counts");
        let again = Observed::ALL.map(|observed| count(attempt + 1, observed));
        least.iter_mut().zip(&again).for_each(|(least, again)| least.lower_to(again));
    }
    ExitCode::SUCCESS
}

/// Prints the costs beside those that are recorded, and returns whether they differ.
fn differs(now: &Recorded, recorded: &Recorded) -> bool {
    // In the profile `release` this test asserts nothing.
    let same_compiler = recorded.rustc == now.rustc && cfg!(debug_assertions);
    let mut differs = recorded.rows.len() != now.rows.len();
    println!("{:<24} {:>12} {:>12} {:>14}   recorded", "one request", "allocations", "system calls", "instructions");
    for (row, costs) in &now.rows {
        let before = recorded.rows.get(row).cloned().unwrap_or_default();
        let near = |figure: fn(&Costs) -> u64, tolerance| is_near(figure(costs), figure(&before), tolerance);
        let tolerance = |row: &Row| if row.is_steady { TOLERANCE } else { TOLERANCE_OF_UNSTEADY };
        let fits = match ROWS.iter().find(|of| of.name == row && of.on_one_thread) {
            Some(row) => {
                costs.allocations == before.allocations
                    && costs.system_calls == before.system_calls
                    && (!same_compiler || near(|costs| costs.instructions, tolerance(row)))
            }
            None => {
                near(|costs| costs.allocations, TOLERANCE_OF_THREADS)
                    && (!same_compiler || near(|costs| costs.instructions, TOLERANCE_OF_THREADS))
            }
        };
        differs |= !fits;
        println!(
            "{row:<24} {:>12} {:>12} {:>14}   {} / {} / {}{}",
            costs.allocations,
            costs.system_calls,
            costs.instructions,
            before.allocations,
            before.system_calls,
            before.instructions,
            if fits { "" } else { "   <- differs" },
        );
    }
    if !same_compiler {
        println!(
            "instructions are not compared: recorded with {} and the profile dev, this is {}",
            recorded.rustc, now.rustc
        );
    }
    differs
}

/// Prints what metrics and traces add to each request, and returns whether that is too much.
#[expect(clippy::cast_precision_loss, reason = "of figures below 2^52")]
fn observing(off: &Recorded, measured: &Recorded, traced: &Recorded) -> bool {
    println!("\n{:<24} {:>14} {:>14} {:>14}", "instructions", "not observed", "with metrics", "with traces");
    let mut too_much = false;
    for row in ROWS.iter().filter(|row| row.is_steady) {
        let [off, measured, traced] = [off, measured, traced].map(|costs| &costs.rows[row.name]);
        let added = |to: &Costs, with: &Costs| with.instructions as f64 / to.instructions as f64 - 1.0;
        let (metrics, traces) = (added(off, measured), added(measured, traced));
        let fits = metrics <= MEASURED
            && traces <= TRACED
            && measured.allocations <= off.allocations
            && measured.system_calls <= off.system_calls;
        too_much |= !fits;
        println!(
            "{:<24} {:>14} {:>+13.2}% {:>+13.2}%{}",
            row.name,
            off.instructions,
            metrics * 100.0,
            traces * 100.0,
            if fits { "" } else { "   <- too much" },
        );
    }
    too_much
}

#[expect(clippy::cast_precision_loss, reason = "of figures below 2^52")]
fn is_near(now: u64, before: u64, tolerance: f64) -> bool {
    (now as f64 - before as f64).abs() <= before as f64 * tolerance
}

fn recorded_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/costs/recorded.json")
}
