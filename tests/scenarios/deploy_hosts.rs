//! New versions of a component that several hosts run: all hosts switch to the new version and no request fails, even
//! if one of them is killed; and only clients with the cluster secret can deploy.

use super::deploy::{Crowd, body, built, digest, version};
use super::deploy_starts::starting;
use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::{App, Host, eventually};
use async_nats::jetstream;
use bytes::Bytes;
use serde_json::Value;

/// `front` runs on its own host, which forwards all other requests over NATS.
const MANIFEST: &str = r#"
    spin_manifest_version = 2
    application = { name = "shop", version = "1.0.0" }
    [[trigger.http]]
    route = "/..."
    component = "web"
    [[trigger.http]]
    route = "/front"
    component = "front"
    [component.web]
    source = "web.wasm"
    [component.front]
    source = "front.wasm"
"#;

pub(super) const SECRET: &str = "the secret of all hosts";
pub(super) const STATES: [&str; 3] = ["state", "state-1", "state-2"];

pub(super) fn app(nats: &Nats, secret: Option<&str>) -> App {
    let secret = secret.map(|secret| format!("cluster_secret = \"{secret}\"\n")).unwrap_or_default();
    App::inline(MANIFEST)
        .file("web.wasm", version("good-1"))
        .file("front.wasm", version("front"))
        .file("runtime-config.toml", format!("[nats]\nservers = [\"{}\"]\n{secret}", nats.url()))
}

pub(super) async fn web(app: &App, state: &str) -> Host {
    app.start_at("127.0.0.1:0", state, &["--only", "web"]).await
}

/// Runs `souk COMMAND` at the host with this state folder, which must succeed; returns its output.
pub(super) async fn souk(app: &App, state: &str, command: &str, arguments: &[&str]) -> String {
    let output = app.souk_at(state, command, arguments).await;
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{command}: {out}{err}");
    out
}

/// Waits until all these hosts answer with this version.
pub(super) async fn all_serve(hosts: &[&Host], behaviour: &str) {
    for host in hosts {
        let client = host.client();
        let what = format!("the host serves {behaviour}");
        eventually(&what, async || (body(&client, "/").await == (200, behaviour.to_owned())).then_some(())).await;
    }
}

/// The number and the digest of the version that serves at a host.
pub(super) async fn active(app: &App, state: &str) -> (u64, String) {
    let all: Vec<Value> = serde_json::from_str(&souk(app, state, "versions", &["web", "--json"]).await).unwrap();
    let active = all.iter().find(|version| version["state"] == "active").expect("a version that serves");
    (active["number"].as_u64().unwrap(), active["digest"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn all_hosts_go_to_a_version_without_a_failed_read_also_when_the_one_that_deploys_is_killed() {
    let nats = Nats::start();
    let app = app(&nats, Some(SECRET));
    let gateway = app.start_at("127.0.0.1:0", "state-front", &["--only", "front"]).await;
    let mut hosts = Vec::new();
    for state in STATES {
        hosts.push(web(&app, state).await);
    }
    let crowd = Crowd::of(&gateway);
    crowd.wait_for_answers(50).await;
    let said = souk(&app, STATES[0], "deploy", &["web", &built(&app, "good-2")]).await;
    assert!(said.contains("version 2 serves; version 1 ends its calls"), "{said}");
    all_serve(&hosts.iter().collect::<Vec<_>>(), "good-2").await;
    for (host, state) in hosts.iter().zip(STATES) {
        assert_eq!(active(&app, state).await, (2, digest(&version("good-2"))));
        let line = host.wait_for_log("version 2 (").await;
        for part in [digest(&version("good-1")), digest(&version("good-2")), "user".into(), ", at host".into()] {
            assert!(line.contains(&part), "{part} is missing: {line}");
        }
    }

    // A version that is first tried out at one host, and then deployed to all.
    crowd.wait_for_answers(50).await;
    let third = built(&app, "good-3");
    let canary = ["web", &third, "--canary", "50%", "--for", "100ms", "--max-slowdown", "50"];
    souk(&app, STATES[1], "deploy", &canary).await;
    all_serve(&hosts.iter().collect::<Vec<_>>(), "good-3").await;

    // The deploying host is killed before it has told the others, and after. The stored record decides which version
    // serves, also when the host has restarted.
    for (point, next) in [("the file is kept", "good-4"), ("the hosts are told", "good-5")] {
        let (file, new) = (built(&app, next), digest(&version(next)));
        let versions = app.path(STATES[0]).join("versions");
        let reached = || match point {
            "the file is kept" => versions.join("files").join(&new).with_extension("wasm").exists(),
            _ => std::fs::read_to_string(versions.join("agreed")).is_ok_and(|agreed| agreed.contains(&new)),
        };
        let kill = async {
            eventually(point, async || reached().then_some(())).await;
            hosts[0].signal("KILL");
        };
        let arguments = ["web", &file];
        futures::join!(app.souk_at(STATES[0], "deploy", &arguments), kill);
        drop(hosts.remove(0));
        crowd.wait_for_answers(50).await;
        hosts.insert(0, web(&app, STATES[0]).await);
        let decided = body(&hosts[0].client(), "/").await.1;
        assert!(decided == next || (next == "good-4" && decided == "good-3"), "killed when {point}: {decided}");
        all_serve(&hosts.iter().collect::<Vec<_>>(), &decided).await;
    }

    // A new host runs the version of the others, and follows them in a rollback.
    let fresh = web(&app, "state-fresh").await;
    assert_eq!(body(&fresh.client(), "/").await, (200, "good-5".to_owned()));
    fresh.wait_for_log("which the hosts have agreed on").await;
    let before = active(&app, STATES[1]).await;
    souk(&app, STATES[1], "rollback", &["web"]).await;
    let (number, digest) = active(&app, STATES[1]).await;
    assert!(number > before.0 && digest != before.1);
    let back = body(&hosts[1].client(), "/").await.1;
    all_serve(&[&hosts[0], &hosts[1], &hosts[2], &fresh], &back).await;

    // A component file that no host knows is newer than the agreed version. It becomes the version of all hosts when an
    // operator deploys it.
    fresh.stop().await;
    let app = app.file("web.wasm", version("good-9"));
    let fresh = web(&app, "state-fresh").await;
    assert_eq!(body(&fresh.client(), "/").await, (200, "good-9".to_owned()));
    all_serve(&[&hosts[0], &hosts[1], &hosts[2]], &back).await;
    let said = souk(&app, "state-fresh", "deploy", &["web"]).await;
    assert!(said.contains("serves here already, and is what all hosts run"), "{said}");
    all_serve(&[&hosts[0], &hosts[1], &hosts[2], &fresh], "good-9").await;
    crowd.wait_for_answers(50).await;
    assert_eq!(crowd.stop().await, 0, "{:#?}", gateway.log());
}

#[tokio::test]
async fn a_nats_client_without_the_cluster_secret_cannot_deploy_or_replay_or_change_a_deployment() {
    let nats = Nats::start();
    let app = app(&nats, Some(SECRET));
    let first = web(&app, STATES[0]).await;
    let second = web(&app, STATES[1]).await;
    let stranger = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let bucket = stranger.get_stream("KV_souk_shop_deployments").await.unwrap();
    let subject = "$KV.souk_shop_deployments.agreed";
    let publish =
        async |subject: String, bytes: Bytes| drop(stranger.publish(subject, bytes).await.unwrap().await.unwrap());
    souk(&app, STATES[0], "deploy", &["web", &built(&app, "good-2")]).await;
    let old = bucket.get_last_raw_message_by_subject(subject).await.unwrap().payload;
    souk(&app, STATES[0], "deploy", &["web", &built(&app, "good-3")]).await;
    all_serve(&[&first, &second], "good-3").await;

    let forged = String::from_utf8(old.to_vec()).unwrap().replace(&digest(&version("good-2")), &digest(b"evil"));
    for (bytes, words) in
        [(old, "was replaced by an older one"), (forged.into(), "written without their `cluster_secret`")]
    {
        publish(subject.to_owned(), bytes).await;
        for host in [&first, &second] {
            let line = host.wait_for_log(words).await;
            assert!(line.contains("ERROR") && line.contains("this host ignores it"), "{line}");
        }
        // A host that starts does not run it either.
        let again = web(&app, "state-2").await;
        again.wait_for_log(words).await;
        assert_eq!(body(&again.client(), "/").await, (200, "good-1".to_owned()));
        again.stop().await;
        all_serve(&[&first, &second], "good-3").await;
    }

    // The next deployment repairs the record. A host does not run a file that was changed in the bucket.
    souk(&app, STATES[1], "deploy", &["web", &built(&app, "good-4")]).await;
    all_serve(&[&first, &second], "good-4").await;
    let chunk = format!("$KV.souk_shop_versions.{}.0", digest(&version("good-4")));
    publish(chunk, vec![0; 128 << 10].into()).await;
    let fresh = web(&app, "state-3").await;
    let line = fresh.wait_for_log("is not what was deployed").await;
    assert!(line.contains("ERROR") && line.contains("this host does not run it"), "{line}");
    fresh.wait_for_log("fix: deploy it again from a host that runs it").await;
    assert_eq!(body(&fresh.client(), "/").await, (200, "good-1".to_owned()));
    let said = souk(&app, STATES[1], "deploy", &["web", &built(&app, "good-4")]).await;
    assert!(said.contains("serves already"), "{said}");
    all_serve(&[&first, &second, &fresh], "good-4").await;
    for host in [&first, &second, &fresh] {
        assert!(!host.log().iter().any(|line| line.contains(SECRET)));
    }
}

#[tokio::test]
async fn after_a_change_of_the_secret_a_new_host_deploys_only_when_one_that_ran_before_has_signed_the_record() {
    let nats = Nats::start();
    let app = app(&nats, Some(SECRET));
    let both = ["--only", "web,front"];
    let first = app.start_at("127.0.0.1:0", STATES[0], &both).await;
    souk(&app, STATES[0], "deploy", &["web", &built(&app, "good-2")]).await;
    first.stop().await;
    let servers = nats.url();
    let changed = format!("[nats]\nservers = [\"{servers}\"]\ncluster_secret = \"the secret after the change\"\n");
    let app = app.file("runtime-config.toml", changed);
    souk(&app, STATES[0], "cluster", &["accept"]).await;

    // Its own record would leave out the version of `web`.
    let fresh = app.start_at("127.0.0.1:0", STATES[1], &both).await;
    let line = fresh.wait_for_log("written without their `cluster_secret`").await;
    assert!(line.contains("ERROR"), "{line}");
    fresh.wait_for_log("start a host that ran before the change").await;
    let file = built(&app, "good-3");
    let options: [&[&str]; 3] = [&[], &["--check"], &["--canary", "50%"]];
    for more in options {
        let arguments = [["front", file.as_str()].as_slice(), more].concat();
        let output = app.souk_at(STATES[1], "deploy", &arguments).await;
        let (out, error) = texts(&output);
        assert!(!output.status.success(), "{out}{error}");
        for words in ["component `front`", "fix: start a host that ran", "nats stream rm KV_souk_shop_deployments"] {
            assert!(error.contains(words), "{words} is missing: {error}");
        }
    }

    let first = app.start_at("127.0.0.1:0", STATES[0], &both).await;
    all_serve(&[&first, &fresh], "good-2").await;
    souk(&app, STATES[1], "deploy", &["front", &file]).await;
    let newest = app.start_at("127.0.0.1:0", STATES[2], &both).await;
    assert_eq!(body(&newest.client(), "/").await, (200, "good-2".to_owned()));
    assert_eq!(body(&newest.client(), "/front").await, (200, "good-3".to_owned()));
}

#[tokio::test]
async fn without_a_cluster_secret_only_a_single_host_can_deploy() {
    let nats = Nats::start();
    let app = app(&nats, None);
    let first = web(&app, STATES[0]).await;
    souk(&app, STATES[0], "deploy", &["web", &built(&app, "good-2")]).await;
    let second = web(&app, STATES[1]).await;
    let output = app.souk_at(STATES[0], "deploy", &["web", &built(&app, "good-3")]).await;
    let (_, error) = texts(&output);
    assert!(!output.status.success(), "{error}");
    for words in ["component `web`", "other hosts", "fix: give all hosts the same `cluster_secret`"] {
        assert!(error.contains(words), "{words} is missing: {error}");
    }
    assert_eq!(body(&first.client(), "/").await, (200, "good-2".to_owned()));
    second.stop().await;
    souk(&app, STATES[0], "deploy", &["web", &built(&app, "good-3")]).await;
}

#[tokio::test]
async fn a_host_at_which_a_version_cannot_start_keeps_the_old_one_until_its_manifest_lets_it() {
    let nats = Nats::start();
    let (large, small) = ("[component.web.tool.souk.limits]\nmemory = \"16MiB\"", "memory = \"4MiB\"");
    let app = app(&nats, Some(SECRET)).append(large);
    let first = web(&app, STATES[0]).await;
    let app = app.replace("memory = \"16MiB\"", small);
    let second = web(&app, STATES[1]).await;
    // Its memory is as large as 6 MiB when it starts.
    let app = app.file("large.wasm", starting("(memory 100)"));
    let path = app.path("large.wasm").to_str().unwrap().to_owned();
    souk(&app, STATES[0], "deploy", &["web", &path]).await;
    let line = second.wait_for_log("which the hosts have agreed on, does not serve here").await;
    assert!(line.contains("ERROR") && line.contains("version 2") && line.contains("fix:"), "{line}");
    assert_eq!(active(&app, STATES[1]).await, (1, digest(&version("good-1"))));
    all_serve(&[&second], "good-1").await;
    // A start with so little memory refuses it, as it refuses every new version that cannot start.
    let output = app.souk_at(STATES[2], "up", &["--only", "web", "--listen", "127.0.0.1:0"]).await;
    let (out, err) = texts(&output);
    assert!(!output.status.success() && !out.contains("Serving"), "{out}{err}");
    for words in ["component `web`", "version 2, which the hosts have agreed on", "nothing was started", "fix: "] {
        assert!(err.contains(words), "{words} is missing: {err}");
    }
    // With enough memory the running host follows.
    let app = app.replace(small, "memory = \"16MiB\"");
    souk(&app, STATES[1], "reload", &[]).await;
    let expected = active(&app, STATES[0]).await;
    eventually("the host follows", async || (active(&app, STATES[1]).await == expected).then_some(())).await;
    drop((first, second));
}
