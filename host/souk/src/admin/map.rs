//! Which component calls what, with measurements of each connection: the console's map.
//!
//! A node is a component or something that components reach: clients, databases, key-value stores, other servers. An
//! edge is a link, a route or a grant. The measurements are counts since the host started, with a histogram of
//! durations. A client that asks twice gets the rate, the errors and the quantiles of the time in between from the
//! difference, so the host keeps no state for it.

use super::Admin;
use super::facts::{self, ComponentFacts};
use prometheus::Registry;
use prometheus::proto::{Metric, MetricFamily};
use serde::Serialize;
use souk_manifest::{Component, DatabaseUrl};
use std::collections::BTreeMap;

/// The node of the clients of the public listener.
const CLIENTS: &str = "clients";
/// The node of the servers that components send requests to.
const OUTSIDE: &str = "other servers";

/// The kind of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Request,
    Link,
    Durable,
    Database,
    KeyValue,
    Outgoing,
}

/// What was measured since the host started.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
struct Measures {
    calls: u64,
    errors: u64,
    seconds: f64,
    /// Pairs of a duration in seconds and how many calls took at most that long (cumulative).
    buckets: Vec<(f64, u64)>,
}

impl Measures {
    fn add(&mut self, metric: &Metric) {
        let histogram = metric.get_histogram();
        self.calls += histogram.get_sample_count();
        self.seconds += histogram.get_sample_sum();
        if !label(metric, "error_type").is_empty() {
            self.errors += histogram.get_sample_count();
        }
        for (position, bucket) in histogram.get_bucket().iter().enumerate() {
            match self.buckets.get_mut(position) {
                Some((_, count)) => *count += bucket.cumulative_count(),
                None => self.buckets.push((bucket.upper_bound(), bucket.cumulative_count())),
            }
        }
    }
}

type Edges = BTreeMap<(String, String, Kind), Measures>;

#[derive(Serialize)]
struct Edge {
    from: String,
    to: String,
    kind: Kind,
    #[serde(flatten)]
    measures: Measures,
}

#[derive(Serialize)]
struct Node {
    #[serde(flatten)]
    facts: ComponentFacts,
    /// All calls into it.
    #[serde(flatten)]
    measures: Measures,
}

/// Something that components reach and that is not a component.
#[derive(Serialize)]
struct Resource {
    name: String,
    kind: Kind,
    #[serde(flatten)]
    measures: Measures,
}

/// Messages of durable links.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Messages {
    waiting: u64,
    dead: u64,
    stranded: u64,
    /// When the oldest waiting message was stored, in milliseconds since 1970.
    oldest: Option<i64>,
}

/// The map.
#[derive(Serialize)]
pub(super) struct Map {
    /// How many seconds the host has measured.
    uptime: f64,
    version: String,
    components: Vec<Node>,
    resources: Vec<Resource>,
    edges: Vec<Edge>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Messages>,
}

pub(super) fn map(admin: &Admin) -> Map {
    let application = admin.app.application();
    let families = admin.app.boundaries().registry().map(Registry::gather).unwrap_or_default();
    let mut edges = declared(admin);
    measured(&families, &mut edges);
    let mut calls: BTreeMap<String, Measures> = BTreeMap::new();
    let mut stores: BTreeMap<String, Measures> = BTreeMap::new();
    of_family(&families, "rpc_server_call_duration_seconds", |metric| {
        calls.entry(label(metric, "souk_component").to_owned()).or_default().add(metric);
    });
    // The use of a key-value store is measured without the component that uses it.
    of_family(&families, "db_client_operation_duration_seconds", |metric| {
        if label(metric, "souk_component").is_empty() {
            stores.entry(label(metric, "db_namespace").to_owned()).or_default().add(metric);
        }
    });
    let mut resources: BTreeMap<String, Resource> = BTreeMap::new();
    for ((_, to, kind), _) in edges.iter().filter(|((_, _, kind), _)| *kind >= Kind::Database) {
        let measures = || match kind {
            Kind::KeyValue => stores.get(to.trim_start_matches("key-value ")).cloned().unwrap_or_default(),
            _ => Measures::default(),
        };
        resources.entry(to.clone()).or_insert_with(|| Resource { name: to.clone(), kind: *kind, measures: measures() });
    }
    let components = facts::components(admin).into_iter().map(|facts| {
        let measures = calls.remove(facts.name()).unwrap_or_default();
        Node { facts, measures }
    });
    Map {
        uptime: admin.started.elapsed().as_secs_f64(),
        version: application.version.clone(),
        components: components.collect(),
        resources: resources.into_values().collect(),
        edges: edges.into_iter().map(|((from, to, kind), measures)| Edge { from, to, kind, measures }).collect(),
        messages: admin.metrics.messages().map(|stats| Messages {
            waiting: stats.waiting,
            dead: stats.dead,
            stranded: stats.stranded,
            oldest: stats.oldest,
        }),
    }
}

/// The edges that the manifest declares, without measurements.
fn declared(admin: &Admin) -> Edges {
    let (application, routing) = (admin.app.application(), admin.app.routing());
    let mut edges = Edges::new();
    let public = routing.routes.iter().filter(|route| route.pattern.is_some());
    edges.extend(public.map(|route| ((CLIENTS.into(), route.component.clone(), Kind::Request), Measures::default())));
    for component in application.components.values() {
        edges.extend(granted(component).map(|(to, kind)| ((component.name.clone(), to, kind), Measures::default())));
    }
    edges
}

/// What `component` may reach.
fn granted(component: &Component) -> impl Iterator<Item = (String, Kind)> {
    let links = component.dependencies.iter().map(|dependency| {
        let durable = component.durable.iter().any(|durable| durable.name.overlaps(&dependency.name));
        (dependency.component.clone(), if durable { Kind::Durable } else { Kind::Link })
    });
    let databases = (!component.sqlite_databases.is_empty()).then(|| ("sqlite".to_owned(), Kind::Database));
    let postgres = matches!(component.database, Some(DatabaseUrl::Postgres(_)));
    let postgres = postgres.then(|| ("postgresql".to_owned(), Kind::Database));
    let stores = component.key_value_stores.iter().map(|label| (format!("key-value {label}"), Kind::KeyValue));
    links.chain(databases).chain(postgres).chain(stores)
}

/// Adds the measurements.
fn measured(families: &[MetricFamily], edges: &mut Edges) {
    let mut add = |from: &str, to: &str, kind, metric: &Metric| {
        edges.entry((from.to_owned(), to.to_owned(), kind)).or_default().add(metric);
    };
    let component = |metric| label(metric, "souk_component");
    of_family(families, "http_server_request_duration_seconds", |metric| {
        // Skip requests for no component's route.
        if !component(metric).is_empty() {
            add(CLIENTS, component(metric), Kind::Request, metric);
        }
    });
    of_family(families, "rpc_client_call_duration_seconds", |metric| {
        add(component(metric), label(metric, "souk_target"), Kind::Link, metric);
    });
    of_family(families, "messaging_client_operation_duration_seconds", |metric| {
        add(component(metric), label(metric, "souk_target"), Kind::Durable, metric);
    });
    of_family(families, "db_client_operation_duration_seconds", |metric| {
        if !component(metric).is_empty() {
            add(component(metric), label(metric, "db_system_name"), Kind::Database, metric);
        }
    });
    of_family(families, "http_client_request_duration_seconds", |metric| {
        let outside = label(metric, "souk_target") == "outside";
        add(component(metric), if outside { OUTSIDE } else { "own routes" }, Kind::Outgoing, metric);
    });
}

fn of_family<'a>(families: &'a [MetricFamily], name: &str, each: impl FnMut(&'a Metric)) {
    families.iter().filter(|family| family.name() == name).flat_map(MetricFamily::get_metric).for_each(each);
}

fn label<'a>(metric: &'a Metric, name: &str) -> &'a str {
    metric.get_label().iter().find(|label| label.name() == name).map_or("", |label| label.value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use souk_bindings::boundary::Boundaries;

    #[test]
    fn calls_of_all_functions_between_two_components_are_one_edge() {
        let boundaries = Boundaries::measured().unwrap();
        let links = ["x#one", "x#two"].map(|function| boundaries.links("a", "b", function));
        let databases = [boundaries.statements("b", "sqlite"), boundaries.key_value("default", "sqlite")];
        links.iter().zip([None, Some("trapped")]).for_each(|(link, error)| link.open(&Default::default()).close(error));
        databases.iter().for_each(|database| database.open(&Default::default()).close(None));
        let mut edges = Edges::new();
        measured(&boundaries.registry().unwrap().gather(), &mut edges);
        let found: Vec<_> =
            edges.iter().map(|((from, to, kind), m)| (&**from, &**to, *kind, m.calls, m.errors)).collect();
        assert_eq!(found, [("a", "b", Kind::Link, 2, 1), ("b", "sqlite", Kind::Database, 1, 0)]);
        let link = edges.values().next().unwrap();
        assert_eq!(link.buckets.last().unwrap().1, 2, "{link:?}");
    }
}
