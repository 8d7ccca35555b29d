//! HTTP by hand, byte by byte: for what a proper client would never send.

use super::WAIT_TIMEOUT;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Opens a connection.
pub async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.expect("the host accepts")
}

/// Sends `text`.
pub async fn send(stream: &mut (impl AsyncWriteExt + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.expect("the host reads");
}

/// Reads to the end of the stream, however it ends.
pub async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too: the host may close while the client still writes.
    let _ =
        tokio::time::timeout(WAIT_TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one response with a `content-length` and leaves the connection open.
pub async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> String {
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
