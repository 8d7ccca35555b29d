//! Removes literal values from SQL statements: a guest should pass values as parameters, but may not do so.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

souk_manifest::fixed_limits! {
    /// The fixed limits of remembered statements.
    pub(crate) const FIXED_LIMITS = "traces";

    /// The most statements of one component and kind of database whose text without values is remembered.
    const MAX_STATEMENTS: usize = 128, "statements";
    /// The longest statement that is remembered.
    const MAX_STATEMENT_BYTES: usize = 2 << 10, bytes;
}

/// A statement as a span shows it.
#[derive(Clone)]
pub(crate) struct ShownStatement {
    /// Its first word, in capitals.
    pub(crate) operation: Arc<str>,
    /// The statement without values.
    pub(crate) text: Arc<str>,
}

/// How a database writes texts and comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// SQLite and PostgreSQL: texts are in single quotes, names in double quotes.
    Standard,
    /// MySQL: texts are in single or double quotes and have backslash escapes, and `#` begins a comment.
    MySql,
}

/// Statements as spans show them: a component sends the same ones again and again, and to remove the values from one takes
/// many times what it takes to find it here.
pub(crate) struct Statements {
    syntax: Syntax,
    known: Mutex<HashMap<Box<str>, ShownStatement>>,
}

impl Statements {
    /// The statements for databases of `system`, by its name in metrics.
    pub(crate) fn of(system: &str) -> Self {
        let syntax = if system == "mysql" { Syntax::MySql } else { Syntax::Standard };
        Statements { syntax, known: Mutex::default() }
    }

    /// The statement as a span shows it.
    pub(crate) fn shown(&self, statement: &str) -> ShownStatement {
        if let Some(known) = self.known.lock().get(statement) {
            return known.clone();
        }
        let text = without_values(statement, self.syntax);
        let shown = ShownStatement { operation: operation(statement).into(), text: super::record::cut(&text).into() };
        let mut known = self.known.lock();
        if known.len() < MAX_STATEMENTS && statement.len() <= MAX_STATEMENT_BYTES {
            known.insert(statement.into(), shown.clone());
        }
        shown
    }
}

/// `statement` with `?` in place of every text and number, and with each run of whitespace replaced by one blank.
///
/// When in doubt it removes: everything that could be a value becomes `?`.
pub(super) fn without_values(statement: &str, syntax: Syntax) -> String {
    let mut out = String::new();
    let mut rest = statement.chars().peekable();
    let mut before = ' ';
    while let Some(c) = rest.next() {
        // Parameters and names can contain digits too.
        let in_name = before.is_alphanumeric() || matches!(before, '_' | '$' | ':' | '@' | '?' | '"' | '`');
        let is_comment = c == '-' && rest.peek() == Some(&'-') || c == '#' && syntax == Syntax::MySql;
        let shown = match c {
            '\'' | '"' if c == '\'' || syntax == Syntax::MySql => {
                // PostgreSQL's `E'..'` has backslash escapes. In its other texts a backslash before the closing quote
                // must not escape it, or the rest would be removed too.
                let escapes = syntax == Syntax::MySql || matches!(before, 'e' | 'E');
                while let Some(next) = rest.next() {
                    match next {
                        '\\' if escapes => drop(rest.next()),
                        end if end == c && rest.peek() == Some(&c) => drop(rest.next()),
                        end if end == c => break,
                        _ => {}
                    }
                }
                '?'
            }
            // `$tag$ .. $tag$`, a text of PostgreSQL; `$1` is a parameter.
            '$' if !rest.peek().is_some_and(char::is_ascii_digit) => {
                let mut tag = String::from("$");
                while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    tag.push(c);
                }
                if rest.next_if_eq(&'$').is_some() {
                    tag.push('$');
                    let mut seen = String::new();
                    while !seen.ends_with(&tag) {
                        let Some(c) = rest.next() else { break };
                        seen.push(c);
                    }
                    '?'
                } else {
                    out.push_str(&tag);
                    before = tag.chars().last().unwrap_or('$');
                    continue;
                }
            }
            _ if is_comment => {
                while rest.next().is_some_and(|c| c != '\n') {}
                ' '
            }
            '/' if rest.peek() == Some(&'*') => {
                let mut last = ' ';
                for c in rest.by_ref() {
                    if (last, c) == ('*', '/') {
                        break;
                    }
                    last = c;
                }
                ' '
            }
            c if c.is_ascii_digit() && !in_name => {
                while rest.next_if(|c| c.is_alphanumeric() || matches!(c, '.' | '_')).is_some() {}
                '?'
            }
            c if c.is_whitespace() || c.is_control() => ' ',
            c => c,
        };
        if shown != ' ' || !out.ends_with(' ') {
            out.push(shown);
        }
        before = if shown == '?' { if c == '?' { '?' } else { ')' } } else { shown };
    }
    out.trim().to_owned()
}

/// The first word of a statement, in capitals.
pub(crate) fn operation(statement: &str) -> String {
    let word = statement.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or_default();
    word.get(..word.len().min(16)).unwrap_or_default().to_ascii_uppercase()
}
