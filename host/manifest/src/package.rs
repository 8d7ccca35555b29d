//! Applications as packages: the files that belong to a package, and the paths that its manifest may use.
//!
//! A package comes from somebody else, so each path in its manifest must stay inside its folder. Values, secrets and
//! places of data come only from the operator's folder (`LoadOptions::operator`).

use super::error::ManifestErrors;
use super::source::Download;
use super::table::File;
use super::{Application, FileMount, Files, Report, fail, read_file, runtime_config};
use std::path::{Component as PathPart, Path, PathBuf};

/// The content of a package.
#[derive(Debug)]
pub struct PackagePlan {
    /// The application's name.
    pub name: String,
    /// Its version; empty when the manifest has none.
    pub version: String,
    /// The folder of the manifest.
    pub dir: PathBuf,
    /// The code of each component.
    pub components: Vec<PackagedCode>,
    /// The files of each component that has any.
    pub files: Vec<Files>,
    /// Folders that belong to it completely: migrations, seeds, and files that the host serves.
    pub folders: Vec<PathBuf>,
}

/// The code of one component.
#[derive(Debug)]
pub struct PackagedCode {
    /// The component.
    pub component: String,
    /// Whether the manifest has a table for it; otherwise it is a dependency or middleware named by path.
    pub has_table: bool,
    /// The file; unused if `download` is set.
    pub source: PathBuf,
    /// Where it is downloaded from at the start.
    pub download: Option<Download>,
}

/// Reads what belongs to a package of the application; no variable needs a value.
///
/// # Errors
/// All mistakes in the manifest that do not depend on a value.
pub fn load_package(manifest: &Path) -> Result<PackagePlan, ManifestErrors> {
    let report = Report::default();
    let Some((draft, _)) = read_file(manifest, &report) else { return fail(report) };
    report.finish()?;
    let application = draft.application;
    let (mut components, mut files, mut folders) = (Vec::new(), Vec::new(), Vec::new());
    folders.extend(application.static_folders.iter().map(|folder| folder.folder.clone()));
    for (name, component) in application.components {
        folders.extend(component.folders().map(|(_, folder)| folder.to_owned()));
        // A copy has the same code as its original.
        if component.copy_of.is_none() {
            components.push(PackagedCode {
                component: name,
                has_table: component.part_of.is_none(),
                source: component.source,
                download: component.download,
            });
        }
        if !component.files.is_empty() {
            files.push(component.files);
        }
    }
    let Application { name, version, dir, .. } = Application { components: Default::default(), ..application };
    Ok(PackagePlan { name, version, dir, components, files, folders })
}

/// The state folder that the runtime configuration names. Mistakes in that file are not reported here.
pub fn configured_state_dir(runtime_config: &Path) -> Option<PathBuf> {
    if !runtime_config.is_file() {
        return None;
    }
    runtime_config::read(runtime_config, runtime_config, &Report::default()).0.state_dir
}

/// Refuses a package's manifest that names a path outside its folder, or a download from this machine.
pub(super) fn check(application: &Application, file: File<'_>) {
    for component in application.components.values() {
        let refuse = |what: &str| {
            let message = format!("{what} leaves the folder of the package");
            let fix = "do not use this package: its author must put the file into it";
            file.report.error(file.diagnostic(Some(component.line), Some(&component.name), message, fix));
        };
        let outside = |path: &Path| !is_inside(&application.dir, path);
        if component.download.is_none() && outside(&component.source) {
            refuse("`source`");
        }
        if component.download.as_ref().is_some_and(Download::is_local) {
            // A request to a program that trusts whatever comes from its own machine.
            let message = "`source` is a download from this machine".to_owned();
            let fix = "do not use this package: its author must put the component into it";
            file.report.error(file.diagnostic(Some(component.line), Some(&component.name), message, fix));
        }
        for (key, _) in component.folders().filter(|(_, folder)| outside(folder)) {
            refuse(&format!("`{key}`"));
        }
        let mut placed = component.files.mounts().filter_map(|mount| match mount {
            FileMount::Placement { source, .. } => Some(source),
            // Checked when it was read.
            FileMount::Pattern(_) => None,
        });
        if placed.any(|source| outside(source)) {
            refuse("a source in `files`");
        }
    }
}

/// Whether `path` is inside `folder`, by its text: a package has no links.
pub fn is_inside(folder: &Path, path: &Path) -> bool {
    path.strip_prefix(folder)
        .is_ok_and(|rest| rest.components().all(|part| matches!(part, PathPart::Normal(_) | PathPart::CurDir)))
}

#[cfg(test)]
mod tests {
    use crate::tests::{app, load};

    const HEAD: &str = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[[trigger.http]]\nroute = \"/\"\n\
                        component = \"a\"\n[variables]\nv = { required = true }\n[component.a]\n";

    #[test]
    fn a_package_names_no_path_outside_its_folder() {
        for (text, wrong) in [
            ("source = \"a.wasm\"", None),
            ("source = \"../a.wasm\"", Some("`source`")),
            ("source = \"/tmp/a.wasm\"", Some("`source`")),
            ("source = \"x/../../a.wasm\"", Some("`source`")),
            ("source = \"a.wasm\"\nfiles = [{ source = \"/etc\", destination = \"/\" }]", Some("a source in `files`")),
            (
                "source = \"a.wasm\"\nfiles = [{ source = \"x/../../y\", destination = \"/\" }]",
                Some("a source in `files`"),
            ),
            ("source = \"a.wasm\"\ntool.souk.migrations = \"/usr\"", Some("`migrations`")),
            (
                "source = \"a.wasm\"\ntool.souk = { migrations = \"/usr\", seed.folder = \"/etc\" }",
                Some("`seed.folder`"),
            ),
        ] {
            let mut app = app(&format!("{HEAD}{text}\n")).env("SPIN_VARIABLE_V", "1");
            let operator = tempfile::tempdir().unwrap();
            app.options.operator = Some(operator.path().to_owned());
            let loaded = load(&app.options).map(|_| ()).map_err(|errors| errors.to_string());
            match wrong {
                None => loaded.unwrap(),
                Some(wrong) => {
                    let error = loaded.unwrap_err();
                    assert!(error.contains(&format!("{wrong} leaves the folder of the package")), "{text}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_package_does_not_let_the_host_ask_servers_of_this_machine() {
        let digest = "0".repeat(64);
        for (source, refused) in [
            (format!("{{ url = \"https://r.test/a.wasm\", digest = \"sha256:{digest}\" }}"), false),
            (format!("{{ url = \"http://127.0.0.1:8080/stop\", digest = \"sha256:{digest}\" }}"), true),
            (format!("{{ url = \"https://localhost/stop\", digest = \"sha256:{digest}\" }}"), true),
            ("{ registry = \"r.test\", package = \"shop:cart\", version = \"1.0.0\" }".to_owned(), false),
            ("{ registry = \"localhost:5000\", package = \"shop:cart\", version = \"1.0.0\" }".to_owned(), true),
        ] {
            let mut app = app(&format!("{HEAD}source = {source}\n")).env("SPIN_VARIABLE_V", "1");
            load(&app.options).unwrap();
            let operator = tempfile::tempdir().unwrap();
            app.options.operator = Some(operator.path().to_owned());
            let loaded = load(&app.options).map(|_| ()).map_err(|errors| errors.to_string());
            match (loaded, refused) {
                (Ok(()), false) => {}
                (Err(error), true) => assert!(error.contains("a download from this machine"), "{source}: {error}"),
                (loaded, _) => panic!("{source}: {loaded:?}"),
            }
        }
    }

    #[test]
    fn values_of_a_package_come_from_the_operators_folder_alone() {
        let mut app = app(&format!("{HEAD}source = \"a.wasm\"\nvariables = {{ v = \"{{{{ v }}}}\" }}\n"))
            .file(".env", "SPIN_VARIABLE_V=theirs\n")
            .file("runtime-config.toml", "state_dir = \"theirs\"\n");
        let operator = tempfile::tempdir().unwrap();
        app.options.operator = Some(operator.path().to_owned());
        assert!(load(&app.options).is_err(), "the package's own .env counts");
        std::fs::write(operator.path().join(".env"), "SPIN_VARIABLE_V=ours\n").unwrap();
        std::fs::write(operator.path().join("runtime-config.toml"), "state_dir = \"ours\"\n").unwrap();
        let application = load(&app.options).unwrap().application;
        assert_eq!(application.components["a"].variables["v"].expose(), "ours");
        assert_eq!(application.state_dir, Some(operator.path().join("ours")));
        assert_eq!(super::configured_state_dir(&operator.path().join("runtime-config.toml")), application.state_dir);
    }
}
