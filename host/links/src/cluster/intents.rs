//! The versions that the hosts of an application have agreed to run: the active version of each component that was
//! deployed.
//!
//! A deployment on several hosts is one write: once an [`Intent`] is recorded, every host that runs the component
//! changes to its version, even if the host that has written it dies. Before that, no host changes. All intents are in
//! one record, which is replaced by compare-and-swap; the files are [stored separately](souk_nats::files).
//!
//! A client that may publish on NATS must not be able to deploy, so the record carries an HMAC under `cluster_secret`;
//! without this secret there are no intents. An old record cannot be replayed either. Its number only rises, and a host
//! keeps the last record that it has accepted. It also names the revision that it replaces, which must be the one just
//! before its own, because the bucket has only this subject. So even a host that has kept nothing does not accept an
//! old record as new.
//!
//! When the secret is changed, the record on NATS has an HMAC that no host can check any more. A host trusts the record
//! that it has kept, because it has checked it before, as it trusts the versions in its state folder. If the record on
//! NATS has the same bytes, the host signs it with the new secret. A host that has kept none, or an older one, does not
//! replace a record that it cannot trust: its own would leave out components, or number versions again.
//!
//! The record also says which versions single hosts try out ([`TriedOut`]), so that all others send the calls for such
//! a version there. If two trials that exclude each other begin at one moment, the second is not written.
//!
//! Hosts change their versions one after the other: the host that has the [`Turn`] goes first.

use super::agreement::{Agreement, Intent, Plan, TrialElsewhere, TriedOut};
use super::identity::{fingerprint, is_fingerprint};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use souk_manifest::{Application, Value};
use souk_nats::Nats;
use souk_nats::files::Files;
use souk_nats::record::{Record, RecordError, Records};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// The name of the record's bucket, after the application's name.
const BUCKET: &str = "deployments";
/// The key of the record.
const KEY: &str = "agreed";
/// The name of the bucket of files.
const FILES: &str = "versions";
/// The key in the cluster's bucket that says which host has the turn.
const TURN: &str = "turn";
/// The version of the record's format.
const FORM: u32 = 1;

souk_manifest::fixed_limits! {
    /// The fixed limits of deployments on several hosts.
    pub(crate) const FIXED_LIMITS = "cluster";

    /// How often a host tries to write the record while others write it too.
    const MAX_INTENT_WRITES: usize = 32, "attempts";
    /// How long a host may have its turn; then the next host takes it, because the first may have been killed.
    const TURN_TIMEOUT: Duration = Duration::from_secs(2);
    /// How often a host checks whether it is its turn.
    const TURN_INTERVAL: Duration = Duration::from_millis(50);
    /// How long a host waits for its turn at most.
    const MAX_TURN_WAIT: Duration = Duration::from_secs(10);
}

/// The stored form of the record: the text of an [`Agreement`], and its HMAC.
#[derive(Serialize, Deserialize)]
struct Signed {
    agreement: String,
    mac: String,
}

/// Why a record is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// Its HMAC is wrong.
    #[error(
        "the record of what the hosts must run was written without their `cluster_secret`: this host ignores it\n  \
         fix: check who may publish on NATS; if `cluster_secret` was changed, start a host that ran before the change, \
         which signs the record again"
    )]
    Unsigned,
    /// It is an old record.
    #[error(
        "the record of what the hosts must run was replaced by an older one (number {number}; {known} is known): this \
         host ignores it\n  fix: check who may publish on NATS, and deploy again from a host that knows the newer one"
    )]
    Replayed {
        /// Its number.
        number: u64,
        /// The number of the last accepted record.
        known: u64,
    },
}

/// The result of reading the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Nothing new.
    Same,
    /// The record is new; this host must keep these bytes.
    New(Bytes),
    /// It cannot be trusted.
    Forged(Forged),
}

/// Why an intent was not written.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// JetStream does not answer.
    #[error("the record of what the hosts must run cannot be written: {0}")]
    Record(#[from] RecordError),
    /// Another host has deployed the component meanwhile.
    #[error("version {number} was deployed in the meantime ({by})\n  fix: see `souk versions`, and deploy again")]
    Overtaken {
        /// The other version's number.
        number: u64,
        /// Who has deployed it.
        by: String,
    },
    /// A trial at another host excludes it.
    #[error(transparent)]
    OnTrial(#[from] TrialElsewhere),
    /// The record cannot be trusted, and this host does not know what it should be.
    #[error(
        "the record of what the hosts must run cannot be trusted, and this host does not know what they have agreed on: its \
         own record would leave out other components\n  fix: start a host that ran before, which knows it; if \
         `cluster_secret` was changed, that host signs the record again. If no host has such a state folder any more, check \
         who may publish on NATS, remove the record (`nats stream rm KV_{bucket}`), and deploy every version again that \
         differs from the file at `source`"
    )]
    Unknown {
        /// The record's bucket.
        bucket: String,
    },
    /// Other hosts keep writing the record.
    #[error("the record of what the hosts must run keeps changing\n  fix: deploy again")]
    Contended,
}

/// This host's view of the agreement.
pub struct Intents {
    nats: Nats,
    application: String,
    secret: Value,
    records: Records,
    files: Files,
    last: Mutex<Agreement>,
    /// The revision that was read last.
    seen: Mutex<Option<u64>>,
    /// The record that this host has kept, if it is signed with another secret.
    kept_before: Option<Bytes>,
}

impl Intents {
    /// Opens the agreement of the hosts of `application`; `None` if they have no `cluster_secret`. `kept` is the record
    /// that this host has kept from last time.
    ///
    /// # Errors
    /// When JetStream does not answer, or this host may not use it.
    pub async fn open(
        nats: &Nats,
        application: &Application,
        kept: Option<&[u8]>,
    ) -> Result<Option<Self>, RecordError> {
        let secret = application.nats.as_ref().and_then(|nats| nats.cluster_secret.clone());
        let Some(secret) = secret else { return Ok(None) };
        let mut intents = Intents {
            nats: nats.clone(),
            application: application.name.clone(),
            secret,
            records: Records::open(nats, BUCKET).await?,
            files: Files::open(nats, FILES).await?,
            last: Mutex::default(),
            seen: Mutex::default(),
            kept_before: None,
        };
        if let Some(kept) = kept {
            let known = intents.signed(kept).or_else(|| {
                let known = intents.content(kept)?;
                intents.kept_before = Some(Bytes::copy_from_slice(kept));
                // Under the new secret, the numbers begin again.
                Some(Agreement { number: 0, replaces: 0, ..known })
            });
            *intents.last.lock() = known.unwrap_or_default();
        }
        Ok(Some(intents))
    }

    /// The agreement that was accepted last.
    pub fn known(&self) -> Agreement {
        self.last.lock().clone()
    }

    /// Whether a record was there when it was last read or written: a NATS that has lost its data has none.
    pub fn is_recorded(&self) -> bool {
        self.seen.lock().is_some_and(|revision| revision > 0)
    }

    /// Whether these bytes are the agreement that was accepted last.
    pub fn is_last(&self, bytes: &[u8]) -> bool {
        self.signed(bytes).is_some_and(|agreement| agreement == *self.last.lock())
    }

    /// The intent for `component` that was accepted last.
    pub fn of(&self, component: &str) -> Option<Intent> {
        self.last.lock().intents.get(component).cloned()
    }

    /// The highest number that the record has for a version of `component`, which all hosts run or one tries out.
    pub fn newest(&self, component: &str) -> Option<u64> {
        let last = self.last.lock();
        let tried_out = last.trials.get(component).map(|trial| trial.number);
        last.intents.get(component).map(|intent| intent.number).max(tried_out)
    }

    /// Reads the record. If it is the one that this host has kept, and the secret was changed since, it is signed again.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn look(&self) -> Result<ReadOutcome, RecordError> {
        loop {
            let before = *self.seen.lock();
            let record = self.records.get(KEY).await?;
            let outcome = self.compare(before, &record);
            // Once a record under the new secret is known, an old one is forged.
            let is_kept = record.value == self.kept_before && self.last.lock().number == 0;
            if outcome != ReadOutcome::Forged(Forged::Unsigned) || !is_kept {
                return Ok(outcome);
            }
            if let Some(bytes) = self.replace(&record, self.known()).await? {
                return Ok(ReadOutcome::New(bytes));
            }
            // Another host was faster, and its record is read next.
        }
    }

    /// Compares `record` with what is known; `before` is the revision that was known before it was read.
    fn compare(&self, before: Option<u64>, record: &Record) -> ReadOutcome {
        let mut seen = self.seen.lock();
        // Meanwhile another task of this host has read or written a newer record: this one would look like a replay.
        let is_overtaken = *seen != before && *seen > Some(record.revision);
        if is_overtaken || seen.replace(record.revision) == Some(record.revision) {
            return ReadOutcome::Same;
        }
        let Some(bytes) = record.value.clone() else { return ReadOutcome::Same };
        match self.accepted(record) {
            Ok(agreement) => {
                let mut last = self.last.lock();
                if *last == agreement {
                    return ReadOutcome::Same;
                }
                *last = agreement;
                ReadOutcome::New(bytes)
            }
            Err(forged) => ReadOutcome::Forged(forged),
        }
    }

    /// Records the intent that `intent` makes from the previous one, as a host plans it, unless one with the same or a
    /// higher number is already recorded. This ends a trial of the component, whatever its number is. Returns the bytes
    /// that this host must keep.
    ///
    /// # Errors
    /// When it was not written, for example because a trial at another host excludes it; a version that this host has
    /// tried out is not excluded any more. After an outage of NATS it may still have been written.
    pub async fn write(
        &self,
        plan: &Plan<'_>,
        intent: impl Fn(Option<&Intent>) -> Intent,
    ) -> Result<Bytes, IntentError> {
        let (component, mut unneeded) = (plan.component, None);
        let bytes = self
            .change(|next| {
                let before = next.intents.get(component);
                let intent = intent(before);
                if let Some(before) = before.filter(|before| before.number >= intent.number) {
                    return Err(IntentError::Overtaken { number: before.number, by: before.by.clone() });
                }
                let tried_out = |trial: &TriedOut| trial.host == plan.host && trial.number == intent.number;
                if !next.trials.get(component).is_some_and(tried_out) {
                    next.refuse_beside_trials(plan)?;
                }
                unneeded = before.and_then(|before| before.previous.clone());
                next.intents.insert(component.to_owned(), intent);
                next.trials.remove(component);
                Ok(())
            })
            .await?;
        let needed = self.last.lock().needed();
        if let Some(unneeded) = unneeded.filter(|digest| !needed.contains(digest)) {
            // If this fails, the file stays and takes room.
            let _ = self.files.remove(&unneeded).await;
        }
        Ok(bytes)
    }

    /// Records the `trial` of a version, as a host plans it. Returns the bytes that this host must keep.
    ///
    /// # Errors
    /// When a trial at another host excludes it, or the record was not written.
    pub async fn begin_trial(&self, plan: &Plan<'_>, trial: &TriedOut) -> Result<Bytes, IntentError> {
        self.change(|next| {
            next.refuse_beside_trials(plan)?;
            next.trials.insert(plan.component.to_owned(), trial.clone());
            Ok(())
        })
        .await
    }

    /// Records that `host` no longer tries out version `number` of `component`. Returns the bytes that this host must
    /// keep.
    ///
    /// # Errors
    /// When the record was not written.
    pub async fn end_trial(&self, component: &str, host: &str, number: u64) -> Result<Bytes, IntentError> {
        self.change(|next| {
            let ended = |trial: &TriedOut| trial.host == host && trial.number == number;
            if next.trials.get(component).is_some_and(ended) {
                next.trials.remove(component);
            }
            Ok(())
        })
        .await
    }

    /// Checks that this host may replace the record, before a deployment has changed anything.
    ///
    /// # Errors
    /// When JetStream does not answer, or the record cannot be trusted and this host does not know what it should be.
    pub async fn check(&self) -> Result<(), IntentError> {
        self.replaced(&self.records.get(KEY).await?).map(drop)
    }

    /// What a write replaces: the agreement in `record`, or what this host knows if that record cannot be trusted.
    fn replaced(&self, record: &Record) -> Result<Agreement, IntentError> {
        match self.accepted(record) {
            Ok(agreement) => Ok(agreement),
            Err(_) if self.knows_all(record) => Ok(self.known()),
            Err(_) => Err(IntentError::Unknown { bucket: self.nats.subjects().stream(BUCKET) }),
        }
    }

    /// Whether this host knows what the hosts have agreed on, although it cannot trust `record`: it has accepted a record
    /// under its secret, or has kept one that is not older than this one claims to be.
    fn knows_all(&self, record: &Record) -> bool {
        if self.last.lock().number > 0 {
            return true;
        }
        let Some(kept) = self.kept_before.as_deref().and_then(|kept| self.content(kept)) else { return false };
        let there = record.value.as_deref().and_then(|there| self.content(there));
        there.is_none_or(|there| there.number <= kept.number)
    }

    /// Replaces the record with one that `change` makes of it.
    async fn change(
        &self,
        mut change: impl FnMut(&mut Agreement) -> Result<(), IntentError>,
    ) -> Result<Bytes, IntentError> {
        for _ in 0..MAX_INTENT_WRITES {
            let record = self.records.get(KEY).await?;
            let mut next = self.replaced(&record)?;
            change(&mut next)?;
            if let Some(bytes) = self.replace(&record, next).await? {
                return Ok(bytes);
            }
        }
        Err(IntentError::Contended)
    }

    /// Replaces `record` with `next`, and returns its bytes; `None` if another host has replaced it meanwhile.
    async fn replace(&self, record: &Record, mut next: Agreement) -> Result<Option<Bytes>, RecordError> {
        next.form = FORM;
        next.application.clone_from(&self.application);
        next.number = next.number.max(self.last.lock().number) + 1;
        next.replaces = record.revision;
        let bytes = self.sign(&next);
        if !self.records.replace(KEY, bytes.clone(), record.revision).await? {
            return Ok(None);
        }
        let mut seen = self.seen.lock();
        *self.last.lock() = next;
        *seen = Some(record.revision + 1);
        Ok(Some(bytes))
    }

    /// Stores a file under its digest.
    ///
    /// # Errors
    /// When it is too large, or JetStream does not answer or has no room.
    pub async fn put_file(&self, digest: &str, file: &[u8]) -> Result<(), RecordError> {
        let needed = self.last.lock().needed();
        self.files.put(digest, file, &needed).await
    }

    /// The file of an intent; `None` if it is not complete. The caller must check its digest.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn file(&self, intent: &Intent) -> Result<Option<Vec<u8>>, RecordError> {
        self.files.get(&intent.digest, intent.size).await
    }

    /// Waits for this host's turn to change the active version; `None` if NATS fails or the wait was too long, and the
    /// host goes on without a turn.
    pub async fn turn(&self) -> Option<Turn> {
        match tokio::time::timeout(MAX_TURN_WAIT, Turn::take(&self.nats)).await {
            Ok(Ok(turn)) => Some(turn),
            Ok(Err(error)) => {
                tracing::debug!("cannot find out which host has the turn to deploy: {error}");
                None
            }
            Err(_) => None,
        }
    }

    fn sign(&self, agreement: &Agreement) -> Bytes {
        // Strings, numbers and maps with string keys always have a JSON form.
        let agreement = serde_json::to_string(agreement).unwrap_or_default();
        let mac = fingerprint(&self.secret, &["deployments", &self.application, &agreement]).unwrap_or_default();
        serde_json::to_vec(&Signed { agreement, mac }).unwrap_or_default().into()
    }

    /// The agreement in `bytes`, if it is signed with the secret.
    fn signed(&self, bytes: &[u8]) -> Option<Agreement> {
        let Signed { agreement, mac } = serde_json::from_slice(bytes).ok()?;
        if !is_fingerprint(&self.secret, &["deployments", &self.application, &agreement], &mac) {
            return None;
        }
        self.content(bytes)
    }

    /// The agreement in `bytes`, whether or not its signature is right.
    fn content(&self, bytes: &[u8]) -> Option<Agreement> {
        let Signed { agreement, .. } = serde_json::from_slice(bytes).ok()?;
        let agreement: Agreement = serde_json::from_str(&agreement).ok()?;
        (agreement.form == FORM && agreement.application == self.application).then_some(agreement)
    }

    fn accepted(&self, record: &Record) -> Result<Agreement, Forged> {
        let last = self.last.lock();
        // If there is no record, the last known one stays valid.
        let Some(bytes) = &record.value else { return Ok(last.clone()) };
        let agreement = self.signed(bytes).ok_or(Forged::Unsigned)?;
        let is_new = agreement.number > last.number && agreement.replaces.checked_add(1) == Some(record.revision);
        if is_new || agreement == *last {
            return Ok(agreement);
        }
        Err(Forged::Replayed { number: agreement.number, known: last.number })
    }
}

/// The turn to change the active version.
pub struct Turn {
    records: Records,
    revision: u64,
}

impl Turn {
    async fn take(nats: &Nats) -> Result<Self, RecordError> {
        let records = Records::open(nats, super::BUCKET).await?;
        let id = Bytes::from(Uuid::now_v7().simple().to_string());
        let mut since = (0, Instant::now());
        loop {
            let record = records.get(TURN).await?;
            if since.0 != record.revision {
                since = (record.revision, Instant::now());
            }
            let is_free = record.value.is_none_or(|value| value.is_empty()) || since.1.elapsed() >= TURN_TIMEOUT;
            if is_free && records.replace(TURN, id.clone(), record.revision).await? {
                let revision = records.get(TURN).await?.revision;
                return Ok(Turn { records, revision });
            }
            sleep(TURN_INTERVAL).await;
        }
    }

    /// Passes the turn to the next host.
    pub async fn end(self) {
        // If another host has already taken the turn, this fails, which is right.
        let _ = self.records.replace(TURN, Bytes::new(), self.revision).await;
    }
}
