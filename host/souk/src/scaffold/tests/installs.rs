//! The tools for JavaScript and Python are installed by the first build, and again only when their list has changed.

use super::*;
use std::fs::{File, FileTimes};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

/// Programs that stand in for npm and Python: each notes that it ran, and makes what the next command needs.
const NPM: &str = "#!/bin/sh\necho npm >> runs\nmkdir -p node_modules\necho '{}' > package-lock.json\n";
const PYTHON: &str = "#!/bin/sh\necho python3 >> runs\nmkdir -p .venv/bin\nprintf '#!/bin/sh\\n' > .venv/bin/pip\n\
                      chmod +x .venv/bin/pip\n";

#[test]
fn tools_are_installed_once_and_again_when_their_list_has_changed() {
    for (language, lists, installed) in [
        (Language::Javascript, &["package.json", "package-lock.json"][..], "node_modules"),
        (Language::Python, &["requirements.txt"], ".venv"),
    ] {
        let (_folder, app) = app();
        add_to(&app, &NewComponent { language, ..component("web", http("/..."), NOTHING) }).unwrap();
        let manifest = std::fs::read_to_string(app.join("spin.toml")).unwrap();
        let manifest: toml_edit::DocumentMut = manifest.parse().unwrap();
        let commands = manifest["component"]["web"]["build"]["command"].as_array().unwrap();
        let install = commands.get(0).unwrap().as_str().unwrap().to_owned();
        let programs = app.join("programs");
        std::fs::create_dir(&programs).unwrap();
        for (name, script) in [("npm", NPM), ("python3", PYTHON)] {
            std::fs::write(programs.join(name), script).unwrap();
            std::fs::set_permissions(programs.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path))).unwrap();
        let runs = || {
            let done = Command::new("sh").args(["-c", &install]).current_dir(&app).env("PATH", &path).status().unwrap();
            assert!(done.success(), "{install}");
            std::fs::read_to_string(app.join("runs")).unwrap().lines().count()
        };
        assert_eq!([runs(), runs(), runs()], [1, 1, 1], "{install}");
        let mut expected = 1;
        for list in lists {
            let age = |ahead: bool| {
                let (now, hour) = (souk_manifest::clock::now(), Duration::from_secs(3600));
                let time = if ahead { now + hour } else { now - hour };
                let file = File::options().write(true).open(app.join(list)).unwrap();
                file.set_times(FileTimes::new().set_modified(time)).unwrap();
            };
            age(true);
            expected += 1;
            assert_eq!(runs(), expected, "{list} has changed: {install}");
            age(false);
            assert_eq!(runs(), expected, "{list}: {install}");
        }
        std::fs::remove_dir_all(app.join(installed)).unwrap();
        assert_eq!(runs(), expected + 1, "it was removed: {install}");
    }
}
