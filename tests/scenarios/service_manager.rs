//! A host under a service manager: socket activation, notifications that it serves, and the health check.

use crate::harness::app::texts;
use crate::harness::{App, Host, WAIT_TIMEOUT, eventually};
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;

const PAGE: &str = r#"spin_manifest_version = 2
[application]
name = "page"
[[application.tool.souk.static]]
route = "/..."
folder = "public"
"#;

/// The application on a socket of this process, as with systemd's socket activation.
fn activated(listener: &TcpListener) -> App {
    // Child processes inherit the socket; the shell gives it the file descriptor that the protocol requires.
    rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::empty()).unwrap();
    let script = format!("exec 3<&{}; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"", listener.as_raw_fd());
    App::inline(PAGE)
        .file("public/index.html", "hello")
        .inside(["bash", "-c", &script, "bash"].map(str::to_owned).into())
}

/// One GET over a new connection; an error means that the connection was refused or broke.
fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(WAIT_TIMEOUT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test]
async fn a_restart_on_an_inherited_socket_refuses_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let app = activated(&listener);
    let first = app.start().await;
    assert_eq!(first.address(), address.to_string());
    let (done, asked) = (Cell::new(false), Cell::new(0));
    let clients = async {
        while !done.get() {
            let answer = tokio::task::spawn_blocking(move || get(address)).await.unwrap();
            let answer = answer.unwrap_or_else(|e| panic!("a client noticed the restart: {e}"));
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
            asked.set(asked.get() + 1);
        }
    };
    let restarts = async {
        let mut host: Host = first;
        for _ in 0..3 {
            let before = asked.get();
            eventually("clients are served", || async { (asked.get() > before + 5).then_some(()) }).await;
            host.stop().await;
            host = app.start().await;
        }
        done.set(true);
        host
    };
    let (_, host) = futures::join!(clients, restarts);
    host.stop().await;
}

#[tokio::test]
async fn a_service_manager_hears_when_the_host_serves_and_when_it_drains() {
    let app = App::inline(PAGE).file("public/index.html", "hello");
    let path = app.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(WAIT_TIMEOUT)).unwrap();
    let heard = || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let app = app.environment("NOTIFY_SOCKET", path.to_str().unwrap());
    let host = app.start().await;
    let ready = heard();
    assert!(ready.contains("READY=1\n") && ready.contains(host.address()), "{ready}");
    host.terminate();
    assert!(heard().contains("STOPPING=1\n"));
    assert!(host.wait().await.success());
}

#[tokio::test]
async fn more_sockets_than_one_are_refused_with_the_fix() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let descriptor = listener.as_raw_fd();
    let script = format!("exec 3<&{descriptor} 4<&{descriptor}; export LISTEN_FDS=2 LISTEN_PID=$$; exec \"$@\"");
    let app = App::inline(PAGE)
        .file("public/index.html", "hello")
        .inside(["bash", "-c", &script, "bash"].map(str::to_owned).into());
    let message = app.start_fails().await;
    assert!(message.contains("2 sockets") && message.contains("fix: write one `ListenStream=`"), "{message}");
}

#[tokio::test]
async fn health_says_whether_a_host_serves() {
    let app = App::inline(PAGE).file("public/index.html", "hello");
    let host = app.start().await;
    let address = host.address().to_owned();
    for more in [&[][..], &["--live"]] {
        let output = app.souk_in_folder("health", &[&["--listen", &address], more].concat()).await;
        let (out, err) = texts(&output);
        assert!(output.status.success() && out == "ok\n", "{out}\n{err}");
    }
    host.stop().await;
    let output = app.souk_in_folder("health", &["--listen", &address]).await;
    let (_, err) = texts(&output);
    assert!(output.status.code() == Some(1) && err.contains("nothing serves at"), "{err}");
}

#[tokio::test]
async fn the_manual_and_the_completions_name_every_command() {
    let app = App::inline(PAGE);
    let folder = app.path("man");
    let output = app.souk_in_folder("man", &[folder.to_str().unwrap()]).await;
    assert!(output.status.success(), "{}", texts(&output).1);
    for command in ["up", "call", "events", "health", "migrate", "doctor", "build"] {
        let page = std::fs::read_to_string(folder.join(format!("souk-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{command}: {page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = app.souk_in_folder("completions", &[shell]).await;
        let (script, _) = texts(&output);
        assert!(output.status.success() && script.contains("events") && script.contains("state-dir"), "{shell}");
    }
}
