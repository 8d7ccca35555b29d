//! Components that the manifest names as versions of packages in a registry.

use crate::harness::app::texts;
use crate::harness::{App, Client, build, client};
use http::{Method, StatusCode};
use sha2::{Digest as _, Sha256};
use souk_test::registry::{LOGIN, PASSWORD, Registry, USER};
use std::fs;

/// Publishes a component in the registry, as `wkg publish` does; returns its digest.
async fn publish(registry: &Registry, package: &str, version: &str, component: &[u8]) -> String {
    let repository = format!("http://{}/v2/{package}", registry.name());
    let http = client::builder().build().unwrap();
    let ask = |method: Method, url: &str| http.request(method, url).basic_auth(USER, Some(PASSWORD));
    let digest = |bytes: &[u8]| format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
    let config = b"{\"architecture\":\"wasm\",\"os\":\"wasip2\"}";
    for blob in [&config[..], component] {
        let started = ask(Method::POST, &format!("{repository}/blobs/uploads/")).send().await.unwrap();
        assert_eq!(started.status(), StatusCode::ACCEPTED);
        let upload = format!("{}&digest={}", started.headers()["location"].to_str().unwrap(), digest(blob));
        let stored = ask(Method::PUT, &upload).body(blob.to_vec()).send().await.unwrap();
        assert_eq!(stored.status(), StatusCode::CREATED);
    }
    let part = |kind: &str, bytes: &[u8]| serde_json::json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() });
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": part("application/vnd.wasm.config.v0+json", config),
        "layers": [part("application/wasm", component)],
    });
    let named = ask(Method::PUT, &format!("{repository}/manifests/{version}"))
        .header("content-type", "application/vnd.oci.image.manifest.v1+json")
        .body(manifest.to_string());
    assert_eq!(named.send().await.unwrap().status(), StatusCode::CREATED);
    digest(component)
}

/// The example with two linked components from the registry: one as a `source`, the other as a dependency.
async fn published(registry: &Registry) -> App {
    build::application("examples/linked");
    for (package, file) in [("shop/web", "example_linked_web"), ("shop/greeter", "example_greeter")] {
        publish(registry, package, "1.0.0", &built(file)).await;
    }
    let name = registry.name();
    App::inline(&format!(
        "spin_manifest_version = 2\napplication.name = \"linked\"\n[[trigger.http]]\nroute = \"/...\"\n\
         component = \"web\"\n[component.web]\n\
         source = {{ registry = \"{name}\", package = \"shop:web\", version = \"1.0.0\" }}\n\
         [component.web.dependencies]\n\"example:greetings/greetings@1.0.0\" = {{ registry = \"{name}\", \
         package = \"shop:greeter\", version = \"=1.0.0\" }}\n"
    ))
}

/// The bytes of one of the example's built components.
fn built(file: &str) -> Vec<u8> {
    fs::read(build::target().join(format!("wasm32-wasip2/debug/{file}.wasm"))).unwrap()
}

/// The application with a login for the registry.
fn logged_in(app: App, registry: &Registry) -> App {
    let auth = format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{LOGIN}\"}}}}}}", registry.name());
    let app = app.file("auth.json", auth);
    let path = app.path("auth.json");
    app.environment("REGISTRY_AUTH_FILE", path.to_str().unwrap())
}

async fn greets(client: &Client) {
    let answer = client.open(Method::GET, "/en/Ann").send().await.unwrap();
    assert_eq!((answer.status(), answer.text().await.unwrap().contains("Ann")), (StatusCode::OK, true));
}

#[tokio::test]
async fn a_version_in_a_registry_is_fetched_before_it_serves_and_no_more() {
    let mut registry = Registry::start_with_login();
    let app = published(&registry).await.environment("REGISTRY_AUTH_FILE", "/nonexistent");
    let refused = app.start_fails().await;
    assert!(refused.contains("component `greetings-for-web`") && refused.contains("requires a login"), "{refused}");
    let app = logged_in(app, &registry);
    let host = app.start().await;
    greets(&host.client()).await;
    let log = host.log().join("\n");
    let web = hex::encode(Sha256::digest(built("example_linked_web")));
    assert!(log.contains("fetched greetings-for-web: ") && log.contains(&format!(", sha256:{web}")), "{log}");
    assert!(!log.contains(LOGIN) && !log.contains(PASSWORD), "{log}");
    host.stop().await;
    // A component that is in the state folder is not fetched again.
    registry.kill();
    let host = app.start().await;
    greets(&host.client()).await;
    host.stop().await;
    let (out, err) = texts(&app.souk("doctor", &[]).await);
    assert!(out.contains("component web"), "{out}{err}");
}

#[tokio::test]
async fn a_version_whose_component_has_changed_is_refused_until_the_operator_accepts_it() {
    let registry = Registry::start_with_login();
    let app = logged_in(published(&registry).await, &registry);
    let said = texts(&app.souk("build", &["--state-dir", app.state().to_str().unwrap()]).await);
    assert!(said.0.contains("fetched web: ") || said.1.contains("fetched web: "), "{said:?}");
    // The same component with an additional custom section.
    let mut other = built("example_linked_web");
    let first = hex::encode(Sha256::digest(&other));
    other.extend([0, 4, 3, b'n', b'e', b'w']);
    let second = publish(&registry, "shop/web", "1.0.0", &other).await;
    let host = app.start().await;
    greets(&host.client()).await;
    host.stop().await;
    fs::remove_file(app.state().join(format!("components/{first}.wasm"))).unwrap();
    let refused = app.start_fails().await;
    assert!(refused.contains(&format!("the component {second} now, but had sha256:{first}")), "{refused}");
    assert!(refused.contains("remove the version from ") && refused.contains("versions.json"), "{refused}");
    // A digest in the manifest decides which component is right.
    let pinned = |digest: &str| format!("[component.web.tool.souk]\ndigest = \"{digest}\"");
    let app = app.append(&pinned(&format!("sha256:{first}")));
    let refused = app.start_fails().await;
    assert!(refused.contains("its digest is") && refused.contains("correct `digest`"), "{refused}");
    let app = app.replace(&format!("sha256:{first}"), &second);
    let host = app.start().await;
    greets(&host.client()).await;
    host.stop().await;
}
