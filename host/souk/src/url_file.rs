//! A URL that stands in a file, `@FILE` on the command line: other users can see a command line, and the URL may have a
//! password. `@-` is the standard input, which is how a command inside a container gets it from outside.

use souk_manifest::{Diagnostic, readers};
use std::io;
use std::path::Path;

/// The text in a file, or of the standard input if the file is `-`, without space around it.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub(crate) fn read(file: &str) -> io::Result<String> {
    let text = if file == "-" { io::read_to_string(io::stdin())? } else { std::fs::read_to_string(file)? };
    Ok(text.trim().to_owned())
}

/// The warning that other users can read the file with a login that an argument of the command line names.
pub(crate) fn warning(argument: &str) -> Option<Diagnostic> {
    let file = Path::new(argument.strip_prefix('@').filter(|file| *file != "-")?);
    let has_login = std::fs::read_to_string(file).is_ok_and(|url| url.contains('@'));
    readers::warning(file, file, "the login of a URL").filter(|_| has_login)
}
