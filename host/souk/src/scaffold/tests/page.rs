//! The code that docs/your-own-application.md shows is what its commands write.

use super::*;

#[test]
fn the_page_about_an_own_application_shows_the_code_that_its_commands_write() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/your-own-application.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = |fence: &str| -> Vec<String> {
        let opening = format!("\n```{fence}\n");
        page.split(&opening).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
    };
    for (language, fence) in [(Language::Rust, "rust"), (Language::Javascript, "js"), (Language::Python, "python")] {
        let (_folder, app) = app();
        add_to(&app, &NewComponent { language, ..component("web", http("/..."), NOTHING) }).unwrap();
        let source = std::fs::read_to_string(app.join(language.source_file("web"))).unwrap();
        let shown = blocks(fence).swap_remove(0);
        assert!(source.contains(&shown), "{shown}\n--- is not in ---\n{source}");
    }
    let (_folder, app) = app();
    add_to(&app, &component("web", http("/..."), NOTHING)).unwrap();
    let sqlite = Storage { sqlite: true, ..NOTHING };
    add_to(&app, &component("store", exports("acme:links/store@0.1.0", false), sqlite)).unwrap();
    link(&app, "web", "store").unwrap();
    let read = |path: &str| std::fs::read_to_string(app.join(path)).unwrap();
    let (manifest, test) = (read("spin.toml"), read("tests/web.rs"));
    let tables = blocks("toml");
    assert_eq!(tables.len(), 2, "{tables:?}");
    for shown in tables {
        assert!(manifest.contains(&shown), "{shown}\n--- is not in ---\n{manifest}");
    }
    for line in blocks("rust").swap_remove(1).lines() {
        assert!(test.contains(line), "{line}\n--- is not in ---\n{test}");
    }
}
