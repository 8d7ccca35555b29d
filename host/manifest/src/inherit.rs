//! Creates components that the manifest does not name: for dependencies and middleware from a file or a URL, and for
//! those that inherit configuration.
//!
//! In Spin such code runs inside the component that uses it. Here each gets a sandbox of its own and becomes a normal
//! component, `NAME-for-OWNER`, with only the grants that the manifest names for it. If a component inherits
//! configuration, a copy of it is created, and the original is not changed. The copy has the original's grants and
//! those that it inherits from its owner. It shares no instances with the original, because their grants differ.
//!
//! Refused: a copy of a component with something that can exist only once (migrations, schedules, patterns of Nest).

use super::Component;
use super::dependencies::{Answer, Provider};
use super::draft::{Draft, Templates};
use super::source::Code;
use super::table::File;
use std::collections::BTreeSet;

/// A created component, with its owner and its provider.
struct Made {
    owner: String,
    provider: Provider,
    name: String,
}

/// Resolves every dependency and every middleware to a component, and creates missing components.
pub(super) fn resolve(draft: &mut Draft, file: File<'_>) {
    let mut maker = Maker { file, made: Vec::new(), done: BTreeSet::new() };
    for name in draft.application.components.keys().cloned().collect::<Vec<_>>() {
        maker.dependencies(draft, &name);
    }
    for (route, providers) in std::mem::take(&mut draft.middleware) {
        let Some(owner) = draft.application.routes.get(route).map(|route| route.component.clone()) else { continue };
        let names =
            providers.into_iter().map(|provider| maker.provide(draft, &owner, "middleware", provider)).collect();
        if let Some(route) = draft.application.routes.get_mut(route) {
            route.middleware = names;
        }
    }
}

struct Maker<'a> {
    file: File<'a>,
    made: Vec<Made>,
    /// Components whose dependencies are resolved, or are being resolved.
    done: BTreeSet<String>,
}

impl Maker<'_> {
    fn dependencies(&mut self, draft: &mut Draft, owner: &str) {
        if !self.done.insert(owner.to_owned()) {
            return;
        }
        let Some(templates) = draft.templates.get_mut(owner) else { return };
        for (index, provider) in std::mem::take(&mut templates.providers).into_iter().enumerate() {
            let dependencies = |draft: &Draft| Some(draft.application.components.get(owner)?.dependencies.clone());
            let Some(dependency) = dependencies(draft).and_then(|all| all.into_iter().nth(index)) else { continue };
            let package = dependency.name.package.rsplit(':').next().unwrap_or("dependency").to_owned();
            let name = self.provide(draft, owner, &package, provider);
            let component = draft.application.components.get_mut(owner);
            if let Some(dependency) = component.and_then(|component| component.dependencies.get_mut(index)) {
                dependency.component = name;
            }
        }
    }

    /// The name of the component for `provider`. A component that is created for code is named after `hint`.
    fn provide(&mut self, draft: &mut Draft, owner: &str, hint: &str, provider: Provider) -> String {
        if let Answer::Component(name) = &provider.answer
            && (provider.inherit.is_empty() && provider.environment.is_empty()
                || !draft.application.components.contains_key(name)
                || name == owner)
        {
            return name.clone();
        }
        let same = |made: &&Made| {
            let (a, b) = (&made.provider, &provider);
            made.owner == owner && (&a.answer, &a.inherit, &a.environment) == (&b.answer, &b.inherit, &b.environment)
        };
        if let Some(made) = self.made.iter().find(same) {
            return made.name.clone();
        }
        let (base, mut component, mut templates) = match &provider.answer {
            Answer::Component(name) => {
                self.dependencies(draft, name);
                let Some((component, templates)) = self.copy(draft, name, owner, provider.line) else {
                    return name.clone();
                };
                (name.clone(), component, templates)
            }
            Answer::Code(code) => {
                let mut component = Component::new("", provider.line, &draft.application.dir);
                component.set_code(code.clone());
                (hint.to_owned(), component, Templates::default())
            }
        };
        if let Some(owner) = draft.application.components.get(owner) {
            component.inherit(owner, &provider.inherit);
        }
        if let Some(owner) = draft.templates.get(owner) {
            templates.inherit(owner, &provider.inherit);
        }
        component.environment.extend(provider.environment.clone());
        component.part_of = Some(owner.to_owned());
        component.name = free_name(draft, &format!("{base}-for-{owner}"));
        component.files.set_component(&component.name);
        let name = component.name.clone();
        self.made.push(Made { owner: owner.to_owned(), provider, name: name.clone() });
        draft.add((component, templates));
        self.done.insert(name.clone());
        name
    }

    /// A copy of the component `name`; `None`, with a report, if it has something that can exist only once.
    fn copy(&self, draft: &Draft, name: &str, owner: &str, line: usize) -> Option<(Component, Templates)> {
        let component = draft.application.components.get(name)?;
        let single = match () {
            () if component.migrations.is_some() => Some("migrations"),
            () if !component.schedules.is_empty() => Some("schedules"),
            () if !component.nest.serves.is_empty() => Some("patterns of a NestJS system"),
            () => None,
        };
        if let Some(what) = single {
            let message =
                format!("component `{name}` cannot inherit the configuration of `{owner}`, because that has {what}");
            let fix = format!("write what it needs in [component.{name}], and leave out `inherit_configuration`");
            self.file.report.error(self.file.diagnostic(Some(line), Some(owner), message, fix));
            return None;
        }
        let copy = Component { copy_of: Some(name.to_owned()), ..component.clone() };
        Some((copy, draft.templates.get(name)?.clone()))
    }
}

fn free_name(draft: &Draft, natural: &str) -> String {
    let free = |name: &String| !draft.application.components.contains_key(name);
    let counted = || (2..).map(|n: usize| format!("{natural}-{n}")).find(free);
    Some(natural.to_owned()).filter(free).or_else(counted).unwrap_or_default()
}

impl Component {
    /// Sets the place of its code.
    pub(super) fn set_code(&mut self, code: Code) {
        match code {
            Code::File(path) => (self.source, self.download) = (path, None),
            Code::Download(download) => self.download = Some(download),
        }
    }

    /// Adds the configuration of `owner` under `keys`, except the parts that depend on variables.
    fn inherit(&mut self, owner: &Component, keys: &[&str]) {
        fn add(to: &mut Vec<String>, from: &[String]) {
            for label in from {
                if !to.contains(label) {
                    to.push(label.clone());
                }
            }
        }
        for key in keys {
            match *key {
                "environment" => self.environment.extend(owner.environment.clone()),
                "files" => self.files.extend(&owner.files),
                "key_value_stores" => add(&mut self.key_value_stores, &owner.key_value_stores),
                "sqlite_databases" => add(&mut self.sqlite_databases, &owner.sqlite_databases),
                _ => {}
            }
        }
    }
}

impl Templates {
    /// Adds the templates of `owner` under `keys`.
    fn inherit(&mut self, owner: &Templates, keys: &[&str]) {
        for key in keys {
            match *key {
                "allowed_outbound_hosts" => self.hosts.extend(owner.hosts.iter().cloned()),
                "variables" => self.variables.extend(owner.variables.clone()),
                _ => {}
            }
        }
    }
}
