//! The files on disk that `files` of a component matches.

use super::*;

#[test]
fn files_that_do_not_exist_are_reported_when_they_are_looked_up() {
    for (entry, message) in [
        ("\"none.txt\"", "does not exist"),
        ("\"none/*\"", "matches no file"),
        ("{ source = \"none\", destination = \"/\" }", "does not exist"),
        ("{ source = \"spin.toml\", destination = \"/w/\" }", "is a file, and its destination `/w/` a folder"),
    ] {
        let app = app(&with_component(&format!("files = [{entry}]")));
        let error = app.component("a").files.resolve().expect_err(entry);
        assert_eq!((error.line, error.component.as_deref()), (Some(8), Some("a")));
        assert!(error.message.contains(message), "{error}");
    }
    let app = app(&with_component(
        "files = [\"assets\", \"assets/d*/*\", { source = \"a[1].txt\", destination = \"/x.txt\" }]",
    ));
    let app = app.file("assets/deep/a.txt", "").file("a[1].txt", "");
    let files = app.component("a").files.resolve().unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["/assets/deep/a.txt", "/x.txt"]);

    let app = self::app(&with_component("files = [\"none\", { source = \"none\", destination = \"/w\" }]"));
    fs::create_dir(app.dir.path().join("none")).unwrap();
    let files = app.component("a").files.resolve().unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["/none", "/w"]);

    let twice = "files = [{ source = \"a\", destination = \"/w\" }, { source = \"b\", destination = \"/w\" }]\n";
    let twice = |more: &str| self::app(&with_component(&(twice.to_owned() + more))).file("a/x", "").file("b/x", "");
    let error = twice("").component("a").files.resolve().unwrap_err();
    assert!(error.line == Some(8) && error.message.contains("`a/x` and `b/x`"), "{error}");
    let files = twice("exclude_files = [\"a/*\"]").component("a").files.resolve().unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["/w/x"]);
}

#[test]
fn a_destination_begins_at_the_root_with_or_without_a_slash() {
    for (destination, path) in [("w", "/w/a.txt"), ("/w", "/w/a.txt"), ("w/", "/w/a.txt"), ("", "/a.txt")] {
        let files = format!("files = [{{ source = \"a\", destination = \"{destination}\" }}]");
        let app = app(&with_component(&files)).file("a/a.txt", "");
        let files = app.component("a").files.resolve().unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), [path], "{destination}");
    }
}
