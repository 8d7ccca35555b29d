//! The templates, and how their gaps are filled: `<<name>>`, which no language here uses.

/// The manifest of a new application.
pub(super) const MANIFEST: &str = include_str!("templates/application/spin.toml");
/// What of it is not for version control.
pub(super) const GITIGNORE: &str = include_str!("templates/application/gitignore");

/// The text with its gaps filled; a gap without a value stays, which a test finds.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("<<{name}>>"), value);
    }
    text
}
