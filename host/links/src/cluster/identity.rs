//! The content of the cluster's record, and the comparison of a host with it.

use super::places::Places;
use crate::remote::WIRE_VERSION;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use souk_bindings::printable;
use souk_manifest::{Application, DatabaseUrl, PostgresAddress, Value};
use std::collections::BTreeMap;
use std::fmt;

/// The version of the record's format.
const FORM: u32 = 1;

/// What all hosts of an application have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    form: u32,
    application: String,
    wire: String,
    /// An HMAC of the application's name under `cluster_secret`; `None` if the hosts have no such secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// For each secret variable, an HMAC of its value under `cluster_secret`.
    #[serde(default)]
    secrets: BTreeMap<String, Entry>,
    /// For each component, where its data lives.
    #[serde(default)]
    places: BTreeMap<String, BTreeMap<String, Entry>>,
}

/// A recorded value, and the host that has recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    is: String,
    by: String,
}

/// A difference between a host and the record. Contains no value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The application's name: two different names can have the same token in NATS subjects.
    Name {
        /// At this host.
        here: String,
        /// In the record.
        recorded: String,
    },
    /// The version of the wire protocol.
    Wire {
        /// At this host.
        here: String,
        /// In the record.
        recorded: String,
    },
    /// This host has no `cluster_secret`, and the others have.
    NoClusterSecret,
    /// This host has a `cluster_secret`, and the others have none.
    NewClusterSecret,
    /// The `cluster_secret` differs.
    OtherClusterSecret,
    /// A secret variable has a different value.
    Secret {
        /// The variable.
        variable: String,
        /// The host that has recorded the other value.
        by: String,
    },
    /// A component's data is in another place.
    Place {
        /// The component.
        component: String,
        /// The kind of data, such as its database.
        what: String,
        /// The place at this host.
        here: String,
        /// The place in the record.
        recorded: String,
        /// The host that has recorded it.
        by: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Name { here, recorded } => {
                write!(f, "the application is `{}` here, and `{}` there", printable(here), printable(recorded))
            }
            Difference::Wire { here, recorded } => {
                write!(f, "this host speaks version {here} of the wire, and the others version {}", printable(recorded))
            }
            Difference::NoClusterSecret => f.write_str(
                "`cluster_secret` under [nats] of runtime-config.toml is not set here, and the others have one",
            ),
            Difference::NewClusterSecret => f.write_str(
                "`cluster_secret` under [nats] of runtime-config.toml is set here, and the others have none",
            ),
            Difference::OtherClusterSecret => {
                f.write_str("`cluster_secret` under [nats] of runtime-config.toml differs from that of the others")
            }
            Difference::Secret { variable, by } => {
                write!(f, "the secret variable `{}` has another value than at {}", printable(variable), printable(by))
            }
            Difference::Place { component, what, here, recorded, by } => write!(
                f,
                "component `{}` has its data ({}) at {here} here, and at {} by {}",
                printable(component),
                printable(what),
                printable(recorded),
                printable(by)
            ),
        }
    }
}

/// The result of merging a record with a host's identity.
pub(super) enum Merged {
    /// The record already contains everything that the host knows.
    Same,
    /// The host only adds to the record; this is the new record.
    More(Identity),
    /// The host contradicts the record.
    Differs(Vec<Difference>),
}

impl Identity {
    /// The identity of this host, whose name is `host`.
    pub(super) fn of(application: &Application, places: &Places, host: &str) -> Self {
        let entry = |is: String| Entry { is, by: host.to_owned() };
        let key = application.nats.as_ref().and_then(|nats| nats.cluster_secret.as_ref());
        let print = |kind: &str, name: &str, value: &str| key.and_then(|key| fingerprint(key, &[kind, name, value]));
        let secrets = application.secrets.iter().filter(|(_, value)| !is_place(application, value.expose()));
        let secrets =
            secrets.filter_map(|(name, value)| Some((name.clone(), entry(print("variable", name, value.expose())?))));
        let places = places.0.iter().map(|(component, places)| {
            (component.clone(), places.iter().map(|(what, place)| (what.clone(), entry(place.clone()))).collect())
        });
        Identity {
            form: FORM,
            application: application.name.clone(),
            wire: WIRE_VERSION.to_owned(),
            secret: print("application", &application.name, ""),
            secrets: secrets.collect(),
            places: places.collect(),
        }
    }

    /// Reads a record; `None` if it is not valid.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|identity: &Identity| identity.form == FORM)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Strings and maps with string keys always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The application's name.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// Whether it has a `cluster_secret`.
    pub fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// The record with what `ours` adds.
    pub(super) fn merge(&self, ours: &Identity) -> Merged {
        let mut differences = Vec::new();
        if self.application != ours.application {
            let (here, recorded) = (ours.application.clone(), self.application.clone());
            differences.push(Difference::Name { here, recorded });
        }
        if self.wire != ours.wire {
            differences.push(Difference::Wire { here: ours.wire.clone(), recorded: self.wire.clone() });
        }
        match (&self.secret, &ours.secret) {
            (recorded, here) if recorded == here => differences.extend(self.other_secrets(ours)),
            (Some(_), None) => differences.push(Difference::NoClusterSecret),
            (None, _) => differences.push(Difference::NewClusterSecret),
            // Under another key all fingerprints differ, even if the values are equal.
            (Some(_), Some(_)) => differences.push(Difference::OtherClusterSecret),
        }
        differences.extend(self.other_places(ours));
        if !differences.is_empty() {
            return Merged::Differs(differences);
        }
        let more = self.with(ours, false);
        if more == *self { Merged::Same } else { Merged::More(more) }
    }

    /// The record, in which the values of `ours` replace different ones.
    pub(super) fn overwritten_by(&self, ours: &Identity) -> Identity {
        let mut kept = self.clone();
        if self.secret != ours.secret {
            kept.secrets.clear();
        }
        let Identity { form, application, wire, secret, .. } = ours.clone();
        Identity { form, application, wire, secret, ..kept.with(ours, true) }
    }

    fn with(&self, ours: &Identity, overwrite: bool) -> Identity {
        fn add(to: &mut BTreeMap<String, Entry>, from: &BTreeMap<String, Entry>, overwrite: bool) {
            for (name, entry) in from {
                let same = to.get(name).is_some_and(|there| there.is == entry.is);
                if !same && (overwrite || !to.contains_key(name)) {
                    to.insert(name.clone(), entry.clone());
                }
            }
        }
        let mut more = self.clone();
        add(&mut more.secrets, &ours.secrets, overwrite);
        for (component, places) in &ours.places {
            add(more.places.entry(component.clone()).or_default(), places, overwrite);
        }
        more
    }

    fn other_secrets<'i>(&'i self, ours: &'i Identity) -> impl Iterator<Item = Difference> + 'i {
        ours.secrets.iter().filter_map(move |(variable, here)| {
            let recorded = self.secrets.get(variable).filter(|recorded| recorded.is != here.is)?;
            Some(Difference::Secret { variable: variable.clone(), by: recorded.by.clone() })
        })
    }

    fn other_places<'i>(&'i self, ours: &'i Identity) -> impl Iterator<Item = Difference> + 'i {
        let all = ours.places.iter().flat_map(|(component, places)| places.iter().map(move |place| (component, place)));
        all.filter_map(move |(component, (what, here))| {
            let recorded = self.places.get(component)?.get(what).filter(|recorded| recorded.is != here.is)?;
            Some(Difference::Place {
                component: component.clone(),
                what: what.clone(),
                here: here.is.clone(),
                recorded: recorded.is.clone(),
                by: recorded.by.clone(),
            })
        })
    }
}

/// For an operator: names, places and the hosts that recorded them; no value or fingerprint of a secret.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "application {}", printable(&self.application))?;
        writeln!(f, "wire version {}", printable(&self.wire))?;
        writeln!(f, "cluster secret {}", if self.has_secret() { "set" } else { "not set: secrets are not compared" })?;
        for (variable, entry) in &self.secrets {
            writeln!(f, "secret {} (by {})", printable(variable), printable(&entry.by))?;
        }
        for (component, places) in &self.places {
            for (what, entry) in places {
                let (component, what) = (printable(component), printable(what));
                writeln!(f, "data of {component}, {what}: {} (by {})", printable(&entry.is), printable(&entry.by))?;
            }
        }
        Ok(())
    }
}

/// Whether the value of a variable says where data is stored. Such values are compared as places, because hosts may log
/// in differently.
fn is_place(application: &Application, value: &str) -> bool {
    let is_database = |database: &DatabaseUrl| matches!(database, DatabaseUrl::Sqlite(label) if value.strip_prefix("sqlite:") == Some(label.as_str()));
    PostgresAddress::looks_like_url(value)
        || application.components.values().filter_map(|component| component.database.as_ref()).any(is_database)
}

/// The HMAC of `parts` under the cluster's secret, in hexadecimal digits.
pub(super) fn fingerprint(key: &Value, parts: &[&str]) -> Option<String> {
    Some(hex::encode(mac(key, parts)?.finalize().into_bytes()))
}

/// Whether `print` is the [`fingerprint`] of `parts`. The comparison takes constant time.
pub(super) fn is_fingerprint(key: &Value, parts: &[&str], print: &str) -> bool {
    let print = hex::decode(print).ok();
    print.zip(mac(key, parts)).is_some_and(|(print, mac)| mac.verify_slice(&print).is_ok())
}

fn mac(key: &Value, parts: &[&str]) -> Option<Hmac<Sha256>> {
    // HMAC takes a key of any length, so this never fails.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).ok()?;
    for part in parts {
        mac.update(&u64::try_from(part.len()).ok()?.to_be_bytes());
        mac.update(part.as_bytes());
    }
    Some(mac)
}
