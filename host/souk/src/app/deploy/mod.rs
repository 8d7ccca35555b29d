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
mod check;
pub(crate) mod chosen;
mod judge;
mod list;
mod reload;
mod rollback;
mod trial;
pub(crate) mod version_folder;

use super::{App, migrations};
use check::Checked;
use chosen::ChosenVersion;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use souk_bindings::call::DRAWS;
use souk_links::cluster::intents::{Intent, Intents};
use souk_links::remote;
use souk_manifest::limits::FixedLimit;
use souk_manifest::{Component as Declared, ManifestErrors, clock};
use souk_runtime::{Compiled, Pool, Version, VersionConfig, VersionId, background};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::block_in_place;
use trial::Trial;
use version_folder::{Book, Record, VersionFolder, digest};

pub(crate) use judge::Terms;
pub(crate) use list::VersionFacts;
pub(crate) use reload::Reloaded;

souk_manifest::fixed_limits! {
    /// The fixed limits of deployments.
    const OWN_LIMITS = "deployments";

    /// The shortest interval between two judgements of a version on trial.
    const JUDGE_INTERVAL: Duration = Duration::from_millis(10);
    /// How often it is judged while no calls end.
    const IDLE_JUDGE_INTERVAL: Duration = Duration::from_millis(100);
}

/// Every fixed limit of deployments.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [OWN_LIMITS, agreed::FIXED_LIMITS, version_folder::FIXED_LIMITS, judge::FIXED_LIMITS, migrations::FIXED_LIMITS]
        .concat()
}

/// Why nothing was deployed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The component does not exist, or does not run here.
    #[error("{0}")]
    NotHere(String),
    /// The request cannot be fulfilled.
    #[error("{0}")]
    Refused(String),
    /// The new version is wrong.
    #[error("nothing was deployed, because the new version of `{component}` has these mistakes:\n{errors}")]
    Wrong {
        /// The component.
        component: String,
        /// The mistakes.
        errors: ManifestErrors,
    },
    /// The manifest that is to be applied is wrong.
    #[error("nothing was applied, because of what is wrong with the manifest:\n{errors}")]
    Manifest {
        /// The mistakes.
        errors: ManifestErrors,
    },
    /// The versions cannot be recorded.
    #[error(
        "component `{component}`: its versions cannot be stored: {cause}\n  fix: make room in the state folder, and \
         make it writable"
    )]
    NotKept {
        /// The component.
        component: String,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// A request to deploy.
pub struct Order {
    /// The component.
    pub component: String,
    /// Its file; `None` for the one at the manifest's `source`.
    pub bytes: Option<Vec<u8>>,
    /// The terms of a trial; `None` to serve all calls at once.
    pub trial: Option<Terms>,
    /// Who asks for it.
    pub by: String,
    /// Only report what would happen.
    pub check: bool,
}

/// What a deployment did, or would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deployed {
    /// The component.
    pub component: String,
    /// The version; 0 if none was created.
    pub version: u64,
    /// What happened, or would happen.
    pub message: String,
}

/// The state of the versions of an application's components.
pub(super) struct Deployments {
    kept: VersionFolder,
    /// The agreements of all hosts; none without a `cluster_secret`.
    intents: Option<Intents>,
    books: Mutex<BTreeMap<String, Book>>,
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
            kept,
            intents,
            books: Mutex::new(books),
            chosen: Mutex::new(chosen),
            trials: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

fn now() -> String {
    humantime::format_rfc3339_seconds(clock::now()).to_string()
}

/// The record of a version.
fn record(code: &Compiled, digest: &str, size: u64, by: &str) -> Record {
    let ty = code.code.component_type();
    let engine = code.code.engine();
    Record {
        number: 0,
        digest: digest.to_owned(),
        size,
        at: now(),
        by: by.to_owned(),
        imports: ty.imports(engine).map(|(name, _)| name.to_owned()).collect(),
        exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect(),
        note: None,
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
async fn given(bytes: Option<Vec<u8>>, declared: &Declared) -> Result<Given, DeployError> {
    let path = declared.source.clone();
    let given = background(move || {
        let source = std::fs::read(path).ok();
        let source_digest = source.as_deref().map(digest);
        let bytes = bytes.or(source)?;
        Some(Given { digest: digest(&bytes), bytes, source_digest })
    });
    given.await.ok_or_else(|| stopped(&declared.name))?.ok_or_else(|| {
        let message = format!(
            "component `{}`: {} cannot be read\n  fix: build it, or name the file",
            declared.name,
            declared.source.display()
        );
        DeployError::Refused(message)
    })
}

/// A step in the background did not end.
fn stopped(component: &str) -> DeployError {
    DeployError::Refused(format!(
        "component `{component}`: the host could not do this in the background\n  fix: read its log, and try again"
    ))
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

    /// Deploys a new version, either requested or agreed on by the hosts.
    async fn deploy_in_turn(self: &Arc<Self>, order: Order, agreed: Option<&Intent>) -> Result<Deployed, DeployError> {
        let (declared, pool) = &self.here(&order.component)?;
        let Given { bytes, digest, source_digest } = given(order.bytes, declared).await?;
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
        if *active.id().digest == *digest {
            let number = active.id().number;
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
        let kept = (self.deployments.kept.clone(), bytes.clone(), digest.clone());
        let code = self.compile_version(&declared.name, bytes).await?;
        let Checked { compiled, mistakes, pending, notes, expected } = self.check_version(declared, pool, code).await?;
        let wrong = |errors| DeployError::Wrong { component: declared.name.clone(), errors };
        ManifestErrors::check(mistakes).map_err(wrong)?;
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
            let number = self.next_number(&declared.name, agreed);
            let mut message = format!("would be version {number} ({size} bytes, {digest})");
            if !pending.is_empty() {
                message.push_str(&format!("; {} would run first", pending.join(", ")));
            }
            notes.iter().for_each(|note| message.push_str(&format!("; {note}")));
            return done(0, message);
        }
        let written = record(&compiled, &digest, size, &order.by);
        let number = self.next_number(&declared.name, agreed);
        let at_source = source_digest.as_ref() == Some(&digest);
        let version = self.prepare(declared, pool, compiled, at_source, Record { number, ..written }, kept).await?;
        if let Some(remote) = &self.remote {
            remote::announce(remote.nats(), &expected).await;
        }
        if !pending.is_empty() {
            let now = self.now();
            let only = now.application.restricted_to(&[declared.name.clone()].into());
            migrations::run(&only, now.shared.databases())
                .await
                .map_err(|error| DeployError::Refused(error.to_string()))?;
        }
        let before = active.id().number;
        tracing::info!(
            component = %declared.name,
            "version {number} ({digest}) of component `{}` is deployed by {}; version {before} ({}) has served",
            declared.name, order.by, active.id().digest
        );
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        match order.trial {
            Some(terms) => {
                let percent = f64::from(terms.share) * 100.0 / f64::from(DRAWS);
                self.begin_trial(declared, pool, version, number, source_digest.unwrap_or_default(), terms);
                done(
                    number,
                    format!("version {number} gets {percent} % of the calls for {} s{notes}", terms.time.as_secs()),
                )
            }
            None => {
                let source = source_digest.unwrap_or_default();
                self.let_serve(declared, pool, version, number, &source, agreed).await?;
                done(number, format!("version {number} serves; version {before} ends its calls{notes}"))
            }
        }
    }

    /// The declaration and the instances of a component that runs here.
    fn here(&self, component: &str) -> Result<(Declared, Arc<Pool>), DeployError> {
        let now = self.now();
        match (now.application.components.get(component), now.pools.get(component)) {
            (Some(declared), Some(pool)) => Ok((declared.clone(), pool.clone())),
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
    fn next_number(&self, component: &str, agreed: Option<&Intent>) -> u64 {
        let known = || self.deployments.intents.as_ref()?.of(component).map(|intent| intent.number + 1);
        let number = agreed.map(|intent| intent.number).or_else(known);
        self.book(component).number(number)
    }

    /// The book of a component.
    fn book(&self, component: &str) -> Book {
        self.deployments.books.lock().get(component).cloned().unwrap_or_default()
    }

    async fn compile_version(
        &self,
        component: &str,
        bytes: Vec<u8>,
    ) -> Result<wasmtime::component::Component, DeployError> {
        let compiled = self.engine.compiler().compile_bytes(component, "the file", bytes).await;
        compiled.map_err(|error| DeployError::Refused(error.to_string()))
    }

    /// Creates one instance of a version; if that succeeds, stores and records the version.
    async fn prepare(
        &self,
        declared: &Declared,
        pool: &Arc<Pool>,
        mut compiled: Compiled,
        at_source: bool,
        written: Record,
        (kept, bytes, digest): (VersionFolder, Vec<u8>, String),
    ) -> Result<Arc<Version>, DeployError> {
        let number = written.number;
        // Symbols exist only beside the manifest's file.
        if at_source {
            compiled = compiled.with_symbols_of(&declared.source);
        }
        let label = chosen::label(&self.application().version, number);
        let id = VersionId { number, digest: digest.as_str().into(), label };
        let version = pool.prepare(VersionConfig { id, compiled, grants: pool.grants() }).await.map_err(|error| {
            let fix = "a version that cannot start is not deployed: correct it";
            DeployError::Refused(format!("nothing was deployed: {error}\n  fix: {fix}"))
        })?;
        let mut book = self.book(&declared.name);
        book.add(Some(number), written);
        let component = declared.name.clone();
        let saved = tokio::task::spawn_blocking(move || {
            kept.keep(&digest, &bytes).and_then(|()| kept.save(&component, &mut book)).map(|()| book)
        });
        let not_kept = |cause| DeployError::NotKept { component: declared.name.clone(), cause };
        let book = saved.await.map_err(|error| not_kept(std::io::Error::other(error)))?.map_err(not_kept)?;
        self.deployments.books.lock().insert(declared.name.clone(), book);
        Ok(version)
    }

    /// Lets a version serve all calls. It is recorded first, so that a host that is killed now starts with it.
    fn serve_version(
        &self,
        declared: &Declared,
        pool: &Arc<Pool>,
        version: Arc<Version>,
        number: u64,
        source: &str,
        agreed: Option<u64>,
    ) -> Result<(), DeployError> {
        let mut book = self.book(&declared.name);
        book.serve(number, source);
        book.agreed = agreed.unwrap_or(book.agreed);
        let saved = block_in_place(|| self.deployments.kept.save(&declared.name, &mut book));
        saved.map_err(|cause| DeployError::NotKept { component: declared.name.clone(), cause })?;
        self.deployments.books.lock().insert(declared.name.clone(), book);
        drained(declared.name.clone(), pool.promote(version));
        Ok(())
    }
}

/// Logs when a version that gets no more calls has ended its last one.
fn drained(component: String, version: Arc<Version>) {
    tokio::spawn(async move {
        version.drained().await;
        tracing::info!(%component, "version {} of component `{component}` has ended its last call", version.id().number);
    });
}
