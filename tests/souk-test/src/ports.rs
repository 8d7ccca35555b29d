//! Ports for servers that tests kill and restart on the same port.
//!
//! The system also hands out ports for outgoing connections, from its own range. While a server is down, a client could
//! get the server's port, and the server could not restart. So these ports lie below that range, which begins at 32768
//! on Linux by default, and no two servers of a process get the same port.

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
