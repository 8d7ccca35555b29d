//! What a component to add is to be: what it does, where it keeps data, its language.

use souk_manifest::DependencyName;

/// A component to add.
#[derive(Debug, Clone)]
pub(crate) struct NewComponent {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Where it keeps data.
    pub storage: Storage,
    /// Its language.
    pub language: Language,
    /// A checkout of Souk whose libraries it uses instead of copies.
    pub souk: Option<String>,
}

/// What a component does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It answers HTTP requests.
    Http {
        /// The route, which ends in `/...`.
        route: String,
    },
    /// It exports a contract.
    Exports {
        /// The interface.
        interface: DependencyName,
        /// Whether it receives calls of durable links.
        durable: bool,
    },
}

/// Where a component keeps data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Storage {
    /// In SQLite.
    pub sqlite: bool,
    /// In SQLite, or in PostgreSQL when a variable says so.
    pub postgres: bool,
    /// In a key-value store.
    pub key_value: bool,
}

/// The language of a component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// Rust, with spin-sdk.
    #[default]
    Rust,
    /// JavaScript, with componentize-js.
    #[value(alias = "js")]
    Javascript,
    /// Python, with componentize-py, and spin-sdk where it answers HTTP requests.
    #[value(alias = "py")]
    Python,
}

impl Language {
    /// Every language, in the order in which the language of the tests is looked for.
    pub(super) const ALL: [Language; 3] = [Language::Rust, Language::Javascript, Language::Python];

    /// The one that is for this language.
    pub(super) fn choose<T>(self, rust: T, javascript: T, python: T) -> T {
        match self {
            Language::Rust => rust,
            Language::Javascript => javascript,
            Language::Python => python,
        }
    }

    /// The command that runs an application's tests in this language.
    pub(super) fn test_command(self) -> &'static str {
        self.choose(
            "cargo test",
            "node --test tests/*.test.mjs",
            "python3 -m unittest discover --start-directory tests",
        )
    }

    /// The path of a component's test in this language.
    pub(super) fn test_file(self, component: &str) -> String {
        let module = component.replace('-', "_");
        self.choose(
            format!("tests/{module}.rs"),
            format!("tests/{component}.test.mjs"),
            format!("tests/test_{module}.py"),
        )
    }

    /// The path of a component's source in this language.
    pub(super) fn source_file(self, component: &str) -> String {
        let file = self.choose("src/lib.rs", "app.js", "app.py");
        format!("{component}/{file}")
    }
}
