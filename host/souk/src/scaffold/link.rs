//! `souk add --link CALLER CALLEE`: lets a component call another.
//!
//! The manifest gets the dependency. If the caller's files are unchanged since their creation, it also gets code that
//! makes the calls, and a test of it; otherwise the command explains how to call.

use super::changes::{Changes, ScaffoldError};
use super::contract::{ContractNames, class, identifier};
use super::manifest::ManifestEdit;
use super::new_component::Language;
use super::shape::{CONTRACTS, HTTP, LINKED};
use super::template;
use crate::contracts::Contracts;
use souk_manifest::DependencyName;
use std::path::Path;

/// A link to add.
#[derive(Debug, Clone)]
pub(crate) struct NewLink {
    /// The calling component.
    pub caller: String,
    /// The called component.
    pub callee: String,
    /// The interface to call; `None` for all that the callee exports.
    pub interface: Option<DependencyName>,
}

/// Adds a link to the application with the manifest `manifest` in `folder`.
///
/// # Errors
/// When one of the components does not exist, or the callee's exports are not known.
pub(crate) fn add_link(folder: &Path, manifest: &str, link: &NewLink) -> Result<Changes, ScaffoldError> {
    let NewLink { caller, callee, interface } = link;
    let mut changes = Changes::new(folder);
    let mut edit = ManifestEdit::open(&changes, manifest)?;
    for name in [caller, callee] {
        edit.known(name)?;
    }
    if caller == callee {
        return Err(ScaffoldError::new("a component calls its own functions directly", "name two components"));
    }
    let mut interfaces = edit.exports(callee);
    if let Some(wanted) = interface {
        interfaces = vec![wanted.to_string()];
    }
    if interfaces.is_empty() {
        return Err(ScaffoldError::new(
            format!("the manifest does not say what `{callee}` exports"),
            format!(
                "name the interface, `--interface acme:links/store@0.1.0`, or list it: `exports` under [component.{callee}.tool.souk]"
            ),
        ));
    }
    let contracts = Contracts::read(&folder.join("wit")).ok();
    let is_durable = |interface: &&String| match (&contracts, DependencyName::parse(interface)) {
        (Some(contracts), Ok(name)) => contracts.is_durable(&name),
        _ => false,
    };
    let durable: Vec<_> = interfaces.iter().filter(is_durable).cloned().collect();
    edit.link(caller, callee, &interfaces, &durable);
    let route = edit.route(caller).and_then(|route| route.strip_suffix("/...")).map(str::to_owned);
    edit.close(&mut changes);
    match (route, interfaces.first().and_then(|interface| DependencyName::parse(interface).ok())) {
        (Some(base), Some(first)) if write_caller(&mut changes, link, &base, &ContractNames::of(&first)) => {}
        _ => {
            let imports: Vec<_> = interfaces.iter().map(|interface| import(&changes, caller, interface)).collect();
            let interfaces = interfaces.join(" and ");
            changes.note(format!("{caller} may call {interfaces}; write {}", imports.join(" and ")));
        }
    }
    Ok(changes)
}

/// Writes the calls into a caller that is unchanged since its creation; returns whether it was unchanged.
fn write_caller(changes: &mut Changes, link: &NewLink, base: &str, names: &ContractNames) -> bool {
    let NewLink { caller, callee, .. } = link;
    let contract = changes.read(&names.file);
    let known = CONTRACTS.iter().find(|(_, text)| contract == Some(template::fill(text, &names.values())));
    let Some((kind, _)) = known else { return false };
    let Some((_, linked)) = LINKED.iter().find(|(own, _)| own == kind) else { return false };
    let sources = Language::ALL.map(|own| (own.source_file(caller), HTTP.source(own), linked.source(own)));
    let tests = Language::ALL.map(|own| (own.test_file(caller), HTTP.test(own), linked.test(own)));
    let class = class(caller);
    let untouched = [("component", caller.as_str()), ("python_component", class.as_str()), ("base", base)];
    let as_made = |(path, made, _): &(String, &str, &str)| changes.read(path) == Some(template::fill(made, &untouched));
    // Both the source and its test must be unchanged.
    let files: Vec<_> = sources.into_iter().chain(tests).filter(|(path, ..)| changes.read(path).is_some()).collect();
    if files.len() != 2 || !files.iter().all(as_made) {
        return false;
    }
    let mut gaps = names.values().to_vec();
    gaps.extend(untouched);
    gaps.push(("callee", callee));
    for (path, _, text) in files {
        changes.replace(path, template::fill(text, &gaps));
    }
    true
}

/// What a caller writes to call an interface, in its language.
fn import(changes: &Changes, caller: &str, interface: &str) -> String {
    let written = |language: &Language| changes.read(language.source_file(caller)).is_some();
    let language = Language::ALL.into_iter().find(written).unwrap_or_default();
    let path = interface.split('@').next().unwrap_or_default().replace([':', '/'], "::").replace('-', "_");
    let function = interface.rsplit('/').next().and_then(|name| name.split('@').next()).unwrap_or_default();
    language.choose(
        format!("`spin_sdk::dependencies!();` and `use {path};`"),
        format!("`import {{ FUNCTION }} from \"{interface}\";`"),
        format!(
            "`from wit_world.imports import {}`, or `{}` with --full-names",
            function.replace('-', "_"),
            identifier(interface)
        ),
    )
}
