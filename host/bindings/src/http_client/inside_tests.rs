//! Requests that do not leave the process.

use super::tests::{SHORT_TIMEOUT, call, get, send, text};
use super::*;
use crate::outbound::tests::allow;
use http_body_util::Full;

/// A component that answers with what it received.
fn echo() -> InternalDispatch {
    Arc::new(|destination, request, call| {
        let name = match destination {
            Destination::Component(name) => name,
            Destination::OwnRoutes => format!("routes {}", request.uri()),
            Destination::Next(name) => {
                let rest = call.rest.as_ref().and_then(|rest| rest.next()).map(|(name, _)| name);
                format!("next {name} then {rest:?}")
            }
        };
        Box::pin(async move {
            if name == "absent" {
                return Err(Error::DestinationNotFound);
            }
            let header =
                |name| request.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            let seen = format!("{name} {:?} {:?} {} hops", header("host"), header("x-request-id"), call.hops);
            Ok(Response::new(Full::from(seen).map_err(Error::from).boxed_unsync()))
        })
    })
}

fn client(entry: &str, dispatch: Option<InternalDispatch>) -> Client {
    let internal = Internal::default();
    let client = Client::new("tested".into(), allow(&[entry]), 1, internal.clone(), tls_config().unwrap());
    // Set after the client is created, as at start-up.
    dispatch.into_iter().for_each(|dispatch| internal.set(dispatch));
    client
}

const ALL: &str = "http://*.spin.internal";

#[tokio::test]
async fn a_request_goes_to_the_component_as_the_next_hop_with_the_trace_id() {
    let client = client(ALL, Some(echo()));
    let response = send(&client, get("http://web.spin.internal/path")).await.unwrap();
    assert_eq!(text(response).await, r#"web Some("web.spin.internal") Some("trace-1") 1 hops"#);

    let mut request = get("http://WEB.spin.internal");
    request.headers_mut().insert("x-request-id", HeaderValue::from_static("mine"));
    assert!(text(send(&client, request).await.unwrap()).await.contains(r#"Some("mine")"#));
    assert!(matches!(send(&client, get("http://absent.spin.internal")).await, Err(Error::DestinationNotFound)));
}

#[tokio::test]
async fn a_component_that_is_not_granted_is_not_reached() {
    let client = client("http://web.spin.internal", Some(echo()));
    send(&client, get("http://web.spin.internal")).await.unwrap();
    for uri in ["http://other.spin.internal", "https://web.spin.internal", "http://web.spin.internal:81"] {
        assert!(matches!(send(&client, get(uri)).await, Err(Error::HttpRequestDenied)), "{uri}");
    }
}

#[tokio::test]
async fn requests_to_the_applications_own_routes_need_the_grant_self() {
    for entry in ["http://self", "https://self.alt"] {
        let client = client(entry, Some(echo()));
        for uri in ["http://self/path", "https://self.alt/path"] {
            assert!(text(send(&client, get(uri)).await.unwrap()).await.starts_with(&format!("routes {uri} ")));
        }
        assert!(matches!(send(&client, get("http://self:81/")).await, Err(Error::HttpRequestDenied)));
    }
    let ungranted = client("*://*:*", Some(echo()));
    assert!(matches!(send(&ungranted, get("http://self/path")).await, Err(Error::HttpRequestDenied)));
}

#[tokio::test]
async fn a_middleware_hands_a_request_to_what_comes_next_and_needs_no_grant_for_it() {
    let client = client("http://nothing.test", Some(echo()));
    let call = CallContext { rest: crate::call::Chain::new(["one", "two"].map(Arc::from)), ..call() };
    let next = |call: CallContext| {
        let client = &client;
        async move { client.send_next(get("http://a.test/path"), RequestOptions::default(), &call).await }
    };
    let answer = text(next(call.clone()).await.unwrap()).await;
    assert!(answer.starts_with("next one then Some(\"two\")") && answer.ends_with("1 hops"), "{answer}");
    let error = next(CallContext { rest: None, ..call.clone() }).await.unwrap_err();
    assert!(matches!(error, Error::DestinationNotFound), "{error:?}");
    let error = next(CallContext { hops: crate::call::MAX_HOPS, ..call }).await.unwrap_err();
    assert!(matches!(error, Error::LoopDetected), "{error:?}");
}

#[tokio::test]
async fn a_request_to_no_component_at_all_is_denied() {
    let client = client(ALL, Some(echo()));
    assert!(matches!(send(&client, get("http://.spin.internal")).await, Err(Error::HttpRequestDenied)));
}

#[tokio::test]
async fn a_loop_ends() {
    let client = client(ALL, Some(echo()));
    let mut call = call();
    call.hops = crate::call::MAX_HOPS;
    let error = client.send(get("http://web.spin.internal"), RequestOptions::default(), &call).await.unwrap_err();
    assert!(matches!(error, Error::LoopDetected), "{error:?}");
}

#[tokio::test]
async fn a_component_that_does_not_answer_fails_by_the_callers_limits() {
    let dead: InternalDispatch = Arc::new(|_, _, _| Box::pin(std::future::pending()));
    let client = client(ALL, Some(dead));
    let uri = "http://web.spin.internal";
    let first = RequestOptions { first_byte_timeout: Some(SHORT_TIMEOUT), ..Default::default() };
    assert!(matches!(client.send(get(uri), first, &call()).await, Err(Error::ConnectionReadTimeout)));
    let soon = CallContext::new("t", SHORT_TIMEOUT);
    let error = client.send(get(uri), RequestOptions::default(), &soon).await.unwrap_err();
    assert!(matches!(error, Error::HttpResponseTimeout), "{error:?}");
}

#[tokio::test]
async fn before_the_start_nothing_is_reached() {
    let error = send(&client(ALL, None), get("http://web.spin.internal")).await.unwrap_err();
    assert!(matches!(error, Error::DestinationUnavailable), "{error:?}");
}
