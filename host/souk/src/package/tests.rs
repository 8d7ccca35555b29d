//! Tests that packages in files are made, unpacked and refused correctly.

use super::folder::PackageFolder;
use super::layout::Layout;
use super::*;
use std::fs;
use std::path::Path;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

const CODE: &[u8] = b"\0asm of a component";

/// An application in a folder, with its files; `extra` is added to its manifest.
fn application(extra: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "spin_manifest_version = 2\n[application]\nname = \"shop\"\nversion = \"1.2.0\"\ntool.souk.test.command = \"rm -rf /\"\n\
         [[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n[component.a]\nsource = \"../built/a.wasm\"\n\
         files = [\"assets/**/*\", {{ source = \"one.txt\", destination = \"/1\" }}]\ntool.souk.migrations = \"sql\"\n\
         tool.souk.seed.folder = \"seed\"\n\
         [component.a.build]\ncommand = \"touch ran\"\n{extra}"
    );
    let app = folder.path().join("app");
    for (path, bytes) in [
        ("app/spin.toml", text.as_bytes()),
        ("app/assets/deep/x.png", b"png"),
        ("app/one.txt", b"1"),
        ("app/sql/sqlite/0001_a.sql", b"select 1"),
        ("app/seed/add.sql", b"select 2"),
        ("app/seed/.passwords", b"secret"),
        ("app/sql/.git/config", b"secret"),
        ("app/.env", b"SPIN_VARIABLE_KEY=secret"),
        ("app/runtime-config.toml", b""),
        ("built/a.wasm", CODE),
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    assert!(app.is_dir());
    folder
}

fn made(folder: &TempDir) -> anyhow::Result<make::Made> {
    make(&folder.path().join("app/spin.toml"), &folder.path().join("package"))
}

#[tokio::test]
async fn a_package_has_the_application_and_nothing_of_the_operators() {
    let folder = application("");
    let first = made(&folder).unwrap();
    assert_eq!(made(&folder).unwrap().digest, first.digest, "the same files make another package");
    let package = Package::of(&folder.path().join("package")).unwrap();
    let state = folder.path().join("state");
    assert!(kept(&package, &state).is_err());
    let obtained = obtain(&package, &state, ObtainOptions::default()).await.unwrap();
    assert_eq!((&obtained.digest, &obtained.folder), (&first.digest, &kept(&package, &state).unwrap()));
    let read = |path: &str| fs::read(obtained.folder.join(path)).unwrap();
    assert_eq!(read("components/a.wasm"), CODE);
    assert_eq!((read("assets/deep/x.png"), read("one.txt")), (b"png".to_vec(), b"1".to_vec()));
    assert_eq!((read("sql/sqlite/0001_a.sql"), read("seed/add.sql")), (b"select 1".to_vec(), b"select 2".to_vec()));
    let text = String::from_utf8(read("spin.toml")).unwrap();
    assert!(text.contains("source = \"components/a.wasm\"") && !text.contains("touch ran"), "{text}");
    assert!(!text.contains("rm -rf"), "{text}");
    for path in [".env", "runtime-config.toml", "ran", "seed/.passwords", "sql/.git"] {
        assert!(!obtained.folder.join(path).exists(), "{path}");
    }
    souk_manifest::load_package(&obtained.folder).unwrap();
    let options = ObtainOptions { accept: Some("sha256:0"), plain_http: false };
    assert!(obtain(&package, &state, options).await.unwrap_err().to_string().contains("`--accept` says sha256:0"));
}

#[test]
fn what_was_accepted_for_a_name_counts_in_whatever_letters_its_registry_is_typed() {
    let state = tempfile::tempdir().unwrap();
    let packages = PackageFolder::of(state.path());
    let (old, new) = (digest_of(b"old"), digest_of(b"new"));
    for digest in [&old, &new] {
        fs::create_dir_all(packages.folder(digest)).unwrap();
    }
    // The first as it was kept once.
    for (noted, digest) in [("R.test/shop/store:1", &old), ("r.test/shop/store:1", &new)] {
        packages.accept(noted, digest).unwrap();
        for typed in ["r.test/shop/store:1", "R.TEST/shop/store:1"] {
            let package = Package::of(Path::new(typed)).unwrap();
            assert_eq!(kept(&package, state.path()).unwrap(), packages.folder(digest), "{typed}");
        }
    }
}

#[test]
fn a_package_that_is_neither_accepted_nor_started_is_removed() {
    let state = tempfile::tempdir().unwrap();
    let packages = PackageFolder::of(state.path());
    let [superseded, accepted, from_a_file] = [b"old", b"new", b"own"].map(|text| digest_of(text));
    for digest in [&superseded, &accepted, &from_a_file] {
        fs::create_dir_all(packages.folder(digest).join("components")).unwrap();
    }
    for digest in [&superseded, &accepted] {
        packages.accept("r.test/shop/store:1", digest).unwrap();
    }
    remove_superseded(state.path(), &packages.folder(&from_a_file)).unwrap();
    let mut left: Vec<_> =
        fs::read_dir(state.path().join("packages")).unwrap().map(|entry| entry.unwrap().path()).collect();
    left.sort();
    let mut expected = vec![packages.folder(&accepted), packages.folder(&from_a_file)];
    expected.push(state.path().join("packages/accepted.json"));
    expected.sort();
    assert_eq!(left, expected);
    // The next one that starts is of the registry.
    remove_superseded(state.path(), &packages.folder(&accepted)).unwrap();
    assert!(packages.folder(&accepted).is_dir() && !packages.folder(&from_a_file).exists());
}

#[test]
fn what_belongs_in_no_package_is_refused() {
    let b = |entry: &str| format!("[component.b]\nsource = \"../built/a.wasm\"\n{entry}\n");
    for (extra, why) in [
        (b("files = [\".env\"]"), "operator's values"),
        (b("files = [\"*\"]"), "operator's values"),
        (b("files = [\"link.txt\"]"), "lies outside the folder"),
        (b("files = [\"hidden\"]"), "operator's values"),
        (b("files = [{ source = \"../built\", destination = \"/\" }]"), "lies outside the folder"),
        (b("files = [\"data/**/*\"]"), "operator's values"),
        (b("[component.b.dependencies]\n\"n:p/i\" = { path = \"../built/a.wasm\" }"), "lies outside the folder"),
        (b("").replace("a.wasm", "b.wasm"), "souk build"),
        (
            b("").replace(
                "\"../built/a.wasm\"",
                &format!("{{ url = \"http://localhost/a.wasm\", digest = \"sha256:{}\" }}", "0".repeat(64)),
            ),
            "a download from this machine",
        ),
    ] {
        let folder = application(&extra);
        let app = folder.path().join("app");
        std::os::unix::fs::symlink("/etc/hostname", app.join("link.txt")).unwrap();
        std::os::unix::fs::symlink(".env", app.join("hidden")).unwrap();
        fs::create_dir_all(app.join("data/sqlite")).unwrap();
        fs::write(app.join("data/lock"), "").unwrap();
        fs::write(app.join("data/sqlite/shop.db"), "").unwrap();
        if !extra.contains('*') {
            fs::remove_file(app.join("runtime-config.toml")).unwrap();
        }
        let error = made(&folder).map(|made| made.digest).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("fix: "), "{extra}: {error}");
        assert!(!folder.path().join("package").exists());
    }
}

/// A tar with entries of any kind and path, as an attacker could make it.
fn archive_of(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut tar = Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (kind, path, content) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o4777);
        let linked = matches!(kind, EntryType::Symlink | EntryType::Link);
        if linked {
            header.set_link_name(content).unwrap();
        }
        let content = if linked { "" } else { content };
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn an_archive_holds_files_and_folders_that_stay_inside() {
    use EntryType as E;
    let good = archive_of(&[(E::Directory, "a/", ""), (E::Regular, "a/b", "x"), (E::Regular, "./c/d", "y")]);
    let folder = tempfile::tempdir().unwrap();
    archive::read("p", good.as_slice(), folder.path()).unwrap();
    assert_eq!(fs::read(folder.path().join("c/d")).unwrap(), b"y");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(folder.path().join("a/b")).unwrap());
    assert_eq!(mode & 0o7111, 0, "a file out of a package can be run");
    for (entries, why) in [
        (vec![(E::Regular, "../out", "x")], "leaves the folder"),
        (vec![(E::Regular, "a/../../out", "x")], "leaves the folder"),
        (vec![(E::Regular, "/tmp/out", "x")], "leaves the folder"),
        (vec![(E::Directory, "../out", "")], "leaves the folder"),
        (vec![(E::Symlink, "a", "/etc"), (E::Regular, "a/passwd", "x")], "neither a file nor a folder"),
        (vec![(E::Link, "a", "/etc/passwd")], "neither a file nor a folder"),
        (vec![(E::Char, "a", "")], "neither a file nor a folder"),
        (vec![(E::Block, "a", "")], "neither a file nor a folder"),
        (vec![(E::Fifo, "a", "")], "neither a file nor a folder"),
        (vec![(E::GNULongName, "a", "../../out")], "neither a file nor a folder"),
        (vec![(E::XHeader, "a", "18 path=../../out\n")], "neither a file nor a folder"),
        (vec![(E::Regular, "a", "x"), (E::Regular, "a", "y")], "has `a` twice"),
        (vec![(E::Regular, "", "x")], "leaves the folder"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("x/y");
        fs::create_dir_all(&inside).unwrap();
        let error = archive::read("p", archive_of(&entries).as_slice(), &inside).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("fix: "), "{entries:?}: {error}");
        assert!(!folder.path().join("out").exists() && !folder.path().join("x/out").exists(), "{entries:?}");
    }
}

#[test]
fn an_archive_that_grows_is_refused_before_it_is_read() {
    for (kind, size, why) in [
        (EntryType::Regular, MAX_UNPACKED_BYTES + 1, "files, or 1024 MiB"),
        (EntryType::Regular, 1 << 20, "truncated"),
        (EntryType::GNULongName, 1 << 20, "neither a file nor a folder"),
    ] {
        let mut header = Header::new_gnu();
        header.set_path("big").unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(header.as_bytes()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bytes = zipped.finish().unwrap();
        let error = archive::read("p", bytes.as_slice(), folder.path()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let many = vec![(EntryType::Directory, "a", ""); MAX_FILES + 1];
    let folder = tempfile::tempdir().unwrap();
    assert!(archive::read("p", archive_of(&many).as_slice(), folder.path()).is_err());
    // Folders that no entry has, but the paths of files.
    let deep: Vec<String> = (0..500).map(|n| format!("{n}/{}f", "d/".repeat(45))).collect();
    let deep: Vec<_> = deep.iter().map(|path| (EntryType::Regular, path.as_str(), "")).collect();
    let folder = tempfile::tempdir().unwrap();
    let error = archive::read("p", archive_of(&deep).as_slice(), folder.path()).unwrap_err().to_string();
    assert!(error.contains("has more than 20000 files"), "{error}");
}

#[test]
fn a_file_that_was_changed_is_no_package() {
    let folder = application("");
    let made = made(&folder).unwrap();
    let path = folder.path().join("package");
    let whole = fs::read(&path).unwrap();
    let replaced = |from: &str, to: &str| {
        let mut bytes = whole.clone();
        let at: Vec<_> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
        assert!(!at.is_empty(), "{from}");
        at.iter().for_each(|at| bytes[*at..*at + from.len()].copy_from_slice(to.as_bytes()));
        fs::write(&path, bytes).unwrap();
        Layout::open(&path)
    };
    // The digest in the index is that of the manifest, so a changed manifest is noticed.
    let error = replaced("vnd.souk.manifest.v1", "vnd.souk.manifest.v2").map(drop).unwrap_err().to_string();
    assert!(error.contains("its digest is sha256:"), "{error}");
    let hex = hex_of(&made.digest).unwrap();
    let another = format!("sha256:{}", "0".repeat(64));
    let error = replaced(&format!("sha256:{hex}"), &another).map(drop).unwrap_err().to_string();
    assert!(error.contains("has no `blobs/sha256/000"), "{error}");
    let layout = replaced("of a component", "of a c0mponent").unwrap();
    let component = layout.manifest.layers.iter().find(|layer| layer.media_type == COMPONENT_TYPE).unwrap();
    let error = layout.fetch(component, &mut tempfile::tempfile().unwrap()).unwrap_err().to_string();
    assert!(error.contains("a blob its digest is"), "{error}");
    assert!(Layout::open(Path::new("/dev/null")).is_err());
}

#[test]
fn a_package_is_judged_by_what_it_announces() {
    let blob = |kind: &str, size: u64| {
        let digest = digest_of(b"x");
        serde_json::json!({ "mediaType": kind, "digest": digest, "size": size })
    };
    let text = |config: &str, layers: Vec<serde_json::Value>| {
        serde_json::json!({ "schemaVersion": 2, "config": blob(config, 1), "layers": layers }).to_string()
    };
    let toml = || blob(SPIN_TOML_TYPE, 1);
    let mut nameless = blob(COMPONENT_TYPE, 1);
    nameless["digest"] = "sha256:../../x".into();
    let mut deep = blob(COMPONENT_TYPE, 1);
    deep["annotations"] = serde_json::json!({ TITLE: "d/".repeat(1000) });
    let with = |mut more: Vec<serde_json::Value>| {
        more.push(toml());
        text(APPLICATION_TYPE, more)
    };
    parse("p", with(vec![blob(COMPONENT_TYPE, 1), blob(FILES_TYPE, 1)]).as_bytes()).unwrap();
    for (text, why) in [
        (text("application/vnd.docker.container.image.v1+json", vec![toml()]), "is of type"),
        (with(vec![blob(COMPONENT_TYPE, MAX_BLOB_BYTES + 1)]), "larger than 256 MiB"),
        (text(APPLICATION_TYPE, vec![blob(SPIN_TOML_TYPE, MAX_SPIN_TOML_BYTES + 1)]), "larger than 1 MiB"),
        (with(vec![blob(COMPONENT_TYPE, 1); MAX_COMPONENTS + 1]), "has more than 256 components"),
        (with(vec![blob(COMPONENT_TYPE, MAX_BLOB_BYTES); 5]), "or 1024 MiB"),
        (with(vec![blob(FILES_TYPE, 1); 2]), "at most one archive"),
        (with(vec![toml()]), "is not one spin.toml"),
        (with(vec![blob("text/plain", 1)]), "is not one spin.toml"),
        (text(APPLICATION_TYPE, vec![]), "is not one spin.toml"),
        (with(vec![nameless]), "without a SHA-256 digest"),
        (with(vec![deep; 21]), "has more than 20000 files and folders"),
        ("{".to_owned(), "is not an OCI artifact"),
    ] {
        let error = parse("p", text.as_bytes()).map(drop).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("fix: "), "{error}");
    }
}
