//! Ports of servers that are killed and start again on the port that they had.
//!
//! The system hands out ports for connections, too, from a range of its own: while a server is down, one of its clients or
//! of another test's could get the server's port, and the server could not start again. So these ports lie below that range
//! (on Linux it begins at 32768 unless somebody changed it), and no two servers of a process get the same.

use crate::random::Random;
use std::collections::HashSet;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

const PORTS: Range<u16> = 15_000..32_000;

/// A free port of 127.0.0.1.
pub fn free() -> u16 {
    static TAKEN: Mutex<Option<(Random, HashSet<u16>)>> = Mutex::new(None);
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (random, taken) = taken.get_or_insert_with(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        (Random::new(now.as_nanos() as u64 ^ u64::from(std::process::id())), HashSet::new())
    });
    loop {
        let port = PORTS.start + random.below(PORTS.len()) as u16;
        if taken.insert(port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
        assert!(taken.len() < PORTS.len(), "all ports from {} to {} are taken", PORTS.start, PORTS.end);
    }
}
