//! Fuzz target: any bytes as `spin.toml`, `runtime-config.toml` and `.env`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::{LoadOptions, read};

/// Separates the files.
const SEPARATOR: &[u8] = b"\n#--\n";

/// Up to three files, separated by a line `#--`. Every mistake has a text.
///
/// # Panics
/// When a mistake has no text.
pub fn manifest(data: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let mut rest = data;
    for name in ["spin.toml", "runtime-config.toml", ".env"] {
        let end = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        let (file, after) = rest.split_at(end.unwrap_or(rest.len()));
        std::fs::write(folder.path().join(name), file).unwrap();
        rest = after.get(SEPARATOR.len()..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
    }
    let options = LoadOptions { manifest: folder.path().to_owned(), ..LoadOptions::default() };
    if let Err(errors) = read(&options) {
        assert!(!errors.to_string().trim().is_empty(), "an error without a text");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_bytes_are_refused_or_read_as_a_manifest() {
        souk_test::fuzz::check("manifest", super::manifest);
    }
}
