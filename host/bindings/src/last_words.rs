//! Why a guest failed, as its standard error says.
//!
//! A panic of Rust prints its place and then its text. The engines of JavaScript and Python print an exception with
//! its stack; then the SDK answers the request with 500 and an empty body, or the guest traps. Of other guests the last
//! line is all that is known. A guest can print anything, so the result is for the log and for developers only.

souk_manifest::fixed_limits! {
    /// The fixed limits of the last words.
    pub(crate) const FIXED_LIMITS = "output of components";

    /// The most bytes of one line of a component's last output that are reported with its failure.
    pub(super) const MAX_LAST_WORDS_BYTES: usize = 512, bytes;
}

/// What StarlingMonkey, the engine of `componentize-js`, prints before the error that a handler of requests has thrown.
const HANDLER_ERROR: &str = "Error while running request handler: ";
/// The text that `componentize-js` gives an error of an imported function. It does not have the error's case.
const WITHOUT_CASE: &str = "[object Object] (see error.payload)";
/// What is reported instead of it.
const HOW_TO_SEE_CASE: &str = "an imported function returned an error, which is in `payload` of what is thrown: catch \
                               that, and print JSON.stringify(error.payload)";
/// The line between an error of JavaScript and its stack.
const STACK: &str = "Stack:";
/// The line before the stack of an exception in Python; the exception follows the stack.
const TRACEBACK: &str = "Traceback (most recent call last):";

/// What the next line belongs to.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Within {
    #[default]
    Nothing,
    /// It is a panic's text.
    Panic,
    /// It is the innermost function of an error's stack in JavaScript.
    Stack,
    /// It is a function of a stack in Python, the innermost last, or, not indented, the exception.
    Traceback,
}

/// The last output of a guest in a call.
#[derive(Default)]
pub(super) struct LastWords {
    within: Within,
    /// `panicked at FILE:LINE:COLUMN`, followed by `: TEXT` once that line has arrived.
    panic: Option<String>,
    /// An error in JavaScript.
    error: Option<String>,
    /// An exception in Python. The engine panics after it, which says less.
    exception: Option<String>,
    /// The last function of the stack in Python.
    function: String,
    line: String,
}

impl LastWords {
    pub(super) fn note(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line.get(..MAX_LAST_WORDS_BYTES).unwrap_or(line));
        if let Some((_, place)) = line.split_once("panicked at ") {
            self.panic = Some(format!("panicked at {}", place.trim_end_matches(':')));
            self.within = Within::Panic;
            return;
        }
        let is_indented = line.starts_with(' ');
        match std::mem::take(&mut self.within) {
            Within::Panic => return append(&mut self.panic, &format!(": {line}")),
            Within::Stack if is_indented => return append(&mut self.error, &format!(" ({})", line.trim())),
            Within::Traceback if is_indented => {
                self.within = Within::Traceback;
                if line.trim_start().starts_with("File ") {
                    self.function = line.trim().to_owned();
                }
                return;
            }
            Within::Traceback => {
                let function = std::mem::take(&mut self.function);
                self.exception = Some(match function.as_str() {
                    "" => line.to_string(),
                    function => format!("{line} ({function})"),
                });
            }
            Within::Stack | Within::Nothing => {}
        }
        if line.starts_with(TRACEBACK) {
            self.within = Within::Traceback;
        } else if let Some(error) = line.strip_prefix(HANDLER_ERROR) {
            self.error = Some(explained(error));
        } else if line == STACK && !self.line.is_empty() {
            // A function of a contract prints its error without that beginning.
            let error = self.line.strip_prefix(HANDLER_ERROR).unwrap_or(&self.line);
            self.error = Some(explained(error));
            self.within = Within::Stack;
        }
        if !line.starts_with("note: run with `RUST_BACKTRACE") {
            self.line.clear();
            self.line.push_str(&line);
        }
    }

    /// Why the guest failed: its exception, its panic, or the last line.
    pub(super) fn reason(&self) -> Option<String> {
        let line = Some(&self.line).filter(|line| !line.is_empty()).map(|line| format!("it printed last: {line}"));
        let known = self.exception.as_ref().or(self.panic.as_ref()).or(self.error.as_ref());
        known.cloned().or(line)
    }

    /// The last exception that the guest printed.
    pub(super) fn exception(&self) -> Option<&str> {
        self.exception.as_deref().or(self.error.as_deref())
    }
}

/// The text of an error in JavaScript. The case of an imported function's error never left the guest, so its developer
/// learns how to see it.
fn explained(error: &str) -> String {
    error.replace(WITHOUT_CASE, HOW_TO_SEE_CASE)
}

fn append(text: &mut Option<String>, more: &str) {
    if let Some(text) = text {
        text.push_str(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(lines: &[&str]) -> LastWords {
        let mut words = LastWords::default();
        lines.iter().for_each(|line| words.note(line.as_bytes()));
        words
    }

    #[test]
    fn the_last_words_are_a_panic_with_its_text_or_the_last_line() {
        let cases: [(&[&str], Option<&str>); 5] = [
            (&[], None),
            (&["one", "two"], Some("it printed last: two")),
            (
                &[
                    "one",
                    "thread '<unnamed>' panicked at src/lib.rs:7:9:",
                    "no such link",
                    "note: run with `RUST_BACKTRACE=1`",
                ],
                Some("panicked at src/lib.rs:7:9: no such link"),
            ),
            (&["thread 'main' panicked at src/lib.rs:7:9:"], Some("panicked at src/lib.rs:7:9")),
            // What a guest in Rust prints itself does not hide its panic.
            (&["one", "Stack:", "  two", "thread 'main' panicked at a.rs:7:9:"], Some("panicked at a.rs:7:9")),
        ];
        for (lines, expected) in cases {
            assert_eq!(words(lines).reason().as_deref(), expected);
        }
        let long = "x".repeat(8 * 1024);
        assert!(words(&[&long]).reason().is_some_and(|reason| reason.len() < 2 * MAX_LAST_WORDS_BYTES));
        for begin in [TRACEBACK, STACK, HANDLER_ERROR, "panicked at a:"] {
            let lines = [begin, &long, &format!("  File {long}"), &long, &long];
            assert!(words(&lines).reason().is_some_and(|reason| reason.len() < 3 * MAX_LAST_WORDS_BYTES), "{begin}");
        }
    }

    #[test]
    fn the_last_words_of_javascript_and_python_are_the_exception_with_its_place() {
        let javascript: &[&str] = &[
            "Error while running request handler: undefinedName is not defined",
            "Stack:",
            "  answer@web/app.js:20:45",
            "  @web/app.js:6:56",
        ];
        let imported: &[&str] = &[
            "Error while running request handler: [object Object] (see error.payload)",
            "Stack:",
            "  answer@web/app.js:9:20",
        ];
        let explained = format!("{HOW_TO_SEE_CASE} (answer@web/app.js:9:20)");
        let thrown: &[&str] = &["Error while running request handler: \"no object of Error\""];
        let contract: &[&str] = &["Exception while calling: boom", "Stack:", "  set@store/app.js:3:9"];
        let python: &[&str] = &[
            "Traceback (most recent call last):",
            "  File \"/1/spin_sdk/http/__init__.py\", line 86, in handle",
            "    simple_response = await self.handle_request(Request(",
            "                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
            "  File \"/0/app.py\", line 20, in handle_request",
            "ValueError: boom on purpose",
        ];
        let chained: Vec<&str> = python
            .iter()
            .copied()
            .chain(["During handling of the above exception, another exception occurred:"])
            .chain(["Traceback (most recent call last):", "  File \"/0/app.py\", line 22, in set", "KeyError: 'a'"])
            .chain(["thread '<unnamed>' panicked at runtime/src/lib.rs:1:2:", "Python function threw an exception"])
            .collect();
        for (lines, expected) in [
            (javascript, "undefinedName is not defined (answer@web/app.js:20:45)"),
            (imported, explained.as_str()),
            (thrown, "\"no object of Error\""),
            (contract, "Exception while calling: boom (set@store/app.js:3:9)"),
            (python, "ValueError: boom on purpose (File \"/0/app.py\", line 20, in handle_request)"),
            (chained.as_slice(), "KeyError: 'a' (File \"/0/app.py\", line 22, in set)"),
        ] {
            let words = words(lines);
            assert_eq!(words.reason().as_deref(), Some(expected));
            assert_eq!(words.exception(), Some(expected));
        }
        let panicked = words(&["thread 'main' panicked at src/lib.rs:7:9:", "boom"]);
        assert!(panicked.exception().is_none() && words(&["one"]).exception().is_none());
    }
}
