//! HTTP by hand, byte by byte: for requests that a correct client would never send.

use super::WAIT_TIMEOUT;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Opens a connection.
pub(crate) async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.expect("the host accepts")
}

/// Sends `text`.
pub(crate) async fn send(stream: &mut (impl AsyncWriteExt + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.expect("the host reads");
}

/// Reads to the end of the stream, also if the connection is reset.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset counts as an end: the host may close while the client is still writing.
    let _ =
        tokio::time::timeout(WAIT_TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one response with a `content-length` and leaves the connection open.
pub(crate) async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let read = async {
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_lowercase();
                let length = head.split_once("content-length:").expect("a content length").1;
                let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
                if body.len() >= length {
                    return text;
                }
            }
            let mut buffer = [0; 4096];
            let n = stream.read(&mut buffer).await.expect("the connection is open");
            assert!(n > 0, "the connection closed after {text:?}");
            bytes.extend_from_slice(&buffer[..n]);
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, read).await.expect("no response")
}

/// A connection for several requests in a row, with a buffer of what was read. It reads exactly the bytes of each
/// response: one byte more or less, and the next response is malformed.
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A response, or the part of it that arrived.
#[derive(Debug)]
pub(crate) struct Message {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Whether the body is complete, as the head declares it.
    pub whole: bool,
}

impl Message {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Checks that the head declares the response's end only once, and contains no connection header that a guest could
    /// have set.
    pub(crate) fn check(&self) -> Result<(), String> {
        let count = |name: &str| self.headers.iter().filter(|(known, _)| known == name).count();
        let framed = count("content-length") + count("transfer-encoding");
        let leaked =
            ["te", "keep-alive", "upgrade", "proxy-connection", "host"].into_iter().find(|name| count(name) > 0);
        match leaked {
            Some(name) => Err(format!("{name} has left the host")),
            None if framed > 1 || count("x-request-id") != 1 => Err(format!("an ambiguous head: {:?}", self.headers)),
            None => Ok(()),
        }
    }
}

impl Wire {
    /// Opens a connection.
    pub(crate) async fn connect(address: &str) -> Wire {
        Wire { stream: connect(address).await, read: Vec::new() }
    }

    /// Sends `text`. If the host has closed the connection, the next read shows it.
    pub(crate) async fn send(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// Reads one response; `None` if the connection ends before it.
    pub(crate) async fn response(&mut self, to_head: bool) -> Option<Message> {
        tokio::time::timeout(WAIT_TIMEOUT, self.message(to_head)).await.expect("no response")
    }

    async fn message(&mut self, to_head: bool) -> Option<Message> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                break String::from_utf8(head).expect("a head is text");
            }
            if !self.more().await {
                assert!(self.read.is_empty(), "no response: {:?}", String::from_utf8_lossy(&self.read));
                return None;
            }
        };
        let (line, headers) = head.trim_end().split_once("\r\n").unwrap_or((&head, ""));
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let headers = headers.split("\r\n").filter(|line| !line.is_empty()).map(field).collect();
        let mut message = Message { status, headers, body: Vec::new(), trailers: Vec::new(), whole: true };
        if !to_head && ![204, 304].contains(&status) {
            message.whole = self.body(&mut message).await;
        }
        Some(message)
    }

    /// Reads the body, and returns whether it is complete.
    async fn body(&mut self, message: &mut Message) -> bool {
        if message.header("transfer-encoding") == Some("chunked") {
            loop {
                let Some(line) = self.line().await else { return false };
                let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("no chunk's size: {line:?}"));
                if size == 0 {
                    break;
                }
                if !self.take(size, &mut message.body).await {
                    return false;
                }
                let Some(end) = self.line().await else { return false };
                assert_eq!(end, "", "a chunk is longer than it says");
            }
            loop {
                match self.line().await {
                    None => return false,
                    Some(line) if line.is_empty() => return true,
                    Some(line) => message.trailers.push(field(&line)),
                }
            }
        }
        match message.header("content-length") {
            Some(length) => {
                let length = length.parse().unwrap_or_else(|_| panic!("no length: {length:?}"));
                self.take(length, &mut message.body).await
            }
            None => panic!("a response without an end: {message:?}"),
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = String::from_utf8(self.read.drain(..end).collect()).expect("a line is text");
                self.read.drain(..2);
                return Some(line);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Moves `length` bytes to `body`, or all that come if the connection ends before; then returns `false`.
    async fn take(&mut self, length: usize, body: &mut Vec<u8>) -> bool {
        while self.read.len() < length {
            if !self.more().await {
                body.append(&mut self.read);
                return false;
            }
        }
        body.extend(self.read.drain(..length));
        true
    }

    /// Reads more bytes; `false` when the connection has ended, also by a reset.
    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.read).await, Ok(1..))
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no header: {line:?}"));
    (name.to_owned(), value.to_owned())
}
