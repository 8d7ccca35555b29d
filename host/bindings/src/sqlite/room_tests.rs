//! What one guest's statements may take from the others: the write-ahead log, memory, temporary files.

use super::tests::{FOR_EVER, Fixture, all, count_to, error, ok};
use super::*;

fn wal_bytes(f: &Fixture) -> u64 {
    let mut path = f.database.path().as_os_str().to_owned();
    path.push("-wal");
    std::fs::metadata(path).unwrap().len()
}

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn readers_that_overlap_do_not_keep_the_log_growing_and_are_told_why_they_ended() {
    let f = Fixture::sized("CREATE TABLE t (n, b); INSERT INTO t VALUES (0, zeroblob(200000))", 2 * MIB).await;
    let (reader, writer) = (f.connect(), f.connect());
    let endless = format!("SELECT c.n, t.n FROM ({}) AS c, t", count_to(FOR_EVER));
    let mut ended = 0;
    let mut streams = std::collections::VecDeque::new();
    for n in 0..100 {
        if n % 4 == 0 {
            if streams.len() == STREAM_READERS - 1 {
                let mut stream: RowStream = streams.pop_front().unwrap();
                while let Some(batch) = stream.next(usize::MAX).await {
                    if let Err(Error::Io(message)) = batch {
                        assert!(message.contains("2 MiB to `shop`"), "{message}");
                        ended += 1;
                    } else if n < 20 {
                        break;
                    }
                }
            }
            streams.push_back(reader.query_stream(endless.clone(), vec![]).await.unwrap());
        }
        ok(&writer, &format!("UPDATE t SET n = {n}, b = randomblob(200000)")).await;
        assert!(wal_bytes(&f) <= 3 * MIB, "{}", wal_bytes(&f));
    }
    assert!(ended > 0);
}

#[tokio::test]
async fn a_long_read_that_keeps_the_log_from_being_emptied_ends_with_an_error() {
    let f = Fixture::sized("CREATE TABLE t (n, b); INSERT INTO t VALUES (0, zeroblob(200000))", 2 * MIB).await;
    let (reader, writer) = (f.connect(), f.connect());
    let sql = format!("SELECT count(*) FROM ({}), t", count_to(FOR_EVER));
    let read = tokio::spawn(async move { error(&reader, &sql).await });
    while !read.is_finished() {
        ok(&writer, "UPDATE t SET b = randomblob(200000)").await;
        assert!(wal_bytes(&f) <= 3 * MIB);
    }
    let message = read.await.unwrap();
    assert!(message.contains("the read was ended"), "{message}");
}

#[tokio::test]
async fn writes_are_refused_while_another_program_keeps_the_log_from_being_emptied() {
    let f = Fixture::sized("CREATE TABLE t (n, b); INSERT INTO t VALUES (0, zeroblob(200000))", 2 * MIB).await;
    let writer = f.connect();
    let other = rusqlite::Connection::open(f.database.path()).unwrap();
    other.execute_batch("BEGIN; SELECT n FROM t").unwrap();
    let message = loop {
        match writer.execute("UPDATE t SET b = randomblob(200000)".into(), vec![]).await {
            Ok(_) => assert!(wal_bytes(&f) <= 9 * MIB),
            Err(Error::Io(message)) => break message,
            Err(e) => panic!("{e:?}"),
        }
    };
    assert!(message.contains("another program reads `shop`"), "{message}");
    drop(other);
    ok(&writer, "UPDATE t SET n = 1").await;
    assert!(wal_bytes(&f) < MIB);
    assert_eq!(all(writer.query_stream("SELECT n FROM t".into(), vec![]).await.unwrap()).await.len(), 1);
}
