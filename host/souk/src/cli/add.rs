//! `souk add`: adds a component, or a link between two components.

use super::{ManifestArg, output};
use crate::scaffold::{self, Changes, Kind, Language, Library, NewComponent, NewLink, Storage};
use anyhow::Context as _;
use clap::Args;
use souk_manifest::DependencyName;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `souk add`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  souk add web --http /...\n  souk add store --exports acme:links/store@0.1.0 --sqlite\n  \
                        souk add --link web store"
)]
pub(super) struct Add {
    #[command(flatten)]
    manifest: ManifestArg,
    /// The component
    #[arg(required_unless_present = "link", conflicts_with = "link")]
    component: Option<String>,
    /// Let it answer HTTP requests at this route
    #[arg(long, value_name = "ROUTE", conflicts_with = "exports")]
    http: Option<String>,
    /// Let it export this contract, which is created in wit/
    #[arg(long, value_name = "INTERFACE", value_parser = interface)]
    exports: Option<DependencyName>,
    /// The contract is for durable links: calls are stored first, and repeated until they succeed
    // Clap requires nothing that another argument excludes.
    #[arg(long, requires = "exports", conflicts_with = "http")]
    durable: bool,
    /// Keep its data in SQLite
    #[arg(long)]
    sqlite: bool,
    /// Keep its data in SQLite, or in PostgreSQL if a variable says so
    #[arg(long)]
    postgres: bool,
    /// Keep its data in a key-value store
    #[arg(long)]
    key_value: bool,
    /// The language of the component [default: that of the application's tests, or Rust]
    #[arg(long, value_enum)]
    language: Option<Language>,
    /// Let the first component call the second, through the interfaces that the second exports
    #[arg(
        long,
        num_args = 2,
        value_names = ["CALLER", "CALLEE"],
        conflicts_with_all = ["http", "exports", "durable", "sqlite", "postgres", "key_value", "language", "library"]
    )]
    link: Vec<String>,
    /// The interface of a link, if it is not in the second component's `exports`
    #[arg(long, requires = "link", conflicts_with = "component", value_parser = interface)]
    interface: Option<DependencyName>,
    /// Let an existing component in Rust use this library
    #[arg(
        long,
        value_enum,
        value_name = "LIBRARY",
        requires = "component",
        conflicts_with_all = ["http", "exports", "durable", "sqlite", "postgres", "key_value", "language"]
    )]
    library: Option<Library>,
    /// Use the libraries in this checkout of Souk instead of copies
    #[arg(long, value_name = "DIR")]
    souk: Option<String>,
}

impl Add {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = self.manifest.path()?;
        let (folder, manifest) = place(&path)?;
        let changes = match (self.component, self.link.as_slice()) {
            (Some(name), _) if let Some(library) = self.library => {
                scaffold::add_library(&folder, &manifest, &name, library, self.souk.as_deref())?
            }
            (Some(name), _) => {
                let kind = match (self.http, self.exports) {
                    (Some(route), _) => Kind::Http { route },
                    (None, Some(interface)) => Kind::Exports { interface, durable: self.durable },
                    (None, None) => anyhow::bail!(
                        "what is `{name}` for?\n  fix: let it answer requests, `--http /...`, or export a contract, \
                         `--exports acme:links/store@0.1.0`"
                    ),
                };
                let storage = Storage { sqlite: self.sqlite, postgres: self.postgres, key_value: self.key_value };
                let language = match self.language {
                    Some(language) => language,
                    None => scaffold::usual_language(&folder, &manifest)?,
                };
                let new = NewComponent { name, kind, storage, language, souk: self.souk };
                scaffold::add(&folder, &manifest, &new)?
            }
            (None, [caller, callee]) => {
                let link = NewLink { caller: caller.clone(), callee: callee.clone(), interface: self.interface };
                scaffold::add_link(&folder, &manifest, &link)?
            }
            (None, _) => anyhow::bail!("name a component, or two with --link"),
        };
        write(&changes, &folder)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads an interface.
fn interface(text: &str) -> Result<DependencyName, String> {
    DependencyName::parse(text).map_err(|why| format!("{why}\n  fix: write it as `acme:links/store@0.1.0`"))
}

/// The folder of a manifest, and the manifest's file name.
fn place(path: &Path) -> anyhow::Result<(PathBuf, String)> {
    let name = path.file_name().and_then(|name| name.to_str()).context("the manifest has no name")?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder.to_owned(), name.to_owned()))
}

/// Writes the files and prints their paths.
pub(super) fn write(changes: &Changes, folder: &Path) -> anyhow::Result<()> {
    changes.write().with_context(|| format!("not all files were written in {}", folder.display()))?;
    let libraries = |path: &&Path| path.starts_with("libraries");
    let shown = |path: &Path| folder.strip_prefix(".").unwrap_or(folder).join(path).display().to_string();
    for path in changes.paths().filter(|path| !libraries(path)) {
        output::note(&format!("   wrote {}", shown(path)));
    }
    let copied = changes.paths().filter(libraries).count();
    if copied > 0 {
        output::note(&format!("   wrote {} ({copied} files)", shown(Path::new("libraries"))));
    }
    changes.notes().iter().for_each(|note| output::note(&format!("    note {note}")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        add: Add,
    }

    #[test]
    fn an_option_that_means_nothing_for_the_command_is_refused_and_not_ignored() {
        for refused in [
            "web --http /... --durable",
            "web --http /... --exports a:b/c@0.1.0",
            "web --http /... --interface a:b/c@0.1.0",
            "web --library souk-web --sqlite",
            "web --library souk-web --durable",
            "--link web store --http /...",
            "--link web store --exports a:b/c@0.1.0",
            "--link web store --sqlite",
            "--link web store --key-value",
            "--link web store --language rust",
            "--link web store --library souk-web",
            "--link web",
            "web --link web store",
            "store --exports acme:links/store@1",
        ] {
            assert!(Command::try_parse_from(["add"].into_iter().chain(refused.split(' '))).is_err(), "{refused}");
        }
        for good in [
            "web --http /... --sqlite --language js",
            "store --exports acme:links/store@0.1.0 --durable --key-value",
            "--link web store --interface acme:links/store@0.1.0",
            "web --library souk-web --souk ../souk",
        ] {
            let parsed = Command::try_parse_from(["add"].into_iter().chain(good.split(' ')));
            parsed.unwrap_or_else(|error| panic!("{good}: {error}"));
        }
    }
}
