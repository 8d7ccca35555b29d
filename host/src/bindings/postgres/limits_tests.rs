//! What one guest can take from the others, on a real PostgreSQL.

use super::tests::{Fixture, connect, ok};
use super::*;
use crate::postgres_server::Postgres;

#[tokio::test]
async fn one_who_waits_gets_a_connection_as_soon_as_others_lie_idle() {
    let f = Fixture::new();
    let mut holders = Vec::new();
    for _ in 0..MAX_ALL_CONNECTIONS / MAX_POOL_CONNECTIONS {
        let url = Postgres::shared().database();
        holders.extend((0..MAX_POOL_CONNECTIONS).map(|_| connect(&f.granted, &url, &Arc::default())));
    }
    for holder in &holders {
        ok(holder, "BEGIN").await;
    }
    let waiting = f.connect();
    // It is asked first, so it waits when the others begin to end.
    let (answer, ()) = tokio::join!(waiting.query("SELECT 1".into(), vec![]), async {
        for holder in &holders {
            ok(holder, "COMMIT").await;
        }
    });
    answer.unwrap();
}
