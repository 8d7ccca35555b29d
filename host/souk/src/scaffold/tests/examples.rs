//! The examples of the repository are what `souk new` and `souk add` write, but for declared differences.
//!
//! Each is made here by its commands, and compared with its folder file by file. `examples/differences.diff` has every
//! line in which the two differ, below the reasons: who changes a template or an example sees it there.
//! `UPDATE_SNAPSHOTS=1 cargo test -p souk --lib scaffold` writes the file again.

use super::*;

/// The beginning of the file of differences.
const REASONS: &str = "\
How each example differs from what `souk new` and `souk add` write: `-` as they write it, `+` as it is here.
host/souk/src/scaffold/tests/examples.rs compares them. The reasons:

- The examples are members of the repository's workspace, so their packages inherit its keys, the components are in its
  `target`, the tests are scenarios, and an example of one component has no folder for it.
- A fresh clone builds them without `souk build`, so their bindings are generated from `wit/` and not from
  `spin-dependencies.wit`.
- `key-value` and `sqlite` use the interfaces of spin-sdk itself; `souk add` uses libraries, whose functions are
  synchronous and, for a database, the same for PostgreSQL.
- `linked` greets in a language, which its components in C and Go do too.
";

/// An example and the commands that make it.
struct Example {
    name: &'static str,
    components: Vec<NewComponent>,
    link: Option<(&'static str, &'static str)>,
}

fn examples() -> Vec<Example> {
    let sqlite = Storage { sqlite: true, ..NOTHING };
    let key_value = Storage { key_value: true, ..NOTHING };
    let web = || component("web", http("/..."), NOTHING);
    let one = |name, new| Example { name, components: vec![new], link: None };
    let linked =
        |name, callee: &'static str, new| Example { name, components: vec![web(), new], link: Some(("web", callee)) };
    vec![
        one("hello", component("hello", http("/..."), NOTHING)),
        one("key-value", component("values", http("/..."), key_value)),
        one("sqlite", component("lines", http("/..."), sqlite)),
        linked("linked", "greeter", component("greeter", exports("example:greetings/greetings@1.0.0", false), NOTHING)),
        linked("durable", "keeper", component("keeper", exports("example:notes/inbox@1.0.0", true), key_value)),
    ]
}

/// Where an example has the file that is made at `path`; `None` for what the repository has once for all examples.
fn place(example: &Example, path: &Path) -> Option<PathBuf> {
    let first = path.iter().next()?.to_str()?;
    let rest = path.strip_prefix(first).ok()?;
    Some(match first {
        "tests" | "libraries" | "Cargo.toml" | ".cargo" | ".gitignore" => return None,
        "wit" => Path::new("wit").join(format!("{}.wit", path.parent()?.file_name()?.to_str()?)),
        _ if example.components.len() == 1 && example.components[0].name == first => rest.to_owned(),
        _ => path.to_owned(),
    })
}

/// The lines of `made` that are not in `here`, and the other way, in their order.
fn difference(made: &str, here: &str) -> Vec<String> {
    let (made, here): (Vec<_>, Vec<_>) = (made.lines().collect(), here.lines().collect());
    // The number of lines that both have, from each pair of places to the ends.
    let mut common = vec![vec![0; here.len() + 1]; made.len() + 1];
    for (i, a) in made.iter().enumerate().rev() {
        for (j, b) in here.iter().enumerate().rev() {
            common[i][j] = if a == b { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < made.len() || j < here.len() {
        if i < made.len() && j < here.len() && made[i] == here[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == here.len() || (i < made.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("-{}", made[i]));
            i += 1;
        } else {
            lines.push(format!("+{}", here[j]));
            j += 1;
        }
    }
    lines
}

/// What differs between an example and what its commands write.
fn differences(example: &Example, folder: &Path) -> String {
    let made = tempfile::tempdir().unwrap();
    let app = made.path().join(example.name);
    new(&app, example.name, None).unwrap().write().unwrap();
    for new in &example.components {
        add_to(&app, new).unwrap();
    }
    if let Some((caller, callee)) = example.link {
        assert_eq!(link(&app, caller, callee).unwrap(), [""; 0]);
    }
    let read = |path: &Path| std::fs::read_to_string(folder.join(path));
    let mut places = BTreeSet::new();
    let mut text = String::new();
    let mut made = files(&app);
    made.sort();
    for (path, written) in made {
        let Some(place) = place(example, path.strip_prefix(&app).unwrap()) else { continue };
        let here = read(&place).unwrap_or_else(|error| panic!("{}: {}: {error}", example.name, place.display()));
        let lines = difference(&written, &here);
        let shown = place.display();
        match lines.as_slice() {
            [] => text.push_str(&format!("\n{}/{shown}: no difference\n", example.name)),
            lines => text.push_str(&format!("\n{}/{shown}:\n{}\n", example.name, lines.join("\n"))),
        }
        places.insert(place);
    }
    // Written by `souk build`.
    let own = |path: &Path| path.ends_with("spin-dependencies.wit");
    for path in sources(folder) {
        let path = path.strip_prefix(folder).unwrap();
        assert!(own(path) || places.contains(path), "{}: no command makes {}", example.name, path.display());
    }
    text
}

/// The files of an example, without its state folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| match path.is_dir() {
        true => files(&path).into_iter().map(|(path, _)| path).collect(),
        false => vec![path],
    };
    entries.filter(|path| !path.ends_with(".souk")).flat_map(of).collect()
}

#[test]
fn the_examples_are_what_the_commands_write_but_for_declared_differences() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut text = REASONS.to_owned();
    for example in examples() {
        text.push_str(&differences(&example, &folder.join(example.name)));
    }
    let file = folder.join("differences.diff");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = there.lines().zip(text.lines()).find(|(there, now)| there != now);
    let advice = "change the example as the template, or UPDATE_SNAPSHOTS=1 declares the difference";
    assert!(there == text, "examples/differences.diff is outdated from {differs:?} on: {advice}");
}
