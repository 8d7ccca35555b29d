//! Runs an import: sends batches of rows to the component, counts its verdicts and writes refused rows to a file.

use super::duplicates::Duplicates;
use super::{Kind, Place, Verdict};
use crate::admin::RunningHost;
use crate::admin::call::{self, CallReply, CallRequest};
use crate::app::App;
use anyhow::Context as _;
use futures::TryStreamExt as _;
use futures::stream::FuturesOrdered;
use serde_json::value::{RawValue, to_raw_value};
use std::fs::{File, Permissions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::sync::mpsc::Receiver;

souk_manifest::fixed_limits! {
    /// The fixed limits of an import.
    pub(crate) const FIXED_LIMITS = "imports";

    /// The most rows in one call.
    const MAX_BATCH_ROWS: usize = 200, "rows";
    /// Roughly the most bytes of rows in one call.
    const MAX_BATCH_BYTES: usize = 1 << 20, bytes;
    /// The most batches at a time, when their order does not matter.
    const MAX_BATCHES: usize = 16, "batches";
}

/// How often progress is shown, in rows.
const PROGRESS_ROWS: u64 = 10_000;

/// What makes the calls.
pub(crate) enum Caller {
    /// A running host, with one connection for each concurrent batch.
    Host(Vec<Mutex<RunningHost>>),
    /// This process.
    App(Arc<App>),
}

impl Caller {
    /// Opens a connection to the host at `socket` for each concurrent batch.
    ///
    /// # Errors
    /// When the host has stopped.
    pub(crate) async fn host(socket: &std::path::Path) -> anyhow::Result<Caller> {
        let mut hosts = Vec::new();
        for _ in 0..MAX_BATCHES {
            let host = RunningHost::connect(socket).await;
            hosts.push(Mutex::new(host.context("the host has stopped\n  fix: start it, and run the import again")?));
        }
        Ok(Caller::Host(hosts))
    }

    /// Calls a function and parses its answer as `T`.
    ///
    /// # Errors
    /// When the call fails, or the function returns an error.
    pub(crate) async fn call<T: serde::de::DeserializeOwned>(
        &self,
        worker: usize,
        component: &str,
        function: &str,
        arguments: Box<RawValue>,
    ) -> anyhow::Result<T> {
        let request = CallRequest { component: component.to_owned(), function: function.to_owned(), arguments };
        let reply = match self {
            Caller::Host(hosts) => {
                let host = hosts.get(worker % hosts.len().max(1)).context("no host")?;
                host.lock().await.call(&request).await.map_err(stopped)?
            }
            Caller::App(app) => call::call(app, request).await.map_err(|problem| anyhow::anyhow!("{problem}"))?,
        };
        match reply {
            CallReply::Ok(value) => Ok(serde_json::from_str(value.get())?),
            CallReply::Err(error) => {
                let text: String = serde_json::from_str(error.get()).unwrap_or_else(|_| error.get().to_owned());
                anyhow::bail!("component `{component}`: {text}")
            }
        }
    }
}

/// Says what to do when the host has ended during a call.
fn stopped(error: anyhow::Error) -> anyhow::Error {
    match error.chain().any(|cause| cause.is::<hyper::Error>()) {
        true => anyhow::anyhow!(
            "the host has stopped: {error}\n  fix: start it, and run the import again: it continues where it stopped"
        ),
        false => error,
    }
}

/// An import.
pub(crate) struct Run {
    pub(crate) caller: Caller,
    pub(crate) component: String,
    /// The interface with its version.
    pub(crate) interface: String,
    pub(crate) kind: Kind,
    pub(crate) dry_run: bool,
    /// The file for rows that were refused or changed.
    pub(crate) refusals: PathBuf,
}

/// The counts of an import.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) taken: u64,
    pub(crate) changed: u64,
    pub(crate) there: u64,
    pub(crate) refused: u64,
}

impl Outcome {
    pub(crate) fn rows(&self) -> u64 {
        self.taken + self.changed + self.there + self.refused
    }
}

impl Run {
    /// Imports all rows of `place`; calls `progress` every few thousand rows.
    ///
    /// # Errors
    /// When rows cannot be read, or the component fails. Rows that were already imported stay.
    pub(crate) async fn all(self, place: Place, progress: impl Fn(&Outcome)) -> anyhow::Result<Outcome> {
        let duplicates = Duplicates::find(&place, &self.kind).await?;
        let (mut rows, reading) = place.rows(&self.kind)?;
        let at_once = if self.kind.in_order { 1 } else { MAX_BATCHES };
        let (mut judged, mut number, mut read) = (FuturesOrdered::new(), 0, 0_u64);
        let (mut outcome, mut file, mut row, mut shown) = (Outcome::default(), None, 0_u64, 0);
        loop {
            while judged.len() < at_once {
                let batch = batch(&mut rows).await;
                if batch.is_empty() {
                    break;
                }
                let refused = batch.iter().map(|row| {
                    read += 1;
                    duplicates.refusal(read, row)
                });
                let refused = refused.collect();
                judged.push_back(self.take(number, batch, refused));
                number += 1;
            }
            let Some((rows, verdicts)) = judged.try_next().await? else { break };
            for (text, verdict) in rows.iter().zip(verdicts) {
                row += 1;
                let (what, why) = match verdict {
                    Verdict::Taken => {
                        outcome.taken += 1;
                        continue;
                    }
                    Verdict::There => {
                        outcome.there += 1;
                        continue;
                    }
                    Verdict::Changed(why) => {
                        outcome.changed += 1;
                        ("changed", why)
                    }
                    Verdict::Refused(why) => {
                        outcome.refused += 1;
                        ("refused", why)
                    }
                };
                self.note(&mut file, row, what, &why, text)?;
            }
            if outcome.rows() >= shown + PROGRESS_ROWS {
                shown = outcome.rows();
                progress(&outcome);
            }
        }
        reading.await??;
        if let Some(mut file) = file {
            file.flush().with_context(|| self.refusals.display().to_string())?;
        }
        Ok(outcome)
    }

    /// Sends one batch to the component, without the rows that are refused already.
    async fn take(
        &self,
        number: usize,
        rows: Vec<String>,
        refused: Vec<Option<String>>,
    ) -> anyhow::Result<(Vec<String>, Vec<Verdict>)> {
        let single: Vec<&String> =
            rows.iter().zip(&refused).filter(|(_, why)| why.is_none()).map(|(row, _)| row).collect();
        let count = single.len();
        let arguments =
            to_raw_value(&serde_json::json!({ "kind": self.kind.name, "rows": single, "dryRun": self.dry_run }))?;
        let function = format!("{}#take", self.interface);
        let verdicts: Vec<Verdict> = self.caller.call(number, &self.component, &function, arguments).await?;
        anyhow::ensure!(
            verdicts.len() == count,
            "component `{}` returned {} verdicts for {} rows\n  fix: correct its `take`",
            self.component,
            verdicts.len(),
            count
        );
        let mut verdicts = verdicts.into_iter();
        let all = refused.into_iter().map(|why| match why {
            Some(why) => Verdict::Refused(why),
            None => verdicts.next().unwrap_or(Verdict::There),
        });
        let all = all.collect();
        Ok((rows, all))
    }

    /// Writes a line about a row. Only the owner may read the file: rows of accounts contain password hashes.
    fn note(
        &self,
        file: &mut Option<BufWriter<File>>,
        row: u64,
        what: &str,
        why: &str,
        text: &str,
    ) -> anyhow::Result<()> {
        let path =
            || format!("{} cannot be written\n  fix: name another file, --refusals FILE", self.refusals.display());
        let writer = match file {
            Some(file) => file,
            None => {
                let mut options = File::options();
                options.write(true).create(true).truncate(true).mode(0o600);
                let opened = options.open(&self.refusals).with_context(path)?;
                // It may have been there, readable for everybody; or it is /dev/null, which stays as it is.
                if opened.metadata().is_ok_and(|found| found.is_file()) {
                    opened.set_permissions(Permissions::from_mode(0o600)).with_context(path)?;
                }
                file.insert(BufWriter::new(opened))
            }
        };
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
        let line = serde_json::json!({ "row": row, what: why, "value": value });
        writeln!(writer, "{line}").with_context(path)
    }
}

/// The next rows, as many as fit into one call; none at the end.
async fn batch(rows: &mut Receiver<String>) -> Vec<String> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < MAX_BATCH_ROWS && bytes < MAX_BATCH_BYTES {
        let Some(row) = rows.recv().await else { break };
        bytes += row.len();
        batch.push(row);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_that_ends_during_an_import_is_named_with_how_to_continue() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let hang_up = async {
            for _ in 0..MAX_BATCHES {
                listener.accept().await.unwrap();
            }
        };
        let (caller, ()) = tokio::join!(Caller::host(&socket), hang_up);
        let arguments = RawValue::from_string("{}".to_owned()).unwrap();
        let error = caller.unwrap().call::<Vec<Kind>>(0, "shop", "take", arguments).await.unwrap_err().to_string();
        assert!(error.contains("the host has stopped: "), "{error}");
        assert!(error.contains("fix: start it, and run the import again"), "{error}");
    }
}
