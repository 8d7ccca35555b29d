//! MQTT brokers for tests, on a free loopback port, which end with the test; and a client that subscribes to a topic.

use crate::keeper::Keeper;
use crate::{debian, ports};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The user of a broker with a login.
pub const USER: &str = "souk";
/// The user's password.
pub const PASSWORD: &str = "p@ss";

/// One broker.
pub struct Mosquitto {
    folder: TempDir,
    port: u16,
    keeper: Option<Keeper>,
}

impl Mosquitto {
    /// A broker that accepts everyone.
    pub fn start() -> Mosquitto {
        Mosquitto::start_with("allow_anonymous true\n")
    }

    /// A broker that accepts [`USER`] only.
    pub fn start_with_login() -> Mosquitto {
        Mosquitto::start_with("allow_anonymous false\npassword_file passwords\n")
    }

    fn start_with(settings: &str) -> Mosquitto {
        let folder = tempfile::Builder::new().prefix("souk-mqtt-").tempdir().unwrap();
        let port = ports::free();
        let mut passwords = Command::new(debian::found_or_installed(&["mosquitto_passwd"], "mosquitto"));
        passwords.args(["-b", "-c", "passwords", USER, PASSWORD]).current_dir(folder.path());
        debian::run(passwords);
        let user = if debian::is_root() { "user root\n" } else { "" };
        let config = format!("listener {port} 127.0.0.1\npersistence false\n{user}{settings}");
        fs::write(folder.path().join("config"), config).unwrap();
        let mut broker = Mosquitto { folder, port, keeper: None };
        broker.resume();
        broker
    }

    /// The port of 127.0.0.1 that the broker listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the broker at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.keeper = None;
    }

    /// Starts the broker again, on the same port.
    pub fn resume(&mut self) {
        let program = debian::found_or_installed(&["mosquitto", "/usr/sbin/mosquitto"], "mosquitto");
        let ready = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        let keeper = Keeper::start(&program, &["-c".into(), "config".into()], self.folder.path(), ready);
        self.keeper = Some(keeper);
    }

    /// Subscribes to `topic`.
    pub fn subscribe(&self, topic: &str) -> Subscriber {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
        // CONNECT with a clean session and a client id, and SUBSCRIBE with the highest quality of service.
        let connect = [text("MQTT"), vec![4, 2, 0, 0], text(&format!("test-{topic}"))].concat();
        let subscribe = [vec![0, 1], text(topic), vec![2]].concat();
        for (kind, body, answer) in [(0x10, connect, 0x20), (0x82, subscribe, 0x90)] {
            stream.write_all(&[&[kind, u8::try_from(body.len()).unwrap()][..], &body].concat()).unwrap();
            let (first, _) = packet(&mut stream);
            assert_eq!(first, answer, "the broker sent another packet");
        }
        Subscriber(stream)
    }
}

/// A client that has subscribed to a topic.
pub struct Subscriber(TcpStream);

impl Subscriber {
    /// The payload of the next message, and its quality of service.
    pub fn receive(&mut self) -> (Vec<u8>, u8) {
        loop {
            let (first, body) = packet(&mut self.0);
            match first & 0xf0 {
                0x30 => return self.received(first, &body),
                // PUBREL, the second half of an exactly-once delivery: answer with PUBCOMP.
                0x60 => self.0.write_all(&[0x70, 2, body[0], body[1]]).unwrap(),
                _ => {}
            }
        }
    }

    fn received(&mut self, first: u8, body: &[u8]) -> (Vec<u8>, u8) {
        let qos = first >> 1 & 3;
        let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        if qos == 0 {
            return (body[topic..].to_vec(), qos);
        }
        let answer = if qos == 1 { 0x40 } else { 0x50 };
        self.0.write_all(&[answer, 2, body[topic], body[topic + 1]]).unwrap();
        (body[topic + 2..].to_vec(), qos)
    }
}

/// The first byte of the next packet, and its body.
fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    let first = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte).unwrap();
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (first, body)
}
