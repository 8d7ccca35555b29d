//! Applications as packages: one user makes a package and pushes it to a registry, and another user starts it.

use crate::harness::app::texts;
use crate::harness::{App, build};
use souk_test::registry::{LOGIN, Registry};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the author adds to examples/hello: a folder that the host serves, a file for the component, and a test.
const ADDITIONS: &str = "[[application.tool.souk.static]]\nroute = \"/files/...\"\nfolder = \"public\"\n\
                    [variables]\nword = { default = \"theirs\" }\n";

/// The author's application.
fn authored() -> App {
    App::example("hello")
        .replace("command = \"", "command = \"touch /tmp/souk-packages-built; ")
        .append(ADDITIONS)
        .file("public/page.txt", "a page of version one")
        .file(".env", "SPIN_VARIABLE_WORD=the author's secret\n")
}

/// Runs `souk` in the application's folder, with an `auth.json`; returns its output.
fn souk(app: &App, arguments: &[&str], auth: &Path) -> Result<String, String> {
    let mut souk = Command::new(build::SOUK);
    let folder = app.path("");
    souk.args(arguments).current_dir(folder).env("REGISTRY_AUTH_FILE", auth).stdin(Stdio::null());
    let output = souk.output().unwrap();
    let (out, err) = texts(&output);
    if output.status.success() { Ok(format!("{out}{err}")) } else { Err(err) }
}

/// An `auth.json` with a login for the registry, or with no login.
fn auth(folder: &Path, registry: &Registry, login: Option<&str>) -> PathBuf {
    let path = folder.join("auth.json");
    let entries = login.map(|login| format!("\"{}\": {{\"auth\": \"{login}\"}}", registry.name()));
    fs::write(&path, format!("{{\"auths\": {{{}}}}}", entries.unwrap_or_default())).unwrap();
    path
}

/// The digest in a command's output.
fn digest(said: &str) -> String {
    let line = said.lines().find(|line| line.contains(": sha256:")).unwrap_or_else(|| panic!("no digest: {said}"));
    line.rsplit_once(": ").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_package_from_a_file_starts_with_the_operators_values_only() {
    let author = authored();
    let file = author.path("hello.oci");
    let no_login = Path::new("/nonexistent");
    let made = souk(&author, &["package", "--output", file.to_str().unwrap()], no_login).unwrap();
    assert!(made.contains("components/hello.wasm") && made.contains("1 files"), "{made}");
    // Another program can read the package; it writes a copy with another order of files.
    let copied = author.path("copied.oci");
    let mut skopeo = Command::new(souk_test::debian::found_or_installed(&["skopeo"], "skopeo"));
    skopeo
        .args(["--insecure-policy", "copy"])
        .args([&file, &copied].map(|path| format!("oci-archive:{}", path.display())));
    souk_test::debian::run(skopeo);

    let operator = App::packaged(copied.to_str().unwrap()).environment("SPIN_ALWAYS_BUILD", "1");
    fs::write(operator.folder().join("runtime-config.toml"), "").unwrap();
    let host = operator.start().await;
    let client = host.client();
    assert_eq!(client.get("/files/page.txt").await.body, "a page of version one");
    // The component answers; its response has no content type.
    let said = client.open(http::Method::GET, "/").send().await.unwrap().text().await.unwrap();
    assert!(said.starts_with("Hello"), "{said}");
    // The host printed the grants before the component ran.
    let log = host.log().join("\n");
    assert!(log.contains(&digest(&made)) && log.contains("Components:") && log.contains("/files/..."), "{log}");
    assert!(!Path::new("/tmp/souk-packages-built").exists(), "a build command of the package ran");
    host.stop().await;
    // Other commands find the package in the state folder.
    let output = operator.souk("doctor", &[]).await;
    let (out, err) = texts(&output);
    assert!(out.contains("component hello"), "{out}{err}");
    // No command builds a component of a package.
    let error = souk(&author, &["build", "-f", file.to_str().unwrap()], no_login).unwrap_err();
    assert!(error.contains("is a package") && error.contains("fix: "), "{error}");
    for option in ["--build", "--watch"] {
        let refused = App::packaged(file.to_str().unwrap()).argument(option).start_fails().await;
        assert!(refused.contains("whose build commands are never run"), "{option}: {refused}");
    }
}

#[tokio::test]
async fn the_store_itself_is_a_package_and_starts_with_its_examples() {
    build::components();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.oci").display().to_string();
    let mut package = Command::new(build::SOUK);
    let output = package.args(["package", "--output", &file]).current_dir(build::root()).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    let app = App::packaged(&file);
    let host = app.start().await;
    let client = host.client();
    assert_eq!(client.get("/api/products/1").await.status, 200);
    let page = client.get("/api/products?limit=1").await.body;
    assert!(String::from_utf8_lossy(&page).contains("\"totalPages\":47"), "{page:?}");
    // A backup is restored into a folder that has neither data nor the package.
    let backup = folder.path().join("backup").display().to_string();
    let output = app.souk("backup", &[&backup]).await;
    assert!(output.status.success(), "{}", texts(&output).1);
    let elsewhere = App::packaged(&file);
    let output = elsewhere.souk("restore", &[&backup]).await;
    assert!(output.status.success(), "{}", texts(&output).1);
    let restored = elsewhere.start().await;
    assert_eq!(restored.client().get("/api/products/1").await.status, 200);
}

#[tokio::test]
async fn an_application_is_pushed_pulled_and_started_from_a_registry() {
    let mut registry = Registry::start_with_login();
    let author = authored();
    let name = format!("{}/shop/hello:1.0", registry.name());
    let (known, unknown) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let with_login = auth(known.path(), &registry, Some(LOGIN));
    let no_login = auth(unknown.path(), &registry, None);
    let push = ["push", name.as_str(), "--plain-http"];
    let error = souk(&author, &push, &no_login).unwrap_err();
    assert!(error.contains("requires a login"), "{error}");
    let error = souk(&author, &push, &auth(unknown.path(), &registry, Some("d3Jvbmc6d3Jvbmc="))).unwrap_err();
    assert!(error.contains("401") && !error.contains("d3Jvbmc6d3Jvbmc"), "{error}");
    let error = souk(&author, &["push", &name], &with_login).unwrap_err();
    assert!(error.contains("cannot be reached"), "https to a server without it: {error}");
    let pushed = souk(&author, &push, &with_login).unwrap();
    assert!(pushed.contains("  pushed sha256:") && !pushed.contains(LOGIN), "{pushed}");
    let again = souk(&author, &push, &with_login).unwrap();
    assert!(again.contains("   there sha256:") && !again.contains("  pushed "), "{again}");
    let first = digest(&pushed);

    let pulled = author.path("pulled.oci");
    let pull = ["pull", name.as_str(), "--plain-http", "--output", pulled.to_str().unwrap()];
    assert_eq!(digest(&souk(&author, &pull, &with_login).unwrap()), first);
    let wrong = [&pull[..], &["--accept", "sha256:1"]].concat();
    assert!(souk(&author, &wrong, &with_login).unwrap_err().contains("`--accept` says sha256:1"));

    let operator =
        App::packaged(&name).argument("--plain-http").environment("REGISTRY_AUTH_FILE", with_login.to_str().unwrap());
    let host = operator.start().await;
    assert_eq!(host.client().get("/files/page.txt").await.body, "a page of version one");
    let log = host.log().join("\n");
    assert!(log.contains(&first) && log.contains("Components:") && !log.contains(LOGIN), "{log}");
    host.stop().await;

    // The author pushes another package under the same tag: it does not start until the operator accepts it.
    let author = author.file("public/page.txt", "a page of version two");
    let second = digest(&souk(&author, &push, &with_login).unwrap());
    assert_ne!(first, second);
    let refused = operator.start_fails().await;
    assert!(refused.contains(&format!("{first} was accepted")), "{refused}");
    assert!(refused.contains(&format!("`--accept {second}`")), "{refused}");
    let host = operator.start_at("127.0.0.1:0", "state", &["--accept", &second]).await;
    assert_eq!(host.client().get("/files/page.txt").await.body, "a page of version two");
    host.stop().await;

    // The accepted package starts while the registry is down. A blob that was changed in the registry is refused.
    registry.kill();
    let host = operator.start().await;
    let log = host.log().join("\n");
    assert!(log.contains("the stored package is started"), "{log}");
    host.stop().await;
    registry.resume();
    spoil(&registry.data());
    let newcomer =
        App::packaged(&name).argument("--plain-http").environment("REGISTRY_AUTH_FILE", with_login.to_str().unwrap());
    let refused = newcomer.start_fails().await;
    assert!(refused.contains("digest of a blob") || refused.contains("more than"), "{refused}");
}

/// Changes the bytes of every blob that is not JSON, but not its name or size.
fn spoil(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            spoil(&path);
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if path.ends_with("data") && !bytes.starts_with(b"{") {
            let last = bytes.last_mut().unwrap();
            *last ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
}
