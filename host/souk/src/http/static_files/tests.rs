//! Tests paths and files that change, without a server.

use super::*;
use tokio::io::AsyncSeekExt as _;

#[test]
fn paths_that_no_file_has_are_known_before_the_disk_is_asked() {
    for (path, expected) in [
        ("/a/b.html", true),
        ("/%C3%A4.txt", true),
        ("/", true),
        ("/.env", false),
        ("/a/.git/config", false),
        ("/%2eenv", false),
        ("/a/../b", false),
        ("//evil.example", false),
        ("/a%2f%2fb", false),
        ("/a%5c..%5cb", false),
        ("/a%00", false),
        ("/%ff", false),
    ] {
        assert_eq!(name(path).is_some(), expected, "{path}");
    }
    assert!(name(&format!("/{}", "a".repeat(MAX_FILE_PATH_BYTES))).is_none());
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_sent_has_the_declared_length_or_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let root = folder.path().into();
    let root = Folder { root, budget: Arc::default(), requested: OsString::default(), is_head: false };
    let open = async || {
        std::fs::write(&path, "0123456789").unwrap();
        root.open("log".into()).await.unwrap()
    };
    let mut text = String::new();
    let mut longer = open().await;
    std::fs::write(&path, "0123456789 and more").unwrap();
    assert_eq!(longer.read_to_string(&mut text).await.unwrap(), 10);
    let mut part = open().await;
    std::fs::write(&path, "0123456789 and more").unwrap();
    part.seek(io::SeekFrom::Start(7)).await.unwrap();
    assert_eq!((part.read_to_string(&mut text).await.unwrap(), &text[10..]), (3, "789"));
    let mut shorter = open().await;
    std::fs::write(&path, "01234").unwrap();
    assert_eq!(shorter.read_to_string(&mut text).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn only_what_looks_like_a_page_falls_back() {
    for (name, expected) in [("/", false), ("/orders/7", false), ("/app.js", true), ("/v1.2/page", false)] {
        assert_eq!(has_extension(name), expected, "{name}");
    }
}
