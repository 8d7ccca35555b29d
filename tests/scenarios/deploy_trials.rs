//! What a version that is tried out is compared with, and what is kept of it when it serves.

use super::deploy::{Crowd, app, body, built, deploy, version, versions};
use super::deploy_types::{MANIFEST, callee, caller};
use crate::harness::App;
use crate::harness::app::texts;
use futures::future::join_all;
use reqwest::Method;
use std::fs;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn a_version_serves_all_calls_only_when_enough_calls_of_the_old_one_were_there_to_compare_with() {
    let app = app();
    let host = app.start().await;
    let crowd = Crowd::of(&host);
    // The old version gets one of ten thousand calls.
    let file = built(&app, "good-2");
    deploy(&app, &["web", &file, "--canary", "99.99%", "--for", "1ms", "--max-slowdown", "1000"]).await;
    crowd.wait_for_answers(300).await;
    host.wait_for_log("too few to judge it: the trial goes on").await;
    let states: Vec<_> = versions(&app).await.iter().map(|version| version["state"].clone()).collect();
    assert_eq!(states, ["active", "canary"]);
    assert_eq!(host.log_count("version 2 of component `web` serves all calls"), 0);
    let said = deploy(&app, &["web", "--promote-anyway"]).await;
    assert!(said.contains("version 2 serves all calls"), "{said}");
    assert_eq!(crowd.stop().await, 0);
}

#[tokio::test]
async fn a_version_whose_promotion_cannot_be_stored_never_says_that_it_serves_and_is_withdrawn_with_the_reason() {
    for promoted_by_hand in [true, false] {
        let app = app();
        let host = app.start().await;
        let file = built(&app, "good-2");
        let time = if promoted_by_hand { "10m" } else { "1ms" };
        deploy(&app, &["web", &file, "--canary", "50%", "--for", time, "--max-slowdown", "1000"]).await;
        // Until there is a file in its place again, nothing replaces the record of the versions. Nobody has judged the
        // version yet, because it has had no calls.
        let (record, aside) = (app.state().join("versions/web.json"), app.path("aside.json"));
        fs::rename(&record, &aside).unwrap();
        fs::create_dir(&record).unwrap();
        if promoted_by_hand {
            let output = app.souk("deploy", &["web", "--promote-anyway"]).await;
            let (out, error) = texts(&output);
            assert!(!output.status.success() && !out.contains("serves"), "{out}{error}");
            assert!(error.contains("its versions cannot be stored") && error.contains("fix: make room"), "{error}");
        }
        let crowd = Crowd::of(&host);
        let end = host.wait_for_log("version 2 of component `web` gets no more calls").await;
        for fragment in ["it could not serve all calls", "its versions cannot be stored", "fix: make room"] {
            assert!(end.contains(fragment), "{fragment} is missing: {end}");
        }
        host.wait_for_log("it cannot be stored why version 2 does not serve").await;
        for claim in ["serves all calls", "was promoted by"] {
            assert_eq!(host.log_count(claim), 0, "{claim}: {:#?}", host.log());
        }
        assert_eq!(crowd.stop().await, 0);
        let all = versions(&app).await;
        let states: Vec<_> = all.iter().map(|version| version["state"].clone()).collect();
        assert_eq!(states, ["active", "kept"], "{all:?}");
        let note = all[1]["note"].as_str().unwrap_or_default();
        assert!(note.contains("its versions cannot be stored"), "{all:?}");
        for _ in 0..20 {
            assert_eq!(body(&host.client(), "/").await, (200, "good-1".to_owned()));
        }
        // With room again, the next deployment serves, and the reason stays.
        fs::remove_dir(&record).unwrap();
        fs::rename(&aside, &record).unwrap();
        let said = deploy(&app, &["web", &built(&app, "good-3")]).await;
        assert!(said.contains("version 3 serves; version 1 ends its calls"), "{said}");
        host.stop().await;
        let host = app.start().await;
        assert_eq!(body(&host.client(), "/").await, (200, "good-3".to_owned()));
        assert_eq!(versions(&app).await[1]["note"], note);
        host.stop().await;
    }
}

#[tokio::test]
async fn a_file_that_was_built_during_a_trial_is_a_new_version_at_the_next_start_however_the_trial_ended() {
    for promoted_by_hand in [true, false] {
        let app = app();
        let host = app.start().await;
        let crowd = Crowd::of(&host);
        let file = built(&app, "good-2");
        let time = if promoted_by_hand { "10m" } else { "1ms" };
        deploy(&app, &["web", &file, "--canary", "50%", "--for", time, "--max-slowdown", "1000"]).await;
        let app = app.file("web.wasm", version("good-3"));
        if promoted_by_hand {
            let said = deploy(&app, &["web", "--promote-anyway"]).await;
            assert!(said.contains("version 2 serves all calls"), "{said}");
        } else {
            host.wait_for_log("version 2 of component `web` serves all calls").await;
        }
        assert_eq!(crowd.stop().await, 0);
        assert_eq!(body(&host.client(), "/").await, (200, "good-2".to_owned()));
        host.stop().await;
        let host = app.start().await;
        host.wait_for_log("web: version 3, because its `source` has changed").await;
        assert_eq!(body(&host.client(), "/").await, (200, "good-3".to_owned()));
        host.stop().await;
    }
}

#[tokio::test]
async fn a_file_at_source_that_did_not_stay_does_not_come_back_with_a_restart() {
    for end in ["judged", "taken away", "killed"] {
        let app = app();
        let host = app.start().await;
        let app = app.file("web.wasm", version("traps"));
        let said = deploy(&app, &["web", "--canary", "50%", "--for", "10m"]).await;
        assert!(said.contains("version 2 gets 50 %"), "{said}");
        match end {
            "judged" => {
                let crowd = Crowd::of(&host);
                let line = host.wait_for_log("version 2 of component `web` gets no more calls").await;
                assert!(line.contains("trapped"), "{line}");
                crowd.stop().await;
            }
            "taken away" => {
                let (out, error) = texts(&app.souk("rollback", &["web"]).await);
                assert!(out.contains("version 2 was tried out and gets no more calls"), "{out}{error}");
            }
            _ => {}
        }
        if end == "killed" {
            host.signal("KILL");
            host.wait().await;
        } else {
            host.stop().await;
        }
        for _ in 0..2 {
            let host = app.start().await;
            host.wait_for_log("web: version 1, because the file at its `source` was tried out as version 2").await;
            assert_eq!(body(&host.client(), "/").await, (200, "good-1".to_owned()), "{end}");
            let said = deploy(&app, &["web", "--check"]).await;
            assert!(said.contains("would be version 3"), "an operator can deploy it again: {said}");
            host.stop().await;
        }
        let app = app.file("web.wasm", version("good-3"));
        let host = app.start().await;
        host.wait_for_log("web: version 3, because its `source` has changed").await;
        assert_eq!(body(&host.client(), "/").await, (200, "good-3".to_owned()), "{end}");
        host.stop().await;
    }
}

#[tokio::test]
async fn a_version_is_not_deployed_while_a_component_that_it_calls_has_one_on_trial() {
    let app = App::inline(MANIFEST)
        .component("caller.wasm", &caller(false))
        .component("callee.wasm", &callee(false))
        .component("new-caller.wasm", &caller(true))
        .component("new-callee.wasm", &callee(true));
    let host = app.start().await;
    let file = |name: &str| app.path(name).to_str().unwrap().to_owned();
    let (new_caller, new_callee) = (file("new-caller.wasm"), file("new-callee.wasm"));
    deploy(&app, &["callee", &new_callee, "--canary", "50%", "--for", "10m"]).await;
    let arguments = ["caller", new_caller.as_str()];
    let output = app.souk("deploy", &arguments).await;
    let (out, error) = texts(&output);
    assert!(!output.status.success(), "{out}");
    for fragment in ["component `caller`", "version 2 of `callee`, which it calls", "fix: wait", "souk rollback callee"]
    {
        assert!(error.contains(fragment), "{fragment} is missing: {error}");
    }
    let (out, error) = texts(&app.souk("rollback", &["callee"]).await);
    assert!(out.contains("version 2 was tried out and gets no more calls"), "{out}{error}");
    let said = deploy(&app, &arguments).await;
    assert!(said.contains("version 2 serves"), "{said}");
    host.stop().await;
}

#[tokio::test]
async fn a_version_that_does_not_answer_is_withdrawn_also_when_all_clients_give_up_before_its_deadline() {
    let app = app();
    let host = app.start().await;
    let file = built(&app, "hangs");
    deploy(&app, &["web", &file, "--canary", "50%", "--for", "10m"]).await;
    let client = host.client();
    let asking = async {
        for _ in 0..100 {
            join_all((0..8).map(|_| timeout(Duration::from_millis(300), client.open(Method::GET, "/").send()))).await;
        }
    };
    let end = tokio::select! {
        end = host.wait_for_log("version 2 of component `web` gets no more calls") => end,
        () = asking => panic!("nobody has judged it: {:?}", host.log()),
    };
    assert!(end.contains("were given up by their callers"), "{end}");
    assert_eq!(body(&client, "/").await, (200, "good-1".to_owned()));
}
