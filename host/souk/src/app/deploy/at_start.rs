//! What a start learns about versions, and what it records about them when it is complete.

use super::super::App;
use super::super::error::StartError;
use super::chosen::Why;
use super::kept::{Kept, digest};
use super::{DeployError, record};
use souk_links::cluster::ClusterError;
use souk_links::cluster::intents::{Intent, Intents, Look};
use souk_manifest::Application;
use souk_nats::Nats;
use std::collections::BTreeMap;

/// Reads what the hosts of `application` have agreed on for the components here, and puts the versions' files into the
/// state folder. An untrusted file is logged and left out.
///
/// # Errors
/// When NATS does not answer.
pub(crate) async fn learn(
    nats: &Nats,
    application: &Application,
    kept: &Kept,
) -> Result<(Option<Intents>, BTreeMap<String, Intent>), StartError> {
    let intents = Intents::open(nats, application, kept.agreed().as_deref()).await.map_err(ClusterError::from)?;
    let Some(intents) = intents else { return Ok((None, BTreeMap::new())) };
    match intents.look().await.map_err(ClusterError::from)? {
        Look::Same => {}
        Look::New(agreed) => kept.save_agreed(&agreed).map_err(|cause| not_kept("all", cause))?,
        Look::Forged(forged) => tracing::error!("{forged}"),
    }
    let mut here = BTreeMap::new();
    for component in application.here() {
        let Some(intent) = intents.of(&component.name) else { continue };
        let at_source = || std::fs::read(&component.source).is_ok_and(|bytes| digest(&bytes) == intent.digest);
        if kept.read(&intent.digest).is_some() || at_source() {
            here.insert(component.name.clone(), intent);
            continue;
        }
        match intents.file(&intent).await.map_err(ClusterError::from)? {
            Some(file) if digest(&file) == intent.digest => {
                kept.keep(&intent.digest, &file).map_err(|cause| not_kept(&component.name, cause))?;
                here.insert(component.name.clone(), intent);
            }
            found => {
                tracing::error!(component = %component.name, "{}", no_file(&component.name, &intent, found.is_some()))
            }
        }
    }
    Ok((Some(intents), here))
}

fn not_kept(component: &str, cause: std::io::Error) -> StartError {
    StartError::Versions(DeployError::NotKept { component: component.to_owned(), cause })
}

/// Why this host does not follow an intent whose file it cannot get.
pub(super) fn no_file(component: &str, intent: &Intent, is_other: bool) -> String {
    let what = if is_other { "is not what was deployed" } else { "is not whole" };
    format!(
        "component `{component}`: the file on NATS of version {} ({}), which the hosts have agreed on, {what}: this \
         host does not run it\n  \
         fix: deploy it again from a host that runs it; if it is not what was deployed, check who may publish on NATS",
        intent.number, intent.digest
    )
}

impl App {
    /// Records which version of each component serves, and returns a line for each component whose version is not the
    /// one that the manifest named at the last run. Call it when the start is complete: a failed start changes nothing.
    ///
    /// # Errors
    /// When it cannot be recorded. Blocks on the disk.
    pub fn keep_versions(&self) -> Result<Vec<String>, DeployError> {
        let (mut lines, chosen) = (Vec::new(), std::mem::take(&mut *self.deployments.chosen.lock()));
        let (kept, mut is_new) = (&self.deployments.kept, false);
        for (component, one) in chosen {
            let Some(pool) = self.pools.get(&component) else { continue };
            let number = one.id.number;
            let by = one.intent.as_ref().map_or_else(String::new, |intent| intent.by.clone());
            match one.why {
                Why::First | Why::AsBefore => {}
                Why::Deployed => lines.push(format!(
                    "{component}: version {number}, which was deployed; the manifest's `source` has not changed since"
                )),
                Why::Agreed => lines
                    .push(format!("{component}: version {number}, which the hosts have agreed on (deployed by {by})")),
                Why::SourceChanged => {
                    lines.push(format!("{component}: version {number}, because its `source` has changed"))
                }
            }
            if let (Why::First | Why::SourceChanged, Some(intent)) = (one.why, &one.intent)
                && intent.digest != *one.id.digest
            {
                tracing::warn!(
                    %component,
                    "component `{component}`: its `source` is newer than version {} ({}), which the hosts have agreed \
                     on: this host does not run it; `souk deploy {component}` deploys it to all hosts",
                    intent.number, intent.digest
                );
            }
            let mut book = one.book;
            let written = match one.why {
                Why::First | Why::SourceChanged | Why::Agreed => {
                    is_new = true;
                    let by = if one.why == Why::Agreed { by.as_str() } else { "start" };
                    std::fs::read(&one.path).and_then(|bytes| {
                        kept.keep(&one.id.digest, &bytes)?;
                        let active = pool.active();
                        let written = record(active.compiled(), &one.id.digest, bytes.len() as u64, by);
                        let number = book.add(Some(number), written);
                        book.serve(number, &one.source);
                        kept.save_alone(&component, &mut book)
                    })
                }
                Why::AsBefore | Why::Deployed if book.source != one.source || one.intent.is_some() => {
                    let active = book.active;
                    book.serve(active, &one.source);
                    kept.save_alone(&component, &mut book)
                }
                Why::AsBefore | Why::Deployed => Ok(()),
            };
            written.map_err(|cause| DeployError::NotKept { component: component.clone(), cause })?;
            self.deployments.books.lock().insert(component, book);
        }
        if is_new {
            // Only now, because one component's file may still be needed by another's book.
            kept.collect().map_err(|cause| DeployError::NotKept { component: "all".to_owned(), cause })?;
        }
        Ok(lines)
    }
}
