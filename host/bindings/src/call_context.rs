//! `souk:call/context`: what a component can learn about the call that it serves.
//!
//! It gives the request id, which a client gets with its answer and an operator finds in the log. So a row in a
//! component's own history can name the request that made it. There is no span id: spans belong to the trace exporter.

use crate::Ctx;
use crate::binding::Binding;
use crate::tape::ClockKind;
use wasmtime::component::{HasSelf, Linker};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/souk-call@1.0.0",
        inline: "package souk:bindings; world call { import souk:call/context@1.0.0; }",
        world: "souk:bindings/call",
        imports: { default: trappable },
    });
}
use generated::souk::call::context as wit;

/// The binding.
pub(crate) const BINDING: Binding = Binding {
    name: "call",
    interfaces: &["souk:call/"],
    key: "call",
    is_missing: Binding::never,
    describe: Binding::nothing,
    fixed_limits: Vec::new,
    add_to_linker,
};

fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)
}

impl wit::Host for Ctx {
    fn trace(&mut self) -> wasmtime::Result<String> {
        Ok(self.call.trace.to_string())
    }

    fn remaining(&mut self) -> wasmtime::Result<u64> {
        let left = || u64::try_from(self.call.remaining().as_millis()).unwrap_or(u64::MAX);
        Ok(self.call.tape.as_ref().map_or_else(left, |tape| tape.read(ClockKind::Remaining, left)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ctx;

    #[tokio::test]
    async fn a_component_learns_the_id_and_the_time_of_its_call() {
        tokio::time::pause();
        let mut ctx = ctx(|_| {});
        assert_eq!(wit::Host::trace(&mut ctx).unwrap(), *ctx.call.trace);
        let left = ctx.call.remaining();
        assert_eq!(u128::from(wit::Host::remaining(&mut ctx).unwrap()), left.as_millis());
        tokio::time::advance(left * 2).await;
        assert_eq!(wit::Host::remaining(&mut ctx).unwrap(), 0);
    }
}
