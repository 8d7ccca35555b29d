//! An empty store of each kind, for tests.

use super::Store;
use super::bucket::settings;
use souk_manifest::{NatsConfig, RedisUrl};
use souk_nats::Nats;
use souk_test::nats as nats_server;
use souk_test::redis::Redis;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    File,
    Nats,
    Redis,
    #[cfg(feature = "mongodb")]
    Mongo,
}

/// Where a test keeps its store.
pub(super) enum TestStore {
    File(TempDir),
    Nats(String),
    Redis(Box<RedisUrl>),
    #[cfg(feature = "mongodb")]
    Mongo(Box<souk_manifest::MongoUrl>),
}

impl TestStore {
    pub(super) async fn new(kind: Kind) -> TestStore {
        match kind {
            Kind::File => TestStore::File(tempfile::tempdir().unwrap()),
            Kind::Nats => {
                static BUCKETS: AtomicU32 = AtomicU32::new(0);
                let bucket = format!("test_{}", BUCKETS.fetch_add(1, Ordering::Relaxed));
                // JetStream reserves the space of a bucket, and all tests share one server, so the bucket is small.
                let settings = settings(&bucket, 16 << 20, 1);
                nats(&shared_nats().url()).await.jetstream().create_stream(settings).await.unwrap();
                TestStore::Nats(bucket)
            }
            Kind::Redis => {
                let url = tokio::task::spawn_blocking(|| Redis::shared().database()).await.unwrap();
                TestStore::Redis(Box::new(RedisUrl::parse(&url).unwrap()))
            }
            #[cfg(feature = "mongodb")]
            Kind::Mongo => {
                let server = || souk_test::mongodb::MongoDb::shared().database();
                let url = tokio::task::spawn_blocking(server).await.unwrap();
                TestStore::Mongo(Box::new(souk_manifest::MongoUrl::parse(&url).unwrap()))
            }
        }
    }

    /// Opens the store, as another host would.
    pub(super) async fn open(&self) -> Store {
        match self {
            TestStore::File(dir) => Store::open(&dir.path().join("default.db"), "default").unwrap(),
            TestStore::Nats(bucket) => {
                let nats = nats(&shared_nats().url()).await;
                Store::in_nats(&nats, Some(bucket), "default").await.unwrap()
            }
            TestStore::Redis(url) => Store::in_redis(url, "default").await.unwrap(),
            #[cfg(feature = "mongodb")]
            TestStore::Mongo(url) => Store::in_mongodb(url, "souk_default", "default").await.unwrap(),
        }
    }
}

fn shared_nats() -> &'static nats_server::Nats {
    static SHARED: OnceLock<nats_server::Nats> = OnceLock::new();
    SHARED.get_or_init(nats_server::Nats::start)
}

/// A connection with a host's settings.
pub(super) async fn nats(urls: &str) -> Nats {
    let servers = urls.split(',').map(|url| url.parse().unwrap()).collect();
    Nats::connect(&NatsConfig { servers, ..NatsConfig::default() }, "test").await.unwrap()
}
