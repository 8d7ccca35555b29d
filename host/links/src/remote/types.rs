//! Do the hosts that are there mean the same by a contract as this one? Asked once, at the start, for the log alone: calls
//! compare for themselves, since a host may come later, or be replaced.

use super::Offered;
use crate::import::{Import, LinkError};
use futures::future::join_all;
use souk_codec::signature::signature;
use souk_nats::Nats;
use std::collections::BTreeMap;

/// A function that a component of this host calls at another one.
pub struct Wanted {
    caller: String,
    component: String,
    interface: String,
    function: String,
    signature: String,
}

/// What `caller` wants of the component that answers `import`.
///
/// # Errors
/// As [`Import::functions`].
pub fn wanted(import: &Import<'_>, caller: &str) -> Result<Vec<Wanted>, LinkError> {
    let wanted = import.functions()?.into_iter().map(|function| Wanted {
        caller: caller.to_owned(),
        component: import.target.component().to_string(),
        interface: import.export.to_owned(),
        signature: signature(&function.name, &function.ty),
        function: function.name,
    });
    Ok(wanted.collect())
}

/// Asks the hosts that are there for the types of what is `wanted`, and says where they differ.
pub async fn compare(nats: Nats, wanted: Vec<Wanted>) {
    let mut components: BTreeMap<&str, Vec<&Wanted>> = BTreeMap::new();
    for function in &wanted {
        components.entry(&function.component).or_default().push(function);
    }
    let nats = &nats;
    join_all(components.into_iter().map(async |(component, wanted)| {
        let Ok(offered) = Offered::of(nats, component).await else { return };
        for complaint in wanted.into_iter().filter_map(|function| function.differs(&offered)) {
            tracing::error!(component, "{complaint}");
        }
    }))
    .await;
}

impl Wanted {
    fn differs(&self, offered: &[Offered]) -> Option<String> {
        let Wanted { caller, component, interface, function, signature } = self;
        let same = offered.iter().find(|offered| offered.interface == *interface && offered.function == *function);
        let there = match same {
            Some(offered) if offered.signature == *signature => return None,
            Some(offered) => format!("is `{}` there", offered.signature),
            None => "is not there".to_owned(),
        };
        Some(format!(
            "`{caller}` calls `{interface}#{function}` of `{component}` on another host, and it {there}, and `{signature}` \
             here: calls are refused; fix: build both from the same version of the contract, and let all hosts have that build"
        ))
    }
}
