//! What a start learns about versions, and what it records about them when it is complete.

use super::super::App;
use super::super::error::StartError;
use super::chosen::{ChosenVersion, Reason};
use super::error::DeployError;
use super::version_folder::{Record, VersionFolder, digest};
use souk_links::cluster::ClusterError;
use souk_links::cluster::agreement::Intent;
use souk_links::cluster::intents::{Intents, ReadOutcome};
use souk_manifest::Application;
use souk_nats::Nats;
use souk_runtime::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which version of a component, or of several, has started, and why.
pub struct Started {
    /// What to print.
    pub text: String,
    /// Whether it is the file that the manifest names, and no other one served before.
    pub is_usual: bool,
}

/// Reads what the hosts of `application` have agreed on for the components here, and puts the versions' files into the
/// state folder. An untrusted file is logged and left out.
///
/// # Errors
/// When NATS does not answer.
pub(crate) async fn learn(
    nats: &Nats,
    application: &Application,
    kept: &VersionFolder,
) -> Result<(Option<Intents>, BTreeMap<String, Intent>), StartError> {
    let intents = Intents::open(nats, application, kept.agreed().as_deref()).await.map_err(ClusterError::from)?;
    let Some(intents) = intents else { return Ok((None, BTreeMap::new())) };
    match intents.look().await.map_err(ClusterError::from)? {
        ReadOutcome::Same => {}
        ReadOutcome::New(agreed) => kept.save_agreed(&agreed).map_err(|cause| not_kept("all", cause))?,
        ReadOutcome::Forged(forged) => tracing::error!("{forged}"),
    }
    let here = files(&intents, application, kept).await?;
    Ok((Some(intents), here))
}

/// What the hosts have agreed on for the components of `application` here, with the versions' files in the state folder.
///
/// # Errors
/// When NATS does not answer.
pub(super) async fn files(
    intents: &Intents,
    application: &Application,
    kept: &VersionFolder,
) -> Result<BTreeMap<String, Intent>, StartError> {
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
    Ok(here)
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

/// The file of a version that has started, if it is still the same.
fn file_that_started(component: &str, one: &ChosenVersion) -> Result<Vec<u8>, DeployError> {
    let bytes = std::fs::read(&one.path).ok().filter(|bytes| digest(bytes) == *one.id.digest);
    bytes.ok_or_else(|| {
        DeployError::Refused(format!(
            "component `{component}`: {} was changed while the host started\n  fix: start it again when no build runs",
            one.path.display()
        ))
    })
}

impl App {
    /// Records which version of each component serves, and returns the versions with the reasons. Call it when the start
    /// is complete: a failed start changes nothing.
    ///
    /// # Errors
    /// When it cannot be recorded. Blocks on the disk.
    pub fn keep_versions(&self) -> Result<Vec<Started>, DeployError> {
        let chosen = std::mem::take(&mut *self.deployments.chosen.lock());
        self.keep_chosen(chosen, &self.now().pools)
    }

    /// Records which version of each of these components serves, with its instances in `pools`. Blocks on the disk.
    pub(super) fn keep_chosen(
        &self,
        chosen: BTreeMap<String, ChosenVersion>,
        pools: &BTreeMap<String, Arc<Pool>>,
    ) -> Result<Vec<Started>, DeployError> {
        let (mut is_new, mut lines) = (false, Vec::new());
        let mut usual: BTreeMap<(u64, &str), Vec<String>> = BTreeMap::new();
        // Before anything is recorded.
        for (component, one) in chosen.iter().filter(|(_, one)| one.reason.is_new()) {
            file_that_started(component, one)?;
        }
        for (component, one) in chosen {
            let Some(pool) = pools.get(&component) else { continue };
            let number = one.id.number;
            let why = match one.reason {
                Reason::First => {
                    usual.entry((number, "the first")).or_default().push(component.clone());
                    None
                }
                Reason::AsBefore => {
                    usual.entry((number, "which served before")).or_default().push(component.clone());
                    None
                }
                Reason::Deployed => Some(match one.book.withdrawn(&one.source) {
                    Some(tried) => format!(
                        "because the file at its `source` was tried out as version {tried} and did not stay; `souk deploy \
                         {component}` deploys it again"
                    ),
                    None => "which was deployed; the manifest's `source` has not changed since".to_owned(),
                }),
                Reason::Agreed => Some(format!("which the hosts have agreed on (deployed by {})", one.by())),
                Reason::SourceChanged => Some("because its `source` has changed".to_owned()),
            };
            if let Some(why) = why {
                lines.push(Started { text: format!("{component}: version {number}, {why}"), is_usual: false });
            }
            is_new |= one.reason.is_new();
            self.keep_one(&component, one, pool)?;
        }
        if is_new {
            // Only now, because one component's file may still be needed by another's book.
            self.deployments.books.collect();
        }
        let usual = usual.into_iter().map(|((number, why), components)| Started {
            text: format!("{}: version {number}, {why}", components.join(", ")),
            is_usual: true,
        });
        Ok(usual.chain(lines).collect())
    }

    /// Records that a component has started with this version.
    fn keep_one(&self, component: &str, one: ChosenVersion, pool: &Pool) -> Result<(), DeployError> {
        if let (Reason::First | Reason::SourceChanged, Some(intent)) = (one.reason, &one.intent)
            && intent.digest != *one.id.digest
        {
            tracing::warn!(
                component,
                "component `{component}`: its `source` is newer than version {} ({}), which the hosts have agreed on: this \
                 host does not run it; `souk deploy {component}` deploys it to all hosts",
                intent.number,
                intent.digest
            );
        }
        let (books, mut book) = (&self.deployments.books, one.book.clone());
        let interrupted = book.trial;
        if let Some(tried) = interrupted {
            let why = "the host ended while it was tried out";
            book.note(tried, why);
            tracing::warn!(component, "version {tried} of component `{component}` gets no more calls: {why}");
        }
        let kept = if one.reason.is_new() {
            let bytes = file_that_started(component, &one)?;
            let by = if one.reason == Reason::Agreed { one.by() } else { "start" };
            let written = Record::of(pool.active().compiled(), &one.id.digest, bytes.len() as u64, by);
            let number = book.add(Some(one.id.number), written);
            book.serve(number, &one.source);
            books.replace(component, Some((&one.id.digest, &bytes)), book)
        } else if book.source != one.source || one.intent.is_some() || interrupted.is_some() {
            let active = book.active;
            book.serve(active, &one.source);
            books.replace(component, None, book)
        } else {
            books.know(component, book);
            Ok(())
        };
        kept.map_err(|cause| DeployError::NotKept { component: component.to_owned(), cause })
    }
}
