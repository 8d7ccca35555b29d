//! `fermyon:spin/rdbms-types@2.0.0`: the values that the older interfaces of PostgreSQL and MySQL share. It has no
//! functions, but a component that uses one of them imports it too.

use crate::Ctx;
use wasmtime::component::{HasSelf, Linker};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/fermyon-spin@2.0.0",
        inline: "package souk:bindings; world rdbms { import fermyon:spin/rdbms-types@2.0.0; }",
        world: "souk:bindings/rdbms",
        additional_derives: [PartialEq],
    });
}
pub use generated::fermyon::spin::rdbms_types as types;

impl types::Host for Ctx {}

/// Links the interface.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    types::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)
}
