//! Tests with registries that attack the client or do not answer.

use super::credentials::tests::from;
use super::registry::Registry;
use super::*;
use axum::Router;
use axum::extract::{Path as Part, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// The requests to a server on this machine: the path, and the `authorization` header.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

#[derive(Clone)]
struct Fake {
    /// The other server's URL. The repository's name decides how the registry answers a request for a blob.
    elsewhere: String,
    manifest: Arc<Mutex<Vec<u8>>>,
    seen: Seen,
}

fn note(seen: &Seen, path: String, headers: &HeaderMap) -> Option<String> {
    let said = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    seen.lock().push((path, said.clone()));
    said
}

async fn manifest(
    State(fake): State<Fake>,
    Part((kind, version)): Part<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let said = note(&fake.seen, format!("manifests/{version}"), &headers);
    let ask = |challenge: String| (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    match (kind.as_str(), said) {
        ("basic", None) => ask("Basic realm=\"r\"".to_owned()),
        ("foreign", None) => ask(format!("Bearer realm=\"{}/token\",service=\"r\"", fake.elsewhere)),
        // The same server, under another name than the registry's.
        ("stranger", None) => {
            ask(format!("Bearer realm=\"{}/token\"", fake.elsewhere.replacen("127.0.0.1", "localhost", 1)))
        }
        ("closed", None) => ask(format!("Bearer realm=\"{}/none\"", fake.elsewhere)),
        ("metadata", None) => ask("Bearer realm=\"https://169.254.169.254/token\"".to_owned()),
        ("own", None) => {
            let host = headers.get(header::HOST).unwrap().to_str().unwrap();
            ask(format!("Bearer realm=\"http://{host}/token\",service=\"r\""))
        }
        ("endless", _) => endless(),
        ("down", _) => StatusCode::BAD_GATEWAY.into_response(),
        _ => fake.manifest.lock().clone().into_response(),
    }
}

fn endless() -> Response {
    let chunk = || futures::future::ready(Ok::<_, std::convert::Infallible>(vec![0_u8; 1 << 20]));
    axum::body::Body::from_stream(futures::StreamExt::then(futures::stream::repeat_with(chunk), |chunk| chunk))
        .into_response()
}

async fn blob(State(fake): State<Fake>, Part((kind, digest)): Part<(String, String)>, headers: HeaderMap) -> Response {
    note(&fake.seen, format!("blobs/{digest}"), &headers);
    let moved = |to: String| (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response();
    match kind.as_str() {
        "redirect" | "basic" => moved(format!("{}/blob", fake.elsewhere)),
        "metadata-blob" => moved("http://169.254.169.254/latest/meta-data".to_owned()),
        "plain" => moved("http://192.0.2.1/blob".to_owned()),
        "circle" => moved(format!("/v2/circle/blobs/{digest}")),
        "endless-blob" => endless(),
        "announced" => {
            let body =
                axum::body::Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::convert::Infallible>>());
            ([(header::CONTENT_LENGTH, "1000000")], body).into_response()
        }
        "other" => "another blob".into_response(),
        "short" => "a ".into_response(),
        _ => "a blob".into_response(),
    }
}

/// A registry and another server, and the requests that each received.
struct Servers {
    registry: String,
    elsewhere: String,
    fake: Fake,
    seen_elsewhere: Seen,
    folder: TempDir,
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

impl Servers {
    async fn start() -> Self {
        let seen_elsewhere = Seen::default();
        let seen = seen_elsewhere.clone();
        let token = move |headers: HeaderMap| {
            note(&seen, "token".to_owned(), &headers);
            async { r#"{"token": "dG9rZW4"}"# }
        };
        let seen = seen_elsewhere.clone();
        let stored = move |headers: HeaderMap| {
            note(&seen, "blob".to_owned(), &headers);
            async { "a blob" }
        };
        let elsewhere = listen(Router::new().route("/token", get(token.clone())).route("/blob", get(stored))).await;
        let fake = Fake { elsewhere: format!("http://{elsewhere}"), manifest: Arc::default(), seen: Seen::default() };
        let seen = fake.seen.clone();
        let own_token = move |headers: HeaderMap| {
            note(&seen, "token".to_owned(), &headers);
            async { r#"{"access_token": "b3du"}"# }
        };
        let router = Router::new()
            .route("/v2/{kind}/manifests/{version}", get(manifest))
            .route("/v2/{kind}/blobs/{digest}", get(blob))
            .route("/token", get(own_token))
            .with_state(fake.clone());
        let registry = listen(router).await;
        Servers { registry, elsewhere, fake, seen_elsewhere, folder: tempfile::tempdir().unwrap() }
    }

    /// A client of a repository, with credentials for these hosts.
    fn client(&self, kind: &str, hosts: &[(&str, &str)]) -> Registry {
        let path = self.folder.path().join("auth.json");
        let entries: Vec<_> = hosts.iter().map(|(host, auth)| format!("{host:?}: {{\"auth\": {auth:?}}}")).collect();
        fs::write(&path, format!("{{\"auths\": {{{}}}}}", entries.join(","))).unwrap();
        let name = Name::parse(&format!("{}/{kind}:1", self.registry)).unwrap();
        Registry::with(&name, true, false, from(&path)).unwrap()
    }

    /// Gets the blob `a blob`; returns the error.
    async fn blob(&self, client: &Registry) -> Result<(), String> {
        let descriptor = OciDescriptor { digest: digest_of(b"a blob"), size: 6, ..OciDescriptor::default() };
        let mut file = tempfile::tempfile().unwrap();
        client.blob(&descriptor, &mut file).await.map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn credentials_go_to_their_registry_and_along_no_redirect() {
    let servers = Servers::start().await;
    let own = [(servers.registry.as_str(), "c2VjcmV0")];
    let client = servers.client("basic", &own);
    client.manifest().await.unwrap();
    servers.blob(&client).await.unwrap();
    let said: Vec<_> = servers.fake.seen.lock().iter().map(|(_, said)| said.clone()).collect();
    let basic = Some("Basic c2VjcmV0".to_owned());
    assert_eq!(said, [None, basic.clone(), basic], "first nothing, and then what is asked for");
    assert_eq!(*servers.seen_elsewhere.lock(), [("blob".to_owned(), None)]);
    // A registry that asks for no login gets no credentials.
    let client = servers.client("redirect", &own);
    client.manifest().await.unwrap();
    assert!(servers.fake.seen.lock().last().unwrap().1.is_none());
    // Without an entry the error says what to do, and shows nothing of another registry's entry.
    let error = servers.client("basic", &[("r.test", "b3RoZXI=")]).manifest().await.unwrap_err().to_string();
    assert!(
        error.contains("requires a login") && error.contains("skopeo login") && !error.contains("b3RoZXI"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_of_tokens_gets_what_is_under_its_own_name_alone() {
    let servers = Servers::start().await;
    let own = (servers.registry.as_str(), "c2VjcmV0");
    servers.client("own", &[own]).manifest().await.unwrap();
    let said = std::mem::take(&mut *servers.fake.seen.lock());
    assert_eq!(said[1], ("token".to_owned(), Some("Basic c2VjcmV0".to_owned())));
    assert_eq!(said[2].1.as_deref(), Some("Bearer b3du"));
    servers.client("foreign", &[own]).manifest().await.unwrap();
    assert_eq!(
        *servers.seen_elsewhere.lock(),
        [("token".to_owned(), None)],
        "another server got the registry's password"
    );
    assert_eq!(servers.fake.seen.lock()[1].1.as_deref(), Some("Bearer dG9rZW4"));
    let theirs = (servers.elsewhere.as_str(), "dGhlaXJz");
    servers.client("foreign", &[own, theirs]).manifest().await.unwrap();
    assert_eq!(servers.seen_elsewhere.lock()[1].1.as_deref(), Some("Basic dGhlaXJz"));
    // A registry that names another one's server of tokens would get a token for what the operator may read there.
    let other = servers.elsewhere.replacen("127.0.0.1", "localhost", 1);
    servers.client("stranger", &[own, (other.as_str(), "dGhlaXJz")]).manifest().await.unwrap();
    assert_eq!(servers.seen_elsewhere.lock()[2], ("token".to_owned(), None));
    // The operator has written that both take the same login.
    servers.client("stranger", &[own, (other.as_str(), own.1)]).manifest().await.unwrap();
    assert_eq!(servers.seen_elsewhere.lock()[3].1.as_deref(), Some("Basic c2VjcmV0"));
    for (hosts, fix) in [
        (vec![], format!("skopeo login {}", servers.registry)),
        (vec![own], format!("copy the entry of {} in auth.json to {}", servers.registry, servers.elsewhere)),
        (vec![own, theirs], format!("skopeo login {}", servers.registry)),
    ] {
        let error = servers.client("closed", &hosts).manifest().await.unwrap_err().to_string();
        assert!(error.contains(&fix), "{hosts:?}: {error}");
    }
    let error = servers.client("metadata", &[own]).manifest().await.unwrap_err().to_string();
    assert!(error.contains("its token server is a link-local address"), "{error}");
}

#[tokio::test]
async fn a_blob_is_what_its_digest_says_and_comes_from_where_it_may() {
    let servers = Servers::start().await;
    for (kind, why) in [
        ("good", None),
        ("redirect", None),
        ("other", Some("sends more than 6 bytes")),
        ("short", Some("the digest of a blob is")),
        ("endless-blob", Some("sends more than 6 bytes")),
        ("announced", Some("sends more than 6 bytes")),
        ("metadata-blob", Some("is a link-local address")),
        ("plain", Some("uses http to another machine")),
        ("circle", Some("redirects more than 5 times")),
    ] {
        let got = servers.blob(&servers.client(kind, &[])).await;
        match why {
            None => got.unwrap(),
            Some(why) => {
                let error = got.unwrap_err();
                assert!(error.contains(why) && error.contains("fix: "), "{kind}: {error}");
            }
        }
    }
    let error = servers.client("endless", &[]).manifest().await.unwrap_err().to_string();
    assert!(error.contains("sends more than 4194304 bytes"), "{error}");
}

#[test]
fn http_is_for_this_machine_and_the_local_link_is_no_registry() {
    let open = |name: &str, plain: bool| {
        Registry::open(&Name::parse(name).unwrap(), plain, false).map(drop).map_err(|error| error.to_string())
    };
    open("registry.test/a:1", false).unwrap();
    open("127.0.0.1:5000/a:1", true).unwrap();
    assert!(open("registry.test/a:1", true).unwrap_err().contains("`--plain-http` is for a registry on this machine"));
    assert!(open("169.254.169.254/a:1", false).unwrap_err().contains("is a link-local address"));
}

/// A package with only a manifest, which `fake` serves as its single blob.
fn package_of(text: &str) -> Vec<u8> {
    let blob = |kind: &str, bytes: &[u8]| serde_json::json!({ "mediaType": kind, "digest": digest_of(bytes), "size": bytes.len() });
    let layers = [blob(SPIN_TOML_TYPE, text.as_bytes())];
    let config = blob(APPLICATION_TYPE, b"{}");
    serde_json::to_vec(&serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers })).unwrap()
}

#[tokio::test]
async fn a_tag_that_names_another_package_starts_nothing_until_it_is_accepted() {
    let servers = Servers::start().await;
    let name = |kind: &str| format!("{}/{kind}:1", servers.registry);
    let package = Package::of(Path::new(&name("good"))).unwrap();
    let state = servers.folder.path().join("state");
    let get = async |package: &Package, accept: Option<&str>| {
        obtain(package, &state, ObtainOptions { accept, plain_http: true }).await.map_err(|error| error.to_string())
    };
    let serve = |text: &[u8]| *servers.fake.manifest.lock() = text.to_vec();
    // The registry's only blob is a manifest with the text `a blob`.
    let first = package_of("a blob");
    serve(&first);
    let obtained = get(&package, None).await.unwrap();
    assert_eq!(
        (obtained.digest, fs::read(obtained.folder.join("spin.toml")).unwrap()),
        (digest_of(&first), b"a blob".to_vec())
    );
    let second = [first.as_slice(), b" "].concat();
    serve(&second);
    let asked = servers.fake.seen.lock().len();
    let error = get(&package, None).await.unwrap_err();
    let fix = format!("`--accept {}`", digest_of(&second));
    assert!(error.contains(&format!("{} was accepted", digest_of(&first))) && error.contains(&fix), "{error}");
    assert_eq!(servers.fake.seen.lock().len(), asked + 1, "it was fetched before it was accepted");
    assert_eq!(kept(&package, &state).unwrap(), obtained.folder);
    assert!(get(&package, Some(&digest_of(b"third"))).await.is_err());
    let accepted = get(&package, Some(&digest_of(&second))).await.unwrap();
    assert_ne!(accepted.folder, obtained.folder);
    assert_eq!(get(&package, None).await.unwrap().digest, digest_of(&second));
    // By its digest the package starts without a request to the registry.
    let by_digest = Package::of(Path::new(&format!("127.0.0.1:9/good@{}", digest_of(&first)))).unwrap();
    assert_eq!(get(&by_digest, None).await.unwrap().folder, obtained.folder);
    // A registry that returns other content for a digest is refused.
    let wrong = Package::of(Path::new(&format!("{}/good@{}", servers.registry, digest_of(b"third")))).unwrap();
    assert!(get(&wrong, None).await.unwrap_err().contains("the registry returned another package"));
}

#[tokio::test]
async fn a_package_that_is_kept_starts_while_its_registry_is_away() {
    let servers = Servers::start().await;
    let state = servers.folder.path().join("state");
    let text = package_of("a blob");
    servers.fake.manifest.lock().clone_from(&text);
    let good = Package::of(Path::new(&format!("{}/good:1", servers.registry))).unwrap();
    let options = ObtainOptions { accept: None, plain_http: true };
    let obtained = obtain(&good, &state, options).await.unwrap();
    assert!(obtained.warning.is_none());
    let accepted = state.join("packages/accepted.json");
    let noted = fs::read_to_string(&accepted).unwrap();
    for away in ["127.0.0.1:9/good:1".to_owned(), format!("{}/down:1", servers.registry)] {
        let package = Package::of(Path::new(&away)).unwrap();
        assert!(obtain(&package, &state, options).await.is_err(), "{away}: nothing is kept under this name");
        fs::write(&accepted, noted.replace(&good.to_string(), &away)).unwrap();
        let kept = obtain(&package, &state, options).await.unwrap();
        assert!(kept.folder == obtained.folder && kept.warning.unwrap().contains(&obtained.digest), "{away}");
    }
    fs::write(&accepted, "{").unwrap();
    assert!(obtain(&good, &state, options).await.unwrap_err().to_string().contains("accepted.json"));
}
