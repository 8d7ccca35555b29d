//! The templates, and how to fill their gaps: `<<name>>`, which has no meaning in any of the languages.

/// The manifest of a new application.
pub(super) const MANIFEST: &str = include_str!("templates/application/spin.toml");
/// The list of files that are not for version control.
pub(super) const GITIGNORE: &str = include_str!("templates/application/gitignore");

/// Fills the gaps of a text; a gap without a value stays, and a test finds it.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("<<{name}>>"), value);
    }
    text
}
