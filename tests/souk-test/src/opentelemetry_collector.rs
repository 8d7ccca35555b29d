//! OpenTelemetry's own collector, for tests: it receives OTLP over HTTP on a free loopback port, and sends what it has
//! received on to another URL, again by OTLP over HTTP.
//!
//! No package registry has the collector's program, but the Go module proxy has its modules: a program of 40 lines in this
//! crate's folder joins the receiver and the exporter.

use crate::go::Program;
use crate::keeper::Keeper;
use crate::ports;
use std::net::TcpStream;
use tempfile::TempDir;

static PROGRAM: Program = Program::new(
    "opentelemetry-collector",
    [
        include_str!("../opentelemetry-collector/main.go"),
        include_str!("../opentelemetry-collector/go.mod"),
        include_str!("../opentelemetry-collector/go.sum"),
    ],
);

/// A collector; it ends when it is dropped.
pub struct OpenTelemetryCollector {
    folder: TempDir,
    port: u16,
    _keeper: Keeper,
}

impl OpenTelemetryCollector {
    /// Starts a collector that sends everything on to the receiver at `url`. What it sends has the header
    /// `authorization: Bearer collector`.
    pub fn start(url: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("souk-collector-").tempdir().unwrap();
        let port = ports::free();
        std::fs::write(folder.path().join("config.yaml"), config(port, url)).unwrap();
        let arguments = ["--config".to_owned(), "file:config.yaml".to_owned()];
        let ready = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        let keeper = Keeper::start(PROGRAM.path(), &arguments, folder.path(), ready);
        OpenTelemetryCollector { folder, port, _keeper: keeper }
    }

    /// The URL for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has logged: what it could not read or send.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

/// What is sent is kept in no queue, and so a request is answered when the receiver has answered.
fn config(port: u16, url: &str) -> String {
    format!(
        r#"
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:{port}
exporters:
  otlp_http:
    endpoint: {url}
    compression: none
    headers:
      authorization: Bearer collector
    sending_queue:
      enabled: false
service:
  telemetry:
    metrics:
      level: none
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [otlp_http]
    metrics:
      receivers: [otlp]
      exporters: [otlp_http]
    logs:
      receivers: [otlp]
      exporters: [otlp_http]
"#
    )
}
