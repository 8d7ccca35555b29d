//! The functions that led to a call, for the report of its failure.
//!
//! It travels with every call, so it is a few numbers and no text: each function that can be called gets its number once,
//! when its component is made ready.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

souk_manifest::fixed_limits! {
    /// The fixed limits of paths.
    pub(crate) const FIXED_LIMITS = "calls";

    /// The most functions that the path of a call has; of a longer one the last are kept.
    const MAX_STEPS: usize = 8, "functions";
}

/// The number of one function; 0 is one that there was no number for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step(u16);

/// The names of all functions so far. They are of the manifest and of the components' contracts, and one that is there
/// again, in a new version, has its number already.
#[derive(Default)]
struct Names {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, Step>,
}

fn names() -> &'static RwLock<Names> {
    static NAMES: OnceLock<RwLock<Names>> = OnceLock::new();
    NAMES.get_or_init(RwLock::default)
}

impl Step {
    /// `function` of `component`.
    pub fn new(component: &str, function: &str) -> Self {
        let name: Arc<str> = format!("{component} {function}").into();
        let mut all = names().write();
        if let Some(known) = all.numbers.get(&name) {
            return *known;
        }
        let Ok(number) = u16::try_from(all.names.len() + 1) else { return Step::default() };
        all.names.push(name.clone());
        all.numbers.insert(name, Step(number));
        Step(number)
    }

    fn name(self) -> Option<Arc<str>> {
        names().read().names.get(usize::from(self.0).checked_sub(1)?).cloned()
    }
}

/// The functions that led to a call, the outermost first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallPath {
    steps: [Step; MAX_STEPS],
    length: u8,
}

impl CallPath {
    /// The call has come to `step`.
    pub fn push(&mut self, step: Step) {
        match self.steps.get_mut(usize::from(self.length)) {
            Some(place) => {
                *place = step;
                self.length += 1;
            }
            None => {
                self.steps.rotate_left(1);
                if let Some(last) = self.steps.last_mut() {
                    *last = step;
                }
            }
        }
    }

    /// All of them; `None` where there are none.
    pub fn text(&self) -> Option<String> {
        let steps = self.steps.get(..usize::from(self.length))?;
        let names: Vec<Arc<str>> = steps.iter().filter_map(|step| step.name()).collect();
        (!names.is_empty()).then(|| names.join(" > "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_last_functions_by_their_names() {
        let mut path = CallPath::default();
        assert_eq!(path.text(), None);
        for n in 0..MAX_STEPS + 1 {
            path.push(Step::new("path-test", &n.to_string()));
        }
        let text = path.text().unwrap();
        assert!(text.starts_with("path-test 1 > path-test 2") && text.ends_with("> path-test 8"), "{text}");
        assert_eq!(Step::new("path-test", "3"), Step::new("path-test", "3"));
    }
}
