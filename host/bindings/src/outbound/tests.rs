//! Which servers an entry of `allowed_outbound_hosts` grants, and which addresses it does not.

use super::*;

/// The list of these entries, parsed as in the manifest.
pub(crate) fn allow(entries: &[&str]) -> AllowedHosts {
    let entries = entries.iter().map(|entry| AllowedHost::parse(entry, entry).unwrap());
    AllowedHosts::new("tested", entries.collect())
}

fn resolving(addresses: &[&str]) -> Resolve {
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Arc::new(move |_| Box::pin(std::future::ready(Ok(addresses.clone()))))
}

#[test]
fn a_server_is_allowed_by_scheme_host_and_port_together() {
    for (entry, scheme, host, port, allowed) in [
        ("postgres://db.test", "postgres", "db.test", 5432, true),
        ("postgresql://db.test:5432", "postgres", "DB.test", 5432, true),
        ("*://db.test:*", "postgres", "db.test", 6000, true),
        ("postgres://db.test", "postgres", "db.test", 6000, false),
        ("https://db.test:5432", "postgres", "db.test", 5432, false),
        ("postgres://*.test", "postgres", "db.test", 5432, true),
        ("postgres://*.test", "postgres", "test", 5432, false),
        ("postgres://10.0.0.0/8", "postgres", "10.1.2.3", 5432, true),
        ("postgres://[::1]:5432", "postgres", "::1", 5432, true),
        ("redis://cache.test", "redis", "cache.test", 6379, true),
        ("redis://cache.test", "mqtt", "cache.test", 6379, false),
        ("mysql://db.test", "mysql", "db.test", 3306, true),
        ("mqtt://broker.test", "mqtt", "broker.test", 1883, true),
    ] {
        assert_eq!(allow(&[entry]).allows(&Server { scheme, host, port }), allowed, "{entry} {scheme} {host} {port}");
    }
    assert!(!AllowedHosts::default().allows(&Server { scheme: "redis", host: "cache.test", port: 6379 }));
}

#[test]
fn only_an_address_a_network_or_localhost_grants_a_special_address() {
    for (entry, host, ip, refused) in [
        ("postgres://db.test", "db.test", "93.184.216.34", false),
        ("postgres://db.test", "db.test", "10.0.0.1", true),
        ("postgres://localhost", "localhost", "127.0.0.1", false),
        ("postgres://localhost", "localhost", "10.0.0.1", true),
        ("postgres://10.0.0.0/8", "db.test", "10.0.0.1", false),
        ("postgresql://10.0.0.1:5432", "10.0.0.1", "10.0.0.1", false),
        ("redis://10.0.0.1:5432", "10.0.0.1", "10.0.0.1", true),
        ("*://*:*", "db.test", "127.0.0.1", true),
    ] {
        let server = Server { scheme: "postgres", host, port: 5432 };
        assert_eq!(allow(&[entry]).refuses(&server, ip.parse().unwrap()).is_some(), refused, "{entry} {ip}");
    }
}

#[tokio::test]
async fn only_addresses_that_the_component_may_reach_are_used() {
    let server = Server { scheme: "redis", host: "cache.test", port: 6379 };
    let allowed = allow(&["redis://cache.test", "redis://10.0.0.0/8"]);
    let both = resolving(&["127.0.0.1", "10.1.2.3"]);
    let found = server.addresses(&allowed, &both).await.unwrap();
    assert_eq!(found, ["10.1.2.3".parse::<IpAddr>().unwrap()]);

    let log = crate::tests::Log::capture();
    let error = server.addresses(&allowed, &resolving(&["127.0.0.1"])).await.unwrap_err();
    assert!(matches!(error, Unreachable::Special) && !error.to_string().contains("127.0.0.1"), "{error}");
    let lines = log.lines();
    assert!(
        lines[0].contains(r#"add "redis://127.0.0.1" to allowed_outbound_hosts of [component.tested]"#),
        "{lines:?}"
    );
    let error = server.addresses(&allowed, &resolving(&[])).await.unwrap_err();
    assert!(matches!(error, Unreachable::Unresolved(_)), "{error}");
}

#[test]
fn a_refused_host_is_logged_once_with_the_entry_that_would_allow_it() {
    let log = crate::tests::Log::capture();
    let allowed = AllowedHosts::new("tested", Vec::new());
    for port in [6379, 6379, 7000] {
        allowed.denied("a connection", &Server { scheme: "redis", host: "::1", port }, "trace");
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains(
            r#"component `tested` was refused a connection to redis://[::1]; to allow it add "redis://[::1]" to"#
        ),
        "{lines:?}"
    );
    assert!(lines[1].contains("redis://[::1]:7000"), "{lines:?}");
}

#[test]
fn a_component_is_reached_by_its_own_entry_or_a_wildcard() {
    for (entry, allowed) in [
        ("http://web.spin.internal", true),
        ("http://*.spin.internal", true),
        ("http://other.spin.internal", false),
        ("https://web.spin.internal", false),
        ("http://*.internal", false),
        ("http://10.0.0.0/8", false),
    ] {
        assert_eq!(allow(&[entry]).allows_internal("http", "web"), allowed, "{entry}");
    }
    assert!(!AllowedHosts::default().allows_internal("http", "web"));
}
