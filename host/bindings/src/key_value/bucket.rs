//! Opens the JetStream stream of a bucket: creates it if it is missing, and checks it if it exists.
//!
//! A bucket that somebody else has created is used as it is, unless it could lose an acknowledged value by itself: it
//! must keep one value for each key, and refuse new values when it is full.

use super::error::Unfit;
use super::types::MAX_BUCKET_BYTES;
use anyhow::Context as _;
use async_nats::jetstream::kv;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use backon::{ExponentialBuilder, Retryable as _};
use souk_nats::{Nats, stream_capacity::SLACK_BYTES};
use std::time::Duration;

souk_manifest::fixed_limits! {
    /// The fixed limits of buckets.
    pub(crate) const FIXED_LIMITS = "key-value: NATS";

    /// The pause before a bucket that another host is creating is looked for again; it doubles each time.
    const MIN_PAUSE: Duration = Duration::from_millis(10);
    /// How often such a bucket is looked for again: 630 ms in all.
    const MAX_LOOKS: u32 = 6, "looks";
}

/// Opens the bucket `name`, and creates it if it is missing. Hosts that start together may create it at the same time.
pub(super) async fn open(nats: &Nats, name: &str) -> anyhow::Result<kv::Store> {
    let bucket = found_or_made(nats, name).await.with_context(|| format!("bucket {name}"))?;
    let Config { max_messages_per_subject: history, max_bytes, discard, .. } = bucket.stream.cached_info().config;
    if history != 1 {
        let why = format!("bucket {name} keeps {history} values of a key, not 1");
        return Err(Unfit { why, fix: "create it with `--history=1`".to_owned() }.into());
    }
    if discard != DiscardPolicy::New && max_bytes > 0 {
        let why = format!("bucket {name} drops its oldest values when it is full");
        let fix = format!("let it refuse new ones: `nats stream edit KV_{name} --discard=new`");
        return Err(Unfit { why, fix }.into());
    }
    Ok(bucket)
}

async fn found_or_made(nats: &Nats, name: &str) -> anyhow::Result<kv::Store> {
    let jetstream = nats.jetstream();
    if let Ok(found) = jetstream.get_key_value(name).await {
        return Ok(found);
    }
    let config = settings(name, i64::try_from(MAX_BUCKET_BYTES + SLACK_BYTES)?, nats.replicas());
    let made = jetstream.create_stream(config).await;
    // If creating it failed, another host may be creating it, with other settings: the server may report that before it
    // knows the name.
    let looks = if made.is_err() { usize::try_from(MAX_LOOKS)? } else { 0 };
    let pauses = ExponentialBuilder::default().with_min_delay(MIN_PAUSE).with_max_times(looks);
    let found = (|| jetstream.get_key_value(name)).retry(pauses).await;
    found.map_err(|error| made.err().map_or_else(|| error.into(), Into::into))
}

/// The stream that is the bucket `name`. The client's own function to create one relies on answers that older servers
/// (such as 2.9) do not give.
pub(super) fn settings(name: &str, max_bytes: i64, replicas: usize) -> Config {
    Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        max_bytes,
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..Default::default()
    }
}
