//! `[[application.tool.souk.static]]`: folders whose files the host serves itself.
//!
//! Spin's file server is a component that is downloaded. Here a route leads to a folder beside the manifest, and the
//! host serves it, so an application needs no component for static files. A static route takes part in routing like any
//! other: the most specific route answers, and two routes for the same paths are refused.
//!
//! Refused: a folder outside the manifest's folder, a missing folder, a route without a wildcard or with parameters,
//! and a `fallback` that is not a file in the folder.

use super::Application;
use super::route::RoutePattern;
use super::table::{File, Table};
use std::path::{Component, Path, PathBuf};

/// A folder that the host serves.
#[derive(Debug, Clone)]
pub struct StaticFolder {
    /// The paths; it ends with a wildcard and has no parameter.
    pub pattern: RoutePattern,
    /// The folder; it exists, inside the manifest's.
    pub folder: PathBuf,
    /// The file to serve for paths that name no file and have no extension; its path is relative to the folder.
    pub fallback: Option<String>,
    /// The line of its table.
    pub line: usize,
}

const ROUTE: &str = "write `route = \"/...\"`";
const FOLDER: &str = "write `folder = \"public\"`";

/// Reads one table; `None` when it is wrong.
pub(super) fn read(mut table: Table<'_, '_>, dir: &Path) -> Option<StaticFolder> {
    let (route, folder) = (table.required_string("route", ROUTE), table.required_string("folder", FOLDER));
    let fallback = table.string("fallback");
    let line = table.line;
    let pattern = route.and_then(|route| match RoutePattern::parse(&route.value) {
        Err((message, fix)) => {
            table.error(route.line, message, fix);
            None
        }
        Ok(pattern) if !pattern.as_str().ends_with("/...") || pattern.params().next().is_some() => {
            let message = format!("route `{pattern}` cannot lead to a folder");
            table.error(route.line, message, "end it with `/...`, and use no `:name`");
            None
        }
        Ok(pattern) => {
            if pattern.is_reserved() {
                let message = format!("route `{pattern}` is never reached: the host answers /.well-known/spin/");
                table.warning(route.line, message, "choose another path");
            }
            Some(pattern)
        }
    });
    let folder = folder.and_then(|folder| match resolve_folder(dir, &folder.value) {
        Ok(path) => Some((path, folder)),
        Err((message, fix)) => {
            table.error(folder.line, message, fix);
            None
        }
    });
    let page = fallback.as_ref().zip(folder.as_ref()).filter(|(page, (path, _))| !is_page(path, &page.value));
    if let Some((page, (_, folder))) = page {
        let message = format!("`fallback` names `{}`, which is no file in `{}`", page.value, folder.value);
        table.error(page.line, message, "name a file, relative to the folder: `fallback = \"index.html\"`");
        return None;
    }
    table.finish();
    let (pattern, (folder, _)) = pattern.zip(folder)?;
    Some(StaticFolder { pattern, folder, fallback: fallback.map(|page| page.value), line })
}

/// The folder `name` with links resolved; `Err` is what is wrong with it, and the fix.
fn resolve_folder(dir: &Path, name: &str) -> Result<PathBuf, (String, String)> {
    let path = dir.join(name).canonicalize().map_err(|error| {
        (format!("the folder `{name}` cannot be served: {error}"), "create it beside the manifest".to_owned())
    })?;
    if !path.is_dir() {
        return Err((format!("`{name}` is not a folder"), FOLDER.to_owned()));
    }
    let root = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    if path == root || !path.starts_with(&root) {
        let fix = "serve a folder inside the manifest's folder, which itself also holds files that are not public";
        return Err((format!("the folder `{name}` is not inside the manifest's folder"), fix.to_owned()));
    }
    Ok(path)
}

fn is_page(folder: &Path, page: &str) -> bool {
    let plain = Path::new(page).components().all(|part| matches!(part, Component::Normal(_)));
    plain && folder.join(page).is_file()
}

/// Refuses a static route for the same paths as another route.
pub(super) fn check(application: &Application, file: File<'_>) {
    let routes = application.routes.iter().filter_map(|route| Some((route.pattern.as_ref()?, route.line)));
    let folders = application.static_folders.iter().map(|folder| (&folder.pattern, folder.line));
    for (i, folder) in application.static_folders.iter().enumerate() {
        let pattern = &folder.pattern;
        let mut others = routes.clone().chain(folders.clone().take(i));
        if let Some((other, line)) = others.find(|(other, _)| other.same_shape(pattern)) {
            let message = format!("route `{pattern}` is for the same paths as `{other}` in line {line}");
            let fix = "remove one of the two, or change its route";
            file.report.error(file.diagnostic(Some(folder.line), None, message, fix));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::app;
    use std::os::unix::fs::symlink;

    const LINE: usize = 4;

    /// The manifest's head, a table with `entries`, and a trigger for `/api/...`.
    fn text(entries: &str) -> String {
        let component =
            "[component.a]\nsource = \"a.wasm\"\n[[trigger.http]]\nroute = \"/api/...\"\ncomponent = \"a\"\n";
        let head = "spin_manifest_version = 2\n[application]\nname = \"t\"\n";
        format!("{head}[[application.tool.souk.static]]\n{entries}\n{component}")
    }

    #[test]
    fn a_folder_is_served_with_its_route_and_page() {
        let app = app(&text("route = \"/shop/...\"\nfolder = \"public\"\nfallback = \"index.html\""));
        let dir = app.options.manifest.parent().unwrap();
        std::fs::create_dir(dir.join("public")).unwrap();
        std::fs::write(dir.join("public/index.html"), "x").unwrap();
        let loaded = app.load().application;
        let [folder] = loaded.static_folders.as_slice() else { panic!("one folder") };
        assert_eq!((folder.pattern.as_str(), folder.fallback.as_deref()), ("/shop/...", Some("index.html")));
        assert_eq!(folder.folder, dir.join("public").canonicalize().unwrap());
    }

    #[test]
    fn every_mistake_is_one_error_with_line_and_fix() {
        for (entries, line, message, fix) in [
            ("folder = \"public\"", LINE, "has no `route`", "route ="),
            ("route = \"/...\"", LINE, "has no `folder`", "folder ="),
            ("route = \"/shop\"\nfolder = \"public\"", LINE + 1, "cannot lead to a folder", "/..."),
            ("route = \"/:a/...\"\nfolder = \"public\"", LINE + 1, "cannot lead to a folder", ":name"),
            ("route = \"/a b/...\"\nfolder = \"public\"", LINE + 1, "contains ' '", "percent-encoded"),
            ("route = \"/...\"\nfolder = \"none\"", LINE + 2, "cannot be served", "create it"),
            ("route = \"/...\"\nfolder = \"file\"", LINE + 2, "is not a folder", "folder ="),
            ("route = \"/...\"\nfolder = \".\"", LINE + 2, "not inside", "inside"),
            ("route = \"/...\"\nfolder = \"out\"", LINE + 2, "not inside", "inside"),
            ("route = \"/...\"\nfolder = \"public\"\nfallback = \"x\"", LINE + 3, "no file in `public`", "index.html"),
            ("route = \"/...\"\nfolder = \"public\"\nfallback = \"../file\"", LINE + 3, "no file", "index.html"),
            ("route = \"/...\"\nfolder = \"public\"\nfolders = 1", LINE + 3, "unknown key", "folder"),
            ("route = \"/api/...\"\nfolder = \"public\"", LINE, "the same paths as `/api/...`", "change its route"),
        ] {
            let app = app(&text(entries));
            let dir = app.options.manifest.parent().unwrap();
            std::fs::create_dir(dir.join("public")).unwrap();
            std::fs::write(dir.join("file"), "x").unwrap();
            symlink("/tmp", dir.join("out")).unwrap();
            let errors = crate::tests::load(&app.options).map(|_| ()).expect_err(entries);
            let [error] = errors.0.as_slice() else { panic!("{entries}: {errors}") };
            assert_eq!(error.line, Some(line), "{entries}: {error}");
            assert!(error.message.contains(message) && error.fix.contains(fix), "{entries}: {error}");
        }
    }
}
