//! Tests downloads from a server on this machine.

use super::*;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Redirect;
use axum::routing::get;
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const CODE: &[u8] = b"\0asm and more";
/// The largest component in these tests.
const MAX_BYTES: u64 = 4 << 20;

/// A server with a component, its address, the count of its requests, and the headers that they had.
async fn server() -> (String, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>) {
    let (asked, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (counted, noted) = (asked.clone(), seen.clone());
    let file = move |headers: HeaderMap| {
        counted.fetch_add(1, Ordering::Relaxed);
        noted.lock().unwrap().extend(headers.keys().map(ToString::to_string));
        async { CODE }
    };
    let announced = || async {
        let silent = futures::stream::pending::<Result<Vec<u8>, std::convert::Infallible>>();
        ([(header::CONTENT_LENGTH, "4194305")], Body::from_stream(silent))
    };
    let endless = || async {
        let chunk = || futures::future::ready(Ok::<_, std::convert::Infallible>(vec![0_u8; 1 << 20]));
        Body::from_stream(futures::stream::repeat_with(chunk).then(|chunk| chunk))
    };
    let router = Router::new()
        .route("/a.wasm", get(file))
        .route("/moved", get(|| async { Redirect::temporary("/a.wasm") }))
        .route("/gone", get(|| async { StatusCode::GONE }))
        .route("/announced", get(announced))
        .route("/endless", get(endless));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), asked, seen)
}
use futures::StreamExt as _;

/// An application with a component at `url` with `digest`.
fn application(url: &str, digest: &str) -> Application {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("spin.toml");
    let source = format!("{{ url = \"{url}\", digest = \"sha256:{digest}\" }}");
    let text = format!(
        "spin_manifest_version = 2\napplication.name = \"t\"\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n\
         [component.a]\nsource = {source}\n"
    );
    std::fs::write(&manifest, text).unwrap();
    let options = souk_manifest::LoadOptions { manifest, ..Default::default() };
    let secrets = state::secrets_of(folder.path());
    let host = souk_manifest::HostValues { url: String::new(), secrets };
    souk_manifest::read(&options).unwrap().fill_in(&host).unwrap().application
}

fn digest() -> String {
    hex(&Sha256::digest(CODE))
}

/// Fetches what `application` needs into `state`; returns the notes.
async fn fetched(application: &Application, state: &Path) -> Result<Vec<String>, FetchError> {
    let wanted = application.components.values().filter_map(|component| {
        let download = component.download.clone()?;
        Some(ComponentDownload { component: component.name.clone(), line: component.line, download })
    });
    let notes = RefCell::new(Vec::new());
    fetch_at_most(MAX_BYTES, wanted.collect(), Path::new("spin.toml"), state, |note| {
        notes.borrow_mut().push(note.to_owned())
    })
    .await?;
    Ok(notes.into_inner())
}

#[tokio::test]
async fn a_component_is_fetched_once_and_again_only_when_its_file_is_not_what_it_was() {
    let (url, asked, seen) = server().await;
    let state = tempfile::tempdir().unwrap();
    let mut application = application(&format!("{url}/a.wasm"), &digest());
    locate(&mut application, state.path());
    let source = application.components["a"].source.clone();
    for (round, times) in [(0, 1), (1, 1), (2, 2)] {
        if round == 2 {
            std::fs::write(&source, "something else").unwrap();
        }
        let notes = fetched(&application, state.path()).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), times, "round {round}: {notes:?}");
        assert_eq!(std::fs::read(&source).unwrap(), CODE);
    }
    let seen = seen.lock().unwrap();
    assert!(!seen.iter().any(|name| name == "authorization" || name == "cookie"), "{seen:?}");
}

#[tokio::test]
async fn what_is_not_as_the_manifest_says_is_refused_and_leaves_nothing_behind() {
    let (url, ..) = server().await;
    let wrong = "0".repeat(64);
    for (path, digest, why) in [
        ("/a.wasm", wrong.as_str(), "its digest is sha256:"),
        ("/moved", &digest(), "it redirects to 127.0.0.1, which is not https"),
        ("/gone", &digest(), "the server answered 410"),
        ("/announced", &digest(), "it is larger than 4 MiB"),
        ("/endless", &digest(), "it is larger than 4 MiB"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let application = application(&format!("{url}{path}"), digest);
        let error = fetched(&application, state.path()).await.unwrap_err().to_string();
        assert!(error.starts_with("spin.toml:6: component `a`: http://127.0.0.1:"), "{error}");
        assert!(error.contains(why) && error.contains("\n  fix: "), "{path}: {error}");
        let left = std::fs::read_dir(state::components_folder(state.path())).unwrap().count();
        assert_eq!(left, 0, "{path}");
    }
    let nobody = application("http://127.0.0.1:9/a.wasm", &digest());
    let error = fetched(&nobody, tempfile::tempdir().unwrap().path()).await.unwrap_err().to_string();
    assert!(error.contains("it cannot be fetched: "), "{error}");
}

#[tokio::test]
async fn all_components_that_cannot_be_fetched_are_reported_together() {
    let (url, ..) = server().await;
    let state = tempfile::tempdir().unwrap();
    let wanted = [("a", 6, "gone"), ("b", 9, "moved")].map(|(name, line, path)| {
        let application = application(&format!("{url}/{path}"), &digest());
        let download = application.components["a"].download.clone().unwrap();
        ComponentDownload { component: name.to_owned(), line, download }
    });
    let fetched = fetch_at_most(MAX_BYTES, wanted.into(), Path::new("spin.toml"), state.path(), |_| {});
    let error = fetched.await.unwrap_err().to_string();
    for fragment in ["spin.toml:6: component `a`: ", "answered 410", "spin.toml:9: component `b`: ", "is not https"] {
        assert!(error.contains(fragment), "{fragment}: {error}");
    }
    assert_eq!(error.matches("\n  fix: ").count(), 2, "{error}");
}
