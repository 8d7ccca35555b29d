//! Do the hosts that are there mean the same by a contract as this one?
//!
//! What a call is for stands in its subject, with a digest of the function's type, so no host is given a call of another
//! type. A start asks the hosts that are there all the same, for the log alone; and a call that nobody took asks why, since
//! "no host" would send its reader to the wrong place.

use super::expected;
use super::served::ServedFunction;
use crate::import::{Import, LinkError};
use futures::future::join_all;
use souk_codec::FunctionCodec;
use souk_codec::signature::{digest, signature};
use souk_nats::Nats;
use std::collections::BTreeMap;
use wasmtime::component::types::ComponentFunc;

/// A function with its type, as a caller or a host knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalledFunction {
    /// The interface with its version, as the component exports it.
    pub interface: String,
    /// Its name.
    pub name: String,
    /// Its type, as WIT on one line.
    pub signature: String,
    /// The digest of its type.
    pub digest: String,
}

impl CalledFunction {
    /// The function `name` of `interface`.
    pub fn new(interface: &str, name: &str, ty: &ComponentFunc) -> Self {
        CalledFunction {
            interface: interface.to_owned(),
            name: name.to_owned(),
            signature: signature(name, ty),
            digest: digest(name, ty),
        }
    }

    /// Whether a caller that is built for this type can be answered exactly by a function of the type of `callee`.
    pub(super) fn can_call(&self, callee: &CalledFunction) -> bool {
        let codecs = (FunctionCodec::read(&self.signature), FunctionCodec::read(&callee.signature));
        matches!(codecs, (Some(caller), Some(callee)) if caller.can_call(&callee))
    }

    /// Whether one of the hosts that serve `served` has another type of it, and can answer for this one.
    pub(super) fn has_equal(&self, served: &[ServedFunction]) -> bool {
        let mut others = served.iter().filter(|other| other.interface == self.interface && other.name == self.name);
        others.any(|other| self.can_call(other))
    }

    /// What the hosts that serve `served` have in its place; `None` when one has the same.
    pub(super) fn differs(&self, served: &[ServedFunction]) -> Option<String> {
        let mut same = served.iter().filter(|served| served.interface == self.interface && served.name == self.name);
        match same.clone().next() {
            None => Some("is not there".to_owned()),
            Some(_) if same.any(|served| served.digest == self.digest) => None,
            Some(other) => Some(format!("is `{}` there", other.signature)),
        }
    }

    /// What `caller` must be told of a difference: `there` is of [`CalledFunction::differs`].
    pub(super) fn complaint(&self, caller: &str, component: &str, there: &str) -> String {
        let CalledFunction { interface, name, signature, .. } = self;
        format!(
            "`{caller}` calls `{interface}#{name}` of `{component}` on another host, and it {there}, and `{signature}` here: \
             calls are refused; fix: build both from the same version of the contract, and let all hosts have that build"
        )
    }
}

/// The type that a component of this host expects of a function on another host.
pub struct ExpectedType {
    pub(super) caller: String,
    pub(super) component: String,
    pub(super) function: CalledFunction,
}

/// The types that `caller` expects of the component that answers `import`.
///
/// # Errors
/// As [`Import::functions`].
pub fn expected_types(import: &Import<'_>, caller: &str) -> Result<Vec<ExpectedType>, LinkError> {
    let expected = import.functions()?.into_iter().map(|function| ExpectedType {
        caller: caller.to_owned(),
        component: import.target.component().to_string(),
        function: CalledFunction::new(import.export, &function.name, &function.ty),
    });
    Ok(expected.collect())
}

/// Writes down which functions this host expects, for the hosts that serve them. Asks those that are there for their types,
/// and logs where none of them has the same, or one that can answer for it.
pub async fn compare(nats: Nats, expected: Vec<ExpectedType>) {
    if let Err(error) = expected::publish(&nats, &expected).await {
        tracing::debug!("hosts of later versions do not learn which types this one calls: {error}");
    }
    let mut components: BTreeMap<&str, Vec<&ExpectedType>> = BTreeMap::new();
    for function in &expected {
        components.entry(&function.component).or_default().push(function);
    }
    let nats = &nats;
    join_all(components.into_iter().map(async |(component, expected)| {
        let served = ServedFunction::of_all(nats, component).await;
        if served.is_empty() {
            return;
        }
        for ExpectedType { caller, function, .. } in expected {
            if let Some(there) = function.differs(&served)
                && !function.has_equal(&served)
            {
                tracing::error!(component, "{}", function.complaint(caller, component, &there));
            }
        }
    }))
    .await;
}
