//! `{{ variable }}` templates in the values of component variables and in outbound hosts.

use super::declared::{Declared, Value};
use super::names::nearest;
use super::table::Table;
use std::collections::BTreeMap;

/// A text that contains names of application variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// The text in the manifest.
    pub text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(String),
}

impl Template {
    /// Reads a template; `None` when a `{{` has no `}}`. A lone `}}` is text, as in Spin.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, opened)) = rest.split_once("{{") {
            let (name, after) = opened.split_once("}}")?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Variable(name.trim().to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Some(Template { text: text.to_owned(), parts })
    }

    /// The variables that the template names.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The text with the values of all variables filled in; secret if one of them is. `None` if one has no value.
    pub(crate) fn resolve(&self, values: &BTreeMap<String, Value>) -> Option<Value> {
        let mut text = String::new();
        let mut secret = false;
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable(name) => {
                    let value = values.get(name)?;
                    text.push_str(value.expose());
                    secret |= value.is_secret();
                }
            }
        }
        Some(Value::new(text, secret))
    }
}

/// Reads a template and checks the variables in it.
pub(super) fn template(
    table: &Table<'_, '_>,
    line: usize,
    text: &str,
    declared: &BTreeMap<String, Declared>,
) -> Option<Template> {
    let Some(template) = Template::parse(text) else {
        table.error(line, "a template has `{{` without `}}`", "write `{{ variable }}`");
        return None;
    };
    let mut known = true;
    for name in template.variables().filter(|name| !declared.contains_key(*name)) {
        known = false;
        let fix = match nearest(name, declared.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{{{{ {near} }}}}`?"),
            None => format!("declare it: `{name} = {{ required = true }}` under [variables]"),
        };
        table.error(line, format!("a template names the variable `{name}`, which is not declared"), fix);
    }
    known.then_some(template)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> BTreeMap<String, Value> {
        let value = |text: &str, secret| Value::new(text.to_owned(), secret);
        BTreeMap::from([("open".to_owned(), value("shown", false)), ("hidden".to_owned(), value("s3cret", true))])
    }

    #[test]
    fn a_template_takes_values_and_their_secrecy() {
        for (template, text, secret) in [
            ("", "", false),
            ("plain", "plain", false),
            ("{{ open }}", "shown", false),
            ("{{open}}-{{ hidden }}!", "shown-s3cret!", true),
            ("a }} b", "a }} b", false),
        ] {
            let value = Template::parse(template).unwrap().resolve(&values()).unwrap();
            assert_eq!((value.expose(), value.is_secret()), (text, secret), "{template}");
        }
        assert_eq!(Template::parse("a {{ open"), None);
        assert_eq!(Template::parse("{{ nobody }}").unwrap().resolve(&values()), None);
    }

    #[test]
    fn a_value_is_not_expanded_again() {
        let values = BTreeMap::from([("a".to_owned(), Value::new("{{ b }}".to_owned(), false))]);
        assert_eq!(Template::parse("{{ a }}").unwrap().resolve(&values).unwrap().expose(), "{{ b }}");
    }

    proptest! {
        #[test]
        fn text_without_braces_stays_as_it_is(text in "[^{}]{0,40}") {
            let template = Template::parse(&text).unwrap();
            prop_assert_eq!(template.variables().count(), 0);
            let resolved = template.resolve(&BTreeMap::new());
            prop_assert_eq!(resolved.as_ref().map(Value::expose), Some(text.as_str()));
        }
    }
}
