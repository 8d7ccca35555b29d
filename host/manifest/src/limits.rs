//! One table of every limit and timeout that a manifest can change: its key, default, range and the reason for the
//! default.
//!
//! `souk doctor --limits` prints the table. `[component.NAME.tool.souk.limits]` overrides the limits of one component,
//! `[application.tool.souk.limits]` those of the HTTP edge. A limit cannot be switched off. A bound that no manifest
//! can change is a [`FixedLimit`], in a table of the module that enforces it.

mod fixed;
#[cfg(test)]
mod tests;
mod value;

pub use bytesize::ByteSize;
pub use fixed::{FixedLimit, fixed_limits};
use std::time::Duration;
pub use value::LimitValue;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The key in the manifest.
    pub key: &'static str,
    /// The value if the manifest sets none.
    pub default: LimitValue,
    /// The smallest and the largest value that the manifest may set.
    pub range: (LimitValue, LimitValue),
    /// The reason for the default.
    pub reason: &'static str,
}

/// The value of a limit in a manifest.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Given<'a> {
    /// A number; `None` when it is negative or has more digits than any limit.
    Number(Option<u64>),
    /// Text: `32MiB`, `30s`.
    Text(&'a str),
}

impl Limit {
    /// Reads the manifest's value for this limit; `Err` says what is wrong with it.
    pub(crate) fn read(&self, given: Given<'_>) -> Result<LimitValue, String> {
        let key = self.key;
        let value = match given {
            Given::Number(Some(number)) => self.default.with_number(number),
            Given::Number(None) => return Err(format!("limit `{key}` is out of range")),
            Given::Text(text) => self
                .default
                .with_text(text)
                .map_err(|what| format!("limit `{key}` is \"{text}\", which is not {what}"))?,
        };
        let (min, max) = self.range;
        if !value.is_within(min, max) {
            return Err(format!("limit `{key}` is {value}, but must be {}", self.range()));
        }
        Ok(value)
    }

    /// What to write instead of a wrong value.
    pub(crate) fn fix(&self) -> String {
        format!("write {} {}; the default is {}", self.default.form(), self.range(), self.default)
    }

    fn range(&self) -> String {
        match self.range {
            (LimitValue::Count(min, _), max) => format!("from {min} to {max}"),
            (min, max) => format!("from {min} to {max}"),
        }
    }
}

/// The type of a limit's field, and its value as a [`LimitValue`].
macro_rules! kind {
    (type Bytes) => {
        ByteSize
    };
    (type Duration) => {
        Duration
    };
    (type $unit:literal) => {
        u64
    };
    (value Bytes, $value:expr) => {
        LimitValue::Bytes($value)
    };
    (value Duration, $value:expr) => {
        LimitValue::Duration($value)
    };
    (value $unit:literal, $value:expr) => {
        LimitValue::Count($value, $unit)
    };
    (pattern Bytes, $value:ident) => {
        LimitValue::Bytes($value)
    };
    (pattern Duration, $value:ident) => {
        LimitValue::Duration($value)
    };
    (pattern $unit:literal, $value:ident) => {
        LimitValue::Count($value, _)
    };
}

/// A struct of limits and its table. A field is `Bytes`, `Duration`, or a count of what its unit names.
macro_rules! limits {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $kind:tt, $default:expr, ($min:expr, $max:expr), $reason:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$fdoc])* pub $field: kind!(type $kind),)* }

        impl Default for $name {
            fn default() -> Self { $name { $($field: $default,)* } }
        }

        impl $name {
            /// The rows of the table.
            pub const TABLE: &'static [Limit] = &[$(Limit {
                key: stringify!($field),
                default: kind!(value $kind, $default),
                range: (kind!(value $kind, $min), kind!(value $kind, $max)),
                reason: $reason,
            },)*];

            /// Sets the limit `key` to a value that [`Limit::read`] has returned.
            pub(crate) fn set(&mut self, key: &str, value: LimitValue) {
                match (key, value) {
                    $((stringify!($field), kind!(pattern $kind, value)) => self.$field = value,)*
                    _ => {}
                }
            }

            /// The value of each row of the table, in its order.
            pub fn values(&self) -> Vec<LimitValue> { vec![$(kind!(value $kind, self.$field),)*] }
        }
    };
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const HOUR: Duration = seconds(3_600);
const DAY: Duration = seconds(86_400);

limits! {
    /// The limits of one component.
    ComponentLimits {
        /// Linear memory of one instance.
        memory: Bytes, ByteSize::mib(64), (ByteSize::mib(1), ByteSize::gib(1)),
            "a service that handles one request at a time needs a few MiB; a leak ends before it harms others";
        /// Elements of one table of an instance.
        table_elements: "elements", 20_000, (1, 100_000),
            "a large Rust component has a few thousand functions in its table";
        /// Instances that exist at the same time.
        instances: "instances", 64, (1, 512),
            "each serves one call at a time; more instances on one machine would only compete for the processor";
        /// Callers that wait for an instance before the next one is refused at once.
        waiting: "callers", 1_024, (0, 100_000),
            "a bounded queue: a call that cannot be served soon is refused at once";
        /// How long a caller waits for an instance.
        wait: Duration, seconds(2), (Duration::ZERO, seconds(60)),
            "shorter than the timeouts of clients, longer than a burst";
        /// How long an instance may be idle before it is dropped and its memory is freed.
        idle: Duration, seconds(10), (Duration::ZERO, HOUR),
            "long enough to bridge a pause, short enough to give a burst's memory back";
        /// How many calls one instance serves before it is replaced; 1 is a fresh sandbox for each call.
        max_reuse: "calls", 10_000, (1, 1_000_000_000),
            "reuse is five times as fast as a fresh instance; replacing it now and then bounds what a leak can hold";
        /// How long one call may take, including the wait for an instance.
        call_deadline: Duration, seconds(30), (milliseconds(1), HOUR),
            "longer than any normal request of a web service";
        /// HTTP requests of the component in progress at the same time.
        outbound_requests: "requests", 128, (1, 10_000),
            "bounds the sockets and buffers that one component can hold";
        /// Messages of durable links that are delivered to the component at the same time.
        deliveries: "messages", 16, (1, 512),
            "enough to keep a machine busy, and leaves instances for calls whose callers wait";
        /// How often a message is delivered before it is a dead letter.
        delivery_attempts: "attempts", 44, (1, 10_000),
            "about a day with the default pauses: longer than it takes to replace a bad release";
        /// The pause after a message's first delivery that failed; it doubles each time, and jitter shortens it.
        delivery_backoff: Duration, seconds(1), (milliseconds(1), HOUR),
            "most failures are over in a moment";
        /// The longest pause between two deliveries of a message.
        delivery_backoff_most: Duration, HOUR, (milliseconds(1), DAY),
            "messages are delivered within an hour after their target works again";
        /// The host memory for the values that the component passes in one call: arguments of a call that it makes, or its
        /// result. Numbers and bytes of a list take up to 40 bytes each on a link; a byte takes one for a database, and
        /// where a `list<u8>` is all that a function takes or returns.
        call_bytes: Bytes, ByteSize::mib(16), (ByteSize::mib(1), ByteSize::mib(128)),
            "the largest value of a database fits; on a link a `list<u8>` of 445 KB fits, which takes 9 ms to read";
    }
}

limits! {
    /// The limits of the HTTP edge and of the process.
    EdgeLimits {
        /// Request line and headers.
        request_headers: Bytes, ByteSize::kib(32), (ByteSize::kib(8), ByteSize::mib(1)),
            "cookies and tokens fit; the buffer is per connection";
        /// Request body.
        request_body: Bytes, ByteSize::mib(10), (ByteSize::b(0), ByteSize::gib(1)),
            "JSON and forms fit; components set tighter bounds of their own";
        /// From the first byte of a request to the end of its headers; also from a connection's start to its first
        /// byte.
        header_read_timeout: Duration, seconds(10), (milliseconds(100), seconds(600)),
            "a client that sends one byte a second must not hold a connection";
        /// How long the host waits for a request's body in total, all pauses together. Received bytes extend this time at
        /// the rate `body_min_rate`. 256 KiB are read before an instance is taken, so a slow client holds no instance.
        body_read_timeout: Duration, seconds(30), (milliseconds(100), seconds(600)),
            "a phone that changes its network is back by then";
        /// The bytes of a request's body that extend the limit `body_read_timeout` by a second.
        body_min_rate: Bytes, ByteSize::kib(1), (ByteSize::b(1), ByteSize::gib(1)),
            "one second for each KiB: even a bad line is eight times as fast, and no upload has to fit into a fixed time";
        /// The bytes of a response that extend the limit `idle_timeout` by a second.
        response_min_rate: Bytes, ByteSize::kib(1), (ByteSize::b(1), ByteSize::gib(1)),
            "one second for each KiB: a client that reads a byte a minute must not hold a response for days";
        /// How long a connection may be idle between requests, or while the client does not read a response.
        idle_timeout: Duration, seconds(75), (milliseconds(100), HOUR),
            "longer than the 60 s of common load balancers, so that they close first";
        /// How long a TLS handshake may take.
        handshake_timeout: Duration, seconds(10), (milliseconds(100), seconds(600)),
            "three round trips on a bad line";
        /// Open connections.
        connections: "connections", 4_096, (1, 1_000_000),
            "about 40 KiB each; the next one waits in the listen queue";
        /// Stored messages of durable links, with dead letters: the bytes of their arguments, and 2 KiB for each.
        durable_bytes: Bytes, ByteSize::mib(256), (ByteSize::mib(2), ByteSize::gib(64)),
            "a hundred thousand events; when it is full, callers are told to try again";
        /// The size of one SQLite database. The log warns when 80 % of it are in use, and a full one answers
        /// `database-full` to each write.
        database_bytes: Bytes, ByteSize::gib(1), (ByteSize::mib(1), ByteSize::tib(8)),
            "half a million orders of the store; PostgreSQL suits more of them better";
        /// How long requests in progress may take to finish after SIGTERM or SIGINT.
        drain: Duration, seconds(35), (Duration::ZERO, seconds(600)),
            "the call deadline and a little more";
        /// Open connections of one peer: an IPv4 address, or the /64 prefix of an IPv6 address.
        peer_connections: "connections", 2_048, (1, 1_000_000),
            "half of all, so that one client cannot have them all; connections of trusted_proxies do not count";
        /// Linear memory of all instances together.
        application_memory: Bytes, ByteSize::gib(4), (ByteSize::mib(16), ByteSize::tib(1)),
            "what one component may take by default; set it to three quarters of the machine's memory";
        /// Bytes of all requests and responses at the edge: heads, bodies that are read ahead, responses that are not read.
        /// An eighth is reserved for the routes in `reserved_routes`. When it is full, the client that holds most loses the
        /// request that has been idle longest.
        request_memory: Bytes, ByteSize::mib(256), (ByteSize::mib(1), ByteSize::tib(1)),
            "thousands of requests at the same time, and little compared with the memory of components";
        /// `request_memory` of one peer.
        peer_memory: Bytes, ByteSize::mib(64), (ByteSize::mib(1), ByteSize::tib(1)),
            "a quarter of all, so that one client cannot have it all";
        /// `request_memory` of one connection, unless it is a trusted proxy's.
        connection_memory: Bytes, ByteSize::mib(16), (ByteSize::mib(1), ByteSize::tib(1)),
            "64 bodies that are read ahead, or one body of 10 MiB for another host";
        /// Files that all instances have open together.
        open_files: "files", 1_024, (16, 1_000_000),
            "a quarter of the connections; most components read a file and close it";
    }
}
