//! Where traces and metrics go, according to OpenTelemetry's environment variables.

use anyhow::{Context as _, bail};
use http::Uri;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits that apply without such variables.
    pub(super) const FIXED_LIMITS = "export of traces and metrics";

    /// How long a request to the collector may take, unless `OTEL_EXPORTER_OTLP_TIMEOUT` is set.
    const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
    /// How long a span may wait to be sent together with others, unless `OTEL_BSP_SCHEDULE_DELAY` is set.
    const BATCH_DELAY: Duration = Duration::from_secs(5);
    /// How often metrics are sent, unless `OTEL_METRIC_EXPORT_INTERVAL` is set.
    const METRICS_INTERVAL: Duration = Duration::from_secs(60);
}

/// The destination of one signal.
#[derive(Clone)]
pub(super) struct Signal {
    /// `traces` or `metrics`.
    pub(super) name: &'static str,
    pub(super) endpoint: Uri,
    pub(super) headers: HeaderMap,
    /// How long one request may take.
    pub(super) timeout: Duration,
}

/// What goes to a collector, and how often.
pub(crate) struct Config {
    pub(super) traces: Option<Signal>,
    pub(super) metrics: Option<Signal>,
    /// Log records of components; the host's own log is not exported.
    pub(super) logs: Option<Signal>,
    pub(super) resource: Resource,
    /// How long a span may wait to be sent together with others.
    pub(super) delay: Duration,
    /// How often metrics are sent.
    pub(super) interval: Duration,
}

impl Config {
    /// Reads the environment; `None` when it names no collector. `application` is the service name in traces unless the
    /// environment gives one, and `version` is the application's.
    ///
    /// # Errors
    /// When a variable has an invalid value.
    pub(crate) fn read(application: &str, version: &str) -> anyhow::Result<Option<Self>> {
        read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()), application, version)
    }

    /// Whether traces go to a collector. Then requests are recorded even if nobody reads the traces here.
    pub(crate) fn has_traces(&self) -> bool {
        self.traces.is_some()
    }
}

fn read(variable: impl Fn(&str) -> Option<String>, application: &str, version: &str) -> anyhow::Result<Option<Config>> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let (traces, metrics) = (signal(&variable, "traces")?, signal(&variable, "metrics")?);
    let logs = signal(&variable, "logs")?;
    if traces.is_none() && metrics.is_none() && logs.is_none() {
        return Ok(None);
    }
    Ok(Some(Config {
        traces,
        metrics,
        logs,
        resource: resource(&variable, application, version)?,
        delay: millis(&variable, "OTEL_BSP_SCHEDULE_DELAY", BATCH_DELAY)?,
        interval: millis(&variable, "OTEL_METRIC_EXPORT_INTERVAL", METRICS_INTERVAL)?,
    }))
}

/// The destination of the signal `name`; `None` when no collector is named for it, or it is switched off.
fn signal(variable: &impl Fn(&str) -> Option<String>, name: &'static str) -> anyhow::Result<Option<Signal>> {
    let upper = name.to_ascii_uppercase();
    let exporter = format!("OTEL_{upper}_EXPORTER");
    match variable(&exporter).as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(other) => {
            bail!("{exporter}={other} is not supported\n  fix: use otlp or none; /metrics is Prometheus'")
        }
    }
    // A signal's own variable is used unchanged, the common one is a base URL.
    let (own, common) = (format!("OTEL_EXPORTER_OTLP_{upper}_ENDPOINT"), "OTEL_EXPORTER_OTLP_ENDPOINT");
    let (named, endpoint) = match (variable(&own), variable(common)) {
        (Some(endpoint), _) => (own.as_str(), endpoint),
        (None, Some(base)) => (common, format!("{}/v1/{name}", base.trim_end_matches('/'))),
        (None, None) => return Ok(None),
    };
    let of = |what: &str| {
        let own = format!("OTEL_EXPORTER_OTLP_{upper}_{what}");
        variable(&own).or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{what}")))
    };
    if let Some(protocol) = of("PROTOCOL").filter(|protocol| protocol != "http/protobuf") {
        bail!(
            "OTEL_EXPORTER_OTLP_PROTOCOL={protocol} is not supported\n  fix: use http/protobuf, which collectors \
             accept at port 4318"
        );
    }
    if let Some(compression) = of("COMPRESSION").filter(|compression| compression != "none") {
        bail!("OTEL_EXPORTER_OTLP_COMPRESSION={compression} is not supported\n  fix: use none");
    }
    let uri: Uri = endpoint.parse().ok().filter(Uri::is_http).with_context(|| {
        format!("{named} is not the URL of a collector\n  fix: use for example {named}=http://127.0.0.1:4318")
    })?;
    // The client would not send it. The URL itself is a secret here.
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        bail!(
            "{named} has a user or password, which is not sent to the collector\n  fix: remove what is before the `@`, and \
             use OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20..., where ... is `user:password` in base64"
        );
    }
    let timeout = match of("TIMEOUT") {
        None => REQUEST_TIMEOUT,
        Some(text) => Duration::from_millis(number("OTEL_EXPORTER_OTLP_TIMEOUT", &text)?),
    };
    Ok(Some(Signal { name, endpoint: uri, headers: headers(of("HEADERS").as_deref())?, timeout }))
}

/// Whether a URL can be used for HTTP requests.
trait IsHttp {
    fn is_http(&self) -> bool;
}

impl IsHttp for Uri {
    fn is_http(&self) -> bool {
        matches!(self.scheme_str(), Some("http" | "https")) && self.host().is_some_and(|host| !host.is_empty())
    }
}

/// Parses `name=value,...` with percent-encoded values. They may be tokens, so no error shows one.
fn headers(text: Option<&str>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("souk/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in pairs(text.unwrap_or_default(), "OTEL_EXPORTER_OTLP_HEADERS")? {
        let header = HeaderName::try_from(&name).ok().zip(HeaderValue::try_from(value).ok());
        let (header, mut value) = header.with_context(|| {
            format!(
                "OTEL_EXPORTER_OTLP_HEADERS: `{name}` is not a header\n  fix: write name=value, with commas between"
            )
        })?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// The resource attributes, which describe this host in every export.
fn resource(variable: &impl Fn(&str) -> Option<String>, application: &str, version: &str) -> anyhow::Result<Resource> {
    let mut attributes = BTreeMap::from([("service.name".to_owned(), application.to_owned())]);
    if !version.is_empty() {
        attributes.insert("service.version".to_owned(), version.to_owned());
    }
    attributes.insert("service.instance.id".to_owned(), uuid::Uuid::new_v4().to_string());
    attributes.extend(pairs(&variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(), "OTEL_RESOURCE_ATTRIBUTES")?);
    attributes.extend(variable("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name)));
    let attributes = attributes.into_iter().map(|(key, value)| text(key, value)).collect();
    Ok(Resource { attributes, ..Resource::default() })
}

/// An attribute with a text value.
pub(super) fn text(key: impl Into<String>, value: impl Into<String>) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

fn pairs(text: &str, name: &str) -> anyhow::Result<Vec<(String, String)>> {
    let pair = |pair: &str| {
        let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(String::from);
        let (key, value) = pair.split_once('=')?;
        decode(key).filter(|key| !key.is_empty()).zip(decode(value))
    };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let read = parts.map(|part| {
        pair(part)
            .with_context(|| format!("{name} is not a list of pairs\n  fix: write key=value, with commas between"))
    });
    read.collect()
}

fn millis(variable: &impl Fn(&str) -> Option<String>, name: &str, usual: Duration) -> anyhow::Result<Duration> {
    match variable(name) {
        None => Ok(usual),
        Some(text) => Ok(Duration::from_millis(number(name, &text)?.max(1))),
    }
}

fn number(name: &str, text: &str) -> anyhow::Result<u64> {
    text.trim().parse().map_err(|_| anyhow::anyhow!("{name} is not a number of milliseconds\n  fix: use {name}=5000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> anyhow::Result<Option<Config>> {
        read(
            |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string()),
            "store",
            "1.2.3",
        )
    }

    fn attribute(resource: &Resource, key: &str) -> String {
        let found = resource.attributes.iter().find(|pair| pair.key == key).expect(key);
        match &found.value.as_ref().unwrap().value {
            Some(Value::StringValue(text)) => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_collector_is_named_by_opentelemetrys_variables() {
        assert!(with(&[]).unwrap().is_none());
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        let config = with(&[
            base,
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://other/x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc, x-team=a"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,deployment.environment.name=test"),
        ]);
        let config = config.unwrap().unwrap();
        let (traces, metrics) = (config.traces.unwrap(), config.metrics.unwrap());
        assert_eq!(traces.endpoint, "http://collector:4318/v1/traces");
        assert_eq!(metrics.endpoint, "https://other/x");
        assert_eq!(traces.headers["authorization"], "Bearer abc");
        assert_eq!((traces.headers["x-team"].as_bytes(), traces.timeout), (&b"a"[..], Duration::from_millis(250)));
        assert_eq!(attribute(&config.resource, "service.name"), "shop");
        assert_eq!(attribute(&config.resource, "service.version"), "1.2.3");
        assert_eq!(attribute(&config.resource, "deployment.environment.name"), "test");
        assert!(with(&[base, ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
        let traces_alone = with(&[base, ("OTEL_METRICS_EXPORTER", "none")]).unwrap().unwrap();
        assert!(traces_alone.has_traces() && traces_alone.metrics.is_none());
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_fix_and_without_a_token() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for pairs in [
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:s3cret@collector:4318")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:s3cret@@collector:4318")],
            &[base, ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://s3cret@collector/v1/logs")],
            &[base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            &[base, ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")],
            &[base, ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")],
            &[base, ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%0a")],
            &[base, ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")],
            &[base, ("OTEL_TRACES_EXPORTER", "zipkin")],
        ] {
            let error = format!("{:#}", with(pairs).err().unwrap());
            assert!(error.contains("fix: ") && !error.contains("s3cret"), "{error}");
        }
        let error = with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:s3cret@collector")]).err().unwrap().to_string();
        assert!(error.contains("OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20"), "{error}");
    }
}
