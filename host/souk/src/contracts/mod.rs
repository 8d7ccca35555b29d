//! The contracts of an application, as WIT files in the folder `wit/` beside its manifest, and what the generators of
//! bindings need of them.
//!
//! A generator wants one file for each component: a world with what the component imports and exports, and the packages
//! that it names. The manifest says all of that already, so the file is derived and never written by hand. It is Spin's
//! `spin-dependencies.wit`, with Spin's package `root:component` and its world `root`, in the folder where the component
//! is built: `spin_sdk::dependencies!()` and Spin's JavaScript tools look for it there, and every other generator takes it
//! by its path. Spin writes imports alone; Souk adds the exports, which Spin leaves to each component.
//!
//! The packages are copied as text, so that comments stay where a reader of the generated code meets them. They are parsed
//! before, and so is the result: what a generator would refuse is refused here, with its line.
//!
//! What it refuses: a folder with two packages of which a file names none, an interface that no package has, a version that
//! is left open where there are several.

mod package;
#[cfg(test)]
mod tests;

use package::Package;
use souk_manifest::DependencyName;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use wit_parser::{Resolve, SourceMap, UnresolvedPackageGroup};

/// The file that generators read.
pub const FILE: &str = "spin-dependencies.wit";

/// Why contracts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// A file cannot be read.
    #[error("{}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// What a file says is wrong.
    #[error("{0}")]
    Wrong(String),
    /// There is no such interface.
    #[error("no file in {} has `{wanted}`\n  fix: {fix}", folder.display())]
    Missing {
        /// The folder of contracts.
        folder: PathBuf,
        /// What was looked for.
        wanted: String,
        /// What would help.
        fix: String,
    },
}

/// All contracts of an application.
#[derive(Debug)]
pub struct Contracts {
    folder: PathBuf,
    packages: BTreeMap<String, Package>,
}

impl Contracts {
    /// Reads the contracts in `folder` and the folders in it. Where there is no such folder there are none.
    ///
    /// # Errors
    /// When a file cannot be read or is not WIT, or names what no file has.
    pub fn read(folder: &Path) -> Result<Contracts, ContractError> {
        let mut files = Vec::new();
        if folder.is_dir() {
            package::find_files(folder, &mut files)?;
        }
        let packages = package::group(files)?;
        let mut groups = packages.values().map(|package| parse(package.sources())).collect::<Result<Vec<_>, _>>()?;
        if let Some(last) = groups.pop() {
            let mut resolve = Resolve::default();
            let pushed =
                resolve.push_groups(last, groups).map(|_| ()).map_err(|error| error.render(&resolve.source_map));
            pushed.map_err(ContractError::Wrong)?;
        }
        Ok(Contracts { folder: folder.to_owned(), packages })
    }

    /// The packages, each with its interfaces.
    pub fn packages(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.packages.iter().map(|(name, package)| (name.as_str(), &package.interfaces))
    }

    /// The full names of the interfaces that `name` means, `namespace:package/interface@version`.
    ///
    /// # Errors
    /// When there is none, or the version is left open and there are several.
    pub fn find(&self, name: &DependencyName) -> Result<Vec<String>, ContractError> {
        let missing =
            |fix: String| ContractError::Missing { folder: self.folder.clone(), wanted: name.to_string(), fix };
        let named: Vec<&Package> = self.packages.values().filter(|package| package.is(name)).collect();
        let package = match named.as_slice() {
            [] => {
                let package = name.version.as_ref().map_or(name.package.clone(), |v| format!("{}@{v}", name.package));
                let file = name.package.split(':').next_back().unwrap_or("contract");
                return Err(missing(format!(
                    "write the package in {}/{file}.wit: `package {package};`",
                    self.folder.display()
                )));
            }
            [package] => package,
            several => {
                let versions: Vec<_> = several.iter().map(|package| package.name.as_str()).collect();
                return Err(missing(format!("name the version in spin.toml: there are {}", versions.join(" and "))));
            }
        };
        let wanted = package.interfaces.iter().filter(|i| name.interface.as_ref().is_none_or(|name| name == *i));
        let found: Vec<String> = wanted.map(|interface| package.full_name(interface)).collect();
        if found.is_empty() {
            let known = package.interfaces.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(missing(match known.is_empty() {
                true => format!("add the interface to package {}", package.name),
                false => format!("add the interface to package {}, or name one that it has: {known}", package.name),
            }));
        }
        Ok(found)
    }

    /// The text of [`FILE`] for a component with these imports and exports.
    ///
    /// # Errors
    /// Those of [`Contracts::find`].
    pub fn dependencies(
        &self,
        imports: &[DependencyName],
        exports: &[DependencyName],
    ) -> Result<String, ContractError> {
        let mut world = String::new();
        let mut needed = BTreeSet::new();
        for (word, names) in [("import", imports), ("export", exports)] {
            let mut interfaces = BTreeSet::new();
            for name in names {
                interfaces.extend(self.find(name)?);
                needed.extend(self.packages.values().filter(|package| package.is(name)).map(|p| p.name.clone()));
            }
            interfaces.iter().for_each(|interface| world.push_str(&format!("    {word} {interface};\n")));
        }
        let mut text = format!(
            "// Made by `souk build` from spin.toml and wit/. Change those: this file is written again.\npackage \
             root:component;\n\nworld root {{\n{world}}}\n"
        );
        for name in self.with_their_own(needed) {
            if let Some(package) = self.packages.get(&name) {
                text.push('\n');
                text.push_str(&package.nested());
            }
        }
        let group = parse([(Path::new(FILE), text.as_str())].into_iter())?;
        let mut resolve = Resolve::default();
        let pushed = resolve.push_group(group).map(|_| ()).map_err(|error| error.render(&resolve.source_map));
        pushed.map_err(ContractError::Wrong)?;
        Ok(text)
    }

    /// These packages and all that they use, and what those use.
    fn with_their_own(&self, mut wanted: BTreeSet<String>) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        while let Some(name) = wanted.pop_first() {
            if all.insert(name.clone())
                && let Some(package) = self.packages.get(&name)
            {
                wanted.extend(package.uses.iter().filter(|used| !all.contains(*used)).cloned());
            }
        }
        all
    }
}

/// Parses the files of one package.
fn parse<'a>(files: impl Iterator<Item = (&'a Path, &'a str)>) -> Result<UnresolvedPackageGroup, ContractError> {
    let mut map = SourceMap::new();
    files.for_each(|(path, text)| map.push_str(&path.to_string_lossy(), text));
    map.parse().map_err(|(map, error)| ContractError::Wrong(error.render(&map)))
}
