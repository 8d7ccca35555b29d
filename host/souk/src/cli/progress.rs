//! What commands print on standard error while components are compiled, which takes tens of seconds for components in
//! JavaScript and Python: their files contain the language's engine.
//!
//! `souk up` prints each step. Commands that start an application for another purpose print one line ([`once`]).
//! `souk test` starts `souk up` as another process, and finds this line in its log ([`compiling_in`]).

use super::output;
use crate::app::Progress;
use std::sync::atomic::{AtomicBool, Ordering};

/// The beginning of the line about what is being compiled.
const COMPILING: &str = "compiling ";

/// Prints a step of a start.
pub(super) fn show(progress: &Progress) {
    match progress {
        Progress::Compiling { components, so_far } => {
            let what = compiling(components);
            output::note(&format!("{what} since {} s; later starts load it", so_far.as_secs()));
        }
        Progress::Ready { components, took } => {
            output::note(&format!("    ready {} in {:.2} s", components.join(", "), took.as_secs_f64()));
        }
        Progress::Migrated { component, count } => output::note(&format!(" migrated {component}: {count} applied")),
    }
}

/// Prints one line, and only if compiling takes long.
pub(super) fn once() -> impl Fn(Progress) {
    first_line(output::note)
}

fn first_line(print: impl Fn(&str)) -> impl Fn(Progress) {
    let printed = AtomicBool::new(false);
    move |progress| {
        if let Progress::Compiling { components, .. } = &progress
            && !printed.swap(true, Ordering::Relaxed)
        {
            print(&format!("{}, which takes a while; later starts load it", compiling(components)));
        }
    }
}

/// The first line of a host's log that says what it compiles.
pub(super) fn compiling_in(log: &str) -> Option<&str> {
    // The last line may not be complete yet.
    let (complete, _) = log.rsplit_once('\n')?;
    complete.lines().find(|line| line.starts_with(COMPILING))
}

/// The components that are being compiled, each with its size.
fn compiling(components: &[(String, u64)]) -> String {
    let named: Vec<String> =
        components.iter().map(|(names, bytes)| format!("{names} ({} MiB)", bytes.div_ceil(1 << 20))).collect();
    format!("{COMPILING}{}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::time::Duration;

    #[test]
    fn what_is_compiled_is_printed_once_with_its_size() {
        let printed = RefCell::new(Vec::new());
        let show = first_line(|line| printed.borrow_mut().push(line.to_owned()));
        let page = || vec![("page".to_owned(), 11 << 20), ("greeter".to_owned(), (40 << 20) + 1)];
        show(Progress::Ready { components: vec!["web".to_owned()], took: Duration::ZERO });
        assert!(printed.borrow().is_empty());
        for seconds in [5, 10] {
            show(Progress::Compiling { components: page(), so_far: Duration::from_secs(seconds) });
        }
        let line = "compiling page (11 MiB), greeter (41 MiB), which takes a while; later starts load it";
        assert_eq!(*printed.borrow(), [line]);
    }

    #[test]
    fn the_line_is_found_in_a_log_once_it_is_complete() {
        let log =
            "2026-01-01 INFO compiling nothing\ncompiling page (11 MiB) since 5 s; later starts load it\ncompiling";
        assert_eq!(compiling_in(log), Some("compiling page (11 MiB) since 5 s; later starts load it"));
        for incomplete in ["", "compiling page (11", "    ready page in 0.10 s\ncompiling page (11"] {
            assert_eq!(compiling_in(incomplete), None);
        }
    }
}
