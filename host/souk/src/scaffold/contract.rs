//! The names of a new component's contract in WIT and in the languages of its callers.

use super::changes::ScaffoldError;
use super::new_component::Language;
use souk_manifest::DependencyName;

/// The names that a contract has in Rust, Python and WIT.
pub(super) struct ContractNames {
    /// `acme:links@0.1.0`.
    package: String,
    /// `acme:links/store@0.1.0`.
    contract: String,
    interface: String,
    /// `acme:links/kept@0.1.0`.
    pub kept: String,
    /// `acme::links::store`.
    path: String,
    /// `acme::links`.
    package_path: String,
    /// `order_store`, for the interface `order-store`.
    python_module: String,
    /// `OrderStore`.
    python_class: String,
    /// `acme_links_store_0_1_0`, the module of a caller in Python.
    python_import: String,
    /// `acme_links_kept_0_1_0`.
    python_import_kept: String,
    /// `wit/links/store.wit`.
    pub file: String,
}

impl ContractNames {
    pub(super) fn of(name: &DependencyName) -> ContractNames {
        let interface = name.interface.clone().unwrap_or_default();
        let version = name.version.as_ref().map(|version| format!("@{version}")).unwrap_or_default();
        let rust = |text: &str| text.replace('-', "_").replace(':', "::");
        let package_path = rust(&name.package);
        let folder = name.package.split_once(':').map_or("contract", |(_, name)| name);
        let import = |interface: &str| identifier(&format!("{}_{interface}{version}", name.package));
        ContractNames {
            package: format!("{}{version}", name.package),
            contract: name.to_string(),
            kept: format!("{}/kept{version}", name.package),
            path: format!("{package_path}::{}", rust(&interface)),
            file: format!("wit/{folder}/{interface}.wit"),
            package_path,
            python_module: interface.replace('-', "_"),
            python_class: class(&interface),
            python_import: import(&interface),
            python_import_kept: import("kept"),
            interface,
        }
    }

    pub(super) fn values(&self) -> [(&str, &str); 10] {
        [
            ("package", &self.package),
            ("contract", &self.contract),
            ("interface", &self.interface),
            ("kept", &self.kept),
            ("path", &self.path),
            ("package_path", &self.package_path),
            ("python_module", &self.python_module),
            ("python_class", &self.python_class),
            ("python_import", &self.python_import),
            ("python_import_kept", &self.python_import_kept),
        ]
    }

    /// Checks that Rust and `language` can use the names as they are.
    ///
    /// # Errors
    /// When a part of the name means something else there.
    pub(super) fn check(&self, language: Language) -> Result<(), ScaffoldError> {
        let contract = &self.contract;
        // A caller in Rust can be added later.
        if let Some(word) = self.path.split("::").find(|word| RUST_KEYWORDS.contains(word)) {
            let fix = "choose another word: bindings in Rust take each part of the name as it is";
            return Err(ScaffoldError::new(format!("`{word}` in `{contract}` is a keyword of Rust"), fix));
        }
        if let Some(word) = self.path.split("::").next().filter(|word| RUST_ROOTS.contains(word)) {
            let message = format!("`{word}` in `{contract}` is a module of every component in Rust");
            return Err(ScaffoldError::new(message, "choose another word: a path that begins with it leads elsewhere"));
        }
        let module = self.python_module.as_str();
        if language == Language::Python && PYTHON_KEYWORDS.contains(&module) {
            let fix = "choose another word: the component's module has the interface's name";
            return Err(ScaffoldError::new(format!("`{module}` in `{contract}` is a keyword of Python"), fix));
        }
        Ok(())
    }
}

/// The parts of a name in upper camel case.
pub(super) fn class(name: &str) -> String {
    name.split('-').map(capitalized).collect()
}

/// A word with an upper-case first letter.
fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// A name in which everything but letters and digits is `_`.
pub(super) fn identifier(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

/// Words that cannot be a Rust module's name.
const RUST_KEYWORDS: [&str; 43] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true", "try",
    "type", "unsafe", "use",
];

/// What a path in a component in Rust can begin with beside a contract's namespace.
const RUST_ROOTS: [&str; 4] = ["core", "exports", "spin_sdk", "std"];

/// Words that cannot be a Python module's name, beyond those of [`RUST_KEYWORDS`].
const PYTHON_KEYWORDS: [&str; 19] = [
    "and", "assert", "class", "def", "del", "elif", "except", "finally", "from", "global", "import", "is", "lambda",
    "nonlocal", "not", "or", "pass", "raise", "with",
];
