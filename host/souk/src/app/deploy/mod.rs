//! Deploys new versions of components while the application runs.
//!
//! A deployment has five steps. It compiles the code beside the active version; checks it against everything that is
//! known about the component ([`check`]); creates one instance; gives it calls, all of them or a share on trial
//! ([`mod@judge`]); and lets the previous version end its calls and release its memory. A step that fails leaves
//! everything unchanged. The active version is recorded ([`version_folder`]) and serves again after a restart ([`chosen`]). If
//! there are several hosts, all go to it ([`agreed`]).
//!
//! Only one deployment runs at a time. It changes only code: grants, limits and variables stay those of the manifest
//! with which the host started, or which it last reloaded.

mod agreed;
pub(super) mod at_start;
mod books;
mod check;
pub(crate) mod chosen;
pub(super) mod error;
mod judge;
mod list;
pub(super) mod messages;
mod not_followed;
mod order;
mod reload;
mod rollback;
mod serve;
mod trial;
mod trial_hosts;
pub(crate) mod version_folder;

use super::compile::not_compiled;
use super::migrations::MigrateError;
use super::{App, migrations};
use crate::fetch::read_component;
use books::Books;
use check::Checked;
use chosen::ChosenVersion;
use error::{after, not_kept, stopped, wrong};
use parking_lot::Mutex;
use serve::NewVersion;
use souk_bindings::call::DRAWS;
use souk_links::cluster::agreement::Intent;
use souk_links::cluster::intents::Intents;
use souk_links::remote;
use souk_manifest::limits::FixedLimit;
use souk_manifest::{Application, Component as Declared, ManifestErrors};
use souk_runtime::{Pool, background};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::block_in_place;
use trial::Trial;
use version_folder::{Record, VersionFolder, digest};

pub(crate) use error::DeployError;
pub(crate) use judge::Terms;
pub(crate) use list::VersionFacts;
pub(crate) use order::{Deployed, Order};
pub(crate) use reload::Reloaded;

/// Every fixed limit of deployments.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [
        trial::FIXED_LIMITS,
        agreed::FIXED_LIMITS,
        not_followed::FIXED_LIMITS,
        trial_hosts::FIXED_LIMITS,
        version_folder::FIXED_LIMITS,
        judge::FIXED_LIMITS,
        migrations::FIXED_LIMITS,
        messages::FIXED_LIMITS,
    ]
    .concat()
}

/// The state of the versions of an application's components.
pub(super) struct Deployments {
    books: Books,
    /// The agreements of all hosts; none without a `cluster_secret`.
    intents: Option<Intents>,
    /// The versions that the start has loaded, until they are recorded.
    chosen: Mutex<BTreeMap<String, ChosenVersion>>,
    trials: Mutex<BTreeMap<String, Trial>>,
    /// Held by the running deployment.
    turn: tokio::sync::Mutex<()>,
}

impl Deployments {
    pub(super) fn new(kept: VersionFolder, intents: Option<Intents>, chosen: BTreeMap<String, ChosenVersion>) -> Self {
        let books = chosen.iter().map(|(component, one)| (component.clone(), one.book.clone())).collect();
        Deployments {
            books: Books::new(kept, books),
            intents,
            chosen: Mutex::new(chosen),
            trials: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

/// The file of a deployment.
struct Given {
    bytes: Vec<u8>,
    digest: String,
    /// The digest of the file at `source`, if there is one.
    source_digest: Option<String>,
}

/// The `bytes` that were sent, otherwise the file at `source`. Reading and hashing it takes its time.
async fn given(application: &Application, bytes: Option<Vec<u8>>, declared: &Declared) -> Result<Given, DeployError> {
    let path = declared.source.clone();
    let given = background(move || {
        let source = read_component(&path);
        let source_digest = source.as_deref().ok().map(digest);
        let bytes = bytes.map_or(source, Ok)?;
        Ok(Given { digest: digest(&bytes), bytes, source_digest })
    });
    given.await.ok_or_else(|| stopped(&declared.name))?.map_err(|error: std::io::Error| {
        let message = format!("cannot read {}: {error}", declared.source.display());
        wrong(declared, application.mistake(declared, message, "build it, or name another file"))
    })
}

/// The error of a version that does not serve, with what stays of its deployment.
fn after_migrations(error: DeployError, migrations: &[String]) -> DeployError {
    match migrations {
        [] => error,
        ran => after(error, &format!("these migrations have run, and stay: {}", ran.join(", "))),
    }
}

/// Whether the active version keeps working after the migration in `file`.
fn is_additive(declared: &Declared, file: &str) -> bool {
    let number = file.split('_').next().and_then(|number| number.parse().ok());
    number.is_some_and(|number: i32| declared.additive.contains(&number))
}

impl App {
    /// Deploys a new version.
    ///
    /// # Errors
    /// When something is wrong with it; then nothing has changed.
    pub async fn deploy(self: &Arc<Self>, order: Order) -> Result<Deployed, DeployError> {
        let _turn = self.deployments.turn.lock().await;
        self.may_deploy(&order.component).await?;
        let by = self.requester(order.by);
        self.deploy_in_turn(Order { by, ..order }, None).await
    }

    /// Whether the file at the `source` of a component is the version that serves.
    pub(crate) async fn serves_its_file(&self, component: &str) -> bool {
        let Ok((declared, pool)) = self.here(component) else { return false };
        let path = declared.source;
        let found = background(move || read_component(&path).ok().map(|bytes| digest(&bytes))).await;
        found.flatten().is_some_and(|found| *pool.active().id().digest == *found)
    }

    /// Deploys a new version, either requested or agreed on by the hosts.
    async fn deploy_in_turn(self: &Arc<Self>, order: Order, agreed: Option<&Intent>) -> Result<Deployed, DeployError> {
        let (declared, pool) = &self.here(&order.component)?;
        let Given { bytes, digest, source_digest } = given(&self.application(), order.bytes, declared).await?;
        let size = bytes.len() as u64;
        let done = |version, message: String| Ok(Deployed { component: declared.name.clone(), version, message });
        let active = pool.active();
        let trial = self.deployments.trials.lock().get(&declared.name).map(|trial| trial.number);
        if let Some(number) = trial {
            let message = format!(
                "component `{}`: version {number} is being tried out\n  fix: wait for its end, `souk rollback {}` it, or let it \
                 serve with `souk deploy {} --promote-anyway`",
                declared.name, declared.name, declared.name
            );
            return Err(DeployError::Refused(message));
        }
        // What the hosts have agreed on is followed in any case.
        if agreed.is_none() {
            self.refuse_beside_other_hosts(declared, order.trial.is_some())?;
        }
        if *active.id().digest == *digest {
            let number = active.id().number;
            if !order.check {
                // In case the stored file was damaged.
                let kept = background({
                    let (app, digest) = (self.clone(), digest.clone());
                    move || app.deployments.books.folder().keep(&digest, &bytes)
                });
                kept.await.ok_or_else(|| stopped(&declared.name))?.map_err(|cause| not_kept(declared, cause))?;
            }
            let agreed_on = match order.check {
                true => None,
                false => self.agree_on_active(declared, &digest, size, agreed, &order.by).await?,
            };
            if let Some(number) = agreed_on {
                return done(number, format!("version {number} serves here already, and is what all hosts run"));
            }
            return done(
                number,
                format!("version {number} has these bytes and serves already: there is nothing to do"),
            );
        }
        self.refuse_beside_trials(declared)?;
        self.fits_between_hosts(declared, size)?;
        let code = self.compile_version(declared, bytes.clone()).await?;
        let Checked { compiled, mistakes, pending, notes, expected } = self.check_version(declared, pool, code).await?;
        let mistaken = |errors| DeployError::Wrong { component: declared.name.clone(), errors };
        ManifestErrors::check(mistakes).map_err(mistaken)?;
        let Some(compiled) = compiled else {
            return Err(DeployError::Refused(format!("component `{}` could not be linked", declared.name)));
        };
        if order.trial.is_some() && !pending.iter().all(|file| is_additive(declared, file)) {
            let message = format!(
                "component `{}`: {} would run first, and the version that serves would meet the new tables\n  fix: if \
                 it can work with them, list them under `additive` in the manifest, and run `souk reload`; or deploy it with `--canary \
                 100%`, which lets it serve all calls at once",
                declared.name,
                pending.join(", ")
            );
            return Err(DeployError::Refused(message));
        }
        if order.check {
            let number = self.next_number(&declared.name, &digest, agreed);
            // The instance goes again: it gets no calls.
            self.instantiate(declared, pool, compiled, (number, digest.as_str())).await?;
            let mut message = format!("would be version {number} ({size} bytes, {digest})");
            if !pending.is_empty() {
                message.push_str(&format!("; {} would run first", pending.join(", ")));
            }
            notes.iter().for_each(|note| message.push_str(&format!("; {note}")));
            return done(0, message);
        }
        let number = self.next_number(&declared.name, &digest, agreed);
        let all_know = match order.trial {
            Some(terms) => self.announce_trial(declared, pool, number, terms.share).await?,
            None => {
                if agreed.is_none() {
                    self.refuse_beside_new_trials(declared).await?;
                }
                None
            }
        };
        let written = Record { number, ..Record::of(&compiled, &digest, size, &order.by) };
        let new = NewVersion {
            compiled,
            bytes,
            is_at_source: source_digest.as_ref() == Some(&digest),
            is_tried_out: order.trial.is_some(),
            written,
        };
        let version = self.prepare(declared, pool, new).await?;
        if let Some(remote) = &self.remote {
            remote::announce(remote.nats(), &expected).await;
        }
        if !pending.is_empty() {
            // A version on trial serves only here, and its migrations are additive.
            let may_run = match order.trial.is_none() && agreed.is_none() {
                true => {
                    let may_agree = self.may_agree(&declared.name, &digest, number).await;
                    may_agree.and_then(|()| self.refuse_beside_other_hosts(declared, false))
                }
                false => Ok(()),
            };
            let ran = match may_run {
                Ok(()) => self.run_migrations(declared).await,
                Err(error) => Err(error),
            };
            if let Err(error) = ran {
                block_in_place(|| self.deployments.books.note(&declared.name, number, &error.to_string()));
                return Err(error);
            }
        }
        let before = active.id().number;
        // Only when it is true.
        let log = || {
            tracing::info!(
                component = %declared.name,
                "version {number} ({digest}) of component `{}` is deployed by {}; version {before} ({}) has served",
                declared.name, order.by, active.id().digest
            );
        };
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        match order.trial {
            Some(terms) => {
                let percent = f64::from(terms.share) * 100.0 / f64::from(DRAWS);
                if let Some(all_know) = all_know {
                    tokio::time::sleep_until(all_know).await;
                }
                self.begin_trial(declared, pool, version, number, source_digest.unwrap_or_default(), terms);
                log();
                done(
                    number,
                    format!("version {number} gets {percent} % of the calls for {} s{notes}", terms.time.as_secs()),
                )
            }
            None => {
                let source = source_digest.unwrap_or_default();
                let served = self.let_serve(declared, pool, version, number, &source, agreed).await;
                if let Err(error) = served {
                    block_in_place(|| self.deployments.books.note(&declared.name, number, &error.to_string()));
                    return Err(after_migrations(error, &pending));
                }
                log();
                done(number, format!("version {number} serves; version {before} ends its calls{notes}"))
            }
        }
    }

    /// Runs the pending migrations of a component.
    async fn run_migrations(&self, declared: &Declared) -> Result<(), DeployError> {
        let now = self.now();
        let only = now.application.restricted_to(&[declared.name.clone()].into());
        let ran = migrations::run(&only, now.shared.databases()).await;
        ran.map(drop).map_err(|error| match error {
            MigrateError::Mistakes(errors) => DeployError::Wrong { component: declared.name.clone(), errors },
            error => DeployError::Refused(error.to_string()),
        })
    }

    /// The declaration and the instances of a component that runs here.
    fn here(&self, component: &str) -> Result<(Declared, Arc<Pool>), DeployError> {
        let now = self.now();
        match (now.application.components.get(component), now.pools.get(component)) {
            (Some(declared), Some(pool)) => Ok((declared.clone(), pool.clone())),
            (Some(_), None) if now.application.runs_here(component) => Err(DeployError::NotHere(format!(
                "component `{component}` is not loaded, because nothing leads to it: it has no versions\n  fix: `souk call` \
                 loads the file at its `source`; a trigger, dependency or schedule makes it a part of the application"
            ))),
            (Some(_), None) => Err(DeployError::NotHere(format!(
                "component `{component}` does not run on this host\n  fix: ask the host that runs it"
            ))),
            (None, _) => {
                let known: Vec<&str> = now.pools.keys().map(String::as_str).collect();
                Err(DeployError::NotHere(format!(
                    "there is no component `{component}`\n  fix: name one of {}",
                    known.join(", ")
                )))
            }
        }
    }

    /// The number of the next version: the number of the intent that it follows, or one that no host has used.
    fn next_number(&self, component: &str, digest: &str, agreed: Option<&Intent>) -> u64 {
        let book = self.deployments.books.of(component);
        let known = || self.deployments.intents.as_ref()?.newest(component).map(|newest| newest + 1);
        match agreed {
            Some(intent) => book.number_of_agreed(intent.number, digest),
            None => book.number(known()),
        }
    }

    async fn compile_version(
        &self,
        declared: &Declared,
        bytes: Vec<u8>,
    ) -> Result<wasmtime::component::Component, DeployError> {
        let compiled = self.engine.compiler().compile_bytes(&declared.name, "the file", bytes).await;
        compiled.map_err(|error| wrong(declared, not_compiled(&self.application(), error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_does_not_serve_after_its_migrations_says_that_they_stay() {
        let refused = || DeployError::Refused("component `shop`: no\n  fix: deploy again".to_owned());
        assert_eq!(after_migrations(refused(), &[]).to_string(), refused().to_string());
        let files = ["0002_a.sql".to_owned(), "0003_b.sql".to_owned()];
        let said = after_migrations(refused(), &files).to_string();
        assert_eq!(said, format!("{}\n  these migrations have run, and stay: 0002_a.sql, 0003_b.sql", refused()));
        let not_kept = DeployError::NotKept { component: "shop".to_owned(), cause: std::io::Error::other("no room") };
        let said = after_migrations(not_kept, &files).to_string();
        let stay = "no room; these migrations have run, and stay: 0002_a.sql, 0003_b.sql\n  fix: ";
        assert!(said.contains(stay), "{said}");
    }
}
