//! The `files` of a component: copied at start-up into `<state>/files/COMPONENT/`, which the guest sees read-only as
//! `/`, as in Spin's copy mode.
//!
//! A copy holds still: what the guest sees is what was there at start-up, and there is no link in it that could lead
//! out. Everything copied must lie inside the manifest's folder once symbolic links are followed, and outside the state
//! folder, which holds the data of other components.

use std::fs;
use std::path::{Component as Part, Path, PathBuf};

/// What the manifest says of a component's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Files, folders and glob patterns, relative to the manifest's folder; each keeps its relative path.
    pub patterns: Vec<String>,
    /// `{ source, destination }`: a file or folder relative to the manifest's folder, and its absolute path in the guest.
    pub mounts: Vec<(String, String)>,
    /// Glob patterns of what is left out, relative to the manifest's folder.
    pub exclude: Vec<String>,
}

/// Why the files of a component cannot be prepared.
#[derive(Debug, thiserror::Error)]
#[error("component `{component}`: {what}")]
pub struct FilesError {
    component: String,
    what: String,
}

/// Copies the files of `component` and returns their folder; `None` when it has none.
///
/// `root` is the manifest's folder. It blocks: for start-up.
///
/// # Errors
/// When a pattern is malformed, names nothing, or leads out of `root`, and when copying fails.
pub fn prepare(root: &Path, state: &Path, component: &str, files: &Files) -> Result<Option<PathBuf>, FilesError> {
    let fault = |what| FilesError { component: component.to_owned(), what };
    if files.patterns.is_empty() && files.mounts.is_empty() {
        return Ok(None);
    }
    if !is_plain(Path::new(component)) || Path::new(component).components().count() != 1 {
        return Err(fault("the name cannot be the name of a folder; use letters, digits and dashes".to_owned()));
    }
    let folder = state.join("files").join(component);
    let copy = || -> Result<(), String> {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_fault(&folder, &error)),
            _ => fs::create_dir_all(&folder).map_err(|error| io_fault(&folder, &error))?,
        }
        let copier = Copier {
            root: fs::canonicalize(root).map_err(|error| io_fault(root, &error))?,
            state: fs::canonicalize(state).map_err(|error| io_fault(state, &error))?,
            folder: folder.clone(),
            exclude: files.exclude.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?,
        };
        files.patterns.iter().try_for_each(|text| copier.pattern(text))?;
        files.mounts.iter().try_for_each(|(source, destination)| copier.mount(source, destination))
    };
    copy().map_err(fault)?;
    Ok(Some(folder))
}

struct Copier {
    root: PathBuf,
    state: PathBuf,
    folder: PathBuf,
    exclude: Vec<glob::Pattern>,
}

impl Copier {
    /// Copies what an entry of `files` that is a string names.
    fn pattern(&self, text: &str) -> Result<(), String> {
        if !is_plain(Path::new(text)) {
            return Err(format!("files entry {text:?} must be a path inside the manifest's folder, relative to it"));
        }
        if self.root.join(text).exists() {
            return self.tree(Path::new(text), &self.folder.join(text));
        }
        pattern(text)?;
        let absolute = format!("{}/{text}", glob::Pattern::escape(&self.root.to_string_lossy()));
        let mut found = false;
        for path in glob::glob(&absolute).map_err(|error| format!("files pattern {text:?}: {error}"))? {
            let path = path.map_err(|error| io_fault(error.path(), error.error()))?;
            // A pattern like `**/*` also names folders, whose files it names one by one.
            if let (true, Ok(relative)) = (path.is_file(), path.strip_prefix(&self.root)) {
                found |= self.file(relative, &self.folder.join(relative))?;
            }
        }
        if found { Ok(()) } else { Err(format!("files entry {text:?} matches no file; correct or remove it")) }
    }

    /// Copies what an entry of `files` with source and destination names.
    fn mount(&self, source: &str, destination: &str) -> Result<(), String> {
        if !is_plain(Path::new(source)) {
            return Err(format!("files source {source:?} must be a path inside the manifest's folder, relative to it"));
        }
        let inside = destination.strip_prefix('/').map(Path::new).filter(|path| is_plain(path));
        let Some(inside) = inside else {
            return Err(format!("files destination {destination:?} must be an absolute path such as \"/static\""));
        };
        if !self.root.join(source).exists() {
            return Err(format!("files source {source:?} does not exist; correct or remove it"));
        }
        self.tree(Path::new(source), &self.folder.join(inside))
    }

    /// Copies a file, or a folder with all that is in it; `relative` is its path from the root.
    fn tree(&self, relative: &Path, destination: &Path) -> Result<(), String> {
        let source = self.root.join(relative);
        if !source.is_dir() {
            return self.file(relative, destination).map(drop);
        }
        let real = self.inside(&source)?;
        if real.starts_with(&self.state) {
            return Ok(());
        }
        // A folder reached through a link could hold itself; links to files are enough.
        if fs::symlink_metadata(&source).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(format!("{} is a symbolic link to a folder; name the folder itself", relative.display()));
        }
        for entry in fs::read_dir(&source).map_err(|error| io_fault(&source, &error))? {
            let name = entry.map_err(|error| io_fault(&source, &error))?.file_name();
            self.tree(&relative.join(&name), &destination.join(&name))?;
        }
        Ok(())
    }

    /// Copies one file, unless it is excluded or belongs to the state folder; returns whether it did.
    fn file(&self, relative: &Path, destination: &Path) -> Result<bool, String> {
        let real = self.inside(&self.root.join(relative))?;
        if real.starts_with(&self.state) || self.exclude.iter().any(|exclude| exclude.matches_path(relative)) {
            return Ok(false);
        }
        if let Some(parent) = destination.parent() {
            fs::create_dir_all(parent).map_err(|error| io_fault(parent, &error))?;
        }
        fs::copy(&real, destination).map_err(|error| io_fault(&real, &error))?;
        Ok(true)
    }

    /// The path with all links followed, which must lie in the manifest's folder.
    fn inside(&self, path: &Path) -> Result<PathBuf, String> {
        let real = fs::canonicalize(path).map_err(|error| io_fault(path, &error))?;
        if real.starts_with(&self.root) {
            return Ok(real);
        }
        let path = path.strip_prefix(&self.root).unwrap_or(path).display();
        Err(format!("{path} leads out of the manifest's folder through a symbolic link; copy the file into the folder"))
    }
}

fn pattern(text: &str) -> Result<glob::Pattern, String> {
    glob::Pattern::new(text).map_err(|error| format!("pattern {text:?} is malformed: {error}"))
}

/// Whether a path is relative and stays below where it starts.
fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Part::Normal(_) | Part::CurDir))
}

fn io_fault(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// An application with some files and, beside it, one that is none of its business.
    fn application() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("app/static/a.txt", "a"),
            ("app/static/deep/b.txt", "b"),
            ("app/static/deep/c.map", "c"),
            ("app/note.md", "note"),
            ("app/.souk/key_value/default.db", "secret of another component"),
            ("outside.txt", "outside"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn run(dir: &TempDir, files: Files) -> Result<Vec<String>, String> {
        let root = dir.path().join("app");
        let folder = prepare(&root, &root.join(".souk"), "web", &files).map_err(|error| error.to_string())?;
        let Some(folder) = folder else { return Ok(vec!["no folder".to_owned()]) };
        let all = format!("{}/**/*", folder.display());
        let files = glob::glob(&all).unwrap().map(Result::unwrap).filter(|path| path.is_file());
        Ok(files.map(|path| path.strip_prefix(&folder).unwrap().display().to_string()).collect())
    }

    fn patterns(patterns: &[&str]) -> Files {
        Files { patterns: patterns.iter().map(ToString::to_string).collect(), ..Files::default() }
    }

    #[test]
    fn patterns_folders_and_mounts_are_copied_and_exclusions_are_not() {
        let dir = application();
        assert_eq!(run(&dir, Files::default()).unwrap(), ["no folder"]);
        assert_eq!(run(&dir, patterns(&["static/*.txt", "note.md"])).unwrap(), ["note.md", "static/a.txt"]);
        assert_eq!(run(&dir, patterns(&["static"])).unwrap().len(), 3);
        let files = Files {
            mounts: vec![("static".into(), "/".into()), ("note.md".into(), "/docs/readme.md".into())],
            exclude: vec!["**/*.map".into()],
            ..Files::default()
        };
        assert_eq!(run(&dir, files).unwrap(), ["a.txt", "deep/b.txt", "docs/readme.md"]);
    }

    #[test]
    fn what_an_earlier_start_left_is_gone() {
        let dir = application();
        run(&dir, patterns(&["static"])).unwrap();
        assert_eq!(run(&dir, patterns(&["note.md"])).unwrap(), ["note.md"]);
    }

    #[test]
    fn the_state_folder_is_never_among_the_files() {
        let dir = application();
        let found = run(&dir, patterns(&["**/*"])).unwrap();
        assert!(found.contains(&"note.md".to_owned()) && !found.iter().any(|path| path.contains("souk")), "{found:?}");
        assert_eq!(run(&dir, patterns(&[".souk"])).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn paths_out_of_the_folder_and_patterns_for_nothing_are_refused_by_name() {
        let dir = application();
        let mount = |source: &str, destination: &str| Files {
            mounts: vec![(source.into(), destination.into())],
            ..Files::default()
        };
        for (files, expected) in [
            (patterns(&["../outside.txt"]), "must be a path inside"),
            (patterns(&["/etc/passwd"]), "must be a path inside"),
            (patterns(&["static/../../outside.txt"]), "must be a path inside"),
            (patterns(&["nothing/*"]), "matches no file"),
            (patterns(&["a[b"]), "malformed"),
            (mount("..", "/"), "must be a path inside"),
            (mount("absent", "/"), "does not exist"),
            (mount("static", "static"), "must be an absolute path"),
            (mount("static", "/../../etc"), "must be an absolute path"),
        ] {
            let error = run(&dir, files.clone()).unwrap_err();
            assert!(error.contains(expected) && error.starts_with("component `web`"), "{files:?}: {error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_may_point_inside_but_not_out() {
        use std::os::unix::fs::symlink;
        let dir = application();
        symlink("../note.md", dir.path().join("app/static/inside.md")).unwrap();
        let found = run(&dir, patterns(&["static/*.md"])).unwrap();
        assert_eq!(found, ["static/inside.md"]);
        let copied = dir.path().join("app/.souk/files/web/static/inside.md");
        assert!(!fs::symlink_metadata(&copied).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(copied).unwrap(), "note");

        symlink("../../outside.txt", dir.path().join("app/static/escape.txt")).unwrap();
        symlink("../..", dir.path().join("app/static/up")).unwrap();
        for pattern in ["static", "static/*.txt", "static/escape.txt", "static/up"] {
            let error = run(&dir, patterns(&[pattern])).unwrap_err();
            assert!(error.contains("leads out of the manifest's folder"), "{pattern}: {error}");
        }
    }
}
