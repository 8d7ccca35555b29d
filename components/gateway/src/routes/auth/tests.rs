//! Replays the recorded account requests that the gateway answers without auth: the status and the body must be the
//! same.

use super::*;
use crate::authorize::bearer;
use crate::routes::openapi::example;
use crate::routes::recorded::{cases, expected, sent, title};
use serde_json::json;

#[test]
fn refused_registrations_and_logins_have_the_recorded_status_and_body() {
    let mut refused = 0;
    for case in cases(&["auth-register", "auth-login"]) {
        let body = Fields::parse(case["body"].as_str().unwrap()).unwrap();
        let answer = match case["path_template"].as_str().unwrap() {
            "/api/auth/register" => new_account(&body).map(drop),
            _ => credentials(&body).map(drop),
        };
        match answer {
            Err(error) => {
                assert_eq!(sent(error), expected(&case), "{}", title(&case));
                refused += 1;
            }
            // A refusal that only auth can give has one text, not a list.
            Ok(()) => {
                assert!(
                    case["status"] == 201 || case["response_normalised"]["message"].is_string(),
                    "{}",
                    title(&case)
                );
            }
        }
    }
    assert!(refused >= 15, "only {refused} cases were refused");
}

#[test]
fn a_request_without_a_token_has_the_recorded_status_and_body() {
    let mut refused = 0;
    for case in cases(&["auth-verify"]) {
        let found = bearer(case["headers"]["authorization"].as_str());
        assert_eq!(found.is_none(), case["response_normalised"]["message"] == "Token not found", "{}", title(&case));
        if found.is_none() {
            let refused_token = token(case["headers"]["authorization"].as_str()).unwrap_err();
            assert_eq!(sent(refused_token), expected(&case), "{}", title(&case));
            refused += 1;
        }
    }
    assert_eq!(refused, 4);
}

#[test]
fn the_accounts_refusals_become_the_recorded_bodies_to_the_byte() {
    let text = |error| {
        let reply = to_http_error(error).into_reply();
        (reply.status, String::from_utf8(reply.body).unwrap())
    };
    use accounts::Error::*;
    assert_eq!(text(EmailTaken), (400, r#"{"status":400,"message":"User already exists"}"#.into()));
    assert_eq!(text(Unauthorized), (400, r#"{"status":400,"message":"User/Password not valid"}"#.into()));
    assert_eq!(text(Invalid("a".into())), (400, r#"{"status":400,"message":"a"}"#.into()));
    assert_eq!(text(Unavailable("worker 7 died".into())).0, 503);
    assert_eq!(
        text(Internal("secret".into())),
        (500, r#"{"statusCode":500,"message":"Internal server error"}"#.into())
    );
}

#[test]
fn a_session_shows_the_role_except_after_a_registration() {
    let user = User { id: "1".into(), email: "ann@example.com".into(), name: "Ann".into(), role: Role::Admin };
    let session = Session { user, token: "t".into() };
    let shown = |view: &SessionView| serde_json::to_string(view).unwrap();
    let plain = r#"{"user":{"id":"1","email":"ann@example.com","name":"Ann"},"token":"t"}"#;
    assert_eq!(shown(&SessionView::of(&session)), plain);
    assert_eq!(shown(&SessionView::with_role(&session)), plain.replace(r#""Ann"}"#, r#""Ann","role":"admin"}"#));
}

#[test]
fn the_described_examples_are_accepted() {
    assert!(new_account(&Fields::parse(&example("NewAccount")).unwrap()).is_ok());
    assert!(credentials(&Fields::parse(&example("Credentials")).unwrap()).is_ok());
}

#[test]
fn messages_come_in_the_recorded_order() {
    let body = Fields::parse(r#"{"role":"admin"}"#).unwrap();
    let (_, body) = sent(new_account(&body).unwrap_err());
    let messages = json!([
        "property role should not exist",
        "name must be a string",
        "email must be an email",
        "email must be a string",
        "password is not strong enough",
        "password must be a string"
    ]);
    assert_eq!(body["message"], messages);
}
