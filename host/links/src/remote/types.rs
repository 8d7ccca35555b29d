//! Compares the types that this host's callers expect with the types that running hosts serve.
//!
//! The subject of a call contains a digest of the function's type, so no host gets a call of another type. A host that
//! starts nevertheless asks the running hosts for their types, only to log differences. When no host took a call, the
//! caller asks for the reason, because "no host runs it" would mislead the reader of the log if only the types differ.

use super::called::{CalledFunction, ExpectedType};
use super::expected::{self, TYPES_INTERVAL};
use super::served::ServedFunction;
use crate::import::{Import, LinkError};
use futures::future::join_all;
use souk_nats::Nats;
use std::collections::BTreeMap;

impl CalledFunction {
    /// Whether one of the `served` functions can answer a caller of this type.
    pub(super) fn has_compatible(&self, served: &[ServedFunction]) -> bool {
        let mut others = served.iter().filter(|other| other.interface == self.interface && other.name == self.name);
        others.any(|other| self.can_call(other))
    }

    /// What the hosts serve instead of this function; `None` when one of `served` has the same type.
    pub(super) fn differs(&self, served: &[ServedFunction]) -> Option<String> {
        let mut same = served.iter().filter(|served| served.interface == self.interface && served.name == self.name);
        match same.clone().next() {
            None => Some("is not there".to_owned()),
            Some(_) if same.any(|served| served.digest == self.digest) => None,
            Some(other) => Some(format!("is `{}` there", other.signature)),
        }
    }

    /// The message for `caller` about a difference; `there` comes from [`CalledFunction::differs`].
    pub(super) fn mismatch_message(&self, caller: &str, component: &str, there: &str) -> String {
        let what = self.mismatch(caller, component, there);
        format!("{what}: calls are refused; fix: {MISMATCH_FIX}")
    }

    fn mismatch(&self, caller: &str, component: &str, there: &str) -> String {
        let CalledFunction { interface, name, signature, .. } = self;
        format!(
            "`{caller}` calls `{interface}#{name}` of `{component}` on another host, and it {there}, and `{signature}` here"
        )
    }
}

/// The fix for types that differ.
pub const MISMATCH_FIX: &str = "build both from the same version of the contract, and let all hosts have that build";

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

impl ExpectedType {
    /// The component that is called.
    pub fn component(&self) -> &str {
        &self.component
    }
}

/// A function of which no running host has the same or a compatible type.
#[derive(Debug)]
pub struct UnansweredType<'a> {
    /// The type that the caller expects.
    pub expected: &'a ExpectedType,
    there: String,
}

impl UnansweredType<'_> {
    /// What differs, with both types.
    pub fn what(&self) -> String {
        let ExpectedType { caller, component, function } = self.expected;
        function.mismatch(caller, component, &self.there)
    }
}

/// Writes down the function types that this host's callers expect, for the hosts that serve them. Then logs each
/// function for which no running host has the same or a compatible type.
pub async fn compare(nats: Nats, expected: Vec<ExpectedType>) {
    if let Err(error) = expected::publish(&nats, &expected).await {
        tracing::debug!("hosts of later versions do not learn which types this one calls: {error}");
    }
    for unanswered in unanswered(&nats, &expected).await {
        let component = unanswered.expected.component();
        tracing::error!(component, "{}: calls are refused; fix: {MISMATCH_FIX}", unanswered.what());
    }
}

/// Writes down the types that a new version of a caller expects, before it serves. Waits until the hosts have had time
/// to learn of those that are new, so that its first calls need not wait for that.
pub async fn announce(nats: &Nats, expected: &[ExpectedType]) {
    match expected::publish(nats, expected).await {
        Ok(false) => {}
        Ok(true) => tokio::time::sleep(TYPES_INTERVAL).await,
        Err(error) => tracing::debug!("other hosts do not learn which types the new version calls: {error}"),
    }
}

/// Those of `expected` that no running host can answer, of components that some host runs.
pub async fn unanswered<'a>(nats: &Nats, expected: &'a [ExpectedType]) -> Vec<UnansweredType<'a>> {
    let mut components: BTreeMap<&str, Vec<&'a ExpectedType>> = BTreeMap::new();
    for function in expected {
        components.entry(&function.component).or_default().push(function);
    }
    let found = join_all(components.into_iter().map(async |(component, expected)| {
        let served = ServedFunction::of_all(nats, component).await;
        let differs = |expected: &'a ExpectedType| {
            let there = expected.function.differs(&served)?;
            (!expected.function.has_compatible(&served)).then_some(UnansweredType { expected, there })
        };
        // Without an answer nothing is known.
        let known = expected.into_iter().filter(|_| !served.is_empty());
        known.filter_map(differs).collect::<Vec<_>>()
    }));
    found.await.into_iter().flatten().collect()
}
