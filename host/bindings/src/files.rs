//! The `files` of a component: copied at start-up into `<state>/files/COMPONENT/`, which the guest sees read-only as
//! `/`, as in Spin's copy mode.
//!
//! The manifest says which files. Because they are copied, the guest sees them as they were at start-up, and no
//! symbolic link can lead out of the folder. Everything copied must lie inside the manifest's folder once symbolic
//! links are followed, and outside the state folder, which holds the data of other components.

use souk_manifest::{Application, Component, Diagnostic};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component as Part, Path, PathBuf};

/// Copies the files of `component` and returns their folder; `None` when its manifest has none. `state` is the state
/// folder. It blocks: for start-up.
///
/// # Errors
/// When an entry matches nothing or leads out of the manifest's folder, and when copying fails.
pub fn grant(application: &Application, component: &Component, state: &Path) -> Result<Option<PathBuf>, Diagnostic> {
    if component.files.is_empty() {
        return Ok(None);
    }
    let files = component.files.resolve()?;
    let copied = copy(&application.dir, state, &component.name, &files);
    copied
        .map(Some)
        .map_err(|Refused { message, fix }| application.mistake(component, format!("`files`: {message}"), fix))
}

/// Why a file may not or cannot be copied.
#[derive(Debug)]
struct Refused {
    message: String,
    fix: &'static str,
}

fn refused<T>(message: String, fix: &'static str) -> Result<T, Refused> {
    Err(Refused { message, fix })
}

/// Copies `files`, from the guest's paths to the host's, and returns the folder that holds them.
fn copy(root: &Path, state: &Path, component: &str, files: &BTreeMap<String, PathBuf>) -> Result<PathBuf, Refused> {
    let mut name = Path::new(component).components();
    let (Some(Part::Normal(name)), None) = (name.next(), name.next()) else {
        let message = "the component's name cannot be the name of a folder".to_owned();
        return refused(message, "use letters, digits and dashes");
    };
    let folder = state.join("files").join(name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_fault(&folder, &error)),
        _ => fs::create_dir_all(&folder).map_err(|error| io_fault(&folder, &error))?,
    }
    let root = fs::canonicalize(root).map_err(|error| io_fault(root, &error))?;
    let state = fs::canonicalize(state).map_err(|error| io_fault(state, &error))?;
    for (guest, file) in files {
        let real = fs::canonicalize(file).map_err(|error| io_fault(file, &error))?;
        if real.starts_with(&state) {
            // A wide pattern such as `**/*` matches the state folder by accident.
            continue;
        }
        let shown = file.strip_prefix(&root).unwrap_or(file).display();
        if !real.starts_with(&root) {
            let message = format!("`{shown}` is outside the manifest's folder");
            return refused(message, "copy the file into the folder");
        }
        let inside = Path::new(guest.trim_start_matches('/'));
        if !inside.components().all(|part| matches!(part, Part::Normal(_))) {
            let message = format!("the destination `{guest}` of `{shown}` is not an absolute path, or has `..` in it");
            return refused(message, "write its path in the component, which begins with `/`");
        }
        let target = folder.join(inside);
        if real.is_dir() {
            fs::create_dir_all(&target).map_err(|error| io_fault(&target, &error))?;
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|error| io_fault(parent, &error))?;
        }
        fs::copy(&real, &target).map_err(|error| io_fault(&real, &error))?;
    }
    Ok(folder)
}

fn io_fault(path: &Path, error: &std::io::Error) -> Refused {
    let fix = "make the manifest's files readable, and the state folder writable, for the host's user";
    Refused { message: format!("{}: {error}", path.display()), fix }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// An application with some files and, outside its folder, a file that it must not read.
    fn application() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("app/static/a.txt", "a"),
            ("app/static/deep/b.txt", "b"),
            ("app/.souk/key_value/default.db", "secret of another component"),
            ("outside.txt", "outside"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    /// Copies `files`, given as (guest's path, path from the application's folder), and lists the copies.
    fn run(dir: &TempDir, component: &str, files: &[(&str, &str)]) -> Result<Vec<String>, Refused> {
        let root = dir.path().join("app");
        let files = files.iter().map(|(guest, host)| ((*guest).to_owned(), root.join(host))).collect();
        let folder = copy(&root, &root.join(".souk"), component, &files)?;
        let all = glob::glob(&format!("{}/**/*", folder.display())).unwrap().map(Result::unwrap);
        let all = all.filter(|path| path.is_file());
        Ok(all.map(|path| path.strip_prefix(&folder).unwrap().display().to_string()).collect())
    }

    #[test]
    fn files_are_copied_to_where_the_guest_wants_them() {
        let dir = application();
        let files = [("/docs/a.txt", "static/a.txt"), ("/b.txt", "static/deep/b.txt")];
        assert_eq!(run(&dir, "web", &files).unwrap(), ["b.txt", "docs/a.txt"]);
        assert_eq!(fs::read_to_string(dir.path().join("app/.souk/files/web/docs/a.txt")).unwrap(), "a");
    }

    #[test]
    fn a_folder_without_files_is_there_and_empty() {
        let dir = application();
        fs::create_dir(dir.path().join("app/none")).unwrap();
        assert_eq!(run(&dir, "web", &[("/deep/none", "none"), ("/", "none")]).unwrap(), Vec::<String>::new());
        assert!(dir.path().join("app/.souk/files/web/deep/none").is_dir());
    }

    #[test]
    fn what_an_earlier_start_left_is_gone() {
        let dir = application();
        run(&dir, "web", &[("/a.txt", "static/a.txt")]).unwrap();
        assert_eq!(run(&dir, "web", &[("/b.txt", "static/a.txt")]).unwrap(), ["b.txt"]);
        assert_eq!(run(&dir, "web", &[]).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn the_state_folder_is_never_among_the_files() {
        let dir = application();
        let files = [("/a.txt", "static/a.txt"), ("/default.db", ".souk/key_value/default.db")];
        assert_eq!(run(&dir, "web", &files).unwrap(), ["a.txt"]);
    }

    #[test]
    fn what_lies_outside_the_folder_and_names_that_lead_out_are_refused() {
        let dir = application();
        for (component, guest, host, expected) in [
            ("web", "/x", "../outside.txt", "outside the manifest's folder"),
            ("web", "/x", "absent.txt", "absent.txt"),
            ("web", "/../x", "static/a.txt", "not an absolute path, or has `..`"),
            ("..", "/x", "static/a.txt", "name of a folder"),
            ("a/b", "/x", "static/a.txt", "name of a folder"),
            ("", "/x", "static/a.txt", "name of a folder"),
        ] {
            let error = run(&dir, component, &[(guest, host)]).unwrap_err().message;
            assert!(error.contains(expected), "{component} {guest} {host}: {error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_may_point_inside_but_not_out() {
        use std::os::unix::fs::symlink;
        let dir = application();
        symlink("a.txt", dir.path().join("app/static/inside.txt")).unwrap();
        run(&dir, "web", &[("/inside.txt", "static/inside.txt")]).unwrap();
        let copied = dir.path().join("app/.souk/files/web/inside.txt");
        assert!(!fs::symlink_metadata(&copied).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(copied).unwrap(), "a");

        symlink("../../outside.txt", dir.path().join("app/static/escape.txt")).unwrap();
        symlink("../..", dir.path().join("app/static/up")).unwrap();
        symlink("../.souk", dir.path().join("app/static/state")).unwrap();
        for host in ["static/escape.txt", "static/up/outside.txt"] {
            let error = run(&dir, "web", &[("/x", host)]).unwrap_err().message;
            assert!(error.contains("outside the manifest's folder"), "{host}: {error}");
        }
        assert_eq!(run(&dir, "web", &[("/x", "static/state/key_value/default.db")]).unwrap(), Vec::<String>::new());
    }
}
