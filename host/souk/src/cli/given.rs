//! Values from the command line: `NAME=VALUE`, and for variables also `NAME=@FILE` and `@FILE`.
//!
//! Values can be secret, so no error shows one, not even a malformed one; clap's own errors would.

use anyhow::{Context as _, bail};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Parses each of `given`, the values of `option`, as `NAME=VALUE`.
///
/// # Errors
/// Names the option and the position of the wrong value.
pub(super) fn pairs(option: &str, given: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let pair = |(at, text): (usize, &String)| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("value {} of {option} is not NAME=VALUE\n  fix: write it as {option} NAME=VALUE", at + 1),
    };
    given.iter().enumerate().map(pair).collect()
}

/// The values of `--variable`.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) values: BTreeMap<String, String>,
    /// The files from which some of them were read.
    pub(super) files: BTreeMap<String, PathBuf>,
}

/// Parses the values of `--variable`; the last value of a variable wins.
///
/// # Errors
/// When a value is malformed, or a file cannot be read.
pub(super) fn variables(given: &[String]) -> anyhow::Result<Variables> {
    let mut variables = Variables::default();
    let mut insert = |name: String, value: String, file: Option<&Path>| {
        match file {
            Some(file) => variables.files.insert(name.clone(), file.to_owned()),
            None => variables.files.remove(&name),
        };
        variables.values.insert(name, value);
    };
    for text in given {
        if let Some(file) = text.strip_prefix('@').map(Path::new) {
            file_of_variables(file)?.into_iter().for_each(|(name, value)| insert(name, value, Some(file)));
            continue;
        }
        for (name, value) in pairs("--variable", std::slice::from_ref(text))? {
            match value.strip_prefix('@').map(Path::new) {
                Some(file) => insert(name, read("--variable", file)?, Some(file)),
                None => insert(name, value, None),
            }
        }
    }
    Ok(variables)
}

/// Reads the text file that `option` names.
pub(super) fn read(option: &str, file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file)
        .with_context(|| format!("{option}: {} cannot be read\n  fix: name a file of text that exists", file.display()))
}

/// Reads a table of strings: JSON from a file `*.json`, otherwise TOML. The parsers' errors quote the text, so they are
/// not shown.
fn file_of_variables(file: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = read("--variable", file)?;
    let parsed = if file.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str::<BTreeMap<String, Json>>(&text).ok().and_then(|table| {
            let string = |(name, value): (String, Json)| Some((name, value.as_str()?.to_owned()));
            table.into_iter().map(string).collect()
        })
    } else {
        toml::from_str::<BTreeMap<String, String>>(&text).ok()
    };
    parsed.with_context(|| {
        format!(
            "--variable: {} is not a table of strings\n  fix: write `name = \"value\"` lines (TOML), or an object in a \
             file named *.json",
            file.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_from_the_command_line_and_from_files_and_no_error_shows_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let given = [
            "a=1=2".to_owned(),
            format!("b=@{}", file("b", "s3cret\n")),
            format!("@{}", file("c.toml", "c = \"3\"\na = \"later\"")),
            format!("@{}", file("d.json", r#"{"d": "4"}"#)),
            "e=".to_owned(),
        ];
        let Variables { values, files } = variables(&given).unwrap();
        let read: Vec<_> = values.into_iter().collect();
        let expected = [("a", "later"), ("b", "s3cret\n"), ("c", "3"), ("d", "4"), ("e", "")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let files: Vec<_> = files.iter().map(|(name, file)| (name.as_str(), file.file_name().unwrap())).collect();
        assert_eq!(
            files,
            [("a", "c.toml"), ("b", "b"), ("c", "c.toml"), ("d", "d.json")].map(|(n, f)| (n, f.as_ref()))
        );
        for wrong in [
            "s3cret".to_owned(),
            "=s3cret".to_owned(),
            format!("@{}", file("wrong.toml", "s3cret")),
            format!("@{}", file("wrong.json", r#"{"a": ["s3cret"]}"#)),
            "a=@no/such/file".to_owned(),
        ] {
            let error = variables(std::slice::from_ref(&wrong)).unwrap_err();
            let error = format!("{error:?} {error:#}");
            assert!(error.contains("fix: ") && error.contains("--variable") && !error.contains("s3cret"), "{error}");
        }
    }
}
