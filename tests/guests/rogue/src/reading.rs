//! The ways in which a guest can read a stream (`way` in `rogue.wit`).

use crate::exports::souk_test::rogue::deeds::Way;
use spin_sdk::wit_bindgen::{StreamReader, StreamResult};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Reads `stream` in the given way, and returns the items that it read.
pub async fn read<T: 'static>(mut stream: StreamReader<T>, way: Way, n: usize) -> Vec<T> {
    let mut items = Vec::new();
    match way {
        Way::Collect => return stream.collect().await,
        Way::Next => {
            while let Some(item) = stream.next().await {
                items.push(item);
            }
        }
        Way::Early => {
            while items.len() < n
                && let Some(item) = stream.next().await
            {
                items.push(item);
            }
        }
        Way::By | Way::Peek | Way::Cancel | Way::Again => loop {
            if matches!(way, Way::Peek) && stream.read(Vec::new()).await.0 == StreamResult::Dropped {
                break;
            }
            if matches!(way, Way::Cancel) {
                let (status, read) = cancelled(&mut stream, n);
                items.extend(read);
                if status == StreamResult::Dropped {
                    break;
                }
            }
            let (status, read) = stream.read(Vec::with_capacity(n)).await;
            assert!(read.len() <= n, "more than were asked for");
            items.extend(read);
            if status == StreamResult::Dropped {
                break;
            }
        },
    }
    if matches!(way, Way::Again) {
        assert!(stream.next().await.is_none(), "an item after the end");
    }
    items
}

/// Begins a read of `n` items and cancels it at once.
fn cancelled<T: 'static>(stream: &mut StreamReader<T>, n: usize) -> (StreamResult, Vec<T>) {
    let mut read = pin!(stream.read(Vec::with_capacity(n)));
    match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => read.as_mut().cancel(),
    }
}
