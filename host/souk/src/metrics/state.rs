//! Current values, read from the parts of the host into metrics that exist for one answer.

use crate::app::App;
use crate::readiness::Readiness;
use prometheus::proto::MetricFamily;
use prometheus::{Error, GaugeVec, Opts, Registry};
use souk_bindings::postgres::{MAX_ALL_CONNECTIONS, MAX_POOL_CONNECTIONS};
use souk_links::durable::Stats;
use souk_links::remote::Remote;
use souk_manifest::limits::ByteSize;
use souk_nats::Outage;
use souk_runtime::{Engine, PoolUse};

/// The metrics of one answer.
struct Measures(Registry);

impl Measures {
    /// Adds a metric with a value for each combination of its labels. Counters are written as their current value.
    fn add(&self, name: &str, help: &str, labels: &[&str], values: Vec<(Vec<&str>, f64)>) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        let opts = Opts::new(name, help);
        if name.ends_with("_total") {
            let counter = prometheus::CounterVec::new(opts, labels)?;
            values.iter().for_each(|(labels, value)| counter.with_label_values(labels).inc_by(*value));
            return self.0.register(Box::new(counter));
        }
        let gauge = GaugeVec::new(opts, labels)?;
        values.iter().for_each(|(labels, value)| gauge.with_label_values(labels).add(*value));
        self.0.register(Box::new(gauge))
    }

    fn one(&self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        self.add(name, help, &[], vec![(Vec::new(), value)])
    }
}

/// What was lost on the way to its reader.
pub(super) struct Lost {
    /// Log lines.
    pub(super) lines: u64,
    /// Spans for a collector.
    pub(super) spans: u64,
}

/// All current values.
pub(super) fn gather(
    app: &App,
    readiness: &Readiness,
    messages: Option<Stats>,
    lost: Lost,
) -> Result<Vec<MetricFamily>, Error> {
    let measures = Measures(Registry::new());
    measures.one("souk_ready", "Whether this host can serve its routes.", flag(readiness.is_ready()))?;
    measures.one("souk_draining", "Whether this host is about to stop.", flag(readiness.is_draining()))?;
    measures.one(
        "souk_log_lost_lines_total",
        "Lines of the log that were dropped because stderr was too \
                  slow.",
        count(lost.lines),
    )?;
    if app.boundaries().tracer().is_on() {
        let (kept, sent) = (app.boundaries().tracer().lost(), lost.spans);
        measures.one(
            "souk_traces_lost_spans_total",
            "Spans that were dropped because their trace was \
                      full.",
            count(kept),
        )?;
        measures.one("souk_export_lost_spans_total", "Spans that were not delivered to a collector.", count(sent))?;
    }
    components(&measures, app)?;
    databases(&measures, app)?;
    if app.queue().is_some() {
        let help = "Whether the messages of durable links could be counted; if not, their numbers are missing.";
        measures.one("souk_messages_known", help, flag(messages.is_some()))?;
    }
    if let Some(stats) = messages {
        durable(&measures, stats)?;
    }
    if let Some(nats) = app.remote().map(Remote::nats) {
        let there = *nats.outage().borrow() == Outage::None;
        measures.one("souk_nats_connected", "Whether there is a connection to NATS.", flag(there))?;
        measures.one(
            "souk_nats_reconnects_total",
            "How often the connection to NATS was restored.",
            count(nats.reconnects()),
        )?;
    }
    Ok(measures.0.gather())
}

fn flag(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

/// As a float, a count loses no precision that matters.
fn count(number: u64) -> f64 {
    number as f64
}

fn size(number: usize) -> f64 {
    number as f64
}

fn components(measures: &Measures, app: &App) -> Result<(), Error> {
    let (mut instances, mut limits, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    let (mut memory, mut cpu) = (Vec::new(), Vec::new());
    let pools = app.pools();
    for pool in &pools {
        let (name, PoolUse { busy, idle, waiting: callers }) = (&**pool.component(), pool.in_use());
        instances.push((vec![name, "used"], size(busy)));
        instances.push((vec![name, "idle"], size(idle)));
        limits.push((vec![name], count(pool.limit(|limits| limits.instances))));
        waiting.push((vec![name], size(callers)));
        let usage = &pool.grants().usage;
        memory.push((vec![name], count(usage.memory())));
        cpu.push((vec![name], count(usage.ticks()) * Engine::tick().as_secs_f64()));
    }
    let of_state = ["souk_component", "souk_instance_state"];
    measures.add("souk_instances", "Instances of a component that exist.", &of_state, instances)?;
    let of = ["souk_component"];
    measures.add("souk_instances_limit", "Instances that may exist at the same time.", &of, limits)?;
    measures.add("souk_callers_waiting", "Callers that wait for an instance.", &of, waiting)?;
    measures.add("souk_component_memory_bytes", "Linear memory of all instances of a component.", &of, memory)?;
    measures.add(
        "souk_component_cpu_seconds_total",
        "Processor time of a component, sampled every five milliseconds.",
        &of,
        cpu,
    )?;
    let most = app.application().limits.application_memory;
    measures.one("souk_memory_limit_bytes", "Linear memory that all components may take together.", bytes(most))
}

fn bytes(size: ByteSize) -> f64 {
    count(size.as_u64())
}

fn databases(measures: &Measures, app: &App) -> Result<(), Error> {
    let databases = app.databases();
    let wal = databases.iter().map(|database| (vec![database.label()], count(database.wal_bytes())));
    measures.add("souk_sqlite_wal_bytes", "Size of a database's write-ahead log.", &["db_namespace"], wal.collect())?;
    let pools = app.postgres_pools();
    let connections = pools.iter().flat_map(|pool| {
        let name = pool.name.as_str();
        [(vec![name, "used"], size(pool.used)), (vec![name, "idle"], size(pool.idle))]
    });
    let labels = ["db_client_connection_pool_name", "db_client_connection_state"];
    measures.add("db_client_connection_count", "Connections to PostgreSQL.", &labels, connections.collect())?;
    let most = pools.iter().map(|pool| (vec![pool.name.as_str()], size(MAX_POOL_CONNECTIONS)));
    measures.add(
        "db_client_connection_max",
        "Connections to PostgreSQL that a pool may have.",
        &["db_client_connection_pool_name"],
        most.collect(),
    )?;
    let all = size(MAX_ALL_CONNECTIONS);
    measures.one("souk_postgres_connections_limit", "Connections to PostgreSQL that all pools may have.", all)
}

fn durable(measures: &Measures, stats: Stats) -> Result<(), Error> {
    let states = [("waiting", stats.waiting), ("dead", stats.dead), ("stranded", stats.stranded)];
    let states = states.map(|(state, number)| (vec![state], count(number)));
    measures.add(
        "souk_messages",
        "Messages of durable links that are stored.",
        &["souk_message_state"],
        states.into(),
    )?;
    let now = souk_manifest::clock::since_epoch().as_millis();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let age = stats.oldest.map_or(0, |oldest| now.saturating_sub(oldest).max(0));
    let age = count(age.unsigned_abs()) / 1000.0;
    measures.one("souk_oldest_message_age_seconds", "How long the oldest message has waited for its delivery.", age)
}
