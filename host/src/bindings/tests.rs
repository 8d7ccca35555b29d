//! What the bindings' tests share.

use super::*;
use crate::bindings::http_client::{AllowedHosts, Client, Internal, tls_config};
use std::time::Duration;

/// The state of an instance of the component `tested`, granted what `grant` adds.
pub(crate) fn ctx(grant: impl FnOnce(&mut Grants)) -> Ctx {
    let component: Arc<str> = "tested".into();
    let tls = tls_config().unwrap();
    let client = Client::new(component.clone(), AllowedHosts::default(), 1, Internal::default(), tls);
    let mut grants = Grants::nothing(component, ComponentLimits::default(), Arc::new(client));
    grant(&mut grants);
    Ctx::new(Arc::new(grants), CallContext::new("trace", Duration::from_secs(60))).unwrap()
}
