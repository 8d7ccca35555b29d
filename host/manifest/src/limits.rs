//! Every limit and timeout of the host, in one table: its manifest key, unit, default and the reason for the default.
//!
//! `souk doctor` prints the table. Limits of one component are overridden under `[component.NAME.tool.souk.limits]`,
//! those of the HTTP edge under `[application.tool.souk.limits]`. There is no way to switch a limit off.

use std::time::Duration;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The key in the manifest.
    pub key: &'static str,
    /// The unit of the value.
    pub unit: &'static str,
    /// The value when the manifest is silent.
    pub default: u64,
    /// The least and the most that the manifest may set.
    pub range: (u64, u64),
    /// Why the default is what it is.
    pub reason: &'static str,
}

macro_rules! limits {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $unit:literal, $default:expr, $range:expr, $reason:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$fdoc])* pub $field: u64,)* }

        impl Default for $name {
            fn default() -> Self { $name { $($field: $default,)* } }
        }

        impl $name {
            /// The rows of the table.
            pub const TABLE: &'static [Limit] = &[$(Limit {
                key: stringify!($field), unit: $unit, default: $default, range: $range, reason: $reason,
            },)*];

            /// Sets the limit `key`; `Err` says what is wrong with the key or the value.
            pub fn set(&mut self, key: &str, value: u64) -> Result<(), String> {
                let Some(limit) = Self::TABLE.iter().find(|l| l.key == key) else {
                    let known: Vec<_> = Self::TABLE.iter().map(|l| l.key).collect();
                    return Err(format!("unknown limit `{key}`; known are {}", known.join(", ")));
                };
                let (least, most) = limit.range;
                if value < least || value > most {
                    return Err(format!("limit `{key}` is {value}, but must be from {least} to {most} ({})", limit.unit));
                }
                match key { $(stringify!($field) => self.$field = value,)* _ => {} }
                Ok(())
            }

            /// The value of each row of the table, in its order.
            pub fn values(&self) -> Vec<u64> { vec![$(self.$field,)*] }
        }
    };
}

const MIB: u64 = 1 << 20;

limits! {
    /// The limits of one component.
    ComponentLimits {
        /// Linear memory of one instance.
        memory: "bytes", 64 * MIB, (MIB, 1024 * MIB),
            "a service that holds one request at a time needs a few MiB; a leak is cut off before it hurts others";
        /// Elements of one table of an instance.
        table_elements: "elements", 20_000, (1, 100_000),
            "a large Rust component has a few thousand functions in its table";
        /// Instances that exist at one time.
        instances: "instances", 64, (1, 512),
            "each serves one call at a time; more than this on one machine only queue for the processor";
        /// Callers that wait for an instance before the next one is refused at once.
        waiting: "callers", 1_024, (0, 100_000),
            "a bounded queue: what cannot be served soon is told so at once";
        /// How long a caller waits for an instance.
        wait: "milliseconds", 2_000, (0, 60_000),
            "shorter than any client's patience, longer than a burst";
        /// How long an instance stays without a call before it is dropped, and its memory with it.
        idle: "milliseconds", 10_000, (0, 3_600_000),
            "long enough to bridge a pause, short enough to give a burst's memory back";
        /// How many calls one instance serves before it is replaced; 1 is a fresh sandbox for each call.
        max_reuse: "calls", 10_000, (1, 1_000_000_000),
            "reuse is five times as fast as a fresh instance; replacing it now and then bounds what a leak can hold";
        /// How long one call may take, waiting included.
        call_deadline: "milliseconds", 30_000, (1, 3_600_000),
            "longer than any honest request of a web service";
        /// HTTP requests of the component that are under way at one time.
        outbound_requests: "requests", 128, (1, 10_000),
            "bounds sockets and buffers that one component can hold";
        /// Messages of durable links that are delivered to the component at one time.
        deliveries: "messages", 16, (1, 512),
            "enough to keep a machine busy, and leaves instances for calls that someone waits for";
        /// How often a message is delivered before it is a dead letter.
        delivery_attempts: "attempts", 44, (1, 10_000),
            "with the default pauses about a day: longer than a bad release lasts";
        /// The pause after a message's first delivery that failed; it doubles each time, and jitter shortens it.
        delivery_backoff: "milliseconds", 1_000, (1, 3_600_000),
            "most failures are over in a moment";
        /// The longest pause between two deliveries of a message.
        delivery_backoff_most: "milliseconds", 3_600_000, (1, 86_400_000),
            "what is mended within a day is delivered within an hour of that";
        /// Values that the component hands over in one call, in the host's memory: arguments of a call that it makes, or
        /// its result. Numbers and bytes of a list take up to 40 bytes each on a link, one byte each for a database.
        call_bytes: "bytes", 16 * MIB, (MIB, 128 * MIB),
            "the largest value of a database fits, and reading it from the guest takes no longer than a slice of a processor";
    }
}

limits! {
    /// The limits of the HTTP edge and of the process.
    EdgeLimits {
        /// Request line and headers.
        request_headers: "bytes", 32 * 1024, (8 * 1024, MIB),
            "cookies and tokens fit; the buffer is per connection";
        /// Request body.
        request_body: "bytes", 10 * MIB, (0, 1024 * MIB),
            "JSON and forms fit; components set tighter bounds of their own";
        /// From the first byte of a request to the end of its headers; also from a connection's start to its first byte.
        header_read_timeout: "milliseconds", 10_000, (100, 600_000),
            "a client that sends one byte a second must not hold a connection";
        /// How long the first 256 KiB of a request's body may take.
        body_read_timeout: "milliseconds", 30_000, (100, 600_000),
            "a bad line's 70 kbit/s; so much is read before an instance is taken, so a slow client holds none";
        /// How long a connection may stand still between requests, or with a response that the client does not read.
        idle_timeout: "milliseconds", 75_000, (100, 3_600_000),
            "longer than the 60 s of common load balancers, so that they close first";
        /// How long a TLS handshake may take.
        handshake_timeout: "milliseconds", 10_000, (100, 600_000),
            "three round trips on a bad line";
        /// Open connections.
        connections: "connections", 4_096, (1, 1_000_000),
            "about 40 KiB each; the next one waits in the listen queue";
        /// Messages of durable links that are stored, dead letters too, in bytes of arguments and 2 KiB each.
        durable_bytes: "bytes", 256 * MIB, (2 * MIB, 64 * 1024 * MIB),
            "a day of a hundred thousand events; the next one's caller is told to try again";
        /// How long requests under way may take to finish after SIGTERM or SIGINT.
        drain: "milliseconds", 35_000, (0, 600_000),
            "the call deadline and a little more";
    }
}

/// Processor time that a call uses before it yields to others: one tick of the epoch.
pub const CPU_SLICE: Duration = Duration::from_millis(5);

/// A limit in milliseconds as a duration.
pub fn millis(value: u64) -> Duration {
    Duration::from_millis(value)
}
