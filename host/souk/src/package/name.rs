//! Parses the value of `-f`: a manifest, a package in a file, or a package in a registry.

use super::PackageError;
use oci_client::Reference;
use souk_manifest::is_loopback;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A package that `-f` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Package {
    /// In a file that `souk package` has written.
    File(PathBuf),
    /// In a registry.
    Registry(Name),
}

impl Package {
    /// The package that `named` refers to; `None` for a manifest or its folder.
    pub(crate) fn of(named: &Path) -> Option<Self> {
        if named.exists() {
            return is_layout(named).then(|| Package::File(named.to_owned()));
        }
        let text = named.to_str()?;
        // A path to a missing file is not a registry's name.
        if text.starts_with(['.', '/']) || text.ends_with(".toml") {
            return None;
        }
        Name::parse(text).ok().map(Package::Registry)
    }
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Package::File(path) => path.display().fmt(f),
            Package::Registry(name) => name.fmt(f),
        }
    }
}

/// Whether a file is a tar, which a manifest never is. The order of its entries does not matter: other tools write
/// layouts too.
fn is_layout(path: &Path) -> bool {
    let mut head = [0_u8; 512];
    let mut read = || File::open(path)?.read_exact(&mut head);
    path.is_file() && read().is_ok() && head.get(257..262) == Some(b"ustar")
}

/// The name of something in a registry: `registry/repository:tag`, `registry/repository@digest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(Reference);

impl Name {
    /// Parses a name, which must include the registry, because there is no default registry.
    pub(crate) fn parse(text: &str) -> Result<Self, PackageError> {
        const FIX: &str = "write REGISTRY/REPOSITORY:TAG, say `registry.example.com/shop/store:1.0.0`";
        let wrong = |why: &str| PackageError::new(format!("`{}`", super::shown(text)), why, FIX);
        let registry = text.split('/').next().filter(|first| first.len() < text.len()).unwrap_or_default();
        if !(registry.contains(['.', ':']) || registry == "localhost") {
            return Err(wrong("names no registry"));
        }
        let text = with_plain_registry(text);
        let reference: Reference = text.parse().map_err(|_| wrong("is not the name of a package in a registry"))?;
        if reference.digest().is_some_and(|digest| super::hex_of(digest).is_none()) {
            return Err(wrong("has a digest other than SHA-256"));
        }
        Ok(Name(reference))
    }

    /// The host of the registry, with its port.
    pub(super) fn authority(&self) -> &str {
        self.0.resolve_registry()
    }

    /// Whether the registry is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let authority = self.authority();
        is_loopback(authority.rsplit_once(':').map_or(authority, |(host, _)| host))
    }

    /// The repository in the registry.
    pub(super) fn repository(&self) -> &str {
        self.0.repository()
    }

    /// The digest, if the name has one.
    pub(super) fn digest(&self) -> Option<&str> {
        self.0.digest()
    }

    /// The last part of a manifest's path: the digest, otherwise the tag.
    pub(super) fn version(&self) -> &str {
        self.0.digest().or(self.0.tag()).unwrap_or("latest")
    }
}

/// The name with its registry in lower case: to DNS, to TLS and for the accepted digests, `R.test` is `r.test`.
pub(super) fn with_plain_registry(name: &str) -> String {
    match name.split_once('/') {
        Some((registry, rest)) => format!("{}/{rest}", registry.to_ascii_lowercase()),
        None => name.to_owned(),
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_stands_in_the_name_and_a_file_is_none() {
        for (text, package) in [
            ("registry.example.com/shop/store:1.0.0", true),
            ("localhost/store", true),
            ("127.0.0.1:5000/store:1", true),
            ("spin.toml", false),
            ("examples/hello", false),
            ("my.app/spin.toml", false),
            ("./registry.example.com/x", false),
            ("ubuntu:latest", false),
            ("registry.example.com", false),
        ] {
            assert_eq!(Package::of(Path::new(text)).is_some(), package, "{text}");
        }
        for (text, here) in [("127.0.0.1:5000/a", true), ("localhost:1/a", true), ("10.0.0.1:5000/a", false)] {
            assert_eq!(Name::parse(text).unwrap().is_loopback(), here, "{text}");
        }
        assert_eq!(Name::parse("r.test/a").unwrap().version(), "latest");
        // A repository and a tag keep their letters: registries tell them apart, or refuse them.
        let name = Name::parse("Registry.Example.COM:5000/shop/store:V1").unwrap();
        assert_eq!(name.to_string(), "registry.example.com:5000/shop/store:V1");
    }
}
