//! What the client's parser gets of a server's bytes.

use super::*;
use futures::channel::mpsc;
use futures::poll;
use std::pin::pin;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

/// A message of RESP2 with `payload`.
fn message(payload: &[u8]) -> Vec<u8> {
    let head = format!("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n${}\r\n", payload.len());
    [head.as_bytes(), payload, b"\r\n"].concat()
}

/// What the parser gets when the bytes come in pieces of `size`.
async fn read(bytes: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let (mut server, client) = duplex(size);
    let mut inflow = Inflow::new(client, Arc::default());
    let send = async {
        // The stream ends early where a line is too long.
        let _ = server.write_all(bytes).await;
        drop(server);
    };
    let receive = async {
        let mut got = Vec::new();
        let read = inflow.read_to_end(&mut got).await;
        drop(inflow);
        read.map(|_| got)
    };
    futures::join!(send, receive).1
}

#[tokio::test]
async fn a_message_that_is_too_large_is_replaced_by_its_length_and_the_others_stay() {
    let (largest, larger) = (vec![b'$'; MAX_MESSAGE_BYTES], vec![b'\n'; MAX_MESSAGE_BYTES + 1]);
    let others = [message(b""), b"+PONG\r\n:1\r\n$-1\r\n-ERR no\r\n".to_vec(), message(b"$3\r\nabc\r\n")].concat();
    let sent = [message(&larger), others.clone(), message(&largest), message(&larger), message(b"last")].concat();
    let replaced = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n:1048577\r\n".as_slice();
    let expected = [replaced, &others, &message(&largest), replaced, &message(b"last")].concat();
    for size in [7, 16_384, 1 << 20] {
        assert!(read(&sent, size).await.unwrap() == expected, "pieces of {size}");
    }
    for size in 1..40 {
        assert!(read(&others, size).await.unwrap() == others, "pieces of {size}");
    }
}

#[tokio::test]
async fn a_line_without_an_end_is_an_error() {
    let error = read(&[b'-'; MAX_LINE_BYTES + 1], 1_000).await.unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
    read(&[&[b'-'; MAX_LINE_BYTES - 2], b"\r\n".as_slice()].concat(), 1_000).await.unwrap();
}

/// Reads what comes until nothing does because too much is read ahead, or to the end; returns how many bytes came.
async fn read_until_full(inflow: &mut Inflow<impl AsyncRead + Unpin>) -> usize {
    let (mut all, mut buffer) = (0, vec![0; 8_192]);
    loop {
        let count = poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut buffer);
            match Pin::new(&mut *inflow).poll_read(cx, &mut buf) {
                Poll::Pending if inflow.ahead.is_full() => Poll::Ready(0),
                Poll::Pending => Poll::Pending,
                Poll::Ready(read) => {
                    read.unwrap();
                    Poll::Ready(buf.filled().len())
                }
            }
        });
        match count.await {
            0 => return all,
            count => all += count,
        }
    }
}

#[tokio::test]
async fn nothing_more_is_read_while_messages_wait_and_everything_once_they_are_taken() {
    let sent = message(&[b'x'; 1_000]).repeat(10_000);
    let ahead = Arc::<Ahead>::default();
    let mut inflow = Inflow::new(sent.as_slice(), ahead.clone());
    let (parsed, mut messages) = mpsc::unbounded();
    parsed.unbounded_send("a message").unwrap();
    let mut read = read_until_full(&mut inflow).await;
    assert!((MAX_AHEAD_BYTES / 2..MAX_AHEAD_BYTES + CHUNK_BYTES).contains(&read), "{read}");
    assert_eq!(read_until_full(&mut inflow).await, 0);
    assert_eq!(ahead.next(&mut messages).await, Some("a message"));
    assert_eq!(read_until_full(&mut inflow).await, 0, "nobody has seen that the queue is empty");
    while read < sent.len() {
        assert!(poll!(pin!(ahead.next(&mut messages))).is_pending());
        let more = read_until_full(&mut inflow).await;
        assert!(more > 0 && more < MAX_AHEAD_BYTES + CHUNK_BYTES, "{more}");
        read += more;
    }
}

#[tokio::test]
async fn answers_that_are_no_messages_do_not_fill_the_room_for_ever() {
    let sent = b"+PONG\r\n".repeat(2 * MAX_AHEAD_BYTES / PART_BYTES);
    let ahead = Arc::<Ahead>::default();
    let mut inflow = Inflow::new(sent.as_slice(), ahead.clone());
    let (_parsed, mut messages) = mpsc::unbounded::<()>();
    let mut got = Vec::new();
    tokio::select! {
        _ = ahead.next(&mut messages) => panic!("there is no message"),
        read = inflow.read_to_end(&mut got) => { read.unwrap(); }
    }
    assert_eq!(got.len(), sent.len());
}
