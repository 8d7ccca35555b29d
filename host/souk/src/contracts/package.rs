//! The files of one package of contracts, and their text nested as a package inside another file.

use super::error::ContractError;
use souk_manifest::DependencyName;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use wit_parser::{
    Function, FunctionKind, Interface, Result_, SourceMap, Type, TypeDefKind, TypeId, UnresolvedPackage,
    UnresolvedPackageGroup,
};

/// One package: the files of a folder that name it, and the files beside them without a package name.
#[derive(Debug)]
pub(super) struct Package {
    /// `namespace:package@version`.
    pub name: String,
    /// The names of its interfaces.
    pub interfaces: BTreeSet<String>,
    /// Those of them that can be contracts of durable links.
    pub durable: BTreeSet<String>,
    /// The functions of each interface.
    pub functions: BTreeMap<String, Vec<ContractFunction>>,
    /// The packages that it uses.
    pub uses: BTreeSet<String>,
    files: Vec<(PathBuf, String)>,
}

/// A function of an interface.
#[derive(Debug)]
pub struct ContractFunction {
    /// Its name.
    pub name: String,
    /// The names of its parameters.
    pub parameters: Vec<String>,
}

/// Adds the WIT files in `folder` and its subfolders.
pub(super) fn find_files(folder: &Path, files: &mut Vec<(PathBuf, String)>) -> Result<(), ContractError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |cause| ContractError::Unreadable { path, cause }
    };
    for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.is_dir() {
            find_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "wit") {
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            files.push((path, text));
        }
    }
    Ok(())
}

/// Groups files by folder and package.
pub(super) fn group(mut files: Vec<(PathBuf, String)>) -> Result<BTreeMap<String, Package>, ContractError> {
    files.sort();
    /// The files of each package, by its name.
    type Packages = BTreeMap<Option<String>, Vec<(PathBuf, String)>>;
    let mut folders: BTreeMap<PathBuf, Packages> = BTreeMap::new();
    for (path, text) in files {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let package = declared(&text);
        folders.entry(folder).or_default().entry(package).or_default().push((path, text));
    }
    let mut packages = BTreeMap::new();
    for (folder, mut by_name) in folders {
        let nameless = by_name.remove(&None).unwrap_or_default();
        if let (Some((path, _)), false) = (nameless.first(), by_name.len() == 1) {
            return Err(ContractError::Wrong(format!(
                "{}: the file names no package, and {}\n  fix: begin it with `package NAMESPACE:NAME@VERSION;`",
                path.display(),
                match by_name.len() {
                    0 => format!("no other file in {} does", folder.display()),
                    _ => format!("the files in {} name several", folder.display()),
                }
            )));
        }
        for (_, mut files) in by_name {
            files.extend(nameless.iter().cloned());
            let package = Package::new(files)?;
            if let Some(Package { name, files, .. }) = packages.insert(package.name.clone(), package) {
                let place = files.first().map(|(path, _)| path.display().to_string()).unwrap_or_default();
                return Err(ContractError::Wrong(format!(
                    "package {name} is in two folders, one of them that of {place}\n  fix: keep one of them"
                )));
            }
        }
    }
    Ok(packages)
}

impl Package {
    fn new(files: Vec<(PathBuf, String)>) -> Result<Package, ContractError> {
        let group = parse(files.iter().map(|(path, text)| (path.as_path(), text.as_str())))?;
        if let Some(inner) = group.nested.first() {
            return Err(ContractError::Wrong(format!(
                "{}: package {} is inside another file\n  fix: put it into a file of its own, which begins with \
                 `package {};`",
                files.first().map(|(path, _)| path.display().to_string()).unwrap_or_default(),
                inner.name,
                inner.name
            )));
        }
        let all = || group.main.interfaces.iter().map(|(_, interface)| interface);
        let interfaces = all().filter_map(|interface| interface.name.clone()).collect();
        let durable = all().filter(|interface| is_durable(&group.main, interface));
        let durable = durable.filter_map(|interface| interface.name.clone()).collect();
        let functions = all().filter_map(|interface| Some((interface.name.clone()?, functions(interface)))).collect();
        let uses = group.main.foreign_deps.keys().map(ToString::to_string).collect();
        Ok(Package { name: group.main.name.to_string(), interfaces, durable, functions, uses, files })
    }

    /// Whether `name` refers to this package.
    pub(super) fn is(&self, name: &DependencyName) -> bool {
        match self.name.split_once('@') {
            Some((package, version)) => {
                package == name.package && name.version.as_ref().is_none_or(|wanted| wanted.to_string() == version)
            }
            None => self.name == name.package && name.version.is_none(),
        }
    }

    /// `namespace:package/interface@version`.
    pub(super) fn full_name(&self, interface: &str) -> String {
        match self.name.split_once('@') {
            Some((package, version)) => format!("{package}/{interface}@{version}"),
            None => format!("{}/{interface}", self.name),
        }
    }

    /// The file that declares it; the first one if several do.
    pub(super) fn file(&self) -> &Path {
        let declares = self.files.iter().find(|(_, text)| declaration(text).is_some());
        declares.or(self.files.first()).map_or(Path::new(""), |(path, _)| path.as_path())
    }

    /// Its files with their text.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.files.iter().map(|(path, text)| (path.as_path(), text.as_str()))
    }

    /// Its text, nested as a package inside another file.
    pub(super) fn nested(&self) -> String {
        let mut text = format!("package {} {{\n", self.name);
        for (_, file) in &self.files {
            let range = declaration(file).unwrap_or(0..0);
            // A comment before the declaration describes the package; without the declaration it would describe what
            // follows.
            let before = file.get(..range.start).unwrap_or_default().replace("///", "//");
            let after = file.get(range.end..).unwrap_or_default();
            for line in before.lines().chain(after.trim_start_matches(['\n', '\r']).lines()) {
                if !line.is_empty() {
                    text.push_str("    ");
                    text.push_str(line);
                }
                text.push('\n');
            }
        }
        text.push_str("}\n");
        text
    }
}

/// The functions of an interface, without those of its resources.
fn functions(interface: &Interface) -> Vec<ContractFunction> {
    let is_free =
        |function: &&Function| matches!(function.kind, FunctionKind::Freestanding | FunctionKind::AsyncFreestanding);
    let functions = interface.functions.values().filter(is_free).map(|function| ContractFunction {
        name: function.name.clone(),
        parameters: function.params.iter().map(|parameter| parameter.name.clone()).collect(),
    });
    functions.collect()
}

/// Whether an interface can be the contract of a durable link: it has functions, and each returns
/// `result<_, delivery-error>`.
fn is_durable(package: &UnresolvedPackage, interface: &Interface) -> bool {
    let is_delivery = |function: &Function| {
        let Some(Type::Id(id)) = function.result else { return false };
        match package.types.get(id).map(|result| &result.kind) {
            Some(TypeDefKind::Result(Result_ { ok: None, err: Some(Type::Id(error)) })) => {
                is_delivery_error(package, *error)
            }
            _ => false,
        }
    };
    !interface.functions.is_empty() && interface.functions.values().all(is_delivery)
}

/// Whether a type has the cases `retry(string)` and `reject(string)`, and no other. The host does not mind its name.
fn is_delivery_error(package: &UnresolvedPackage, error: TypeId) -> bool {
    let Some(found) = package.types.get(error) else { return false };
    match &found.kind {
        TypeDefKind::Variant(variant) => {
            let cases: BTreeSet<(&str, Option<Type>)> =
                variant.cases.iter().map(|case| (case.name.as_str(), case.ty)).collect();
            cases == BTreeSet::from([("reject", Some(Type::String)), ("retry", Some(Type::String))])
        }
        TypeDefKind::Type(Type::Id(meant)) => is_delivery_error(package, *meant),
        // Of a type of another package, only the name is known here.
        TypeDefKind::Unknown => found.name.as_deref() == Some("delivery-error"),
        _ => false,
    }
}

/// The range of the package declaration, from `package` to the semicolon.
fn declaration(text: &str) -> Option<Range<usize>> {
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        if trimmed.starts_with("//") {
            at += trimmed.find('\n')?;
        } else if trimmed.starts_with("/*") {
            at += block_comment(trimmed)?;
        } else {
            let body = trimmed.strip_prefix("package")?;
            let end = body.find([';', '{'])?;
            let declared = body.starts_with(char::is_whitespace) && body.get(end..)?.starts_with(';');
            return declared.then_some(at..at + "package".len() + end + 1);
        }
    }
}

/// The length of the block comment at the start of `text`; block comments nest.
fn block_comment(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth.checked_sub(1)?, at + 2);
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest.chars().next()?.len_utf8();
        }
    }
}

/// The package that the text declares.
pub(super) fn declared(text: &str) -> Option<String> {
    let declaration = text.get(declaration(text)?)?;
    Some(declaration.trim_start_matches("package").trim_end_matches(';').trim().to_owned())
}

/// Parses the files of one package.
pub(super) fn parse<'a>(
    files: impl Iterator<Item = (&'a Path, &'a str)>,
) -> Result<UnresolvedPackageGroup, ContractError> {
    let mut map = SourceMap::new();
    files.for_each(|(path, text)| map.push_str(&path.to_string_lossy(), text));
    map.parse().map_err(|(map, error)| ContractError::Wrong(error.render(&map)))
}
