//! Deployments, promotions and rollbacks at one moment: one version serves afterwards, no request fails, and the versions
//! say what became of each.

use super::deploy::{Crowd, app, body, built, deploy, digest, version, versions};
use super::deploy_hosts::{self, SECRET, STATES, all_serve, souk, web};
use crate::harness::admin::Api;
use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::{App, Host, eventually};
use http::Method;
use serde_json::Value;

/// Goes back while the version `tried` is promoted, or just before or after; returns how it was taken away.
async fn roll_back(app: &App, api: &Api, host: &Host, tried: u64) -> &'static str {
    let answer = api.send(Method::POST, "/v1/components/web/rollback", &[], "").await;
    let done: Value = serde_json::from_str(&answer.text()).unwrap();
    let message = done["message"].as_str().unwrap_or_else(|| panic!("{done}"));
    let way = if message.contains(&format!("version {tried} was tried out and gets no more calls")) {
        host.wait_for_log(&format!("version {tried} of component `web` gets no more calls: taken away by")).await;
        "taken away by"
    } else {
        assert!(message.contains(&format!("serves; version {tried} ends its calls")), "{message}");
        host.wait_for_log(&format!("version {tried} of component `web` serves all calls")).await;
        host.wait_for_log(&format!("version {tried} of component `web` was taken back by")).await;
        "taken back by"
    };
    host.wait_for_log(&format!("version {tried} of component `web` has ended its last call")).await;
    let all = versions(app).await;
    let note = all.iter().find(|one| one["number"] == tried).unwrap()["note"].as_str().unwrap_or_default();
    assert!(note.contains(way), "version {tried} {way}: {all:?}");
    way
}

/// The digest of the only version that serves; none is on trial.
async fn serving(app: &App) -> String {
    let all = versions(app).await;
    let serve: Vec<&Value> = all.iter().filter(|one| one["state"] == "active" || one["state"] == "canary").collect();
    assert_eq!(serve.len(), 1, "{all:?}");
    serve[0]["digest"].as_str().unwrap().to_owned()
}

/// The highest number of a version.
async fn newest(app: &App) -> u64 {
    versions(app).await.iter().map(|one| one["number"].as_u64().unwrap()).max().unwrap()
}

#[tokio::test]
async fn a_rollback_during_a_promotion_leaves_the_version_that_served_before() {
    let app = app();
    let host = app.start().await;
    let (api, crowd, first) = (Api::on_socket(&app), Crowd::of(&host), digest(&version("good-1")));
    crowd.wait_for_answers(50).await;
    // The version is promoted when it has had 50 calls, so after about a hundred.
    let moments = [("10m", 0), ("1ms", 0), ("1ms", 30), ("1ms", 50), ("1ms", 70), ("1ms", 90), ("1ms", 120)];
    let mut ways = Vec::new();
    for (round, (time, answers)) in moments.into_iter().enumerate() {
        let file = built(&app, &format!("good-{}", round + 2));
        let arguments = ["web", &file, "--canary", "50%", "--for", time, "--max-slowdown", "1000"];
        let said = deploy(&app, &arguments).await;
        let tried: u64 = said.split(' ').nth(2).unwrap().parse().unwrap_or_else(|error| panic!("{error}: {said}"));
        crowd.wait_for_answers(answers).await;
        ways.push(roll_back(&app, &api, &host, tried).await);
        assert_eq!(serving(&app).await, first, "round {round}");
        assert_eq!(body(&host.client(), "/").await, (200, "good-1".to_owned()));
    }
    assert_eq!(ways[0], "taken away by");
    let file = built(&app, "good-19");
    deploy(&app, &["web", &file, "--canary", "50%", "--for", "1ms", "--max-slowdown", "1000"]).await;
    host.wait_for_log(&format!("version {} of component `web` serves all calls", newest(&app).await)).await;
    assert_eq!(roll_back(&app, &api, &host, newest(&app).await).await, "taken back by");

    // An operator promotes it while another one takes it away.
    for round in 0..4 {
        let file = built(&app, &format!("good-{}", round + 20));
        deploy(&app, &["web", &file, "--canary", "50%", "--for", "10m"]).await;
        let (promoted, rolled_back) =
            futures::join!(app.souk("deploy", &["web", "--promote-anyway"]), app.souk("rollback", &["web"]));
        let (promoted, rolled_back) = (texts(&promoted), texts(&rolled_back));
        let is_promoted = promoted.0.contains("serves all calls");
        assert!(is_promoted || promoted.1.contains("no version is on trial"), "{promoted:?}");
        let words = if is_promoted { "ends its calls" } else { "was tried out and gets no more calls" };
        assert!(rolled_back.0.contains(words), "{promoted:?}: {rolled_back:?}");
        assert_eq!(serving(&app).await, first, "round {round}");
    }
    crowd.wait_for_answers(50).await;
    assert_eq!(crowd.stop().await, 0);
    host.stop().await;
    let host = app.start().await;
    assert_eq!(body(&host.client(), "/").await, (200, "good-1".to_owned()));
}

#[tokio::test]
async fn a_rollback_during_a_promotion_on_several_hosts_leaves_all_on_the_version_that_served_before() {
    let nats = Nats::start();
    let app = deploy_hosts::app(&nats, Some(SECRET));
    let (first, second) = (web(&app, STATES[0]).await, web(&app, STATES[1]).await);
    let (api, crowd) = (Api::at(&app, STATES[0]), Crowd::of(&first));
    for (round, answers) in [0, 40, 80, 100, 300].into_iter().enumerate() {
        let file = built(&app, &format!("good-{}", round + 2));
        let canary = ["web", &file, "--canary", "50%", "--for", "1ms", "--max-slowdown", "1000"];
        souk(&app, STATES[0], "deploy", &canary).await;
        crowd.wait_for_answers(answers).await;
        let answer = api.send(Method::POST, "/v1/components/web/rollback", &[], "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        // The other host may follow the promotion before it follows the rollback.
        let expected = digest(&version("good-1"));
        for state in [STATES[0], STATES[1]] {
            let rolled_back = async || (deploy_hosts::active(&app, state).await.1 == expected).then_some(());
            eventually(&format!("round {round}: {state} is back"), rolled_back).await;
        }
        all_serve(&[&first, &second], "good-1").await;
    }
    assert_eq!(crowd.stop().await, 0);
}

#[tokio::test]
async fn deployments_at_one_moment_are_made_one_after_the_other() {
    let app = app();
    let host = app.start().await;
    let crowd = Crowd::of(&host);
    let (second, third) = (built(&app, "good-2"), built(&app, "good-3"));
    let (arguments, other, bad) = (["web", &second], ["web", &third], ["web", "nowhere.wasm"]);
    let outputs = futures::join!(
        app.souk("deploy", &arguments),
        app.souk("deploy", &other),
        app.souk("deploy", &arguments),
        app.souk("rollback", &["web", "1"]),
        app.souk("reload", &[]),
        app.souk("deploy", &bad),
    );
    for output in [&outputs.0, &outputs.1, &outputs.2, &outputs.3, &outputs.4] {
        assert!(output.status.success(), "{:?}", texts(output));
    }
    assert!(texts(&outputs.5).1.contains("nowhere.wasm"), "{:?}", texts(&outputs.5));
    let all = versions(&app).await;
    let active: Vec<&Value> = all.iter().filter(|one| one["state"] == "active").collect();
    assert_eq!(active.len(), 1, "{all:?}");
    assert_eq!(active[0]["number"].as_u64(), Some(newest(&app).await), "the last one serves: {all:?}");
    let serves = ["good-1", "good-2", "good-3"].into_iter().find(|one| active[0]["digest"] == digest(&version(one)));
    assert_eq!(body(&host.client(), "/").await, (200, serves.unwrap().to_owned()));
    assert_eq!(crowd.stop().await, 0);
}
