//! Applies the values of variables: turns components off and fills in templates.

use super::declared::{Value, is_set};
use super::draft::SeedTemplate;
use super::draft::{Draft, Templates};
use super::names::nearest;
use super::outbound::{AllowedHost, INTERNAL_DOMAIN};
use super::table::{At, File};
use super::template::Template;
use super::{database, database_files, redis_trigger};
use std::collections::{BTreeMap, BTreeSet};

/// The variables that components and triggers of this host use; `None` when it runs all components.
pub(super) fn variables_here(draft: &Draft) -> Option<BTreeSet<&str>> {
    fn of(templates: &Templates) -> impl Iterator<Item = &str> {
        let seeds = templates.seed.iter().flat_map(SeedTemplate::templates);
        let hosts = templates.hosts.iter().chain(&templates.database).chain(seeds).map(|at| &at.value);
        templates.variables.values().chain(hosts).flat_map(Template::variables)
    }
    let only = draft.application.only.as_ref()?;
    let here = draft.templates.iter().filter(|(name, _)| only.contains(*name));
    let triggers = draft.redis.iter().filter(|trigger| only.contains(&trigger.component));
    let triggers = triggers.flat_map(|trigger| {
        let address = trigger.address.as_ref().or(draft.redis_address.as_ref());
        address.into_iter().chain([&trigger.channel]).flat_map(|at| at.value.variables())
    });
    Some(here.flat_map(|(_, templates)| of(templates)).chain(triggers).collect())
}

/// Removes the components that a variable turns off, and their routes.
pub(super) fn turn_off(draft: &mut Draft, values: &BTreeMap<String, Value>, file: File<'_>) {
    let application = &mut draft.application;
    for (name, templates) in &mut draft.templates {
        let Some(unless) = templates.unless.take() else { continue };
        application.conditional.insert(name.clone(), unless.clone());
        if is_set(values, &unless) {
            application.components.remove(name);
            application.off.insert(name.clone(), unless);
        }
    }
    let off = &application.off;
    application.routes.retain(|route| !off.contains_key(&route.component));
    draft.redis.retain(|trigger| !off.contains_key(&trigger.component));
    for route in &application.routes {
        let Some((name, variable)) = route.middleware.iter().find_map(|name| off.get_key_value(name)) else { continue };
        let message = format!("middleware `{name}` is off, because `{variable}` is set");
        let fix = format!("leave `{variable}` empty, or remove `{name}` from the middleware");
        file.report.error(file.diagnostic(Some(route.line), Some(&route.component), message, fix));
    }
    for component in application.components.values() {
        for dependency in &component.dependencies {
            let Some(variable) = off.get(&dependency.component) else { continue };
            let target = &dependency.component;
            let message = format!("dependency `{}` is on component `{target}`, which is off", dependency.name);
            let message = format!("{message}, because `{variable}` is set");
            let fix = format!(
                "leave `{variable}` empty, depend on another component, or write `unless = \"{variable}\"` under \
                 [component.{}.tool.souk] too",
                component.name
            );
            file.report.error(file.diagnostic(Some(dependency.line), Some(&component.name), message, fix));
        }
    }
}

/// Fills in the templates of all components. Variables without a value were reported before.
pub(super) fn fill_in(draft: &mut Draft, values: &BTreeMap<String, Value>, file: File<'_>) {
    let application = &draft.application;
    let known: Vec<String> = application.components.keys().chain(application.off.keys()).cloned().collect();
    for (name, component) in &mut draft.application.components {
        let Some(templates) = draft.templates.remove(name) else { continue };
        for (variable, template) in templates.variables {
            if let Some(value) = template.resolve(values) {
                component.variables.insert(variable, value);
            }
        }
        for At { value: template, line } in templates.hosts {
            let Some(value) = template.resolve(values) else { continue };
            if value.expose().is_empty() && template.variables().next().is_some() {
                // The variable for the host is empty, so there is nothing to grant.
                continue;
            }
            let shown = if value.is_secret() { &template.text } else { value.expose() };
            match AllowedHost::parse(value.expose(), shown) {
                Ok(host) => {
                    if let Some(target) = host.internal_component()
                        && !known.iter().any(|name| name.eq_ignore_ascii_case(target))
                    {
                        let fix = match nearest(target, known.iter().map(String::as_str)) {
                            Some(near) => format!("did you mean `{near}.{INTERNAL_DOMAIN}`?"),
                            None => "name a component of this application".to_owned(),
                        };
                        let message = format!("`{host}` in `allowed_outbound_hosts`: there is no such component");
                        file.report.error(file.diagnostic(Some(line), Some(name), message, fix));
                    }
                    component.allowed_outbound_hosts.push(host);
                }
                Err(error) => {
                    let message =
                        format!("`{}` in `allowed_outbound_hosts`, filled in: {}", template.text, error.message);
                    let names: Vec<_> = template.variables().collect();
                    let fix = format!("change the value of `{}`; {}", names.join("`, `"), error.fix);
                    file.report.error(file.diagnostic(Some(line), Some(name), message, fix));
                }
            }
        }
        if let Some(template) = &templates.database {
            database::fill_in(component, template, values, file);
        }
        if let Some(seed) = &templates.seed {
            database_files::fill_in(component, seed, values, file);
        }
    }
    let triggers = std::mem::take(&mut draft.redis);
    let default = draft.redis_address.as_ref();
    draft.application.redis_triggers = redis_trigger::fill_in(triggers, default, values, file);
}
