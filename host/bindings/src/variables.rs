//! Variables that the manifest gives to the component, with their values as resolved at start-up.
//!
//! Three interfaces read them: `spin:variables@3.0.0`, and the synchronous `fermyon:spin/variables@2.0.0` and
//! `wasi:config/store`, which WASI 0.2 handlers and synchronous functions (`func`) can call.
//!
//! Values may be secret, so they appear in no log line, error or `Debug` output of the host. Names come from the guest,
//! so an error may repeat them.

use crate::Ctx;
use crate::binding::Binding;
use souk_manifest::Component;
use std::collections::BTreeMap;
use wasmtime::component::{Accessor, HasSelf, Linker};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/spin-variables@3.0.0",
        inline: "package souk:bindings; world variables { import spin:variables/variables@3.0.0; }",
        world: "souk:bindings/variables",
        imports: { default: trappable },
    });
}
use generated::spin::variables::variables as wit;

#[allow(unreachable_pub, reason = "generated")]
mod spin_2 {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/fermyon-spin@2.0.0",
        inline: "package souk:bindings; world variables { import fermyon:spin/variables@2.0.0; }",
        world: "souk:bindings/variables",
        imports: { default: trappable },
    });
}
use spin_2::fermyon::spin::variables as wit_2;

#[allow(unreachable_pub, reason = "generated")]
mod config {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/wasi-config@0.2.0-draft-2024-09-27",
        world: "wasi:config/imports",
        imports: { default: trappable },
    });
}
use config::wasi::config::store;

/// The binding.
pub const BINDING: Binding = Binding {
    name: "variables",
    interfaces: &["spin:variables/", "fermyon:spin/variables@", "wasi:config/"],
    key: "variables",
    // SDKs always import it, even if a component reads no variable. Reading a variable that was not granted fails with
    // a clear error.
    is_missing: Binding::never,
    describe: |component| component.variables.keys().cloned().collect(),
    fixed_limits: || FIXED_LIMITS.to_vec(),
    add_to_linker,
};

/// The variables that `component` is granted, with their values and resolved templates.
pub fn grant(component: &Component) -> BTreeMap<String, String> {
    component.variables.iter().map(|(name, value)| (name.clone(), value.expose().to_string())).collect()
}

/// Links the interfaces.
fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    wit_2::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    store::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)
}

impl wit_2::Host for Ctx {
    fn get(&mut self, name: String) -> wasmtime::Result<Result<String, wit_2::Error>> {
        Ok(lookup(self, &name).map_err(|error| match error {
            wit::Error::InvalidName(text) => wit_2::Error::InvalidName(text),
            wit::Error::Undefined(text) => wit_2::Error::Undefined(text),
            wit::Error::Provider(text) => wit_2::Error::Provider(text),
            wit::Error::Other(text) => wit_2::Error::Other(text),
        }))
    }
}

/// An invalid variable name has no value here, because the interface allows any key.
impl store::Host for Ctx {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, store::Error>> {
        Ok(Ok(self.grants.variables.get(&key).cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, store::Error>> {
        Ok(Ok(self.grants.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect()))
    }
}

impl wit::Host for Ctx {}

impl wit::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn get(guest: &Accessor<Ctx, Self>, name: String) -> wasmtime::Result<Result<String, wit::Error>> {
        Ok(guest.with(|mut access| lookup(access.get(), &name)))
    }
}

fn lookup(ctx: &Ctx, name: &str) -> Result<String, wit::Error> {
    if let Some(reason) = name_fault(name) {
        return Err(wit::Error::InvalidName(reason));
    }
    let component = &ctx.grants.component;
    ctx.grants.variables.get(name).cloned().ok_or_else(|| {
        let reason =
            format!("component `{component}` has no variable `{name}`; add it under [component.{component}.variables]");
        let entry = format!("it under [component.{component}.variables]");
        ctx.grants.denials.refused(&format!("the variable `{name}`"), &entry, &ctx.call.trace);
        wit::Error::Undefined(reason)
    })
}

souk_manifest::fixed_limits! {
    /// The fixed limits of variables.
    pub(crate) const FIXED_LIMITS = "variables";

    /// The longest name of a variable that a component can ask for.
    const MAX_NAME_BYTES: usize = 256, bytes;
}

/// What is wrong with a variable's name, according to Spin's rule: lower-case ASCII letters, digits and single
/// underscores, with a letter first and no underscore last.
fn name_fault(name: &str) -> Option<String> {
    if name.len() > MAX_NAME_BYTES {
        return Some(format!("a variable's name has at most {MAX_NAME_BYTES} bytes"));
    }
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.contains("__")
        && !name.ends_with('_');
    (!valid).then(|| {
        format!(
            "{name:?} is not a variable name: it needs lower-case letters, digits and single underscores between them"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ctx;

    #[tokio::test]
    async fn a_variable_is_found_and_an_unknown_or_bad_name_is_told_apart() {
        let mut ctx = ctx(|grants| {
            grants.variables.insert("greeting".into(), "hello".into());
        });
        assert_eq!(lookup(&ctx, "greeting").unwrap(), "hello");
        assert_eq!(wit_2::Host::get(&mut ctx, "greeting".into()).unwrap().unwrap(), "hello");
        assert!(matches!(wit_2::Host::get(&mut ctx, "other".into()).unwrap(), Err(wit_2::Error::Undefined(_))));
        assert_eq!(store::Host::get(&mut ctx, "greeting".into()).unwrap().unwrap().as_deref(), Some("hello"));
        assert_eq!(store::Host::get(&mut ctx, "A key".into()).unwrap().unwrap(), None);
        assert_eq!(store::Host::get_all(&mut ctx).unwrap().unwrap(), [("greeting".to_owned(), "hello".to_owned())]);
        let Err(wit::Error::Undefined(text)) = lookup(&ctx, "other_name") else { panic!("not undefined") };
        assert!(text.contains("[component.tested.variables]"), "{text}");
        for name in ["", "Greeting", "1st", "a-b", "a__b", "a_", "_a", "é", "a b", &"a".repeat(300)] {
            assert!(matches!(lookup(&ctx, name), Err(wit::Error::InvalidName(_))), "{name:?}");
        }
    }
}
