//! Functions with their types, as callers and hosts know them.

use souk_codec::FunctionCodec;
use souk_codec::signature::{digest, signature};
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

    /// Whether a function of the type of `callee` can exactly answer a caller that is built for this type.
    pub(super) fn can_call(&self, callee: &CalledFunction) -> bool {
        let codecs = (FunctionCodec::read(&self.signature), FunctionCodec::read(&callee.signature));
        matches!(codecs, (Some(caller), Some(callee)) if caller.can_call(&callee))
    }
}

/// The type that a component of this host expects of a function on another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedType {
    pub(super) caller: String,
    pub(super) component: String,
    pub(super) function: CalledFunction,
}
