//! Tests which peer a connection and a request count for.

use super::forwarded::{MAX_HOP_PARAMETERS, list, standard};
use super::*;
use proptest::prelude::*;

fn trusted() -> TrustedProxies {
    TrustedProxies::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// The client of a request with `lines` that comes from address `from`.
fn client(from: &str, lines: &[(&'static str, &str)]) -> Peer {
    let trusted = trusted();
    let peer = trusted.peer(SocketAddr::new(from.parse().unwrap(), 4321));
    trusted.client(&peer, &headers(lines))
}

#[test]
fn a_header_from_a_peer_that_is_not_trusted_changes_nothing() {
    for lines in [&[("forwarded", "for=192.0.2.1")][..], &[("x-forwarded-for", "10.0.0.1, 192.0.2.1")]] {
        let peer = client("198.51.100.7", lines);
        assert_eq!(peer.header(), "198.51.100.7:4321");
        assert_eq!(peer.share, Share::of("198.51.100.7".parse().unwrap()));
    }
}

#[test]
fn a_hop_with_very_many_parameters_names_nobody() {
    let with = |parameters: usize| {
        let others: String = (1..parameters).map(|n| format!(";p{n}=1")).collect();
        standard(format!("for=192.0.2.1{others}").as_bytes()).is_some()
    };
    assert!(with(MAX_HOP_PARAMETERS));
    assert!(!with(MAX_HOP_PARAMETERS + 1));
}

#[test]
fn of_a_chain_the_last_hop_that_is_not_trusted_is_the_client() {
    for (lines, named) in [
        (&[("x-forwarded-for", "192.0.2.1")][..], "192.0.2.1:0"),
        (&[("x-forwarded-for", "203.0.113.9, 192.0.2.1,10.1.1.1 , 10.2.2.2")], "192.0.2.1:0"),
        (&[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1:0"),
        (&[("x-forwarded-for", "what ever, 192.0.2.1:77")], "192.0.2.1:77"),
        (&[("x-forwarded-for", "2001:db8::1")], "[2001:db8::1]:0"),
        (&[("x-forwarded-for", "::ffff:192.0.2.1")], "192.0.2.1:0"),
        (&[("x-forwarded-for", "10.3.3.3, 10.2.2.2")], "10.3.3.3:0"),
        (&[("forwarded", "for=192.0.2.1")], "192.0.2.1:0"),
        (&[("forwarded", "For=\"192.0.2.1:77\";proto=https;by=10.0.0.1")], "192.0.2.1:77"),
        (&[("forwarded", "for=203.0.113.9;, ;for=192.0.2.1;;proto=https;")], "192.0.2.1:0"),
        (
            &[("forwarded", "for=203.0.113.9, for=192.0.2.1;host=\"a,b;for=1.1.1.1\" ,for=\"[fd00::2]:1\"")],
            "192.0.2.1:0",
        ),
        (&[("forwarded", "for=\"[2001:db8::1]:_x\"")], "[2001:db8::1]:0"),
        (&[("forwarded", "garbage"), ("forwarded", "for=192.0.2.1")], "192.0.2.1:0"),
        (&[("forwarded", "for=\"192.0.2.1:77\""), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1:77"),
    ] {
        let peer = client("10.0.0.1", lines);
        assert_eq!(peer.header(), named, "{lines:?}");
        assert_eq!(peer.share, Share::of(peer.address.ip()), "{lines:?}");
    }
}

#[test]
fn a_client_that_confuses_its_proxy_takes_the_share_of_one_peer() {
    let one = Share::of("10.0.0.1".parse().unwrap());
    for lines in [
        // The two headers name different clients: the client wrote one of them.
        &[("forwarded", "for=203.0.113.9"), ("x-forwarded-for", "192.0.2.1")][..],
        // A quote that would swallow what the proxy adds.
        &[("forwarded", "for=203.0.113.9;host=\", for=192.0.2.1")],
        &[("forwarded", "for=203.0.113.9;host=\", for=192.0.2.1;host=\"shop.test\"")],
        &[("forwarded", "for=unknown")],
        &[("forwarded", "for=_hidden, for=10.2.2.2")],
        &[("forwarded", "proto=https")],
        &[("forwarded", "for=192.0.2.1;for=192.0.2.2")],
        &[("forwarded", "for = 192.0.2.1")],
        &[("x-forwarded-for", "192.0.2.1, unknown")],
        &[("x-forwarded-for", "192.0.2.1, \"192.0.2.1\"")],
    ] {
        let peer = client("10.0.0.1", lines);
        assert_eq!((peer.header(), peer.share), (HeaderValue::from_static("10.0.0.1:4321"), one), "{lines:?}");
    }
}

#[test]
fn a_proxys_own_requests_have_no_bound_of_one_peer_and_ipv6_counts_by_its_network() {
    for lines in [&[][..], &[("x-real-ip", "192.0.2.1")]] {
        assert!(!client("10.0.0.1", lines).share.is_bounded());
        assert!(!client("::ffff:10.0.0.1", lines).share.is_bounded());
    }
    let share = |address: &str| Share::of(address.parse().unwrap());
    assert_eq!(share("2001:db8::1"), share("2001:db8::ffff:1"));
    assert_ne!(share("2001:db8::1"), share("2001:db8:0:1::1"));
    assert_eq!(share("::ffff:192.0.2.1"), share("192.0.2.1"));
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port))
}

/// A fragment as written by proxies and by clients that forge headers.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        address().prop_map(|address| format!("for=\"{address}\"")),
        address().prop_map(|address| address.ip().to_string()),
        prop::sample::select(vec![
            ",", ";", "\"", "\\", "for=", "FOR=", "host=", " ", "unknown", "_x", "[", "]", ":", "="
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,6}",
    ]
}

proptest! {
    #[test]
    fn whatever_a_client_writes_before_what_its_proxy_adds_it_is_not_taken_for_another(
        pieces in prop::collection::vec(piece(), 0..12),
        own in address(),
        same_line: bool,
    ) {
        let trusted = trusted();
        prop_assume!(!trusted.contain(own.ip()));
        let forged = pieces.concat();
        let proxy = trusted.peer("10.0.0.1:1".parse().unwrap());
        for (name, added) in [
            ("forwarded", format!("for=\"{own}\";host=\"shop.test\";proto=https")),
            ("x-forwarded-for", own.ip().to_string()),
        ] {
            let joined = format!("{forged}, {added}");
            let lines = if same_line { vec![(name, joined.as_str())] } else { vec![(name, forged.as_str()), (name, added.as_str())] };
            let peer = trusted.client(&proxy, &headers(&lines));
            // The client itself, or the proxy with the share of one peer.
            prop_assert!([own.ip(), proxy.address.ip()].contains(&peer.address.ip()), "{lines:?} gave {peer:?}");
            prop_assert!(peer.share.is_bounded());
            if !same_line {
                prop_assert_eq!(peer.address.ip(), own.ip());
            }
        }
    }

    #[test]
    fn what_proxies_write_is_read(hops in prop::collection::vec(address(), 1..5)) {
        let written: Vec<_> = hops.iter().map(|hop| format!("proto=http;for=\"{hop}\"")).collect();
        let read: Vec<_> = hops.iter().copied().map(Hop::Address).collect();
        prop_assert_eq!(standard(written.join(", ").as_bytes()), Some(read));
        let written: Vec<_> = hops.iter().map(|hop| hop.ip().to_string()).collect();
        let read: Vec<_> = hops.iter().map(|hop| Hop::Address(SocketAddr::new(hop.ip(), 0))).collect();
        prop_assert_eq!(list(written.join(",").as_bytes()), Some(read));
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes: Vec<u8>, text in "\\PC{0,40}") {
        for line in [&bytes[..], text.as_bytes()] {
            let _ = (standard(line), list(line));
        }
    }

    #[test]
    fn a_proxy_header_is_read_to_its_end_and_no_further(
        client in address(),
        version_2: bool,
        rest in prop::collection::vec(any::<u8>(), 0..64),
        step in 1_usize..40,
    ) {
        let other: SocketAddr = if client.is_ipv4() { "10.0.0.1:80" } else { "[fd00::1]:80" }.parse().unwrap();
        let mut bytes = if version_2 {
            ppp::v2::Builder::with_addresses(0x21, ppp::v2::Protocol::Stream, (client, other))
                .write_tlv(ppp::v2::Type::NoOp, &[7; 9]).unwrap().build().unwrap()
        } else {
            ppp::v1::Addresses::from((client, other)).to_string().into_bytes()
        };
        bytes.extend_from_slice(&rest);
        let (named, mut read) = read_in_steps(bytes, step).unwrap();
        prop_assert_eq!(named, Some(client));
        prop_assert!(rest.starts_with(&read.0));
        read.0.extend_from_slice(&read.1);
        prop_assert_eq!(read.0, rest);
    }

    #[test]
    fn no_bytes_make_the_proxy_header_panic_and_what_is_none_is_left_alone(
        start in 0_usize..3, bytes: Vec<u8>, step in 1_usize..40,
    ) {
        let start: &[u8] = [&b""[..], b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"][start];
        let whole = [start, &bytes].concat();
        let begins = |with: &[u8]| whole.iter().zip(with).all(|(one, other)| one == other);
        let header = begins(b"PROXY ") || begins(b"\r\n\r\n\0\r\nQUIT\n");
        if let Ok((None, (read, left))) = read_in_steps(whole.clone(), step)
            && !header
        {
            prop_assert_eq!([read, left].concat(), whole);
        }
    }
}

/// The bytes that were read after a header, and the bytes that were not read.
type Read = (Vec<u8>, Vec<u8>);

/// Reads a header from `bytes`, of which `step` arrive at a time. Returns the client that it names, and both parts of
/// the rest.
fn read_in_steps(bytes: Vec<u8>, step: usize) -> std::io::Result<(Option<SocketAddr>, Read)> {
    let chunks: Vec<_> =
        bytes.chunks(step).map(|chunk| Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(chunk))).collect();
    let mut stream = tokio_util::io::StreamReader::new(futures::stream::iter(chunks));
    futures::executor::block_on(async {
        let (named, read) = proxy_protocol::read(&mut stream).await?;
        let mut left = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut left).await?;
        Ok((named, (read.to_vec(), left)))
    })
}
