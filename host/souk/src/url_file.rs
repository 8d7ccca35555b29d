//! A URL that stands in a file, `@FILE` on the command line: other users can see a command line, and the URL may have a
//! password. `@-` is the standard input, which is how a command inside a container gets it from outside.

use std::io;

/// The text in a file, or of the standard input if the file is `-`, without space around it.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub(crate) fn read(file: &str) -> io::Result<String> {
    let text = if file == "-" { io::read_to_string(io::stdin())? } else { std::fs::read_to_string(file)? };
    Ok(text.trim().to_owned())
}
