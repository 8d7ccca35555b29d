//! Deployments on several hosts. The host that gets the request checks, prepares and tries out the version, records
//! that all hosts must run it ([`intents`](souk_links::cluster::intents)), and lets it serve. Then the other hosts
//! follow, one after the other.
//!
//! The record decides: if the host is killed before it writes the record, the old version stays everywhere; if it is
//! killed after that, all hosts get the new one. If a host cannot follow an intent, because the version does not fit or
//! does not start there, it logs that and keeps its version. It tries again after a reload of its manifest, and from time
//! to time, because what it lacks may be there again, such as room or a server's answer.
//!
//! One task reads the record and another one follows it: while a host compiles a version or waits for its turn, it
//! still learns in time which versions other hosts try out ([`trial_hosts`](super::trial_hosts)).
//!
//! Without a `cluster_secret` a host could not prove who deploys, so it refuses to deploy unless it is the only host.

use super::super::App;
use super::super::intakes::Changed;
use super::at_start::no_file;
use super::error::{DeployError, not_kept, on_one_line};
use super::not_followed::NotFollowed;
use super::order::Order;
use super::version_folder::{digest, timestamp};
use crate::machine;
use souk_codec::signature::signature;
use souk_links::cluster::agreement::{Intent, Plan};
use souk_links::cluster::intents::{IntentError, Intents, ReadOutcome};
use souk_links::remote;
use souk_manifest::Component as Declared;
use souk_nats::files::MAX_FILE_BYTES;
use souk_nats::record::RecordError;
use souk_runtime::{Pool, Version, is_host_interface, vital};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::block_in_place;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of deployments on several hosts.
    pub(crate) const FIXED_LIMITS = "deployments";

    /// How often a host checks which versions the others have agreed on.
    const VERSIONS_CHECK_INTERVAL: Duration = Duration::from_secs(1);
}

/// An intent that is about to be recorded.
struct Draft<'a> {
    declared: &'a Declared,
    digest: &'a str,
    size: u64,
    number: u64,
    by: &'a str,
    /// The digest of the file at `source`.
    source: &'a str,
}

/// Whether a version exports functions that the one before does not export, or not with that type.
fn changes_functions(before: &Version, after: &Version) -> bool {
    let known = &before.compiled().exported;
    let mut own = after.compiled().exported.functions.iter().filter(|function| !is_host_interface(&function.interface));
    own.any(|function| {
        let before = known.function(&function.interface, &function.name);
        before.is_none_or(|before| signature("", &before.ty) != signature("", &function.ty))
    })
}

fn refused(component: &str, error: impl std::fmt::Display) -> DeployError {
    DeployError::Refused(format!("component `{component}`: {error}"))
}

impl App {
    /// Whether a version may be deployed here at all; first reads what other hosts have deployed.
    pub(super) async fn may_deploy(&self, component: &str) -> Result<(), DeployError> {
        let Some(intents) = &self.deployments.intents else {
            let others = match &self.remote {
                Some(remote) => remote::listed_hosts(remote.nats()).await.len() > 1,
                None => false,
            };
            let message = "other hosts of the application run on this NATS, and nothing would prove to them that this \
                           host may deploy\n  fix: \
                           give all hosts the same `cluster_secret` under [nats] of runtime-config.toml and start them again; or \
                           stop the others";
            return if others { Err(refused(component, message)) } else { Ok(()) };
        };
        self.read_agreed(intents).await.map_err(|error| refused(component, error))?;
        intents.check().await.map_err(|error| refused(component, error))
    }

    /// Refuses a file that cannot be given to other hosts, before anything has changed.
    pub(super) fn fits_between_hosts(&self, declared: &Declared, size: u64) -> Result<(), DeployError> {
        if self.deployments.intents.is_none() || size <= MAX_FILE_BYTES {
            return Ok(());
        }
        let fix = "leave out debug information (`strip = true` under [profile.release])";
        Err(refused(
            &declared.name,
            format_args!(
                "its file has {size} bytes, and hosts give each other files of at most {MAX_FILE_BYTES} bytes\n  fix: {fix}"
            ),
        ))
    }

    /// Reads what the hosts have agreed on, and stores it.
    pub(super) async fn read_agreed(&self, intents: &Intents) -> Result<(), RecordError> {
        match intents.look().await? {
            ReadOutcome::Same => {}
            ReadOutcome::New(agreed) => self.keep_agreed(intents, &agreed),
            ReadOutcome::Forged(forged) => tracing::error!("{forged}"),
        }
        Ok(())
    }

    pub(super) fn keep_agreed(&self, intents: &Intents, agreed: &[u8]) {
        if let Err(error) = block_in_place(|| self.deployments.books.save_agreed(agreed, || intents.is_last(agreed))) {
            tracing::error!("the agreement of the hosts cannot be stored: {error}; fix: make room in the state folder");
        }
    }

    /// Lets a version serve all calls, on this host and then on the others. If the hosts have already `agreed` on it,
    /// only here.
    pub(super) async fn let_serve(
        &self,
        declared: &Declared,
        pool: &Arc<Pool>,
        version: Arc<Version>,
        number: u64,
        source: &str,
        agreed: Option<&Intent>,
    ) -> Result<(), DeployError> {
        let changes_functions = changes_functions(&pool.active(), &version);
        let Some(intents) = &self.deployments.intents else {
            self.serve_version(declared, pool, version, number, source, None)?;
            self.lead_to_functions(&declared.name, changes_functions).await;
            return Ok(());
        };
        let turn = intents.turn().await;
        let served = match agreed {
            Some(intent) => self.serve_version(declared, pool, version, number, source, Some(intent.number)),
            None => {
                let record = self.deployments.books.of(&declared.name).version(number).cloned();
                let (by, size) = record.map(|record| (record.by, record.size)).unwrap_or_default();
                let digest = version.id().digest.clone();
                let draft = Draft { declared, digest: &digest, size, number, by: &by, source };
                match self.agree(intents, &draft).await {
                    Ok(()) => self.serve_version(declared, pool, version, number, source, Some(number)),
                    Err(error) => {
                        block_in_place(|| self.deployments.books.note(&declared.name, number, &error.to_string()));
                        Err(error)
                    }
                }
            }
        };
        if let Some(turn) = turn {
            turn.end().await;
        }
        served?;
        self.lead_to_functions(&declared.name, changes_functions).await;
        Ok(())
    }

    /// Lets messages and other hosts call functions that the version before did not have, or had with another type.
    async fn lead_to_functions(&self, component: &str, changes_functions: bool) {
        if !changes_functions {
            return;
        }
        let changed = Changed { deliveries: true, serving: true, services: false };
        match self.begin_intakes(&self.now(), changed, &[]).await {
            Ok(began) => self.replace_intakes(began, changed),
            Err(error) => tracing::error!(
                component,
                "messages and other hosts cannot call the new and changed functions of component `{component}`: {error}; fix: \
                 restart this host"
            ),
        }
    }

    /// Records that all hosts run this host's version, unless they have agreed on it already, NATS still has that, and no
    /// other host tries out a version; returns the number of that agreement.
    pub(super) async fn agree_on_active(
        &self,
        declared: &Declared,
        digest: &str,
        size: u64,
        agreed: Option<&Intent>,
        by: &str,
    ) -> Result<Option<u64>, DeployError> {
        let Some(intents) = &self.deployments.intents else { return Ok(None) };
        let book = self.deployments.books.of(&declared.name);
        let number = match (agreed, intents.of(&declared.name)) {
            (Some(intent), _) => intent.number,
            (None, Some(intent))
                if intent.digest == digest
                    && intents.is_recorded()
                    && !self.is_tried_out_elsewhere(&declared.name)? =>
            {
                // In case the file on NATS was damaged or is gone: other hosts wait for it.
                self.give_file(intents, &declared.name, digest).await?;
                return Ok(None);
            }
            (None, _) => intents.newest(&declared.name).map_or(0, |newest| newest + 1).max(book.active),
        };
        if agreed.is_none() {
            let draft = Draft { declared, digest, size, number, by, source: &book.source };
            self.agree(intents, &draft).await?;
        }
        block_in_place(|| self.deployments.books.change(&declared.name, None, |book| book.agreed = number))
            .map_err(|cause| not_kept(declared, cause))?;
        Ok(Some(number))
    }

    /// Makes sure that the other hosts can get the file of a version, and that none of them has deployed another version
    /// since: its migrations run next, and cannot be taken back.
    pub(super) async fn may_agree(&self, component: &str, digest: &str, number: u64) -> Result<(), DeployError> {
        let Some(intents) = &self.deployments.intents else { return Ok(()) };
        self.give_file(intents, component, digest).await?;
        self.read_agreed(intents).await.map_err(|error| refused(component, error))?;
        intents.check().await.map_err(|error| refused(component, error))?;
        match intents.of(component).filter(|intent| intent.number >= number) {
            Some(Intent { number, by, .. }) => Err(refused(component, IntentError::Overtaken { number, by })),
            None => Ok(()),
        }
    }

    async fn give_file(&self, intents: &Intents, component: &str, digest: &str) -> Result<(), DeployError> {
        let file = block_in_place(|| self.deployments.books.folder().read(digest));
        let file = file.ok_or_else(|| {
            refused(component, "its file in the state folder was changed\n  fix: deploy the file once more")
        })?;
        let put = intents.put_file(digest, &file).await;
        put.map_err(|error| refused(component, format_args!("its file cannot be given to the other hosts: {error}")))
    }

    /// Gives the file to the other hosts and records that they must run it.
    async fn agree(&self, intents: &Intents, draft: &Draft<'_>) -> Result<(), DeployError> {
        let component = &draft.declared.name;
        self.give_file(intents, component, draft.digest).await?;
        let book = self.deployments.books.of(component);
        let before = book.active().map(|active| active.digest.clone());
        let known = [book.source.clone(), before.unwrap_or_default(), draft.source.to_owned()];
        let at = timestamp();
        let intent = |before: Option<&Intent>| {
            let intent = Intent {
                number: draft.number,
                digest: draft.digest.to_owned(),
                size: draft.size,
                at: at.clone(),
                by: draft.by.to_owned(),
                known: Vec::new(),
                previous: None,
            };
            intent.follows(before, known.clone())
        };
        let host = block_in_place(|| self.state.id()).map_err(|error| refused(component, error))?;
        let (called, here) = (draft.declared.called(), self.components_here());
        let plan = Plan { component, called: &called, is_trial: false, host: &host, here: &here };
        let agreed = intents.write(&plan, intent).await.map_err(|error| match error {
            IntentError::Record(error) => refused(
                component,
                format_args!(
                    "it is unknown whether the agreement was recorded; if it was, all hosts change to it by \
                     themselves, this one too: {error}"
                ),
            ),
            error => refused(component, error),
        })?;
        self.keep_agreed(intents, &agreed);
        Ok(())
    }

    /// The name of the requester, as the other hosts see it.
    pub(super) fn requester(&self, by: String) -> String {
        match &self.deployments.intents {
            Some(_) => format!("{by}, at {}", machine::name()),
            None => by,
        }
    }

    /// Goes to the versions that the application's hosts agree on, until `stop`.
    pub fn follow(self: &Arc<Self>, stop: CancellationToken) {
        if self.deployments.intents.is_none() {
            return;
        }
        let was_read = Arc::new(Notify::new());
        let search = self.clone().watch_agreed(was_read.clone(), stop.clone());
        tokio::spawn(vital("the search for deployments", search));
        tokio::spawn(vital("the task that follows deployments", self.clone().follow_all(was_read, stop)));
    }

    /// Reads what the hosts have agreed on, and applies the trials. Each time the record `was_read`, the host follows
    /// it.
    async fn watch_agreed(self: Arc<Self>, was_read: Arc<Notify>, stop: CancellationToken) {
        let Some(intents) = &self.deployments.intents else { return };
        let mut tick = tokio::time::interval(VERSIONS_CHECK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            match stop.run_until_cancelled(self.read_agreed(intents)).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::debug!("it is unknown which versions the hosts have agreed on: {error}");
                    continue;
                }
            }
            self.apply_trials();
            if stop.run_until_cancelled(self.end_recorded_trials(intents)).await.is_none() {
                return;
            }
            was_read.notify_one();
        }
    }

    /// Goes to the versions in the record, each time that it `was_read`.
    async fn follow_all(self: Arc<Self>, was_read: Arc<Notify>, stop: CancellationToken) {
        let Some(intents) = &self.deployments.intents else { return };
        let mut open = NotFollowed::default();
        while stop.run_until_cancelled(was_read.notified()).await.is_some() {
            for (component, intent) in intents.known().intents {
                let is_new = intent.number > self.deployments.books.of(&component).agreed;
                let waits = open.waits(&component, intent.number, &self.application());
                if is_new && !waits && self.pool(&component).is_some() {
                    self.go_to(intents, &component, &intent, &mut open).await;
                }
            }
        }
    }

    /// Whether an intent waits for the end of a trial of a component that its version calls.
    fn waits_for_trial(&self, component: &str, number: u64, open: &mut NotFollowed) -> bool {
        let Ok((declared, _)) = self.here(component) else { return false };
        let Err(error) = self.refuse_beside_trials(&declared) else { return false };
        if open.is_new(component, number) {
            let why = on_one_line(&error);
            tracing::warn!(component, "version {number}, which the hosts have agreed on, waits here: {why}");
        }
        true
    }

    /// Follows an intent.
    async fn go_to(self: &Arc<Self>, intents: &Intents, component: &str, intent: &Intent, open: &mut NotFollowed) {
        // Before its file is read, which may be large.
        if self.waits_for_trial(component, intent.number, open) {
            return;
        }
        let file = match self.file_of(intents, component, intent, open).await {
            Ok(file) => file,
            Err(error) => {
                if open.is_new(component, intent.number) {
                    tracing::error!(component, "{error}");
                }
                return;
            }
        };
        let _turn = self.deployments.turn.lock().await;
        // In the meantime the version was deployed here by a request.
        if intents.of(component).as_ref() != Some(intent)
            || intent.number <= self.deployments.books.of(component).agreed
        {
            return;
        }
        if self.waits_for_trial(component, intent.number, open) {
            return;
        }
        self.end_trial(
            component,
            None,
            &format!("version {} was deployed to all hosts by {}", intent.number, intent.by),
        );
        let order = Order {
            component: component.to_owned(),
            bytes: Some(file),
            trial: None,
            by: intent.by.clone(),
            check: false,
        };
        match self.deploy_in_turn(order, Some(intent)).await {
            Ok(done) => tracing::info!(component, "component `{component}`: {}", done.message),
            // A file without room is tried again.
            Err(error @ DeployError::NotKept { .. }) => {
                open.read_in_vain(component, intent.number);
                if open.is_new(component, intent.number) {
                    tracing::error!(component, "{error}");
                }
            }
            Err(error) => {
                let (number, why) = (intent.number, on_one_line(&error));
                if open.refused(component, number, why.clone(), self.application()) {
                    tracing::error!(
                        component,
                        "component `{component}`: version {number}, which the hosts have agreed on, does not serve here: {why}"
                    );
                }
            }
        }
    }

    /// The file of an intent, verified by its digest. One on NATS that is not what was deployed is noted in `open`.
    async fn file_of(
        &self,
        intents: &Intents,
        component: &str,
        intent: &Intent,
        open: &mut NotFollowed,
    ) -> Result<Vec<u8>, String> {
        if let Some(file) = block_in_place(|| self.deployments.books.folder().read(&intent.digest)) {
            return Ok(file);
        }
        match intents.file(intent).await.map_err(|error| format!("component `{component}`: {error}"))? {
            Some(file) if block_in_place(|| digest(&file)) == intent.digest => Ok(file),
            found => {
                open.read_in_vain(component, intent.number);
                Err(no_file(component, intent, found.is_some()))
            }
        }
    }
}
