//! The messages of durable links, wherever they are: in the running host or, when none runs here, in the state folder or on
//! NATS.

use crate::admin::RunningHost;
use souk_links::durable::operator::{self, FoundEvents, Request};
use souk_links::durable::{FileQueue, JetStreamQueue, Queue};
use souk_manifest::NatsConfig;
use souk_manifest::limits::EdgeLimits;
use souk_manifest::state::StateFolder;
use souk_nats::Nats;
use std::collections::BTreeSet;

/// Where the messages are.
pub(super) enum Messages {
    /// In a running host.
    Host(RunningHost),
    /// In this process, which holds the state folder; without a queue when there never was one.
    Here(Option<Queue>, #[expect(dead_code, reason = "held, so that no host starts meanwhile")] StateFolder),
    /// On NATS; without a queue when there never was one.
    Nats(Option<Queue>),
}

impl Messages {
    /// Those in a state folder that no host holds.
    pub(super) async fn open(state: StateFolder) -> anyhow::Result<Self> {
        let path = state.messages();
        let open = move || {
            path.exists().then(|| FileQueue::open(&path, EdgeLimits::default().durable_bytes.as_u64())).transpose()
        };
        let queue = tokio::task::spawn_blocking(open).await?;
        let queue = queue.map_err(|e| e.context("the queue of messages cannot be opened"))?;
        Ok(Messages::Here(queue.map(Queue::File), state))
    }

    /// Those on NATS.
    pub(super) async fn on_nats(
        application: &str,
        config: &NatsConfig,
        components: BTreeSet<String>,
    ) -> anyhow::Result<Self> {
        let nats = Nats::connect(config, application).await?;
        let queue = JetStreamQueue::find(nats, EdgeLimits::default().durable_bytes.as_u64(), components).await?;
        Ok(Messages::Nats(queue.map(Queue::JetStream)))
    }

    /// Runs a request on them.
    pub(super) async fn ask(&mut self, request: Request) -> anyhow::Result<FoundEvents> {
        Ok(match self {
            Messages::Host(host) => host.messages(&request).await?,
            Messages::Here(queue, _) | Messages::Nats(queue) => operator::run(queue.as_ref(), request).await?,
        })
    }
}
