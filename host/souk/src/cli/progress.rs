//! What commands print on standard error while components are compiled, which takes tens of seconds for components in
//! JavaScript and Python: their files contain the language's engine.
//!
//! `souk up` prints each step. Commands that start an application for another purpose print a line when other components
//! are being compiled than in the line before ([`compiled`]). `souk test` starts `souk up` as another process, and finds
//! such lines in its log ([`compiling_in`]).

use super::output;
use crate::app::Progress;
use parking_lot::Mutex;

/// The beginning of the line about what is being compiled.
const COMPILING: &str = "compiling ";
/// What follows the components in a line of `souk up`.
const SINCE: &str = " since ";

/// Prints a step of a start.
pub(super) fn show(progress: &Progress) {
    match progress {
        Progress::Compiling { components, so_far } => {
            let what = compiling(components);
            output::note(&format!("{what}{SINCE}{} s; later starts load it", so_far.as_secs()));
        }
        Progress::Ready { components, took } => {
            output::note(&format!("    ready {} in {:.2} s", components.join(", "), took.as_secs_f64()));
        }
        Progress::Migrated { component, count } => output::note(&format!(" migrated {component}: {count} applied")),
    }
}

/// Prints what is being compiled, if that takes long: a line for each list of components, which becomes shorter.
pub(super) fn compiled() -> impl Fn(Progress) {
    each_list(output::note)
}

fn each_list(print: impl Fn(&str)) -> impl Fn(Progress) {
    let printed = Mutex::new(String::new());
    move |progress| {
        let Progress::Compiling { components, .. } = &progress else { return };
        let what = compiling(components);
        let mut printed = printed.lock();
        if *printed != what {
            print(&format!("{what}, which takes a while; later starts load it"));
            *printed = what;
        }
    }
}

/// The lines of a host's log that say what it compiles, without those that differ from the line before only in the time.
pub(super) fn compiling_in(log: &str) -> Vec<&str> {
    // The last line may not be complete yet.
    let complete = log.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let mut lines: Vec<&str> = complete.lines().filter(|line| line.starts_with(COMPILING)).collect();
    lines.dedup_by(|line, before| line.split(SINCE).next() == before.split(SINCE).next());
    lines
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
    fn each_list_of_what_is_compiled_is_printed_once_with_its_sizes() {
        let printed = RefCell::new(Vec::new());
        let show = each_list(|line| printed.borrow_mut().push(line.to_owned()));
        let page = || vec![("page".to_owned(), 11 << 20), ("greeter".to_owned(), (40 << 20) + 1)];
        show(Progress::Ready { components: vec!["web".to_owned()], took: Duration::ZERO });
        assert!(printed.borrow().is_empty());
        for seconds in [5, 10] {
            show(Progress::Compiling { components: page(), so_far: Duration::from_secs(seconds) });
        }
        let both = "compiling page (11 MiB), greeter (41 MiB), which takes a while; later starts load it";
        assert_eq!(*printed.borrow(), [both]);
        for seconds in [15, 20] {
            let components = page().split_off(1);
            show(Progress::Compiling { components, so_far: Duration::from_secs(seconds) });
        }
        let rest = "compiling greeter (41 MiB), which takes a while; later starts load it";
        assert_eq!(*printed.borrow(), [both, rest]);
    }

    #[test]
    fn lines_are_found_in_a_log_once_they_are_complete_and_name_other_components() {
        let log =
            "2026-01-01 INFO compiling nothing\ncompiling page (11 MiB) since 5 s; later starts load it\ncompiling";
        assert_eq!(compiling_in(log), ["compiling page (11 MiB) since 5 s; later starts load it"]);
        for incomplete in ["", "compiling page (11", "    ready page in 0.10 s\ncompiling page (11"] {
            assert_eq!(compiling_in(incomplete), [""; 0]);
        }
        let both = "compiling page (11 MiB), web (1 MiB) since";
        let log = format!("{both} 5 s\n{both} 10 s\n    ready page in 11.00 s\ncompiling web (1 MiB) since 15 s\n");
        assert_eq!(compiling_in(&log), [format!("{both} 5 s").as_str(), "compiling web (1 MiB) since 15 s"]);
    }
}
