//! The identity of a cluster: what all hosts of an application must agree on before one of them serves.
//!
//! Two environments that share a NATS server and an application's name answer each other's calls: a staging host would
//! receive half of production's orders. So the first host of an application records its [`Identity`] in a JetStream
//! bucket, by compare-and-swap, and every other host compares its own before it opens a route:
//!
//! - the application's name and the version of the wire protocol;
//! - where each component's data lives ([`places`]);
//! - with a `cluster_secret`, that it has the same one, and that its secret variables have the same values.
//!
//! A secret is recorded as an HMAC under `cluster_secret`, never as a plain hash, from which it could be guessed;
//! without a `cluster_secret` secrets are not compared. A host adds what the record does not contain yet, because each
//! host only knows the data and the secrets of the components that it runs. A host that differs does not start. If the
//! change is intended (a rotated secret, moved data), an operator confirms it with `souk cluster accept`.
//!
//! With a `cluster_secret` a host that cannot read the record does not start. Without one it logs a warning and starts,
//! because an application without durable links may run on a NATS without JetStream.

pub mod agreement;
mod identity;
pub mod intents;
mod places;

pub use identity::{Difference, Identity};
pub use places::Places;

use identity::Merged;
use souk_manifest::Application;
use souk_nats::Nats;
use souk_nats::record::{Record, RecordError, Records};

/// The name of the bucket, after the application's name.
pub const BUCKET: &str = "cluster";
/// The key of the identity.
const KEY: &str = "identity";

souk_manifest::fixed_limits! {
    /// The fixed limits of the cluster's identity.
    const FIXED_LIMITS = "cluster";

    /// How often a host tries to write the record while others write it too.
    const MAX_WRITES: usize = 32, "attempts";
}

/// Every fixed limit of this module.
pub(crate) fn fixed_limits() -> Vec<souk_manifest::limits::FixedLimit> {
    [FIXED_LIMITS, agreement::FIXED_LIMITS, intents::FIXED_LIMITS].concat()
}

/// This host does not belong to the others, or cannot find out.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// It differs from the record.
    #[error(
        "this host does not belong to the hosts of application `{application}` on this NATS:\n{}\n  fix: give it the same \
         configuration as the others; if it is another environment, give it another name (`--name {application}-staging`, or `name` \
         under [nats] of runtime-config.toml) or another NATS; if the change is intended, stop the other hosts and run `souk \
         cluster accept` with this host's options",
        listed(differences)
    )]
    Differs {
        /// The application's name.
        application: String,
        /// The differences.
        differences: Vec<Difference>,
    },
    /// The record cannot be read or written.
    #[error("cannot read what the hosts of the application have agreed on: {0}")]
    Record(#[from] RecordError),
    /// The record was written by another program.
    #[error(
        "the record of what the hosts of the application have agreed on cannot be understood (key `{KEY}` of bucket \
         `{bucket}`)\n  fix: find out who wrote it; then write it again with `souk cluster accept`"
    )]
    Garbled {
        /// The bucket.
        bucket: String,
    },
    /// Other hosts keep writing the record.
    #[error("the record of what the hosts have agreed on keeps changing\n  fix: start this host again")]
    Contended,
}

fn listed(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("  - {difference}")).collect::<Vec<_>>().join("\n")
}

/// Compares this host with the record, and adds to it what only this host knows.
///
/// # Errors
/// When it differs; with a `cluster_secret` also when the record cannot be read.
pub async fn join(nats: &Nats, application: &Application, places: &Places, host: &str) -> Result<(), ClusterError> {
    let ours = Identity::of(application, places, host);
    match agree(nats, &ours).await {
        Err(ClusterError::Record(error)) if !ours.has_secret() => {
            tracing::warn!("cannot check whether this host belongs to the other hosts on this NATS: {error}");
            Ok(())
        }
        agreed => agreed,
    }
}

/// Compares a caller that only makes one call by hand with the record. It adds nothing to the record, because the
/// caller does not serve.
///
/// # Errors
/// As [`join`].
pub async fn visit(nats: &Nats, application: &Application, places: &Places) -> Result<(), ClusterError> {
    match compare(nats, application, places).await {
        Ok(Some((_, differences))) if !differences.is_empty() => {
            Err(ClusterError::Differs { application: application.name.clone(), differences })
        }
        Err(ClusterError::Record(error)) if !Identity::of(application, places, "").has_secret() => {
            tracing::warn!("cannot check whether this host belongs to the other hosts on this NATS: {error}");
            Ok(())
        }
        compared => compared.map(drop),
    }
}

async fn agree(nats: &Nats, ours: &Identity) -> Result<(), ClusterError> {
    let records = Records::open(nats, BUCKET).await?;
    for _ in 0..MAX_WRITES {
        let now = records.get(KEY).await?;
        let merged = match read(nats, &now)? {
            None => ours.clone(),
            Some(record) => match record.merge(ours) {
                Merged::Same => return Ok(()),
                Merged::More(more) => more,
                Merged::Differs(differences) => {
                    return Err(ClusterError::Differs { application: ours.application().to_owned(), differences });
                }
            },
        };
        if records.replace(KEY, merged.to_bytes().into(), now.revision).await? {
            return Ok(());
        }
    }
    Err(ClusterError::Contended)
}

/// The record of the hosts, and the differences of this host.
///
/// # Errors
/// When the record cannot be read.
pub async fn compare(
    nats: &Nats,
    application: &Application,
    places: &Places,
) -> Result<Option<(Identity, Vec<Difference>)>, ClusterError> {
    let records = Records::open(nats, BUCKET).await?;
    let ours = Identity::of(application, places, "");
    let record = read(nats, &records.get(KEY).await?)?;
    Ok(record.map(|record| {
        let differences = match record.merge(&ours) {
            Merged::Differs(differences) => differences,
            Merged::Same | Merged::More(_) => Vec::new(),
        };
        (record, differences)
    }))
}

/// Replaces values in the record that differ with those of this host. Returns the differences.
///
/// # Errors
/// When the record cannot be read or written.
pub async fn accept(
    nats: &Nats,
    application: &Application,
    places: &Places,
    host: &str,
) -> Result<Vec<Difference>, ClusterError> {
    let ours = Identity::of(application, places, host);
    let records = Records::open(nats, BUCKET).await?;
    for _ in 0..MAX_WRITES {
        let now = records.get(KEY).await?;
        // A record that cannot be understood is replaced.
        let (changed, differences) = match read(nats, &now) {
            Ok(Some(record)) => match record.merge(&ours) {
                Merged::Same => return Ok(Vec::new()),
                Merged::More(more) => (more, Vec::new()),
                Merged::Differs(differences) => (record.overwritten_by(&ours), differences),
            },
            Ok(None) | Err(_) => (ours.clone(), Vec::new()),
        };
        if records.replace(KEY, changed.to_bytes().into(), now.revision).await? {
            return Ok(differences);
        }
    }
    Err(ClusterError::Contended)
}

fn read(nats: &Nats, record: &Record) -> Result<Option<Identity>, ClusterError> {
    let Some(value) = &record.value else { return Ok(None) };
    let garbled = || ClusterError::Garbled { bucket: nats.subjects().stream(BUCKET) };
    Identity::read(value).map(Some).ok_or_else(garbled)
}

#[cfg(test)]
mod intents_tests;
#[cfg(test)]
mod tests;
