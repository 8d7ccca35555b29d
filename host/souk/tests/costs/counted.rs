//! Runs this program again, alone, under strace and under callgrind, and reads what each run counted.

use super::served::{COMMAND, MARKS, Observed, ROWS};
use serde::{Deserialize, Serialize};
use souk_test::debian;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::Path;
use std::process::Command;

/// The cost of one request.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Costs {
    /// Memory allocations.
    pub allocations: u64,
    /// System calls of the serving thread.
    pub system_calls: u64,
    /// Instructions of the process.
    pub instructions: u64,
}

/// The costs of all rows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// The compiler for which the instructions were counted.
    pub rustc: String,
    /// The cost of one request of each row.
    pub rows: BTreeMap<String, Costs>,
}

impl Recorded {
    /// Takes each figure of `again` that is lower.
    pub(crate) fn lower_to(&mut self, again: &Recorded) {
        for (row, costs) in &mut self.rows {
            let again = &again.rows[row];
            costs.allocations = costs.allocations.min(again.allocations);
            costs.system_calls = costs.system_calls.min(again.system_calls);
            costs.instructions = costs.instructions.min(again.instructions);
        }
    }
}

/// Counts the costs of each row on a host that is `observed`. Each `attempt` starts with empty databases, in a folder of
/// its own below `folder`. Allocations and system calls are counted over `requests` requests, instructions over
/// `instrumented` requests: callgrind is slow.
pub(crate) fn count(folder: &Path, attempt: u32, observed: Observed, requests: usize, instrumented: usize) -> Recorded {
    let cache = folder.join("cache");
    let folder = &folder.join(attempt.to_string()).join(observed.name());
    let state = folder.join("state");
    share_caches(&cache, &state);
    let program = std::env::current_exe().unwrap();
    let serve = |command: &mut Command, requests: usize| {
        let run = command.arg(COMMAND).arg(requests.to_string()).arg(&state).arg(observed.name()).output();
        let run = run.unwrap();
        assert!(run.status.success(), "{command:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    // The first run compiles the components and fills the databases.
    let allocations = serve(&mut Command::new(&program), requests);
    let calls = folder.join("calls");
    let strace = debian::found_or_installed(&["strace"], "strace");
    serve(Command::new(strace).args(["-s", "64", "-o"]).arg(&calls).arg(&program), requests);
    let profile = folder.join("profile");
    let mut valgrind = Command::new(debian::found_or_installed(&["valgrind"], "valgrind"));
    valgrind.args(["-q", "--tool=callgrind", "--dump-before=costs::served::mark*"]);
    valgrind.arg(format!("--callgrind-out-file={}", profile.display())).arg(&program);
    serve(&mut valgrind, instrumented);
    let calls = system_calls(&std::fs::read_to_string(calls).unwrap());
    let rows = ROWS.iter().enumerate().map(|(at, row)| {
        // The profile's parts end at the marks: every second part belongs to a row.
        let part = format!("{}.{}", profile.display(), at * 2 + 2);
        let costs = Costs {
            allocations: allocations_of(&allocations, row.name),
            system_calls: per_request(calls[at], requests),
            instructions: per_request(instructions(&std::fs::read_to_string(part).unwrap()), instrumented),
        };
        (row.name.to_owned(), costs)
    });
    Recorded { rustc: rustc(), rows: rows.collect() }
}

/// The state folders below `state` get one cache of compiled code: all hosts compile the same components.
fn share_caches(cache: &Path, state: &Path) {
    let mut make = DirBuilder::new();
    make.recursive(true).mode(0o700);
    for app in ROWS.iter().map(|row| row.app).collect::<BTreeSet<_>>() {
        make.create(cache.join(app)).unwrap();
        make.create(state.join(app)).unwrap();
        symlink(cache.join(app), state.join(app).join("cache")).unwrap();
    }
}

fn per_request(all: u64, requests: usize) -> u64 {
    let requests = requests as u64;
    (all + requests / 2) / requests
}

fn allocations_of(printed: &str, row: &str) -> u64 {
    let line = printed.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no row {row}: {printed}")).parse().unwrap()
}

/// The system calls between each pair of marks.
fn system_calls(trace: &str) -> Vec<u64> {
    let (begin, end) = (format!("{MARKS}/begin"), format!("{MARKS}/end"));
    let (mut rows, mut count) = (Vec::new(), 0);
    for line in trace.lines() {
        if line.contains(&begin) {
            count = 0;
        } else if line.contains(&end) {
            rows.push(count);
        } else {
            count += 1;
        }
    }
    rows
}

fn instructions(part: &str) -> u64 {
    let total = part.lines().find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")));
    total.expect("a total").split_whitespace().next().unwrap().parse().unwrap()
}

fn rustc() -> String {
    let version = Command::new("rustc").arg("-V").output().unwrap();
    String::from_utf8(version.stdout).unwrap().trim().to_owned()
}
