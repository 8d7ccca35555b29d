//! The type of a function as its caller knows it. It may differ from the type in the version that is called.
//!
//! A component is replaced while its callers run, and a contract may gain optional fields and cases. So each call
//! states the type that its caller was built for. Usually this is the version's own type; then only two digests are
//! compared. Otherwise each value is converted to the other type, if every value has exactly one counterpart there
//! ([`FunctionCodec::can_call`]).

use souk_codec::signature::{digest, digest_of};
use souk_codec::{CodecError, FunctionCodec};
use std::sync::{Arc, OnceLock};
use wasmtime::component::types::ComponentFunc;

/// The type of a function that a caller is built for.
#[derive(Debug)]
pub struct CallerType {
    digest: String,
    codec: FunctionCodec,
}

impl CallerType {
    /// The type of the function `name`.
    ///
    /// # Errors
    /// When it has a type that cannot cross a link.
    pub fn of(name: &str, ty: &ComponentFunc) -> Result<Self, CodecError> {
        Ok(CallerType { digest: digest(name, ty), codec: FunctionCodec::of(ty)? })
    }

    /// The type that `signature` describes; `None` if it is not a signature.
    pub fn read(signature: &str) -> Option<Self> {
        Some(CallerType { digest: digest_of(signature), codec: FunctionCodec::read(signature)? })
    }

    /// The same type, with values of at most `most` bytes in memory.
    #[must_use]
    pub fn within(self, most: u64) -> Self {
        CallerType { codec: self.codec.within(most), ..self }
    }

    /// The digest of the type; equal for equal types.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The codec of its values.
    pub fn codec(&self) -> &FunctionCodec {
        &self.codec
    }
}

/// The type of a function of a version.
pub(super) struct OwnType {
    digest: String,
    ty: ComponentFunc,
    /// Created for the first caller with another type.
    codec: OnceLock<Option<Arc<FunctionCodec>>>,
}

impl OwnType {
    pub(super) fn of(name: &str, ty: &ComponentFunc) -> Self {
        OwnType { digest: digest(name, ty), ty: ty.clone(), codec: OnceLock::new() }
    }

    /// Whether this is the type that `caller` is built for.
    pub(super) fn is_of(&self, caller: &CallerType) -> bool {
        self.digest == caller.digest
    }

    /// The codec of its values, if a caller that is built for `caller` may call it.
    pub(super) fn codec_for(&self, caller: &CallerType) -> Option<Arc<FunctionCodec>> {
        let codec = self.codec.get_or_init(|| FunctionCodec::of(&self.ty).ok().map(Arc::new)).clone();
        codec.filter(|codec| caller.codec.can_call(codec))
    }
}
