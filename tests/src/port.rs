//! Ports that keep: a process that is restarted, or a proxy that refuses for a while, finds its
//! port free again.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the range from which the system numbers outgoing connections (32768 up on Linux), so that
/// no client is given the port while its owner is away, and apart from `scripts/rabbitmq-node`'s.
const FIRST: u16 = 10_000;
const COUNT: u16 = 10_000;

/// A loopback address on which nothing listens, and that no later call in this process returns.
pub fn reserve() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Other test processes begin elsewhere in the range; a clash is found by binding.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let turn = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = (start.wrapping_add(turn)) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or_default();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port in {FIRST}..{}", FIRST + COUNT)
}
