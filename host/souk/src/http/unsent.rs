//! What an HTTP/2 stream has not sent yet of a large response.
//!
//! hyper takes a response in pieces, the next one when the client has read the last. The rest stays here, where the one who
//! ends the request can reach it: the task of an ended stream is dropped only when its turn comes, and a client that asks
//! for thousands of responses would hold them all until then. For the same reason a piece is a copy, which does not keep
//! the whole response.

use bytes::Bytes;
use parking_lot::Mutex;

souk_manifest::fixed_limits! {
    /// The fixed limits of responses on their way.
    pub(crate) const FIXED_LIMITS = "http edge";

    /// The largest piece of a response that hyper gets for an HTTP/2 stream: HTTP/2's own largest frame.
    const MAX_PIECE_BYTES: usize = 16 * 1024, bytes;
}

/// The rest of a stream's response.
#[derive(Default)]
pub struct Unsent(Mutex<Bytes>);

impl Unsent {
    /// Keeps `bytes` if they are more than a piece, in place of what it has; otherwise gives them back.
    pub fn keep(&self, bytes: Bytes) -> Result<(), Bytes> {
        if bytes.len() <= MAX_PIECE_BYTES {
            return Err(bytes);
        }
        *self.0.lock() = bytes;
        Ok(())
    }

    /// The next piece; `None` when nothing is left.
    pub fn piece(&self) -> Option<Bytes> {
        let mut rest = self.0.lock();
        let length = rest.len().min(MAX_PIECE_BYTES);
        let taken = rest.split_to(length);
        drop(rest);
        // Copied and, after the last piece, freed outside the lock.
        (length > 0).then(|| Bytes::copy_from_slice(&taken))
    }

    /// Frees all of it.
    pub fn free(&self) {
        let rest = std::mem::take(&mut *self.0.lock());
        drop(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_response_leaves_in_pieces_that_do_not_keep_it() {
        let unsent = Unsent::default();
        let small = Bytes::from(vec![1; MAX_PIECE_BYTES]);
        assert_eq!(unsent.keep(small.clone()), Err(small), "it needs no copy");
        let large = Bytes::from((0..40_000_u32).map(|n| n as u8).collect::<Vec<_>>());
        unsent.keep(large.clone()).unwrap();
        assert!(!large.is_unique());
        let pieces: Vec<Bytes> = std::iter::from_fn(|| unsent.piece()).collect();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [16_384, 16_384, 7_232]);
        assert_eq!(pieces.concat(), large);
        assert!(large.is_unique(), "a piece keeps the response");
    }

    #[test]
    fn what_is_freed_is_not_sent_and_not_held() {
        let unsent = Unsent::default();
        let large = Bytes::from(vec![1; 40_000]);
        unsent.keep(large.clone()).unwrap();
        let piece = unsent.piece();
        unsent.free();
        assert!(large.is_unique());
        assert_eq!((piece.map(|piece| piece.len()), unsent.piece()), (Some(16_384), None));
    }
}
