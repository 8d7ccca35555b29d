//! The contracts of an application, as WIT files in the folder `wit/` beside its manifest, and the files that binding
//! generators need.
//!
//! A generator needs one file for each component: a world with the component's imports and exports, and the packages
//! that these name. The manifest has that information already, so the file is derived and never written by hand. It is
//! Spin's `spin-dependencies.wit`, with Spin's package `root:component` and its world `root`, in the folder in which
//! the component is built: `spin_sdk::dependencies!()` and Spin's JavaScript tools look for it there, and every other
//! generator takes its path. Spin writes only imports; Souk adds the exports, which Spin leaves to each component.
//!
//! The packages are copied as text, so that comments reach the reader of the generated code. The packages and the
//! result are parsed too: what a generator would reject is rejected here, with its line.
//!
//! It rejects a file without a package name in a folder with two packages, an interface that no package has, and a
//! missing version when there are several.

mod error;
mod package;
#[cfg(test)]
mod tests;

pub use error::ContractError;
pub use package::ContractFunction;

use package::{Package, parse};
use souk_manifest::DependencyName;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use wit_parser::Resolve;

/// The name of the file that generators read.
pub const FILE: &str = "spin-dependencies.wit";

/// All contracts of an application.
#[derive(Debug)]
pub struct Contracts {
    folder: PathBuf,
    packages: BTreeMap<String, Package>,
}

impl Contracts {
    /// Reads the contracts in `folder` and its subfolders; none if the folder does not exist.
    ///
    /// # Errors
    /// When a file cannot be read or is not WIT, or refers to something that no file has.
    pub fn read(folder: &Path) -> Result<Contracts, ContractError> {
        Contracts::read_with(folder, Vec::new())
    }

    /// Reads the contracts as they will be with these `new` files.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_with(folder: &Path, new: Vec<(PathBuf, String)>) -> Result<Contracts, ContractError> {
        let mut files = Vec::new();
        if folder.is_dir() {
            package::find_files(folder, &mut files)?;
        }
        files.retain(|(path, _)| !new.iter().any(|(other, _)| other == path));
        files.extend(new);
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

    /// The functions of `interface`, which is a full name. Those of its resources are left out.
    pub fn functions(&self, interface: &str) -> &[ContractFunction] {
        for package in self.packages.values() {
            if let Some((_, functions)) =
                package.functions.iter().find(|(name, _)| package.full_name(name) == interface)
            {
                return functions;
            }
        }
        &[]
    }

    /// Whether `name` refers to an interface that can be the contract of a durable link.
    pub fn is_durable(&self, name: &DependencyName) -> bool {
        let interface = name.interface.as_deref().unwrap_or_default();
        self.packages.values().any(|package| package.is(name) && package.durable.contains(interface))
    }

    /// The full names, `namespace:package/interface@version`, of the interfaces that `name` refers to.
    ///
    /// # Errors
    /// When there is none, or the version is missing and there are several.
    pub fn find(&self, name: &DependencyName) -> Result<Vec<String>, ContractError> {
        let missing =
            |fix: String| ContractError::Missing { folder: self.folder.clone(), wanted: name.to_string(), fix };
        let named: Vec<&Package> = self.packages.values().filter(|package| package.is(name)).collect();
        let package = match named.as_slice() {
            [] => return Err(missing(self.other_package(name))),
            [package] => package,
            several => {
                let versions: Vec<_> = several.iter().map(|package| package.name.as_str()).collect();
                return Err(missing(format!("name the version in the manifest: there are {}", versions.join(" and "))));
            }
        };
        let wanted = package.interfaces.iter().filter(|i| name.interface.as_ref().is_none_or(|name| name == *i));
        let found: Vec<String> = wanted.map(|interface| package.full_name(interface)).collect();
        if found.is_empty() {
            return Err(missing(other_interface(package, name.interface.as_deref().unwrap_or_default())));
        }
        Ok(found)
    }

    /// What fixes a name whose package no file declares.
    fn other_package(&self, name: &DependencyName) -> String {
        let wanted = name.version.as_ref().map_or(name.package.clone(), |v| format!("{}@{v}", name.package));
        let unversioned = |package: &Package| package.name.split('@').next().unwrap_or_default().to_owned();
        let others: Vec<&Package> =
            self.packages.values().filter(|package| unversioned(package) == name.package).collect();
        if !others.is_empty() {
            let declared = |other: &&Package| format!("{} declares `package {};`", other.file().display(), other.name);
            let declared = others.iter().map(declared).collect::<Vec<_>>().join(", and ");
            return format!("{declared}: name that version in the manifest, or write `package {wanted};` there");
        }
        // As `souk add` names a new file.
        let folder = name.package.split(':').next_back().unwrap_or("contract");
        let file = self.folder.join(folder).join(format!("{}.wit", name.interface.as_deref().unwrap_or(folder)));
        let write = format!("write the package in {}: `package {wanted};`", file.display());
        let known: BTreeSet<String> = self.packages.values().map(unversioned).collect();
        let near = souk_manifest::nearest(&name.package, known.iter().map(String::as_str));
        let near = self.packages.values().find(|package| Some(unversioned(package).as_str()) == near);
        match near {
            Some(near) => {
                let interface = name.interface.as_deref().and_then(|interface| nearest_interface(near, interface));
                let meant = interface.map_or(near.name.clone(), |interface| near.full_name(interface));
                format!("did you mean `{meant}`, of {}? Otherwise {write}", near.file().display())
            }
            None => write,
        }
    }

    /// The text of [`FILE`] for a component with these imports and exports.
    ///
    /// # Errors
    /// As [`Contracts::find`].
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
            "// Made by `souk build` from the manifest and wit/. Change those: this file is written again.\npackage \
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

    /// These packages and, recursively, all that they use.
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

/// What fixes the name of an interface that `package` does not have.
fn other_interface(package: &Package, wanted: &str) -> String {
    let (name, file) = (&package.name, package.file().display());
    let known = souk_manifest::nearest_first(wanted, package.interfaces.iter().map(String::as_str)).join(", ");
    match nearest_interface(package, wanted) {
        Some(near) => format!(
            "did you mean `{}`? {file} has {known}; otherwise add the interface to package {name} there",
            package.full_name(near)
        ),
        None if known.is_empty() => format!("add the interface to package {name}, in {file}"),
        None => format!("add the interface to package {name}, in {file}, or name one that it has: {known}"),
    }
}

/// The interface of `package` that the author of `wanted` most likely meant.
fn nearest_interface<'p>(package: &'p Package, wanted: &str) -> Option<&'p str> {
    souk_manifest::nearest(wanted, package.interfaces.iter().map(String::as_str))
}
