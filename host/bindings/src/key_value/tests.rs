//! Calls the interfaces as the generated code does, on real stores.

use super::wasi::{atomics, batch};
use super::*;
use crate::tests::{ctx, store as wasm_store};
use tempfile::TempDir;

/// An instance that is granted the store `default`, and the folder that keeps it.
fn instance() -> (TempDir, Ctx) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&dir.path().join("default.db"), "default").unwrap());
    (dir, ctx(|grants| drop(grants.key_value.insert("default".into(), store))))
}

fn again<T: 'static>(handle: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(handle.rep())
}

mod through_wasi {
    use super::*;
    use crate::key_value::wasi::wit::{self, Host as _, HostBucket as _};
    use atomics::{Host as _, HostCas as _};
    use batch::Host as _;

    async fn open(ctx: &mut Ctx) -> Resource<Handle> {
        wit::Host::open(ctx, "default".into()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_label_that_is_not_granted_is_denied() {
        let (_dir, mut ctx) = instance();
        for label in ["other", "", "DEFAULT", "../default"] {
            assert!(matches!(ctx.open(label.into()).await.unwrap(), Err(wit::Error::AccessDenied)), "{label}");
        }
    }

    #[tokio::test]
    async fn handles_are_bounded_and_dropping_one_makes_room() {
        let (_dir, mut ctx) = instance();
        let first = open(&mut ctx).await;
        for _ in 1..MAX_OPEN_HANDLES {
            open(&mut ctx).await;
        }
        assert!(matches!(ctx.open("default".into()).await.unwrap(), Err(wit::Error::Other(_))));
        assert!(ctx.new(again(&first), "k".into()).await.unwrap().is_err());
        wit::HostBucket::drop(&mut ctx, first).await.unwrap();
        open(&mut ctx).await;
    }

    #[tokio::test]
    async fn a_listing_ends_without_a_cursor() {
        let (_dir, mut ctx) = instance();
        let bucket = open(&mut ctx).await;
        let entries: Vec<_> = (0..KEYS_PAGE + 1).map(|n| (format!("{n:04}"), vec![])).collect();
        ctx.set_many(again(&bucket), entries).await.unwrap().unwrap();
        let page = ctx.list_keys(again(&bucket), None).await.unwrap().unwrap();
        assert_eq!((page.keys.len(), page.cursor.as_deref()), (KEYS_PAGE, Some("0255")));
        let page = ctx.list_keys(again(&bucket), page.cursor).await.unwrap().unwrap();
        assert_eq!((page.keys, page.cursor), (vec!["0256".to_owned()], None));
    }

    #[tokio::test]
    async fn a_failed_swap_returns_a_handle_with_which_a_retry_succeeds() {
        let (_dir, mut ctx) = instance();
        let bucket = open(&mut ctx).await;
        let cas = ctx.new(again(&bucket), "k".into()).await.unwrap().unwrap();
        ctx.set(again(&bucket), "k".into(), b"theirs".to_vec()).await.unwrap().unwrap();
        let failed = ctx.swap(cas, b"mine".to_vec()).await.unwrap();
        let Err(atomics::CasError::CasFailed(renewed)) = failed else { panic!("the swap went through") };
        assert_eq!(ctx.current(again(&renewed)).await.unwrap().unwrap(), Some(b"theirs".to_vec()));
        ctx.swap(renewed, b"mine".to_vec()).await.unwrap().unwrap();
        assert_eq!(ctx.get(again(&bucket), "k".into()).await.unwrap().unwrap(), Some(b"mine".to_vec()));
        assert_eq!(ctx.key_value_open, 1, "only the bucket is open");
    }

    #[tokio::test]
    async fn current_moves_the_handle_to_the_value_that_it_returns() {
        let (_dir, mut ctx) = instance();
        let bucket = open(&mut ctx).await;
        let cas = ctx.new(again(&bucket), "k".into()).await.unwrap().unwrap();
        ctx.set(again(&bucket), "k".into(), b"seen".to_vec()).await.unwrap().unwrap();
        assert_eq!(ctx.current(again(&cas)).await.unwrap().unwrap(), Some(b"seen".to_vec()));
        ctx.swap(cas, b"next".to_vec()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn every_function_does_what_its_contract_says() {
        let (_dir, mut ctx) = instance();
        let bucket = open(&mut ctx).await;
        assert_eq!(ctx.increment(again(&bucket), "n".into(), 5).await.unwrap().unwrap(), 5);
        assert_eq!(ctx.increment(again(&bucket), "n".into(), -7).await.unwrap().unwrap(), -2);
        assert!(ctx.exists(again(&bucket), "n".into()).await.unwrap().unwrap());
        ctx.delete(again(&bucket), "n".into()).await.unwrap().unwrap();
        assert!(!ctx.exists(again(&bucket), "n".into()).await.unwrap().unwrap());
        ctx.set_many(again(&bucket), vec![("a".into(), vec![1]), ("b".into(), vec![2])]).await.unwrap().unwrap();
        ctx.delete_many(again(&bucket), vec!["a".into()]).await.unwrap().unwrap();
        let found = ctx.get_many(again(&bucket), vec!["a".into(), "b".into()]).await.unwrap().unwrap();
        assert_eq!(found, [("a".to_owned(), None), ("b".to_owned(), Some(vec![2]))]);
        let error = ctx.set(again(&bucket), "k".repeat(256), vec![]).await.unwrap().unwrap_err();
        assert!(matches!(error, wit::Error::Other(text) if text.contains("at most 255")));
    }
}

mod through_spin_2 {
    use super::*;
    use crate::key_value::spin_2::wit::{self, HostStore as _};

    #[tokio::test]
    async fn the_older_interface_reaches_the_same_keys_and_lists_all_of_them() {
        let (_dir, mut ctx) = instance();
        assert!(matches!(wit::HostStore::open(&mut ctx, "other".into()).await.unwrap(), Err(wit::Error::AccessDenied)));
        let store = wit::HostStore::open(&mut ctx, "default".into()).await.unwrap().unwrap();
        let keys: Vec<String> = (0..2 * KEYS_PAGE + 1).map(|n| format!("{n:04}")).collect();
        for key in &keys {
            ctx.set(again(&store), key.clone(), b"value".to_vec()).await.unwrap().unwrap();
        }
        assert_eq!(ctx.get_keys(again(&store)).await.unwrap().unwrap(), keys);
        assert_eq!(ctx.get(again(&store), "0007".into()).await.unwrap().unwrap().unwrap(), b"value");
        ctx.delete(again(&store), "0007".into()).await.unwrap().unwrap();
        assert!(!ctx.exists(again(&store), "0007".into()).await.unwrap().unwrap());
        wit::HostStore::drop(&mut ctx, store).await.unwrap();
        assert_eq!(ctx.key_value_open, 0);
    }

    #[tokio::test]
    async fn a_list_of_keys_that_is_too_long_is_refused() {
        let (_dir, mut ctx) = instance();
        let granted = ctx.grants.key_value["default"].clone();
        let keys = MAX_LISTED_KEYS_BYTES / MAX_KEY_BYTES + 1;
        let entry = |n: usize| (format!("{n:0width$}", width = MAX_KEY_BYTES), Vec::new());
        for batch in (0..keys).collect::<Vec<_>>().chunks(MAX_BATCH_KEYS) {
            granted.set_many(batch.iter().map(|n| entry(*n)).collect()).await.unwrap();
        }
        let store = wit::HostStore::open(&mut ctx, "default".into()).await.unwrap().unwrap();
        let Err(wit::Error::Other(text)) = ctx.get_keys(store).await.unwrap() else { panic!("a list without bound") };
        assert!(text.contains("wasi:keyvalue"), "{text}");
    }
}

mod through_spin {
    use super::*;
    use crate::key_value::spin::wit::{self, HostStoreWithStore as _};
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll};
    use tokio::sync::oneshot;
    use wasmtime::StoreContextMut;
    use wasmtime::component::{HasSelf, Source, StreamConsumer, StreamResult};

    type Spin = HasSelf<Ctx>;

    /// Reads a stream of keys into `keys`, and drops `_end` when the stream has ended.
    struct Collect {
        keys: Arc<Mutex<Vec<String>>>,
        _end: oneshot::Sender<()>,
    }

    impl StreamConsumer<Ctx> for Collect {
        type Item = String;

        fn poll_consume(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            mut store: StoreContextMut<Ctx>,
            mut source: Source<'_, String>,
            _: bool,
        ) -> Poll<wasmtime::Result<StreamResult>> {
            let mut keys = Vec::with_capacity(100);
            source.read(&mut store, &mut keys)?;
            self.keys.lock().unwrap().append(&mut keys);
            Poll::Ready(Ok(StreamResult::Completed))
        }
    }

    #[tokio::test]
    async fn every_function_does_what_its_contract_says() {
        let (_dir, ctx) = instance();
        let mut store = wasm_store(ctx);
        let done = store.run_concurrent(async |guest| {
            let denied = Spin::open(guest, "other".into()).await.unwrap();
            assert!(matches!(denied, Err(wit::Error::AccessDenied)));
            let handle = Spin::open(guest, "default".into()).await.unwrap().unwrap();
            assert_eq!(Spin::get(guest, again(&handle), "k".into()).await.unwrap().unwrap(), None);
            Spin::set(guest, again(&handle), "k".into(), vec![1]).await.unwrap().unwrap();
            assert_eq!(Spin::get(guest, again(&handle), "k".into()).await.unwrap().unwrap(), Some(vec![1]));
            assert!(Spin::exists(guest, again(&handle), "k".into()).await.unwrap().unwrap());
            Spin::delete(guest, again(&handle), "k".into()).await.unwrap().unwrap();
            assert!(!Spin::exists(guest, again(&handle), "k".into()).await.unwrap().unwrap());
            let error = Spin::set(guest, again(&handle), "k".repeat(256), vec![]).await.unwrap().unwrap_err();
            assert!(matches!(error, wit::Error::Other(text) if text.contains("at most 255")));
        });
        done.await.unwrap();
    }

    #[tokio::test]
    async fn the_store_table_is_bounded() {
        let (_dir, ctx) = instance();
        let mut store = wasm_store(ctx);
        let done = store.run_concurrent(async |guest| {
            for _ in 0..MAX_OPEN_HANDLES {
                Spin::open(guest, "default".into()).await.unwrap().unwrap();
            }
            let full = Spin::open(guest, "default".into()).await.unwrap();
            assert!(matches!(full, Err(wit::Error::StoreTableFull)));
        });
        done.await.unwrap();
    }

    #[tokio::test]
    async fn all_keys_are_streamed_over_several_pages() {
        let (_dir, ctx) = instance();
        let default = ctx.grants.key_value["default"].clone();
        let expected: Vec<_> = (0..2 * KEYS_PAGE + 10).map(|n| format!("{n:04}")).collect();
        default.set_many(expected.iter().map(|key| (key.clone(), vec![])).collect()).await.unwrap();
        let keys = Arc::new(Mutex::new(Vec::new()));
        let mut store = wasm_store(ctx);
        let done = store.run_concurrent(async |guest| {
            let handle = Spin::open(guest, "default".into()).await.unwrap().unwrap();
            let (stream, mut end) = Spin::get_keys(guest, again(&handle)).await.unwrap();
            let (sender, ended) = oneshot::channel();
            guest.with(|access| stream.pipe(access, Collect { keys: keys.clone(), _end: sender })).unwrap();
            ended.await.unwrap_err();
            guest.with(|access| end.close(access)).unwrap();
        });
        done.await.unwrap();
        assert_eq!(*keys.lock().unwrap(), expected);
    }
}
