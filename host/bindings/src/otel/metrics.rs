//! Metrics of guests, on their way to the collector.

use super::{GuestRecord, metric};
use crate::Ctx;
use crate::tape;

impl metric::Host for Ctx {
    fn export(&mut self, metrics: metric::ResourceMetrics) -> wasmtime::Result<Result<(), metric::Error>> {
        let telemetry = &self.grants.telemetry;
        let component = self.grants.component.clone();
        tape::now(tape::asked(self.call.tape.as_deref(), "wasi:otel/metrics#export", String::new), || {
            match telemetry.send(GuestRecord::Metrics { component, metrics }) {
                true => Ok(()),
                false => Err("the collector is slower than the metrics come; export them less often".to_owned()),
            }
        })
    }
}
