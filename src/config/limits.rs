//! Bounds on what nobody may have too much of.

use std::time::Duration;

use super::units::Rate;

/// Bounds on connections and waiting. Counts are at least 1; times, but for `shutdown`, at least a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Most connections at once. 20000: what a machine with the usual number of file descriptors can hold.
    pub connections: usize,
    /// Most connections at once from one address. 256: so that one cannot take all seats, and an office still fits.
    pub per_address: usize,
    /// Most readers at once, over all connections; one caller may have half of them, and an eighth that share a request. 32768: more than connections, with some that
    /// read several streams, in less than 64 MiB.
    pub readers: usize,
    /// Most streams, polls, senders and channels at once of one token, or of another machine without one. 1000: a twentieth of all seats, and those who share the
    /// token of a dashboard still fit.
    pub per_token: usize,
    /// Longest time for the head of a request to arrive. 10 s: longer holds a seat without asking for anything.
    pub head: Duration,
    /// Longest time that a connection is kept without a request. 75 s: proxies keep theirs for a minute, and have to be the
    /// first to close.
    pub idle: Duration,
    /// Longest time for the body of a request to arrive. 30 s: what we take is small.
    pub body: Duration,
    /// Largest head of a request, in bytes. 32 KiB: ten times what a browser sends with its cookies.
    pub head_size: usize,
    /// Longest path and query of a request, in bytes. 16 KiB: 64 streams and their places, and a filter.
    pub query_size: usize,
    /// Largest body of a command, in bytes. 64 KiB: as much as a process is given to read at once.
    pub body_size: usize,
    /// Largest message to us on the control channel, in bytes. 128 KiB: the longest input in base64, and what is around it.
    pub message_size: usize,
    /// Most memory for the compiled expressions of one filter, in bytes. 256 KiB: ten times what people write.
    pub filter_size: usize,
    /// Longest time in which a reader takes nothing. 60 s: a laptop may sleep a little, but not hold a seat for ever.
    pub stalled_write: Duration,
    /// Longest time that a connection lives, up to a tenth less. `None`, for ever: what takes nothing is cut off anyway, and
    /// whoever reads does not gain by beginning anew.
    pub lifetime: Option<Duration>,
    /// How often at most somebody may send commands. 1000 in a second: more than anybody types and scripts send, and a few
    /// hundredths of a core.
    pub control_rate: Rate,
    /// How often a quiet stream sends a comment. 15 s: proxies give up on silence after 30 s or more.
    pub keep_alive: Duration,
    /// Longest time to let readers finish when we stop. 5 s: well below what systemd waits.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            per_address: 256,
            readers: 32_768,
            per_token: 1000,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body: Duration::from_secs(30),
            head_size: 32 << 10,
            query_size: 16 << 10,
            body_size: 64 << 10,
            message_size: 128 << 10,
            filter_size: 256 << 10,
            stalled_write: Duration::from_mins(1),
            lifetime: None,
            control_rate: Rate { times: 1000, per: Duration::from_secs(1) },
            keep_alive: Duration::from_secs(15),
            shutdown: Duration::from_secs(5),
        }
    }
}
