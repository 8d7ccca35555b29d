//! The servers that stand in for components in a test (`souk up --stand-in`). Each call is a POST to
//! `URL/INTERFACE#FUNCTION` with the arguments as a JSON object. The answer is the result as JSON, with status 200.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use souk_links::stand_in::Answer;
use std::collections::BTreeMap;
use std::sync::Arc;

souk_manifest::fixed_limits! {
    /// The fixed limits of stand-ins.
    pub(crate) const FIXED_LIMITS = "stand-ins";

    /// The longest answer of a stand-in.
    const MAX_ANSWER_BYTES: usize = 16 << 20, bytes;
}

/// The answer function of each component that has a stand-in.
pub(super) fn answers(stand_ins: &BTreeMap<String, String>) -> BTreeMap<String, Answer> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = |(component, url): (&String, &String)| (component.clone(), answer(client.clone(), url.clone()));
    stand_ins.iter().map(answer).collect()
}

fn answer(client: Client<HttpConnector, Full<Bytes>>, url: String) -> Answer {
    Arc::new(move |function, arguments| {
        let (client, url) = (client.clone(), url.clone());
        Box::pin(async move {
            // A `#` would start a URL's fragment.
            let path = function.replace('#', "%23");
            let request = Request::builder().method(Method::POST).uri(format!("{}/{path}", url.trim_end_matches('/')));
            let request = request.header("content-type", "application/json").body(Full::from(arguments));
            let request = request.map_err(|error| error.to_string())?;
            let response = client.request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body =
                Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|e| e.to_string())?;
            match status {
                StatusCode::OK => Ok(body.to_bytes().to_vec()),
                other => Err(format!("it answered with status {other}")),
            }
        })
    })
}
