//! Servers of their own on free loopback ports, for tests of Souk itself.
//!
//! A server keeps its data in a temp folder and ends with the test, also when the test is killed. A program that is
//! missing is named loudly, and installed from Debian's packages where the tests run as root.

pub mod archive;
pub mod debian;
pub mod fuzz;
pub mod nats;
pub mod postgres;
pub mod random;
pub mod redis;
