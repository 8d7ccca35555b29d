//! A component as users of Spin's SDK 6 build it. It uses the last release candidate of WASI 0.3, and it imports
//! language models (`fermyon:spin/llm`), which the host does not have.

use spin_sdk::http::{IntoResponse, Request, StatusCode, body::IncomingBodyExt as _, post};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;
use spin_sdk::llm::{InferencingModel, infer};
use spin_sdk::sqlite::{Connection, Value};
use spin_sdk::variables;
use spin_sdk::wit_bindgen;
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

wit_bindgen::generate!({
    inline: "package souk-test:telemetry;
        world telemetry {
            import wasi:otel/tracing@0.2.0-rc.2;
            import wasi:otel/metrics@0.2.0-rc.2;
            import wasi:otel/logs@0.2.0-rc.2;
        }",
    path: ["../../../wit/deps/io@0.2.0", "../../../wit/deps/clocks@0.2.0", "../../../wit/deps/wasi-otel@0.2.0-rc.2"],
    world: "souk-test:telemetry/telemetry",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use wasi::clocks::wall_clock::Datetime;
use wasi::otel::types::InstrumentationScope;
use wasi::otel::{logs, metrics, tracing, types};

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let answer = match head.uri.path() {
        "/spin-6/echo" => body.bytes().await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(text),
        "/spin-6/key-value" => key_value().await.map_err(text),
        "/spin-6/sqlite" => sqlite().await.map_err(text),
        "/spin-6/variable" => variables::get(query).await.map_err(text),
        "/spin-6/fetch" => fetch(&query).await.map_err(text),
        "/spin-6/otel" => telemetry().await.map_err(text),
        "/spin-6/infer" => infer(InferencingModel::Llama2Chat, "Hello?").map(|said| said.text).map_err(text),
        path => Ok(format!("Hello from {path}")),
    };
    match answer {
        Ok(answer) => (StatusCode::OK, answer),
        Err(error) => (StatusCode::BAD_GATEWAY, error),
    }
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

async fn key_value() -> Result<String, Box<dyn Error>> {
    let store = Store::open_default().await?;
    store.set("six", b"6").await?;
    Ok(String::from_utf8(store.get("six").await?.unwrap_or_default())?)
}

async fn sqlite() -> Result<String, Box<dyn Error>> {
    let database = Connection::open_default().await?;
    let rows = database.execute("SELECT ? || '!'", [Value::Text("six".to_owned())]).await?.collect().await?;
    Ok(rows.first().and_then(|row| row.get::<&str>(0)).unwrap_or_default().to_owned())
}

/// Does what OpenTelemetry's SDK does for a component: emits a span around the work, a metric and a log record.
async fn telemetry() -> Result<String, Box<dyn Error>> {
    let outer = tracing::outer_span_context();
    let context = tracing::SpanContext { span_id: "00000000000000a1".to_owned(), ..outer.clone() };
    let now = || {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Datetime { seconds: time.as_secs(), nanoseconds: time.subsec_nanos() }
    };
    let scope =
        || InstrumentationScope { name: "guest".to_owned(), version: None, schema_url: None, attributes: Vec::new() };
    let pair = || types::KeyValue { key: "guest.kind".to_owned(), value: "\"a test\"".to_owned() };
    let start = now();
    tracing::on_start(&context);
    let store = Store::open_default().await?;
    store.set("work", b"done").await?;
    logs::on_emit(&logs::LogRecord {
        timestamp: Some(now()),
        observed_timestamp: None,
        severity_text: Some("WARN".to_owned()),
        severity_number: Some(13),
        body: Some("\"the guest's work is done\"".to_owned()),
        attributes: Some(vec![pair()]),
        event_name: None,
        resource: None,
        instrumentation_scope: Some(scope()),
        trace_id: Some(context.trace_id.clone()),
        span_id: Some(context.span_id.clone()),
        trace_flags: Some(context.trace_flags),
    });
    tracing::on_end(&tracing::SpanData {
        span_context: context,
        parent_span_id: outer.span_id,
        span_kind: tracing::SpanKind::Internal,
        name: "the guest's work".to_owned(),
        start_time: start,
        end_time: now(),
        attributes: vec![pair()],
        events: vec![tracing::Event { name: "stored".to_owned(), time: now(), attributes: Vec::new() }],
        links: Vec::new(),
        status: tracing::Status::Ok,
        instrumentation_scope: scope(),
        dropped_attributes: 0,
        dropped_events: 0,
        dropped_links: 0,
    });
    let point =
        metrics::SumDataPoint { attributes: vec![pair()], value: metrics::MetricNumber::U64(7), exemplars: Vec::new() };
    let sum = metrics::Sum {
        data_points: vec![point],
        start_time: start,
        time: now(),
        temporality: metrics::Temporality::Cumulative,
        is_monotonic: true,
    };
    let metric = metrics::Metric {
        name: "guest.work".to_owned(),
        description: String::new(),
        unit: "{pieces}".to_owned(),
        data: metrics::MetricData::U64Sum(sum),
    };
    metrics::export(&metrics::ResourceMetrics {
        resource: types::Resource { attributes: Vec::new(), schema_url: None },
        scope_metrics: vec![metrics::ScopeMetrics { scope: scope(), metrics: vec![metric] }],
    })?;
    Ok(outer.trace_id)
}

async fn fetch(url: &str) -> Result<String, Box<dyn Error>> {
    let bytes = post(url, "from spin-6").await?.into_body().bytes().await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
