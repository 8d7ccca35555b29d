//! Files that the host serves itself: the HTTP features of a file server, and the files that it must not serve.

use crate::harness::{Answer, App, Client, Host, eventually, raw};
use http::Method;
use std::os::unix::fs::symlink;
use tokio::io::AsyncReadExt as _;

/// An application with one route for files; its manifest ends with the lines of `more`.
fn app(route: &str, more: &str) -> App {
    let manifest = format!(
        "spin_manifest_version = 2\n[application]\nname = \"page\"\n[[application.tool.souk.static]]\nroute = \"{route}\"\n\
         folder = \"public\"\n{more}\n"
    );
    App::inline(&manifest)
        .file("public/index.html", "<p>home</p>")
        .file("public/app.js", "let a = 1;\n")
        .file("public/app.js.gz", "gzip's")
        .file("public/app.js.br", "brotli's")
        .file("public/data.json", "{}")
        .file("public/deep/index.html", "<p>deep</p>")
}

async fn get(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.send(Method::GET, path, headers, None).await
}

/// The answer to a GET of exactly this `path`, without following redirects.
async fn answer_to(host: &Host, path: &str) -> String {
    let mut stream = raw::connect(host.address()).await;
    raw::send(&mut stream, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
    raw::read_to_end(&mut stream).await
}

#[tokio::test]
async fn a_file_has_its_type_and_an_entity_tag_for_conditional_requests() {
    let host = app("/...", "").start().await;
    let client = host.client();
    for (path, kind, body) in [
        ("/", "text/html; charset=utf-8", "<p>home</p>"),
        ("/app.js", "text/javascript; charset=utf-8", "let a = 1;\n"),
        ("/data.json", "application/json", "{}"),
        ("/deep/", "text/html; charset=utf-8", "<p>deep</p>"),
    ] {
        let answer = client.get(path).await;
        assert_eq!((answer.status, answer.header("content-type"), &*answer.body), (200, Some(kind), body.as_bytes()));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let tag = answer.header("etag").expect(path).to_owned();
        let again = get(&client, path, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!((again.header("vary"), again.header("etag")), (answer.header("vary"), Some(&*tag)), "{path}");
        let head = client.send(Method::HEAD, path, &[], None).await;
        assert_eq!((head.status, head.header("content-length")), (200, Some(&*body.len().to_string())), "{path}");
    }
    assert!(answer_to(&host, "/deep").await.contains("\r\nlocation: /deep/\r\n"));
    assert_eq!(client.send(Method::POST, "/app.js", &[], Some(Vec::new())).await.status, 405);
}

#[tokio::test]
async fn another_content_has_another_tag_even_with_the_same_size_and_time() {
    // As in an image that can be built again, or in a package of Debian.
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let app = app("/...", "");
    let folder = app.path("public");
    // The new file is there beside the old one, so it has another inode.
    let put = |name: &str, content: &[u8]| {
        let new = folder.join("new");
        std::fs::write(&new, content).unwrap();
        std::fs::File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
        std::fs::rename(&new, folder.join(name)).unwrap();
    };
    let [small, large] = [11, 1 << 20];
    for (name, length) in [("small.txt", small), ("large.bin", large)] {
        put(name, &vec![1_u8; length]);
    }
    let host = app.start().await;
    let client = host.client();
    for (name, length) in [("small.txt", small), ("large.bin", large)] {
        let path = format!("/{name}");
        let before = client.get(&path).await.header("etag").unwrap().to_owned();
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(client.send(method, &path, &[("if-none-match", &before)], None).await.status, 304, "{name}");
        }
        put(name, &vec![2_u8; length]);
        for method in [Method::GET, Method::HEAD] {
            let answer = client.send(method.clone(), &path, &[("if-none-match", &before)], None).await;
            assert_eq!(answer.status, 200, "{method} {name}");
            assert_eq!(answer.header("last-modified"), Some("Sun, 09 Sep 2001 01:46:40 GMT"), "{name}");
        }
        let part = get(&client, &path, &[("range", "bytes=4-4"), ("if-range", &before)]).await;
        assert_eq!((part.status, part.body.len()), (200, length), "{name}");
    }
    // The content that was there before, from another host.
    let now = client.get("/small.txt").await.header("etag").unwrap().to_owned();
    put("small.txt", &vec![2_u8; small]);
    assert_eq!(get(&client, "/small.txt", &[("if-none-match", &now)]).await.status, 304);
}

#[tokio::test]
async fn a_range_request_gets_only_that_part() {
    let host = app("/...", "").start().await;
    let client = host.client();
    let part = get(&client, "/app.js", &[("range", "bytes=4-4")]).await;
    assert_eq!((part.status, &*part.body, part.header("content-range")), (206, &b"a"[..], Some("bytes 4-4/11")));
    assert!(part.header("content-type").is_some_and(|kind| kind.starts_with("text/javascript")));
    let beyond = get(&client, "/app.js", &[("range", "bytes=100-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */11")));
    // With several ranges, a small request could cause a large response, so the host sends the whole file.
    assert_eq!(get(&client, "/app.js", &[("range", "bytes=0-1,4-5")]).await.status, 200);
    // HTTP has parts for GET alone.
    let head = client.send(Method::HEAD, "/app.js", &[("range", "bytes=4-4")], None).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("11")));
}

#[tokio::test]
async fn a_range_that_http_wants_ignored_gets_the_whole_file() {
    let host = app("/...", "").file("public/empty.bin", "").start().await;
    let client = host.client();
    for (range, status, part) in [
        // The last 500 bytes of a file that has 11 are all of it.
        ("bytes=-500", 206, Some("bytes 0-10/11")),
        ("bytes=-1", 206, Some("bytes 10-10/11")),
        ("bytes=0-99999999999999999999999", 206, Some("bytes 0-10/11")),
        ("items=0-5", 200, None),
        ("bytes=4-2", 200, None),
        ("bytes=what", 200, None),
        ("bytes=0-5,2-7", 200, None),
        ("bytes=11-", 416, Some("bytes */11")),
        ("bytes=-0", 416, Some("bytes */11")),
    ] {
        let answer = get(&client, "/app.js", &[("range", range)]).await;
        assert_eq!((answer.status, answer.header("content-range")), (status, part), "{range}");
    }
    for range in ["bytes=0-", "bytes=0-499", "bytes=-500"] {
        let answer = get(&client, "/empty.bin", &[("range", range)]).await;
        assert_eq!((answer.status, answer.header("content-range"), answer.body.len()), (200, None, 0), "{range}");
    }
}

#[tokio::test]
async fn a_condition_with_a_date_that_is_none_does_not_count() {
    let host = app("/...", "").start().await;
    let client = host.client();
    for (condition, value, status) in [
        ("if-modified-since", "yesterday", 200),
        ("if-modified-since", "Tue, 31 Feb 2024 15:50:27 GMT", 200),
        ("if-modified-since", "Tue, 27 Feb 2024 15:50:27 GMT", 200),
        ("if-modified-since", "Sun, 27 Feb 2124 15:50:27 GMT", 304),
        ("if-unmodified-since", "yesterday", 200),
        ("if-unmodified-since", "Tue, 27 Feb 2024 15:50:27 GMT", 412),
        ("if-none-match", "*", 304),
        ("if-match", "\"another\"", 412),
    ] {
        let answer = get(&client, "/app.js", &[(condition, value)]).await;
        assert_eq!(answer.status, status, "{condition}: {value}");
    }
}

#[tokio::test]
async fn a_download_goes_on_only_if_the_file_has_not_changed() {
    let host = app("/...", "").start().await;
    let client = host.client();
    let whole = get(&client, "/app.js", &[]).await;
    let (tag, date) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    for (known, range, status) in [
        (tag, "bytes=4-4", 206),
        (date, "bytes=4-4", 206),
        (&*format!("W/{tag}"), "bytes=4-4", 200),
        ("\"of an older file\"", "bytes=4-4", 200),
        ("\"of an older file\"", "bytes=100-", 200),
        ("Tue, 27 Feb 2024 15:50:27 GMT", "bytes=4-", 200),
        ("nothing that HTTP knows", "bytes=4-", 200),
    ] {
        let answer = get(&client, "/app.js", &[("range", range), ("if-range", known)]).await;
        let body = if status == 206 { &whole.body[4..5] } else { &whole.body };
        assert_eq!((answer.status, &*answer.body), (status, body), "{known} {range}");
    }
}

#[tokio::test]
async fn a_precompressed_file_goes_to_clients_that_accept_its_encoding() {
    let host = app("/...", "").start().await;
    let client = host.client();
    for (accepted, encoding, body) in [
        ("gzip", Some("gzip"), "gzip's"),
        ("gzip;q=0.5, br", Some("br"), "brotli's"),
        ("gzip;q=0, br;q=0", None, "let a = 1;\n"),
        ("identity", None, "let a = 1;\n"),
    ] {
        let answer = get(&client, "/app.js", &[("accept-encoding", accepted)]).await;
        assert_eq!((answer.header("content-encoding"), &*answer.body), (encoding, body.as_bytes()), "{accepted}");
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"), "{accepted}");
        assert!(answer.header("vary").is_some_and(|vary| vary.eq_ignore_ascii_case("accept-encoding")), "{accepted}");
    }
}

#[tokio::test]
async fn a_precompressed_file_that_is_older_than_its_original_is_not_served() {
    let app = app("/...", "");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for name in ["app.js.br", "app.js.gz"] {
        let file = std::fs::File::options().write(true).open(app.path("public").join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    let host = app.start().await;
    let client = host.client();
    for accepted in ["br", "gzip", "zstd, br, gzip;q=0.5"] {
        for method in [Method::GET, Method::HEAD] {
            let answer = client.send(method, "/app.js", &[("accept-encoding", accepted)], None).await;
            assert_eq!((answer.status, answer.header("content-encoding")), (200, None), "{accepted}");
            assert_eq!(answer.header("content-length"), Some("11"), "{accepted}");
        }
    }
    // A client that asks for the file by its own name gets it.
    assert_eq!(&*client.get("/app.js.gz").await.body, b"gzip's");
}

#[tokio::test]
async fn the_fallback_may_have_any_name() {
    let app = app("/...", "fallback = \"the page of 100 %?.html\"").file("public/the page of 100 %?.html", "page");
    let host = app.start().await;
    let answer = host.client().get("/orders/7").await;
    assert_eq!((answer.status, &*answer.body), (200, &b"page"[..]));
}

#[tokio::test]
async fn the_fallback_is_served_for_page_paths_but_not_for_missing_assets() {
    let host = app("/shop/...", "fallback = \"index.html\"").start().await;
    let client = host.client();
    assert!(answer_to(&host, "/shop?a=1").await.contains("\r\nlocation: /shop/?a=1\r\n"));
    for path in ["/shop/", "/shop/orders/7", "/shop/orders/7/"] {
        let answer = client.get(path).await;
        assert_eq!((answer.status, &*answer.body), (200, &b"<p>home</p>"[..]), "{path}");
    }
    for path in
        ["/shop/missing.js", "/shop/deep/missing.css", "/shop/.env", "/shop/.git", "/shop/deep/.x/y", "/orders/7"]
    {
        assert_eq!(client.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn only_regular_files_in_the_folder_are_served() {
    let app = app("/...", "fallback = \"index.html\"").file("public/.env", "swordfish").file("secret.txt", "swordfish");
    let at = |name: &str| app.path("public").join(name);
    symlink("../secret.txt", at("out.txt")).unwrap();
    symlink("/etc", at("etc")).unwrap();
    symlink("/dev/zero", at("zero.bin")).unwrap();
    symlink("loop.txt", at("loop.txt")).unwrap();
    symlink("data.json", at("inside.json")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(at("pipe.txt")).status().unwrap().success());
    let host = app.start().await;
    let client = host.client();
    for path in ["/out.txt", "/etc/passwd.txt", "/etc/hosts", "/zero.bin", "/loop.txt", "/pipe.txt", "/%2eenv", "/.env"]
    {
        let answer = client.get(path).await;
        // A path without an extension may get the fallback page.
        let page = answer.status == 200 && *answer.body == b"<p>home</p>"[..];
        assert!(answer.status == 404 || page, "{path}: {answer:?}");
    }
    assert_eq!(&*client.get("/inside.json").await.body, b"{}");
    // The paths are sent unchanged; a client library would normalise them.
    for path in [
        "/../secret.txt",
        "/deep/../../secret.txt",
        "/%2e%2e/secret.txt",
        "//secret.txt",
        "/deep%2f..%2f..%2fsecret.txt",
    ] {
        let answer = answer_to(&host, path).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_file_route_works_beside_component_routes() {
    let app = App::alone("rogue")
        .file("public/index.html", "<p>home</p>")
        .append("[[application.tool.souk.static]]\nroute = \"/...\"\nfolder = \"public\"\nfallback = \"index.html\"\n");
    let host = app.start().await;
    let client = host.client();
    assert_eq!(client.get("/other/count").await.status, 200);
    assert_eq!(&*client.get("/page").await.body, b"<p>home</p>");
    assert!(
        host.log().iter().any(|line| line.contains("/...") && line.contains("files in public")),
        "the log at start-up names the route"
    );
}

#[tokio::test]
async fn clients_that_read_slowly_cannot_take_all_descriptors() {
    let app =
        app("/...", "[application.tool.souk.limits]\nopen_files = 16").file("public/large.bin", vec![7; 64 << 20]);
    let host = app.start().await;
    let client = host.client();
    let mut slow = Vec::new();
    while slow.len() < 16 {
        let mut stream = raw::connect(host.address()).await;
        raw::send(&mut stream, "GET /large.bin HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut beginning = [0; 12];
        stream.read_exact(&mut beginning).await.unwrap();
        assert_eq!(&beginning, b"HTTP/1.1 200");
        slow.push(stream);
    }
    assert_eq!(client.get("/app.js").await.status, 503);
    drop(slow);
    eventually("files are served again", || async { (client.get("/app.js").await.status == 200).then_some(()) }).await;
    let whole = client.get("/large.bin").await;
    assert_eq!((whole.status, whole.body.len()), (200, 64 << 20));
}
