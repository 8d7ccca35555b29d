//! `files` and `exclude_files`: the files that a component may read.
//!
//! A pattern maps each matching file to the same path in the guest; a pair of `source` and `destination` maps a folder
//! or a file to another path. Patterns cannot leave the manifest's folder. The files are looked up when the sandbox is
//! prepared and not when the manifest is read, because a build may create them.

use super::error::Diagnostic;
use super::table::{At, Table};
use glob::Pattern;
use std::collections::BTreeMap;
use std::path::{Component as PathPart, Path, PathBuf};
use toml::de::DeValue;

/// One entry of `files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileMount {
    /// A path or glob pattern, from the manifest's folder.
    Pattern(String),
    /// A folder or file, and its path in the guest.
    Placement {
        /// On the host.
        source: PathBuf,
        /// In the guest; absolute.
        destination: String,
    },
}

impl std::fmt::Display for FileMount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileMount::Pattern(pattern) => f.write_str(pattern),
            FileMount::Placement { source, destination } => write!(f, "{} at {destination}", source.display()),
        }
    }
}

/// The files of one component.
#[derive(Debug, Clone, Default)]
pub struct Files {
    dir: PathBuf,
    mounts: Vec<At<FileMount>>,
    exclude: Vec<Pattern>,
    manifest: PathBuf,
    component: String,
}

impl Files {
    pub(super) fn read(table: &mut Table<'_, '_>, component: &str, dir: &Path) -> Self {
        let mut mounts = Vec::new();
        if let Some((line, value)) = table.value("files") {
            match value.get_ref() {
                DeValue::Array(items) => {
                    for item in items.iter() {
                        let line = table.line_of(&item.span());
                        mounts.extend(read_mount(table, line, item.get_ref(), dir).map(|value| At { value, line }));
                    }
                }
                other => table.mismatch("files", line, "a list", other),
            }
        }
        let exclude = table.strings("exclude_files");
        let exclude = exclude.iter().filter_map(|pattern| checked_pattern(table, pattern.line, &pattern.value));
        Files {
            dir: dir.to_owned(),
            mounts,
            exclude: exclude.collect(),
            manifest: table.file.source.path.clone(),
            component: component.to_owned(),
        }
    }

    /// Adds the entries of `other`, which comes from the same manifest.
    pub(super) fn extend(&mut self, other: &Files) {
        if self.mounts.is_empty() {
            (self.dir, self.manifest) = (other.dir.clone(), other.manifest.clone());
        }
        self.mounts.extend(other.mounts.iter().cloned());
        self.exclude.extend(other.exclude.iter().cloned());
    }

    /// Sets the component that these files belong to, for messages.
    pub(super) fn set_component(&mut self, component: &str) {
        component.clone_into(&mut self.component);
    }

    /// Whether the component may read no file.
    pub fn is_empty(&self) -> bool {
        self.mounts.is_empty()
    }

    /// The entries of the manifest.
    pub fn mounts(&self) -> impl Iterator<Item = &FileMount> {
        self.mounts.iter().map(|mount| &mount.value)
    }

    /// Every file that the component may read: its absolute path in the guest, and the file on the host. An empty
    /// folder is listed itself.
    ///
    /// Reads folders; meant for start-up, after the build.
    ///
    /// # Errors
    /// When an entry names or matches no file, or a folder cannot be read.
    pub fn resolve(&self) -> Result<BTreeMap<String, PathBuf>, Diagnostic> {
        let mut files = BTreeMap::new();
        for mount in &self.mounts {
            let (found, strip, destination, folder) = match &mount.value {
                FileMount::Pattern(pattern) => {
                    let path = self.dir.join(pattern);
                    if !path.exists() && !pattern.contains(['*', '?', '[']) {
                        return Err(self.error(mount.line, format!("`{pattern}` in `files` does not exist")));
                    }
                    let all = if path.exists() { escaped(&path) } else { format!("{}/{pattern}", escaped(&self.dir)) };
                    let folder = path.is_dir().then(|| (format!("/{}", pattern.trim_end_matches('/')), path.clone()));
                    let all = if folder.is_some() { format!("{all}/**/*") } else { all };
                    (self.glob(&all, mount.line)?, self.dir.as_path(), "/", folder)
                }
                FileMount::Placement { source, destination } if source.is_dir() => {
                    let all = format!("{}/**/*", escaped(source));
                    (
                        self.glob(&all, mount.line)?,
                        source.as_path(),
                        destination.as_str(),
                        Some((destination.clone(), source.clone())),
                    )
                }
                FileMount::Placement { source, destination } if source.is_file() && destination.ends_with('/') => {
                    let shown = source.strip_prefix(&self.dir).unwrap_or(source).display();
                    let message =
                        format!("`{shown}` in `files` is a file, and its destination `{destination}` a folder");
                    let fix = "write the path of the file in the component: `destination = \"/NAME\"`".to_owned();
                    return Err(Diagnostic { fix, ..self.error(mount.line, message) });
                }
                FileMount::Placement { source, destination } if source.is_file() => {
                    self.add_file(&mut files, destination.clone(), source.clone(), mount.line)?;
                    continue;
                }
                FileMount::Placement { source, .. } => {
                    let shown = source.strip_prefix(&self.dir).unwrap_or(source).display();
                    return Err(self.error(mount.line, format!("`{shown}` in `files` does not exist")));
                }
            };
            if let (true, Some((path, folder))) = (found.is_empty(), folder) {
                files.entry(path).or_insert(folder);
                continue;
            }
            // A pattern that matches nothing is a mistake.
            if found.is_empty() {
                return Err(self.error(mount.line, format!("`{}` in `files` matches no file", mount.value)));
            }
            for file in found {
                let Ok(relative) = file.strip_prefix(strip) else { continue };
                let Some(relative) = relative.to_str() else { continue };
                let path = format!("{}/{relative}", destination.trim_end_matches('/'));
                self.add_file(&mut files, path, file.clone(), mount.line)?;
            }
        }
        Ok(files)
    }

    /// Adds a file that is not excluded; two different files for one path are an error.
    fn add_file(
        &self,
        files: &mut BTreeMap<String, PathBuf>,
        path: String,
        file: PathBuf,
        line: usize,
    ) -> Result<(), Diagnostic> {
        if self.excluded(&file) {
            return Ok(());
        }
        let shown = |file: &Path| file.strip_prefix(&self.dir).unwrap_or(file).display().to_string();
        match files.get(&path) {
            Some(other) if *other != file => {
                let message = format!("`{}` and `{}` in `files` are both for `{path}`", shown(other), shown(&file));
                let fix = "change the destination of one of them, or leave one out with `exclude_files`".to_owned();
                Err(Diagnostic { fix, ..self.error(line, message) })
            }
            _ => {
                files.insert(path, file);
                Ok(())
            }
        }
    }

    fn excluded(&self, file: &Path) -> bool {
        let relative = file.strip_prefix(&self.dir).unwrap_or(file);
        self.exclude.iter().any(|pattern| pattern.matches_path(relative))
    }

    fn glob(&self, pattern: &str, line: usize) -> Result<Vec<PathBuf>, Diagnostic> {
        let paths = glob::glob(pattern).map_err(|error| self.error(line, format!("a pattern in `files`: {error}")))?;
        let mut files = Vec::new();
        for path in paths {
            let path = path.map_err(|error| self.error(line, format!("`files`: {error}")))?;
            if path.is_file() {
                files.push(path);
            }
        }
        Ok(files)
    }

    fn error(&self, line: usize, message: String) -> Diagnostic {
        Diagnostic {
            file: self.manifest.clone(),
            line: Some(line),
            component: Some(self.component.clone()),
            message,
            fix: "make the file readable, or correct the path, which is relative to the manifest's folder".to_owned(),
        }
    }
}

fn escaped(path: &Path) -> String {
    Pattern::escape(&path.to_string_lossy())
}

fn read_mount(table: &Table<'_, '_>, line: usize, value: &DeValue<'_>, dir: &Path) -> Option<FileMount> {
    const FIX: &str = "write \"pattern/*\", or { source = \"folder\", destination = \"/\" }";
    match value {
        DeValue::String(pattern) => {
            checked_pattern(table, line, pattern)?;
            Some(FileMount::Pattern(pattern.to_string()))
        }
        DeValue::Table(entries) => {
            let mut placement = Table::new(table.file, "an entry of `files`", line, entries);
            placement.component = table.component;
            let source = placement.required_string("source", FIX);
            let destination = placement.required_string("destination", FIX);
            placement.finish();
            let (source, destination) = (source?, destination?);
            if destination.value.split('/').any(|part| part == "..") {
                let message = format!("destination `{}` has `..` in it", destination.value);
                table.error(destination.line, message, "write the path in the component: `/assets`");
                return None;
            }
            // A path in the component begins at its root, with or without a slash, as in Spin.
            let destination = format!("/{}", destination.value.trim_start_matches('/'));
            Some(FileMount::Placement { source: dir.join(source.value), destination })
        }
        other => {
            table.error(line, format!("an entry of `files` is of type {}", other.type_str()), FIX);
            None
        }
    }
}

fn checked_pattern(table: &Table<'_, '_>, line: usize, text: &str) -> Option<Pattern> {
    let outside = |part| matches!(part, PathPart::ParentDir | PathPart::RootDir | PathPart::Prefix(_));
    if Path::new(text).components().any(outside) {
        let fix = "copy the files into the folder of the manifest: a component reads nothing outside of it";
        table.error(line, format!("pattern `{text}` leaves the folder of the manifest"), fix);
        return None;
    }
    match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            table.error(line, format!("`{text}` is not a pattern: {}", error.msg), "write, say, `assets/**/*.png`");
            None
        }
    }
}
