//! What the API reports about the application: its components, their limits with current use, and the log's last lines.

use super::Admin;
use crate::limits::fixed_limits;
use crate::usage::{self, Used};
use serde::Serialize;
use souk_links::remote::{ListedHost, listed_hosts};
use souk_manifest::Component;
use souk_manifest::limits::{ComponentLimits, EdgeLimits, Limit, LimitValue};
use souk_runtime::PoolUse;

souk_manifest::fixed_limits! {
    /// The fixed limits of the log's last lines.
    pub(crate) const FIXED_LIMITS = "administration";

    /// How many of the log's last lines an answer has by default.
    const LOG_LINES: u64 = 100, "lines";
}

/// The application and the host.
#[derive(Serialize)]
pub(super) struct Application {
    name: String,
    version: String,
    url: String,
    /// The version of Souk.
    souk: &'static str,
    /// How many seconds the host has run.
    uptime: u64,
    /// The path of its OpenAPI document.
    #[serde(skip_serializing_if = "Option::is_none")]
    openapi: Option<String>,
    ready: bool,
    draining: bool,
}

pub(super) fn application(admin: &Admin) -> Application {
    let application = admin.app.application();
    Application {
        name: application.name.clone(),
        version: application.version.clone(),
        url: admin.url.clone(),
        souk: env!("CARGO_PKG_VERSION"),
        uptime: admin.started.elapsed().as_secs(),
        openapi: application.openapi.clone(),
        ready: admin.readiness.is_ready(),
        draining: admin.readiness.is_draining(),
    }
}

/// Where a component is.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Location {
    Here,
    OnAnotherHost,
    NotLoaded,
    Off,
}

/// A component.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ComponentFacts {
    name: String,
    description: String,
    place: Location,
    routes: Vec<String>,
    links: Vec<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<Instances>,
}

#[derive(Serialize)]
struct Link {
    import: String,
    component: String,
    durable: bool,
}

#[derive(Serialize)]
struct Instances {
    busy: usize,
    idle: usize,
    limit: u64,
    waiting: usize,
}

impl ComponentFacts {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

pub(super) fn components(admin: &Admin) -> Vec<ComponentFacts> {
    let application = admin.app.application();
    let there = application.components.values().map(|component| of(admin, component));
    let off = application.off.keys().map(|name| ComponentFacts {
        name: name.clone(),
        description: String::new(),
        place: Location::Off,
        routes: Vec::new(),
        links: Vec::new(),
        instances: None,
    });
    there.chain(off).collect()
}

fn of(admin: &Admin, component: &Component) -> ComponentFacts {
    let (application, routing) = (admin.app.application(), admin.app.routing());
    let pool = admin.app.pool(&component.name);
    let routes = routing.routes.iter().filter(|route| route.component == component.name);
    let links = component.dependencies.iter().map(|dependency| Link {
        import: dependency.name.to_string(),
        component: dependency.component.clone(),
        durable: component.durable.iter().any(|durable| durable.name.overlaps(&dependency.name)),
    });
    ComponentFacts {
        name: component.name.clone(),
        description: component.description.clone(),
        place: match (&pool, application.runs_here(&component.name)) {
            (Some(_), _) => Location::Here,
            (None, true) => Location::NotLoaded,
            (None, false) => Location::OnAnotherHost,
        },
        routes: routes.filter_map(|route| Some(route.pattern.as_ref()?.as_str().to_owned())).collect(),
        links: links.collect(),
        instances: pool.map(|pool| {
            let PoolUse { busy, idle, waiting } = pool.in_use();
            Instances { busy, idle, limit: pool.limits().instances, waiting }
        }),
    }
}

/// The hosts of the application that answer; none without NATS.
pub(super) async fn hosts(admin: &Admin) -> Vec<ListedHost> {
    match admin.app.remote() {
        Some(remote) => listed_hosts(remote.nats()).await,
        None => Vec::new(),
    }
}

/// Every limit.
#[derive(Serialize)]
pub(super) struct Limits {
    application: Vec<LimitFacts>,
    components: Vec<ComponentLimitFacts>,
    fixed: Vec<FixedFacts>,
    /// How much of each budget is in use: of the shared limits, and of instances.
    budgets: Vec<Used>,
}

#[derive(Serialize)]
struct ComponentLimitFacts {
    component: String,
    limits: Vec<LimitFacts>,
}

#[derive(Serialize)]
struct LimitFacts {
    key: &'static str,
    value: String,
    default: String,
    /// How much of it is in use now, in the limit's unit (sizes in bytes); absent for limits that are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    reason: &'static str,
}

#[derive(Serialize)]
struct FixedFacts {
    module: &'static str,
    name: String,
    value: String,
    comment: &'static str,
}

pub(super) fn limits(admin: &Admin) -> Limits {
    let application = admin.app.application();
    let budget = admin.app.budget();
    let of_application = |key: &str| match key {
        "application_memory" => Some(budget.memory.taken()),
        "open_files" => Some(budget.files.taken()),
        _ => None,
    };
    let components = application.components.values().map(|component| {
        let used = admin.app.pool(&component.name).map(|pool| pool.in_use());
        let of_component = |key: &str| match (key, &used) {
            ("instances", Some(used)) => Some((used.busy + used.idle) as u64),
            ("waiting", Some(used)) => Some(used.waiting as u64),
            _ => None,
        };
        let limits = rows(ComponentLimits::TABLE, &component.limits.values(), of_component);
        ComponentLimitFacts { component: component.name.clone(), limits }
    });
    let fixed = fixed_limits().into_iter().map(|limit| FixedFacts {
        module: limit.module,
        name: limit.name(),
        value: limit.value.to_string(),
        comment: limit.comment.trim(),
    });
    Limits {
        application: rows(EdgeLimits::TABLE, &application.limits.values(), of_application),
        components: components.collect(),
        fixed: fixed.collect(),
        budgets: usage::of(&admin.app),
    }
}

fn rows(table: &[Limit], values: &[LimitValue], used: impl Fn(&str) -> Option<u64>) -> Vec<LimitFacts> {
    let row = |(limit, value): (&Limit, &LimitValue)| LimitFacts {
        key: limit.key,
        value: value.to_string(),
        default: limit.default.to_string(),
        used: used(limit.key),
        reason: limit.reason,
    };
    table.iter().zip(values).map(row).collect()
}

/// The log's last lines.
#[derive(Serialize)]
pub(super) struct Log {
    lines: Vec<String>,
    /// The value of `after` for the next request, which then returns the lines since this one.
    next: u64,
}

pub(super) fn log(admin: &Admin, after: Option<u64>, lines: Option<u64>) -> Log {
    let (lines, next) = admin.log.lines(after, usize::try_from(lines.unwrap_or(LOG_LINES)).unwrap_or(usize::MAX));
    Log { lines, next }
}
