//! `souk package`, `souk push`, `souk pull`: applications as packages, in a file or in a registry.
//!
//! Without the feature `oci` the commands exist but only report that, and `-f` accepts only manifests.

use super::{AppArgs, ManifestArg};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `souk package`.
#[derive(Debug, Args)]
#[command(after_help = "Everybody can read a package: .env, runtime-config.toml and the state folder are never in it.")]
pub(super) struct MakePackage {
    #[command(flatten)]
    manifest: ManifestArg,
    /// The file to write: an OCI layout in a tar
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// The arguments of `souk push`.
#[derive(Debug, Args)]
#[command(
    after_help = "-f names the application, or the file of a package. Your login for the registry comes from the \
                        auth.json that\n`podman login` or `skopeo login` writes."
)]
pub(super) struct Push {
    #[command(flatten)]
    manifest: ManifestArg,
    /// The package in the registry: REGISTRY/REPOSITORY:TAG
    #[arg(value_name = "NAME")]
    name: String,
    /// Speak HTTP without TLS to a registry on this machine
    #[arg(long)]
    plain_http: bool,
}

/// The arguments of `souk pull`.
#[derive(Debug, Args)]
#[command(after_help = "`souk up -f FILE` starts it.")]
pub(super) struct Pull {
    /// The package in the registry: REGISTRY/REPOSITORY:TAG, or REGISTRY/REPOSITORY@DIGEST
    #[arg(value_name = "NAME")]
    name: String,
    /// The file to write: an OCI layout in a tar
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    package_options: ObtainArgs,
}

/// How to get a package.
#[derive(Debug, Args)]
pub(super) struct ObtainArgs {
    /// The package's digest that you accept: sha256:...
    #[arg(long, value_name = "DIGEST")]
    accept: Option<String>,
    /// Speak HTTP without TLS to a registry on this machine
    #[arg(long)]
    plain_http: bool,
}

/// An application whose manifest was found.
pub(super) struct Located {
    /// The manifest.
    pub(super) manifest: PathBuf,
    /// The operator's folder, for a packaged application.
    pub(super) operator: Option<PathBuf>,
}

#[cfg(feature = "oci")]
mod with {
    use super::*;
    use crate::app::describe;
    use crate::cli::output;
    use crate::package::{self, Name, ObtainOptions, Package, Registry};
    use souk_manifest::Application;
    use souk_manifest::state::{self, StateFolder};

    impl MakePackage {
        pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
            let (manifest, output) = (self.manifest.path()?, self.output);
            let (made, output) =
                tokio::task::spawn_blocking(move || anyhow::Ok((package::make(&manifest, &output)?, output))).await??;
            for (part, bytes) in &made.parts {
                output::line(&format!("{bytes:>12} {part}"));
            }
            output::line(&format!("packaged to {}: {}", output.display(), made.digest));
            Ok(ExitCode::SUCCESS)
        }
    }

    impl Push {
        pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
            let name = Name::parse(&self.name)?;
            let registry = Registry::open(&name, self.plain_http, true)?;
            let folder = tempfile::tempdir()?;
            let file = match Package::of(&self.manifest.manifest) {
                Some(Package::File(path)) => path,
                _ => {
                    let (manifest, file) = (self.manifest.path()?, folder.path().join("package"));
                    let output = file.clone();
                    tokio::task::spawn_blocking(move || package::make(&manifest, &output)).await??;
                    file
                }
            };
            let digest = package::push(&registry, &file, output::note).await?;
            output::line(&format!("pushed {name}: {digest}"));
            Ok(ExitCode::SUCCESS)
        }
    }

    impl ObtainArgs {
        fn options(&self) -> ObtainOptions<'_> {
            ObtainOptions { accept: self.accept.as_deref(), plain_http: self.plain_http }
        }
    }

    impl Pull {
        pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
            let name = Name::parse(&self.name)?;
            let digest = package::package_file(&name, self.package_options.options(), &self.output).await?;
            output::line(&format!("pulled {name} to {}: {digest}", self.output.display()));
            Ok(ExitCode::SUCCESS)
        }
    }

    impl ManifestArg {
        /// The package that `-f` names, if it names one.
        pub(crate) fn package(&self) -> Option<Package> {
            Package::of(&self.manifest)
        }

        pub(crate) fn is_package(&self) -> bool {
            self.package().is_some()
        }
    }

    impl AppArgs {
        /// The manifest that `-f` names, or that of a package obtained before.
        pub(crate) fn located(&self) -> anyhow::Result<Located> {
            match self.manifest.package() {
                None => Ok(Located { manifest: self.manifest.path()?, operator: None }),
                Some(package) => {
                    let folder = package::kept(&package, &self.package_state())?;
                    Ok(Located { manifest: folder.join("spin.toml"), operator: Some(std::env::current_dir()?) })
                }
            }
        }

        /// Gets the package that `-f` names; returns whether it names one.
        pub(crate) async fn obtain(&self, options: &ObtainArgs, quiet: bool) -> anyhow::Result<bool> {
            let Some(package) = self.manifest.package() else {
                anyhow::ensure!(
                    options.accept.is_none() && !options.plain_http,
                    "`--accept` and `--plain-http` are for packages, but -f names a manifest\n  fix: leave them out"
                );
                return Ok(false);
            };
            let state = self.package_state();
            if state::exists(&state) {
                // A new digest is not accepted while a host runs.
                drop(StateFolder::open(&state)?);
            }
            let obtained = package::obtain(&package, &state, options.options()).await?;
            if let Some(warning) = &obtained.warning {
                output::note(&format!("warning: {warning}"));
            }
            if !quiet {
                let folder = obtained.folder.display();
                output::note(&format!(" package {package}: {} in {folder}", obtained.digest));
            }
            Ok(true)
        }
    }

    /// Removes packages in the state folder that nothing names any more, when the one with this manifest starts.
    pub(crate) fn remove_superseded(state: &StateFolder, manifest: &Path) {
        let in_use = manifest.parent().unwrap_or(manifest);
        if let Err(error) = package::remove_superseded(state.path(), in_use) {
            output::note(&format!("warning: a package that is not used any more cannot be removed: {error}"));
        }
    }

    /// Shows what a packaged application is granted, before any of it runs.
    pub(crate) fn show_grants(application: &Application) {
        for line in describe(application, "").lines().filter(|line| !line.is_empty()) {
            // Text from a package must not control the terminal.
            output::note(&line.chars().flat_map(printable).collect::<String>());
        }
    }

    /// The character, or its escape if a terminal would interpret it, hide it, or show others in another order.
    fn printable(c: char) -> impl Iterator<Item = char> {
        let is_plain = matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1;
        let (plain, escaped) = if is_plain { (Some(c), None) } else { (None, Some(c.escape_debug())) };
        plain.into_iter().chain(escaped.into_iter().flatten())
    }

    #[cfg(test)]
    mod tests {
        use super::printable;

        #[test]
        fn text_of_a_package_is_shown_in_its_order_and_does_not_control_the_terminal() {
            for (text, shown) in [
                (r#"files: "a b" -> /café\x"#, r#"files: "a b" -> /café\x"#),
                ("a\u{1b}[2Kb", "a\\u{1b}[2Kb"),
                ("https://\u{202e}moc.kcatta", "https://\\u{202e}moc.kcatta"),
                ("a\u{200b}b\u{a0}c", "a\\u{200b}b\\u{a0}c"),
            ] {
                assert_eq!(text.chars().flat_map(printable).collect::<String>(), shown);
            }
        }
    }
}

#[cfg(not(feature = "oci"))]
mod without {
    use super::*;
    use souk_manifest::Application;
    use souk_manifest::state::StateFolder;

    fn missing() -> anyhow::Error {
        anyhow::anyhow!("this program is built without packages\n  fix: build it with `--features oci`")
    }

    impl MakePackage {
        pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
            let _ = (self.manifest, self.output);
            Err(missing())
        }
    }

    impl Push {
        pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
            let _ = (self.manifest, self.name, self.plain_http);
            Err(missing())
        }
    }

    impl Pull {
        pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
            let _ = (self.name, self.output, self.package_options);
            Err(missing())
        }
    }

    impl ManifestArg {
        pub(crate) fn is_package(&self) -> bool {
            false
        }
    }

    impl AppArgs {
        pub(crate) fn located(&self) -> anyhow::Result<Located> {
            Ok(Located { manifest: self.manifest.path()?, operator: None })
        }

        pub(crate) async fn obtain(&self, options: &ObtainArgs, _: bool) -> anyhow::Result<bool> {
            if options.accept.is_some() || options.plain_http { Err(missing()) } else { Ok(false) }
        }
    }

    pub(crate) fn remove_superseded(_: &StateFolder, _: &Path) {}

    pub(crate) fn show_grants(_: &Application) {}
}

#[cfg(feature = "oci")]
pub(super) use with::{remove_superseded, show_grants};
#[cfg(not(feature = "oci"))]
pub(super) use without::{remove_superseded, show_grants};
