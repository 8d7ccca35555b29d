//! A test component that loops, leaks, panics and tries to use what it is not granted. It also has well-behaved
//! functions.
//!
//! Scenarios use it to show that the host withstands it. Each behaviour is one function of `souk-test:rogue/deeds`.

use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::sqlite::Value;
use spin_sdk::sqlite::wit::sqlite::Connection;
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::filesystem::preopens::get_directories;
use spin_sdk::wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{Fields, Request};
use spin_sdk::wasip3::{wit_future, wit_stream};
use spin_sdk::wit_bindgen;
use std::future::{Future as _, poll_fn};
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

mod reading;

wit_bindgen::generate!({
    world: "souk-test:rogue/rogue",
    path: ["../../../wit/deps/wasi-keyvalue-2024-10-17", "../wit"],
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

use exports::souk_test::rogue::{bare, deeds, events};
use wasi::keyvalue::{atomics, batch, store};

/// How long deeds that take something keep it.
const HOLD_NANOSECONDS: u64 = 500_000_000;
/// The database that the manifest grants.
const DATABASE: &str = "default";

/// Opens the granted file.
async fn open_granted(root: &Descriptor) -> Result<Descriptor, ErrorCode> {
    root.open_at(PathFlags::empty(), "granted.txt".to_owned(), OpenFlags::empty(), DescriptorFlags::READ).await
}

struct Rogue;
export!(Rogue);

static CALLS: AtomicU32 = AtomicU32::new(0);

fn failed(error: impl std::fmt::Debug) -> deeds::Error {
    deeds::Error::Failed(format!("{error:?}"))
}

fn wait(ms: u32) {
    std::thread::sleep(Duration::from_millis(ms.into()));
}

/// Runs one statement and returns the first value of each row.
fn run(db: &Connection, sql: &str, parameters: &[&str]) -> Result<Vec<Value>, deeds::Error> {
    let parameters: Vec<Value> = parameters.iter().map(|p| Value::Text((*p).to_owned())).collect();
    let rows = db.execute(sql, &parameters).map_err(failed)?.rows;
    Ok(rows.into_iter().filter_map(|row| row.values.into_iter().next()).collect())
}

fn granted() -> Result<Connection, deeds::Error> {
    Connection::open(DATABASE).map_err(failed)
}

fn increment(store: &str, key: &str) -> Result<u32, deeds::Error> {
    let bucket = store::open(store).map_err(failed)?;
    let mut cas = atomics::Cas::new(&bucket, key).map_err(failed)?;
    loop {
        let current = cas.current().map_err(failed)?.unwrap_or_default();
        let next = String::from_utf8_lossy(&current).parse::<u32>().unwrap_or(0) + 1;
        match atomics::swap(cas, next.to_string().as_bytes()) {
            Ok(()) => return Ok(next),
            Err(atomics::CasError::CasFailed(newer)) => cas = newer,
            Err(atomics::CasError::StoreError(e)) => return Err(failed(e)),
        }
    }
}

const INSERT: &str = "INSERT INTO rows (note) VALUES (?)";

impl deeds::Guest for Rogue {
    fn answer(n: u32) -> Result<u32, deeds::Error> {
        Ok(n)
    }

    fn hold(ms: u32) -> Result<u32, deeds::Error> {
        wait(ms);
        Ok(ms)
    }

    fn forever() -> Result<u32, deeds::Error> {
        let mut n = 0_u32;
        loop {
            n = black_box(n.wrapping_add(1));
        }
    }

    fn grow(mib: u32) -> Result<u32, deeds::Error> {
        let held: Vec<Vec<u8>> = (0..mib).map(|_| black_box(vec![1; 1 << 20])).collect();
        Ok(black_box(held).len() as u32)
    }

    fn boom() -> Result<u32, deeds::Error> {
        panic!("boom, with the secret detail swordfish")
    }

    fn count() -> Result<u32, deeds::Error> {
        Ok(CALLS.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn big(n: u32) -> Result<Vec<u8>, deeds::Error> {
        Ok((0..n).map(|i| i as u8).collect())
    }

    fn print(text: String) -> Result<u32, deeds::Error> {
        println!("{text}");
        Ok(0)
    }

    fn print_lines(lines: u32, bytes: u32) -> Result<u32, deeds::Error> {
        let line = "x".repeat(bytes as usize);
        for _ in 0..lines {
            println!("{line}");
        }
        Ok(lines)
    }

    fn hoard_headers(count: u32, bytes: u32) -> Result<u32, deeds::Error> {
        let value = vec![b'x'; bytes as usize];
        let held: Vec<_> = (0..count)
            .map_while(|_| {
                let fields = Fields::new();
                fields.append("x", &value).ok().map(|()| fields)
            })
            .collect();
        Ok(black_box(held).len() as u32)
    }

    async fn hoard_requests(count: u32, bytes: u32) -> Result<u32, deeds::Error> {
        let value = vec![b'x'; bytes as usize];
        let mut sent = Vec::new();
        for _ in 0..count {
            let fields = Fields::new();
            if fields.append("x", &value).is_err() {
                break;
            }
            let (_, trailers) = wit_future::new(|| Ok(None));
            let (request, _) = Request::new(fields, None, trailers, None);
            request.set_path_with_query(Some("/rogue/hold/500")).map_err(failed)?;
            let mut response = Box::pin(client::send(request));
            if poll_fn(|cx| Poll::Ready(response.as_mut().poll(cx).is_pending())).await {
                sent.push(response);
            }
        }
        monotonic_clock::wait_for(HOLD_NANOSECONDS).await;
        Ok(black_box(sent).len() as u32)
    }

    fn hoard_files(count: u32) -> Result<u32, deeds::Error> {
        let held: Vec<_> = (0..count).map_while(|_| std::fs::File::open("/granted.txt").ok()).collect();
        Ok(black_box(held).len() as u32)
    }

    async fn hoard_file_streams(count: u32) -> Result<u32, deeds::Error> {
        let (root, _) = get_directories().into_iter().next().ok_or(deeds::Error::Failed("no folder".to_owned()))?;
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(open_granted(&root).await.map_err(failed)?.read_via_stream(0));
        }
        monotonic_clock::wait_for(HOLD_NANOSECONDS).await;
        Ok(black_box(held).len() as u32)
    }

    async fn hoard_opens(count: u32) -> Result<u32, deeds::Error> {
        let (root, _) = get_directories().into_iter().next().ok_or(deeds::Error::Failed("no folder".to_owned()))?;
        let mut opening: Vec<_> = (0..count).map(|_| Box::pin(open_granted(&root))).collect();
        let mut begin = |cx: &mut Context<'_>| {
            opening.iter_mut().map(|open| open.as_mut().poll(cx).is_pending()).filter(|pending| *pending).count()
        };
        let begun = poll_fn(|cx| Poll::Ready(begin(cx))).await;
        monotonic_clock::wait_for(HOLD_NANOSECONDS).await;
        Ok(begun as u32)
    }

    async fn hoard_directories(count: u32) -> Result<u32, deeds::Error> {
        let (root, _) = get_directories().into_iter().next().ok_or(deeds::Error::Failed("no folder".to_owned()))?;
        let held: Vec<_> = (0..count).map(|_| root.read_directory()).collect();
        monotonic_clock::wait_for(HOLD_NANOSECONDS).await;
        Ok(black_box(held).len() as u32)
    }

    async fn hoard_keys(count: u32) -> Result<u32, deeds::Error> {
        let entries: Vec<_> = (0..256).map(|n| (format!("{n:0250}"), Vec::new())).collect();
        batch::set_many(&store::open("default").map_err(failed)?, &entries).map_err(failed)?;
        let store = spin_sdk::key_value::Store::open_default().await.map_err(failed)?;
        let mut held = Vec::new();
        for _ in 0..count {
            let (mut keys, outcome) = store.get_keys().await.into_inner();
            if keys.next().await.is_none() {
                break;
            }
            held.push((keys, outcome));
        }
        monotonic_clock::wait_for(HOLD_NANOSECONDS).await;
        Ok(black_box(held).len() as u32)
    }

    fn strain(how: String, n: u32) -> Result<u32, deeds::Error> {
        let db = granted()?;
        let statements: &[String] = match how.as_str() {
            "write" => &[
                "CREATE TABLE IF NOT EXISTS strain (bytes BLOB)".into(),
                format!(
                    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT {n}) \
                     INSERT INTO strain SELECT randomblob(100000) FROM r"
                ),
                "DELETE FROM strain".into(),
            ],
            "scan" => &[format!(
                "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT {n}) \
                 SELECT count(*) + (SELECT count(*) FROM rows) FROM r"
            )],
            _ => &[format!(
                "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT {n}) \
                 SELECT max(length(b)) FROM (SELECT randomblob(1000) AS b FROM r ORDER BY b LIMIT -1 OFFSET 1)"
            )],
        };
        for statement in statements {
            run(&db, statement, &[])?;
        }
        Ok(n)
    }

    fn read_variable(name: String) -> Result<String, deeds::Error> {
        souk_variables::get(&name).map_err(failed)
    }

    async fn fetch(url: String) -> Result<u16, deeds::Error> {
        let response = spin_sdk::http::get(url).await.map_err(failed)?;
        let status = response.status().as_u16();
        response.into_body().bytes().await.map_err(failed)?;
        Ok(status)
    }

    fn key_value_get(store: String, key: String) -> Result<Option<String>, deeds::Error> {
        let value = store::open(&store).map_err(failed)?.get(&key).map_err(failed)?;
        Ok(value.map(|v| String::from_utf8_lossy(&v).into_owned()))
    }

    fn key_value_set(store: String, key: String, value: String) -> Result<u32, deeds::Error> {
        store::open(&store).map_err(failed)?.set(&key, value.as_bytes()).map_err(failed)?;
        Ok(0)
    }

    fn key_value_increment(store: String, key: String) -> Result<u32, deeds::Error> {
        increment(&store, &key)
    }

    fn set_keys(count: u32) -> Result<u32, deeds::Error> {
        let entries: Vec<_> = (0..count).map(|n| (format!("{n:04}"), Vec::new())).collect();
        let bucket = store::open("default").map_err(failed)?;
        for entries in entries.chunks(100) {
            batch::set_many(&bucket, entries).map_err(failed)?;
        }
        Ok(count)
    }

    async fn read_keys(way: deeds::Way, n: u32) -> Result<Vec<String>, deeds::Error> {
        let store = spin_sdk::key_value::Store::open_default().await.map_err(failed)?;
        let (keys, outcome) = store.get_keys().await.into_inner();
        let keys = reading::read(keys, way, n as usize).await;
        outcome.await.map_err(failed)?;
        Ok(keys)
    }

    async fn read_rows(count: u32, way: deeds::Way, n: u32) -> Result<Vec<String>, deeds::Error> {
        let sql = "WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r LIMIT ?) \
                   SELECT printf('%04d', n) FROM r";
        let db = spin_sdk::sqlite::Connection::open(DATABASE).await.map_err(failed)?;
        let rows = db.execute(sql, [Value::Integer(count.into())]).await.map_err(failed)?;
        let (_, rows, outcome) = rows.into_inner();
        let rows = reading::read(rows, way, n as usize).await;
        outcome.await.map_err(failed)?;
        let text = |value| if let Some(Value::Text(text)) = value { Ok(text) } else { Err(failed(value)) };
        rows.into_iter().map(|row| text(row.values.into_iter().next())).collect()
    }

    async fn hoard_calls(count: u32, bytes: u32) -> Result<u32, deeds::Error> {
        let sql = "WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r) SELECT sum(length(?)) FROM r";
        let db = spin_sdk::sqlite::Connection::open(DATABASE).await.map_err(failed)?;
        let call = |_| Box::pin(db.execute(sql, [Value::Blob(vec![1; bytes as usize])]));
        let mut calls: Vec<_> = (0..count).map(call).collect();
        let mut begin = |cx: &mut Context<'_>| {
            calls.iter_mut().map(|call| call.as_mut().poll(cx).is_pending()).filter(|pending| *pending).count()
        };
        Ok(poll_fn(|cx| Poll::Ready(begin(cx))).await as u32)
    }

    fn hoard_streams(count: u32) -> Result<u32, deeds::Error> {
        let held: Vec<_> = (0..count).map(|_| wit_stream::new::<u8>()).collect();
        Ok(black_box(held).len() as u32)
    }

    fn open_database(label: String) -> Result<u32, deeds::Error> {
        let db = Connection::open(&label).map_err(failed)?;
        run(&db, "SELECT 1", &[])?;
        Ok(1)
    }

    fn insert_row(note: String) -> Result<u32, deeds::Error> {
        run(&granted()?, INSERT, &[&note])?;
        Ok(0)
    }

    fn count_rows(note: String) -> Result<u32, deeds::Error> {
        let rows = run(&granted()?, "SELECT count(*) FROM rows WHERE note = ?", &[&note])?;
        match rows.first() {
            Some(Value::Integer(n)) => Ok(*n as u32),
            other => Err(failed(other)),
        }
    }

    fn begin_and_leave(note: String) -> Result<u32, deeds::Error> {
        let db = granted()?;
        run(&db, "BEGIN IMMEDIATE", &[])?;
        run(&db, INSERT, &[&note])?;
        // The guest never drops the handle, so only the host can end this transaction.
        std::mem::forget(db);
        Ok(0)
    }

    fn insert_and_hold(note: String, ms: u32) -> Result<u32, deeds::Error> {
        let db = granted()?;
        run(&db, "BEGIN IMMEDIATE", &[])?;
        run(&db, INSERT, &[&note])?;
        println!("holding {note}");
        wait(ms);
        run(&db, "COMMIT", &[])?;
        Ok(0)
    }
}

impl events::Guest for Rogue {
    fn handle(id: String, deed: events::Deed, _note: String) -> Result<(), events::DeliveryError> {
        let tries = increment("default", &format!("tries:{id}")).map_err(failing)?;
        match deed {
            events::Deed::Retry(first) if tries <= first => {
                return Err(events::DeliveryError::Retry(format!("try {tries} is too early")));
            }
            events::Deed::Reject => return Err(events::DeliveryError::Reject(format!("{id} is of no use"))),
            events::Deed::Trap(first) => assert!(tries > first, "boom, with the secret detail swordfish"),
            events::Deed::Wait(ms) => {
                println!("handling {id}");
                if tries == 1 {
                    wait(ms);
                }
            }
            events::Deed::Finish | events::Deed::Retry(_) => {}
        }
        increment("default", &format!("done:{id}")).map_err(failing)?;
        Ok(())
    }
}

fn failing(error: deeds::Error) -> events::DeliveryError {
    events::DeliveryError::Retry(format!("{error:?}"))
}

impl bare::Guest for Rogue {
    fn answer(n: u32) -> u32 {
        assert!(n > 0, "the answer cannot be 0");
        n
    }
}
