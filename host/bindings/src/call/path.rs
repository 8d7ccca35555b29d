//! The functions that led to a call, for the report of its failure.
//!
//! It travels with every call, so it consists of a few numbers, not of text: each function that can be called gets its
//! number once, when its component is prepared.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

souk_manifest::fixed_limits! {
    /// The fixed limits of paths.
    pub(crate) const FIXED_LIMITS = "calls";

    /// The most functions in the path of a call; of a longer path the last ones are kept.
    const MAX_STEPS: usize = 8, "functions";
}

/// The number of one function; 0 when all numbers were used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step(u16);

/// The names of all functions so far. They come from the manifest and from the components' contracts. A function that a
/// new version of a component has again keeps its number.
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
    /// Adds `step`, which the call has reached.
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

    /// The names of all functions in the path; `None` when it is empty.
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
