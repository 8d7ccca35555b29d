//! Who calls whom: a NestJS system the application, or the other way.

/// The direction of the calls of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// A Nest client calls a component.
    Inbound,
    /// A component calls a Nest service.
    Outbound,
    /// An event of a durable contract: a message without an answer.
    Event,
}
