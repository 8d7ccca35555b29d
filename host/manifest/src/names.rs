//! The rules for names, as in Spin: names of components and variables, labels of databases and stores, and names of the
//! interfaces that a component depends on.

use semver::Version;
use std::fmt;

/// The name among `known` that the author of `wrong` most likely meant.
pub fn nearest<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let scored = known.into_iter().map(|name| (strsim::jaro_winkler(wrong, name), name));
    scored.filter(|(score, _)| *score >= 0.85).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// The names `known`, those first that the author of `wrong` most likely meant.
pub fn nearest_first<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let mut names: Vec<&str> = known.into_iter().collect();
    names.sort_by(|a, b| strsim::jaro_winkler(wrong, b).total_cmp(&strsim::jaro_winkler(wrong, a)));
    names
}

/// A component's name: words of letters and digits, joined by `-`; each begins with a letter or, after the first, a
/// digit, and is all lower or all upper case.
///
/// # Errors
/// Which rule the name breaks.
pub fn check_component(name: &str) -> Result<(), String> {
    check_words(name, '-', false)
}

/// A label of a key-value store or database: kebab-case or snake_case.
pub(super) fn check_label(label: &str) -> Result<(), String> {
    check_words(label, '-', false).or_else(|error| check_words(label, '_', false).map_err(|_| error))
}

/// A variable's name: lower-case words of letters and digits, joined by one `_` each.
pub(super) fn check_variable(name: &str) -> Result<(), String> {
    check_words(name, '_', true)
}

fn check_words(name: &str, separator: char, lower: bool) -> Result<(), String> {
    let wrong_separator = if separator == '-' { '_' } else { '-' };
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if name.contains(wrong_separator) {
        return Err(format!("words are joined by `{separator}`, not `{wrong_separator}`"));
    }
    for (i, word) in name.split(separator).enumerate() {
        let Some(first) = word.chars().next() else {
            return Err(format!("`{separator}` must stand between two words"));
        };
        if !first.is_ascii_alphabetic() && (i == 0 || !first.is_ascii_digit()) {
            return Err("it must begin with a letter".to_owned());
        }
        if let Some(bad) = word.chars().find(|c| !c.is_ascii_alphanumeric()) {
            return Err(format!("`{bad}` is not a letter, a digit or `{separator}`"));
        }
        let uppers = word.chars().any(|c| c.is_ascii_uppercase());
        if lower && uppers {
            return Err("it must be in lower case".to_owned());
        }
        if uppers && word.chars().any(|c| c.is_ascii_lowercase()) {
            return Err("each word is all lower case or all upper case".to_owned());
        }
    }
    Ok(())
}

/// What a component depends on: one interface, or every interface of a package that it imports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DependencyName {
    /// `namespace:name`.
    pub package: String,
    /// The interface; `None` for the whole package.
    pub interface: Option<String>,
    /// The version; `None` for any version that the component imports.
    pub version: Option<Version>,
}

impl DependencyName {
    /// Reads `ns:package[/interface][@version]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let (package, interface) = match name.split_once('/') {
            Some((package, interface)) => (package, Some(interface)),
            None => (name, None),
        };
        let Some((namespace, name)) = package.split_once(':') else {
            return Err("it names no package".to_owned());
        };
        for part in [Some(namespace), Some(name), interface].into_iter().flatten() {
            check_component(part).map_err(|error| format!("in `{part}`: {error}"))?;
        }
        let version = version.map(|v| Version::parse(v).map_err(|e| format!("`{v}` is not a version: {e}")));
        Ok(DependencyName {
            package: package.to_owned(),
            interface: interface.map(str::to_owned),
            version: version.transpose()?,
        })
    }

    /// Whether this name covers the import `import` (`ns:package/interface@version`).
    pub fn covers(&self, import: &str) -> bool {
        let Ok(import) = DependencyName::parse(import) else { return false };
        self.package == import.package
            && (self.interface.is_none() || self.interface == import.interface)
            && (self.version.is_none() || self.version == import.version)
    }

    /// Whether both names can cover the same import.
    pub fn overlaps(&self, other: &DependencyName) -> bool {
        fn compatible<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        self.package == other.package
            && compatible(&self.interface, &other.interface)
            && compatible(&self.version, &other.version)
    }
}

impl fmt::Display for DependencyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.package)?;
        if let Some(interface) = &self.interface {
            write!(f, "/{interface}")?;
        }
        if let Some(version) = &self.version {
            write!(f, "@{version}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_follows_the_rule_of_its_kind() {
        for good in ["a", "orders", "stripe-sandbox", "a-2", "A-b"] {
            check_component(good).expect(good);
        }
        for bad in ["", "2a", "a--b", "a_b", "-a", "a-", "aB", "a.b", "a:b"] {
            check_component(bad).expect_err(bad);
        }
        for good in ["a", "abc", "a1b2c3", "a_1", "a_1_b_3"] {
            check_variable(good).expect(good);
        }
        for bad in ["", "aX", "1bc", "_x", "x.y", "x_", "a__b", "x-y", "A"] {
            check_variable(bad).expect_err(bad);
        }
        for good in ["default", "my-db", "my_db"] {
            check_label(good).expect(good);
        }
        check_label("my_db-two").expect_err("both separators");
        check_label("../etc/passwd").expect_err("a path");
    }

    #[test]
    fn the_nearest_name_comes_first() {
        assert_eq!(nearest_first("mian", ["other", "main", "maps"]), ["main", "maps", "other"]);
        assert_eq!(nearest("mian", ["other", "main", "maps"]), Some("main"));
        assert_eq!(nearest("zzz", ["other", "main"]), None);
    }

    #[test]
    fn a_dependency_name_covers_the_imports_that_it_means() {
        let interface = DependencyName::parse("store:orders/orders@1.0.0").unwrap();
        assert!(interface.covers("store:orders/orders@1.0.0"));
        assert!(!interface.covers("store:orders/orders@1.0.1"));
        assert!(!interface.covers("store:orders/orders"));
        assert!(!interface.covers("store:orders/payment-events@1.0.0"));
        let any_version = DependencyName::parse("store:orders/orders").unwrap();
        assert!(any_version.covers("store:orders/orders@1.0.0"));
        let package = DependencyName::parse("store:orders@1.0.0").unwrap();
        assert!(package.covers("store:orders/payment-events@1.0.0"));
        assert!(!package.covers("store:orders2/payment-events@1.0.0"));
        assert_eq!(interface.to_string(), "store:orders/orders@1.0.0");
        assert!(interface.overlaps(&package) && package.overlaps(&any_version));
        for bad in ["orders", "a:b/", "a:", ":b", "a:b@one", "a:b/c/d", "a:B_c"] {
            DependencyName::parse(bad).expect_err(bad);
        }
    }
}
