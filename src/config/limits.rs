//! The bounds on connections, requests and waiting.

use std::time::Duration;

use super::units::Rate;

/// Bounds on connections and waiting. Counts are at least 1; times, except for `shutdown`, at least a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The most connections at once. 20000: as many as a machine with the usual number of file descriptors can hold.
    pub connections: usize,
    /// The most connections at once from one address. 256: one address cannot take all connections, and an office still
    /// fits.
    pub per_address: usize,
    /// The most readers at once, over all connections; one caller may have half of them, and a sixteenth on connections
    /// with several streams. 32768: more than connections, with some that read several streams, in less than 64 MiB.
    pub readers: usize,
    /// The most streams, polls, senders and channels at once for one token, or for another machine without one. 1000: a
    /// twentieth of all connections, and enough for the users who share the token of a dashboard.
    pub per_token: usize,
    /// The longest time for the head of a request to arrive. 10 s: a slower client holds a connection without a
    /// request.
    pub head: Duration,
    /// The longest time that a connection is kept without a request. 75 s: proxies keep theirs for a minute, and must
    /// be the first to close.
    pub idle: Duration,
    /// The longest time for the body of a request to arrive. 30 s: accepted bodies are small.
    pub body: Duration,
    /// The largest head of a request, in bytes. 32 KiB: ten times what a browser sends with its cookies.
    pub head_size: usize,
    /// The longest path and query of a request, in bytes. 16 KiB: 64 streams with their positions, and a filter.
    pub query_size: usize,
    /// The largest body of a command, in bytes. 64 KiB: as much as a process receives at once.
    pub body_size: usize,
    /// The largest message of a client on the control channel, in bytes. 128 KiB: the longest input in base64, and the
    /// JSON around it.
    pub message_size: usize,
    /// The most memory for the compiled expressions of one filter, in bytes. 256 KiB: ten times what people write.
    pub filter_size: usize,
    /// The longest time in which a reader accepts no data. 60 s: a laptop may sleep a little, but not hold a connection
    /// forever.
    pub stalled_write: Duration,
    /// The longest life of a connection, up to a tenth less. `None` for no limit: a reader that accepts no data is cut
    /// off anyway, and others do not gain by connecting again.
    pub lifetime: Option<Duration>,
    /// The most commands of one client in a time. 1000 in a second: more than people type and scripts send, and a few
    /// hundredths of a core.
    pub control_rate: Rate,
    /// The interval of comments on a quiet stream. 15 s: proxies close silent connections after 30 s or more.
    pub keep_alive: Duration,
    /// `true` if the bodies of streams are compressed for clients that accept it. `true`: a batch is compressed once for all
    /// of its readers.
    pub compress: bool,
    /// The longest time for readers to finish when the daemon stops. 5 s: well below the timeout of systemd.
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
            compress: true,
            shutdown: Duration::from_secs(5),
        }
    }
}
