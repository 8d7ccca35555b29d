//! HTTP/2 by hand, frame by frame: for clients that open streams and abandon them.

use super::raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that sends requests, and reads and discards what comes back.
pub(crate) struct Http2 {
    stream: TcpStream,
    next: u32,
}

impl Http2 {
    /// Opens a connection whose streams may be sent `window` bytes each.
    pub(crate) async fn connect(address: &str, window: u32) -> Http2 {
        let mut stream = raw::connect(address).await;
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let mut setting = vec![0, 4];
        setting.extend(window.to_be_bytes());
        bytes.extend(frame(4, 0, 0, &setting));
        // If the host has closed the connection, a later call shows it.
        let _ = stream.write_all(&bytes).await;
        Http2 { stream, next: 1 }
    }

    /// Sends one request for each of `bodies`, all at once. A request with a body stays open after it. Returns `false`
    /// when the host has closed the connection.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        bodies: &[Option<&[u8]>],
    ) -> bool {
        let mut bytes = Vec::new();
        for body in bodies {
            let mut head = vec![if method == "GET" { 0x82 } else { 0x83 }, 0x86];
            literal(&mut head, 4, path);
            literal(&mut head, 1, "localhost");
            for (name, value) in headers {
                head.push(0);
                text(&mut head, name);
                text(&mut head, value);
            }
            // END_HEADERS, and END_STREAM without a body.
            bytes.extend(frame(1, if body.is_some() { 4 } else { 5 }, self.next, &head));
            if let Some(body) = body {
                bytes.extend(frame(0, 0, self.next, body));
            }
            self.next += 2;
        }
        self.stream.write_all(&bytes).await.is_ok()
    }

    /// Reads until the host closes the connection.
    pub(crate) async fn read_to_end(&mut self) {
        let mut buffer = vec![0; 16 << 10];
        while matches!(self.stream.read(&mut buffer).await, Ok(1..)) {}
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header with an indexed name and a literal value, which is not added to HPACK's dynamic table.
fn literal(head: &mut Vec<u8>, name: u8, value: &str) {
    head.push(name);
    text(head, value);
}

fn text(head: &mut Vec<u8>, text: &str) {
    head.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
    head.extend(text.as_bytes());
}
