//! Outbound MQTT 3.1.1, `spin:mqtt@3.0.0` and `fermyon:spin/mqtt@2.0.0`: brokers that `allowed_outbound_hosts` names,
//! to which a component publishes.
//!
//! A guest's `connection` is one connection to the broker, opened with it and closed when it is dropped. A connection
//! sends its messages one at a time, in order, each once. `publish` returns when the broker has given the
//! acknowledgement that the quality of service requires (none for `at-most-once`). The host keeps an idle connection
//! alive.
//!
//! rumqttc's client resolves names itself and reads files for TLS. So we use only its codec, on a connection to an
//! address that was checked.
//!
//! As in Spin, an address that is not `mqtt://` or `mqtts://` fails with `invalid-address`, and a broker that was not
//! granted with `connection-failed`.

mod connection;
mod host;
mod spin_2;

pub use connection::Connection;

use crate::Ctx;
use crate::binding::Binding;
use wasmtime::component::{HasSelf, Linker};

/// The Rust side of the WIT interface.
#[allow(unreachable_pub, reason = "generated")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/spin-mqtt@3.0.0",
        inline: "package souk:mqtt-host; world host { import spin:mqtt/mqtt@3.0.0; }",
        world: "souk:mqtt-host/host",
        imports: { default: trappable },
        with: { "spin:mqtt/mqtt.connection": super::host::Handle },
        additional_derives: [PartialEq],
    });
}

pub use bindings::spin::mqtt::mqtt::{Error, Qos};

souk_manifest::fixed_limits! {
    /// The fixed limits of MQTT.
    pub(crate) const FIXED_LIMITS = "mqtt";

    /// The largest message, with its topic.
    pub const MAX_MESSAGE_BYTES: usize = 4 << 20, bytes;
    /// The longest topic, user name, password and client id: the protocol has two bytes for their lengths.
    pub const MAX_TEXT_BYTES: usize = 65_535, bytes;
    /// The largest packet from a broker, which only sends acknowledgements.
    pub const MAX_ANSWER_BYTES: usize = 4 << 10, bytes;
}

/// The binding.
pub const BINDING: Binding = Binding {
    name: "mqtt",
    interfaces: &["spin:mqtt/", "fermyon:spin/mqtt@"],
    key: "allowed_outbound_hosts",
    is_missing: |component| {
        let hosts = &component.allowed_outbound_hosts;
        !hosts.iter().any(|host| host.is_for("mqtt") || host.is_for("mqtts"))
    },
    // The list of outbound hosts already names them.
    describe: Binding::nothing,
    fixed_limits: || FIXED_LIMITS.to_vec(),
    add_to_linker,
};

fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    bindings::spin::mqtt::mqtt::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    spin_2::add_to_linker(linker)
}

#[cfg(test)]
mod tests;
