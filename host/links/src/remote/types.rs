//! Do the hosts that are there mean the same by a contract as this one? Asked once, at the start, for the log alone: calls
//! compare for themselves, since a host may come later, or be replaced.

use super::ServedFunction;
use crate::import::{Import, LinkError};
use futures::future::join_all;
use souk_codec::signature::signature;
use souk_nats::Nats;
use std::collections::BTreeMap;

/// The type that a component of this host expects of a function on another host.
pub struct ExpectedType {
    caller: String,
    component: String,
    interface: String,
    function: String,
    signature: String,
}

/// The types that `caller` expects of the component that answers `import`.
///
/// # Errors
/// As [`Import::functions`].
pub fn expected_types(import: &Import<'_>, caller: &str) -> Result<Vec<ExpectedType>, LinkError> {
    let expected = import.functions()?.into_iter().map(|function| ExpectedType {
        caller: caller.to_owned(),
        component: import.target.component().to_string(),
        interface: import.export.to_owned(),
        signature: signature(&function.name, &function.ty),
        function: function.name,
    });
    Ok(expected.collect())
}

/// Asks the hosts that are there for the types of the functions in `expected`, and logs where they differ.
pub async fn compare(nats: Nats, expected: Vec<ExpectedType>) {
    let mut components: BTreeMap<&str, Vec<&ExpectedType>> = BTreeMap::new();
    for function in &expected {
        components.entry(&function.component).or_default().push(function);
    }
    let nats = &nats;
    join_all(components.into_iter().map(async |(component, expected)| {
        let Ok(served) = ServedFunction::of(nats, component).await else { return };
        for difference in expected.into_iter().filter_map(|function| function.differs(&served)) {
            tracing::error!(component, "{difference}");
        }
    }))
    .await;
}

impl ExpectedType {
    fn differs(&self, served: &[ServedFunction]) -> Option<String> {
        let ExpectedType { caller, component, interface, function, signature } = self;
        let same = served.iter().find(|served| served.interface == *interface && served.function == *function);
        let there = match same {
            Some(served) if served.signature == *signature => return None,
            Some(served) => format!("is `{}` there", served.signature),
            None => "is not there".to_owned(),
        };
        Some(format!(
            "`{caller}` calls `{interface}#{function}` of `{component}` on another host, and it {there}, and `{signature}` \
             here: calls are refused; fix: build both from the same version of the contract, and let all hosts have that build"
        ))
    }
}
