//! Results that are too large for memory, and streamed rows.

use super::*;

#[tokio::test]
async fn a_result_too_large_to_keep_is_refused_and_can_be_streamed() {
    let f = Fixture::new("").await;
    let c = f.connect();
    let sql = format!("SELECT n, zeroblob(10000) FROM ({})", count_to(3_000));
    assert!(error(&c, &sql).await.contains("larger than 16 MiB"));
    let mut stream = c.query_stream(sql.clone(), vec![]).await.unwrap();
    assert_eq!(stream.take_columns(), ["n", "zeroblob(10000)"]);
    assert!(stream.bytes() <= 1 << 20, "only a few batches are held");
    let rows = all(stream).await;
    assert_eq!(rows.len(), 3_000);
    assert!(rows.iter().zip(1..).all(|(row, n)| row.values[0] == Value::Integer(n)));
    ok(&c, "BEGIN").await;
    assert!(c.query_stream(sql, vec![]).await.is_err(), "within a transaction it is read whole");
}

#[tokio::test]
async fn a_stream_gives_no_more_than_asked() {
    let f = Fixture::new("").await;
    let mut stream = f.connect().query_stream(count_to(5), vec![]).await.unwrap();
    assert_eq!(stream.next(2).await.unwrap().unwrap().len(), 2);
    assert_eq!(stream.next(10).await.unwrap().unwrap().len(), 3);
    assert!(stream.next(10).await.is_none());
}

#[tokio::test]
async fn a_stream_that_fails_late_says_so_after_its_rows() {
    let f = Fixture::new("").await;
    let sql =
        format!("SELECT CASE WHEN n < 50000 THEN n ELSE abs(-9223372036854775807 - 1) END FROM ({})", count_to(60_000));
    let mut stream = f.connect().query_stream(sql, vec![]).await.unwrap();
    let mut rows = 0;
    let failure = loop {
        match stream.next(usize::MAX).await {
            Some(Ok(batch)) => rows += batch.len(),
            other => break other,
        }
    };
    assert!(matches!(&failure, Some(Err(Error::Io(e))) if e.contains("integer overflow")), "{failure:?}");
    assert!(rows > 1_000, "{rows}");
}

#[tokio::test]
async fn unread_streams_leave_readers_for_short_reads_and_free_them_when_dropped() {
    let f = Fixture::new("CREATE TABLE t (n)").await;
    let c = f.connect();
    let mut streams = Vec::new();
    for _ in 0..STREAM_READERS {
        streams.push(c.query_stream(count_to(FOR_EVER), vec![]).await.unwrap());
    }
    assert_eq!(integer(&c, "SELECT 1").await, 1);
    ok(&c, "INSERT INTO t VALUES (1)").await;
    let whole = c.query_stream(count_to(20_000), vec![]).await.unwrap();
    assert!(whole.is_ready(), "one more is read whole");
    drop(streams);
    assert_eq!(integer(&c, &format!("SELECT count(*) FROM ({})", count_to(1_000_000))).await, 1_000_000);
}

/// Reads a component-model stream on the host's side.
struct Reader(tokio::sync::mpsc::UnboundedSender<RowResult>);

impl wasmtime::component::StreamConsumer<()> for Reader {
    type Item = RowResult;

    fn poll_consume(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        store: wasmtime::StoreContextMut<()>,
        mut source: wasmtime::component::Source<'_, RowResult>,
        _: bool,
    ) -> std::task::Poll<wasmtime::Result<wasmtime::component::StreamResult>> {
        let mut rows = Vec::with_capacity(100);
        source.read(store, &mut rows)?;
        rows.into_iter().for_each(|row| self.0.send(row).unwrap());
        std::task::Poll::Ready(Ok(wasmtime::component::StreamResult::Completed))
    }
}

#[tokio::test]
async fn a_guests_stream_gives_every_row_and_then_how_the_statement_ended() {
    use super::stream::{Counted, Unread};
    use crate::budget::ApplicationBudget;
    use crate::producer::Producer;
    let f = Fixture::new("").await;
    let engine = wasmtime::Engine::new(wasmtime::Config::new().wasm_component_model_async(true)).unwrap();
    let failing =
        format!("SELECT CASE WHEN n < 9000 THEN n ELSE abs(-9223372036854775807 - 1) END FROM ({})", count_to(9_500));
    for (sql, expected, fails) in [(count_to(0), 1, false), (count_to(20_000), 20_000, false), (failing, 8_000, true)] {
        let (unread, memory) = (Arc::default(), Arc::<ApplicationBudget>::default());
        let rows = f.connect().query_stream(sql, vec![]).await.unwrap();
        let (end, ended) = tokio::sync::oneshot::channel();
        let held = memory.hold(rows.bytes() as u64).unwrap();
        let rows = Counted { _unread: Unread::take(&unread, rows.bytes()).unwrap(), _held: held, rows };
        let producer = Producer::new(rows, Some(end));
        let mut store = wasmtime::Store::new(&engine, ());
        let (give, mut given) = tokio::sync::mpsc::unbounded_channel();
        wasmtime::component::StreamReader::new(&mut store, producer).unwrap().pipe(&mut store, Reader(give)).unwrap();
        let (outcome, count) = store
            .run_concurrent(async |_| {
                let mut count = 0;
                while let Some(row) = given.recv().await {
                    count += 1;
                    if let Value::Integer(n) = row.values[0] {
                        assert_eq!(n, count);
                    }
                }
                (ended.await.unwrap(), count)
            })
            .await
            .unwrap();
        assert_eq!(outcome.is_err(), fails);
        assert!(count == expected || (fails && count < 9_000 && count > 1_000), "{count}");
        drop(store);
        assert_eq!((unread.load(Ordering::Acquire), memory.memory.taken()), (0, 0));
    }
}

#[tokio::test]
async fn an_instance_has_a_bound_on_rows_that_it_does_not_read() {
    use super::stream::Unread;
    let unread = Arc::default();
    let first = Unread::take(&unread, MAX_RESULT_BYTES).unwrap();
    assert!(Unread::take(&unread, 1).is_err());
    drop(first);
    let _small = Unread::take(&unread, 1).unwrap();
    assert_eq!(unread.load(Ordering::Acquire), 1);
}

#[tokio::test]
async fn rows_of_a_transaction_can_be_read_while_it_goes_on() {
    let f = Fixture::new("CREATE TABLE t (n); INSERT INTO t VALUES (1), (2), (3)").await;
    let c = f.connect();
    ok(&c, "BEGIN").await;
    let mut stream = c.query_stream("SELECT n FROM t".into(), vec![]).await.unwrap();
    while let Some(row) = stream.next(1).await {
        let values = row.unwrap().remove(0).values;
        c.execute("UPDATE t SET n = n * 10 WHERE n = ?".into(), values).await.unwrap();
    }
    let mut stream = c.query_stream("DELETE FROM t RETURNING n".into(), vec![]).await.unwrap();
    assert_eq!(stream.next(9).await.unwrap().unwrap().len(), 3);
    ok(&c, "COMMIT").await;
    assert_eq!(integer(&c, "SELECT count(*) FROM t").await, 0);
}
