//! What a version that is tried out is compared with, and what is kept of it when it serves.

use super::deploy::{Crowd, app, built, deploy, versions};

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
