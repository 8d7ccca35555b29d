//! Removes literal values from SQL statements: a guest should pass values as parameters, but may not do so.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;
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
    /// PostgreSQL: texts are in single quotes, names in double quotes.
    Standard,
    /// SQLite: the same, but what is in double quotes is a text too, where nothing has that name.
    Sqlite,
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
        let syntax = match system {
            "mysql" => Syntax::MySql,
            "sqlite" => Syntax::Sqlite,
            _ => Syntax::Standard,
        };
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
    let mut has_values = false;
    while let Some(c) = rest.next() {
        has_values |= c == '(' && ends_with_values(&out);
        // Parameters and names can contain digits too.
        let in_name = before.is_alphanumeric() || matches!(before, '_' | '$' | ':' | '@' | '?' | '"' | '`');
        let is_comment = c == '-' && rest.peek() == Some(&'-') || c == '#' && syntax == Syntax::MySql;
        let shown = match c {
            '\'' | '"' if c == '\'' || syntax == Syntax::MySql => {
                // PostgreSQL's `E'..'` has backslash escapes. In its other texts a backslash before the closing quote
                // must not escape it, or the rest would be removed too.
                let mut written = out.chars().rev();
                let is_marked = matches!(written.next(), Some('e' | 'E'))
                    && !written.next().is_some_and(|c| c.is_alphanumeric() || c == '_');
                let escapes = syntax == Syntax::MySql || syntax == Syntax::Standard && is_marked;
                take_quoted(&mut rest, c, escapes, |_| {});
                '?'
            }
            // A name. It is shown where it cannot be a text: SQLite takes `"anna"` for one if no column is called so.
            '"' | '`' if c == '"' || syntax != Syntax::Standard => {
                let is_operand = out.trim_end().ends_with(['=', '<', '>', '|', '+', '-', '*', '/', '%']);
                let may_be_text = c == '"' && syntax == Syntax::Sqlite && (is_operand || has_values);
                if take_name(&mut rest, &mut out, c, may_be_text && before != '.') {
                    before = c;
                    continue;
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
                skip_comment(&mut rest, syntax == Syntax::Standard);
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

/// Takes the rest of a quoted text or name, whose first quote is taken already; `each` gets every character in it.
fn take_quoted(rest: &mut Peekable<Chars<'_>>, quote: char, escapes: bool, mut each: impl FnMut(char)) {
    while let Some(next) = rest.next() {
        match next {
            '\\' if escapes => drop(rest.next()),
            end if end == quote && rest.next_if_eq(&quote).is_none() => return,
            inside => each(inside),
        }
    }
}

/// Takes the rest of a quoted name, and shows it if it is letters, digits and `_`. What `may_be_text` is shown only
/// before a `.`, as the name of a table is. Returns whether it is shown.
fn take_name(rest: &mut Peekable<Chars<'_>>, out: &mut String, quote: char, may_be_text: bool) -> bool {
    let (begin, mut is_plain) = (out.len(), true);
    out.push(quote);
    take_quoted(rest, quote, false, |inside| {
        let is_digit = inside.is_ascii_digit() && out.len() > begin + 1;
        is_plain &= is_digit || inside.is_ascii_alphabetic() || inside == '_';
        out.push(inside);
    });
    let is_shown = is_plain && (!may_be_text || rest.peek() == Some(&'.'));
    match is_shown {
        true => out.push(quote),
        false => out.truncate(begin),
    }
    is_shown
}

/// Skips a comment from its `*` on; PostgreSQL's comments can contain comments.
fn skip_comment(rest: &mut Peekable<Chars<'_>>, nests: bool) {
    rest.next();
    let (mut depth, mut last) = (1_usize, ' ');
    for c in rest.by_ref() {
        match (last, c) {
            ('*', '/') => depth -= 1,
            ('/', '*') if nests => depth += 1,
            _ => {
                last = c;
                continue;
            }
        }
        // A character is part of one such pair only.
        last = ' ';
        if depth == 0 {
            return;
        }
    }
}

/// Whether the last word is `VALUES`.
fn ends_with_values(out: &str) -> bool {
    const WORD: &str = "values";
    let out = out.trim_end();
    let last = out.len().checked_sub(WORD.len()).and_then(|begin| out.get(begin..));
    last.is_some_and(|last| last.eq_ignore_ascii_case(WORD))
}

/// The first word of a statement, in capitals.
pub(crate) fn operation(statement: &str) -> String {
    let word = statement.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or_default();
    word.get(..word.len().min(16)).unwrap_or_default().to_ascii_uppercase()
}
