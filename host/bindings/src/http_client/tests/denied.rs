//! Hosts and addresses that a component may not reach.

use super::*;

#[tokio::test]
async fn what_is_not_on_the_list_is_denied_before_anything_is_resolved() {
    let resolve: Resolve = Arc::new(|name| panic!("{name} was resolved"));
    let tls = tls_config().unwrap();
    let client = Client::with_resolver("tested".into(), name("ok.test"), 2, Internal::default(), tls, resolve);
    for uri in ["http://other.test", "https://ok.test", "http://127.0.0.1", "http://ok.test.other.test", "http://self"]
    {
        assert!(matches!(send(&client, get(uri)).await, Err(Error::HttpRequestDenied)), "{uri}");
    }
    let mut connect = get("http://ok.test");
    *connect.method_mut() = Method::CONNECT;
    assert!(matches!(send(&client, connect).await, Err(Error::HttpRequestMethodInvalid)));
    assert!(matches!(send(&client, get("http://user@ok.test")).await, Err(Error::HttpRequestUriInvalid)));
    assert!(matches!(send(&client, get("/relative")).await, Err(Error::HttpRequestUriInvalid)));
}

#[tokio::test]
async fn a_denial_is_logged_once_a_host_with_the_entry_to_add_and_no_path() {
    let log = Log::capture();
    let client = client(name("ok.test"));
    for uri in ["http://other.test/secret?token=1", "http://other.test/again", "https://other.test:8443"] {
        send(&client, get(uri)).await.unwrap_err();
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, entry) in lines.iter().zip(["\"http://other.test\"", "\"https://other.test:8443\""]) {
        assert!(line.contains(entry) && line.contains("allowed_outbound_hosts of [component.tested]"), "{line}");
        assert!(!line.contains("secret") && line.contains("trace=trace-1"), "{line}");
    }
}

#[tokio::test]
async fn a_public_name_that_leads_to_a_special_address_is_refused() {
    for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1", "0.0.0.0"] {
        let error = send(&resolving(name("rebound.test"), &[address]), get("http://rebound.test")).await.unwrap_err();
        assert!(matches!(error, Error::DestinationIpProhibited), "{address}: {error:?}");
    }
    // A wildcard grants names, but never an address in the host's own network, not even a literal one.
    let any = allow(&["http://*:*"]);
    for uri in
        ["http://rebound.test", "http://127.0.0.1", "http://[::1]", "http://[::ffff:10.0.0.1]", "http://localhost"]
    {
        let error = send(&resolving(any.clone(), &["127.0.0.1"]), get(uri)).await.unwrap_err();
        assert!(matches!(error, Error::DestinationIpProhibited), "{uri}: {error:?}");
    }
}

#[tokio::test]
async fn only_the_granted_addresses_of_a_name_are_tried() {
    let server = serve(async |_| Response::new(Full::from("here"))).await;
    let port = server.rsplit(':').next().unwrap().to_owned();
    let hosts = allow(&["http://both.test:*", "http://127.0.0.1:*"]);
    // The first two addresses cannot be reached from here; the test shows that no connection to them is tried.
    let client = resolving(hosts, &["10.255.255.1", "::1", "127.0.0.1"]);
    let response = send(&client, get(format!("http://both.test:{port}"))).await.unwrap();
    assert_eq!(text(response).await, "here");
}

#[tokio::test]
async fn localhost_is_granted_by_its_name() {
    let server = serve(async |_| Response::new(Full::from("here"))).await;
    let uri = server.replace("127.0.0.1", "localhost");
    assert_eq!(text(send(&client(name("localhost")), get(&uri)).await.unwrap()).await, "here");
    // A numeric form that only the resolver understands is a name, and its address is checked like any other.
    let error = send(&client(name("2130706433")), get("http://2130706433")).await.unwrap_err();
    assert!(matches!(error, Error::DestinationIpProhibited | Error::DnsError { .. }), "{error:?}");
}

#[tokio::test]
async fn a_failed_look_up_and_a_closed_port_are_told_apart() {
    let resolve: Resolve = Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such name")) }));
    let tls = tls_config().unwrap();
    let unknown = Client::with_resolver("tested".into(), name("gone.test"), 2, Internal::default(), tls, resolve);
    assert!(matches!(send(&unknown, get("http://gone.test")).await, Err(Error::DnsError { .. })));
    assert!(matches!(
        send(&resolving(name("none.test"), &[]), get("http://none.test")).await,
        Err(Error::DnsError { .. })
    ));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(send(&client(loopback()), get(&closed)).await, Err(Error::ConnectionRefused)));
}
