//! The configuration: what people write, checked once, as types that all others rely on.
//!
//! The way of a file: [`load()`] reads it and those in `conf.d`, `tree` makes a tree of the YAML, `read` fills the structs of
//! `raw` from it, `check` makes a [`Config`] of them. Each notes what is wrong in one `report`, so that [`ConfigErrors`] has
//! all of it, with file, line and column. Nothing here follows a file or starts a process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::event::{MAX_LINE, StreamName};

mod load;
mod parse;
mod raw;
mod check;
mod access;
mod file;
mod journal;
mod limits;
mod report;
mod paths;
mod net;
mod progress;
mod signal;
pub mod units;

pub use access::{AccessConfig, BadNamePattern, ClaimGrant, Grant, IssuerConfig, NamePattern, Right, TlsConfig};
pub use check::advice::{advice, hints_at_proxy};
pub use file::{
    BadEncoding, ConfigRegex, DEFAULT_MULTILINE_TIMEOUT, DEFAULT_ROTATE_WAIT, FileSelector, FileSourceConfig,
    MultilineConfig, ReadFrom, TextEncoding,
};
pub use journal::{BadJournalPriority, JournalPriority, JournalSourceConfig};
pub use limits::Limits;
pub use load::load;
pub use net::{
    BadListenAddress, BadNetworkAddress, BadTrustedProxy, BadWebOrigin, ListenAddress, MAX_SOCKET_PATH, Network,
    TrustedProxy, WebOrigin,
};
pub use paths::{from_paths, stream_name_of};
pub use progress::{BadProgressPattern, PROGRESS_GROUP_NAMES, ProgressDetection, ProgressRegex};
pub use report::{ConfigError, ConfigErrors};
pub use signal::{BadSignalName, SignalName};

/// Memory of all streams together, in bytes, if nothing is said: 32 streams of [`DEFAULT_STREAM_MEMORY`].
pub const DEFAULT_MEMORY: usize = 256 << 20;

/// Memory of one stream, in bytes, if nothing is said: some fifty thousand lines to come back to.
pub const DEFAULT_STREAM_MEMORY: usize = 8 << 20;

/// Least memory of one stream, in bytes: four of the longest lines, so that a reader of one finds the next.
pub const MIN_STREAM_MEMORY: usize = 4 * MAX_LINE;

/// Most bytes of one stream on disk, if nothing is said: some million lines, and thirty streams on a small disk.
pub const DEFAULT_STREAM_DISK: u64 = 256 << 20;

/// Least that a stream may be given on disk, in bytes: what memory holds fits, and files are not too small.
pub const MIN_STREAM_DISK: u64 = 4 << 20;

/// How old events on disk get, if nothing is said: a week, so that last Friday's build can still be looked at.
pub const DEFAULT_STREAM_AGE: Duration = Duration::from_hours(7 * 24);

/// Least age that can be asked for: it is looked once a minute.
pub const MIN_STREAM_AGE: Duration = Duration::from_mins(1);

/// Least that `max_line` may be, in bytes: a shorter bound would cut what people call a line.
pub const MIN_MAX_LINE: usize = 1 << 10;

/// What the daemon is to do; checked, so that nobody has to ask again. [`Default`] has no streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to listen; at least one place, none twice.
    pub listen: Vec<ListenAddress>,
    /// Most bytes that all streams together hold in memory.
    pub memory: usize,
    /// Where histories are kept: absolute; `None` for memory only.
    pub state_directory: Option<PathBuf>,
    /// Names we answer to, beside what we listen on; lower case, without port. An IPv6 address is in brackets.
    pub hosts: Vec<String>,
    /// Whose web pages may connect to the control channel and send commands, beside our own.
    pub origins: Vec<WebOrigin>,
    /// The proxies that are believed about the client they speak for. A request of one of them is never local.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// The path under which we are seen: `/`, or `/a/b` without a slash at the end.
    pub base_path: String,
    /// How connections are kept from being read on the way.
    pub tls: Option<TlsConfig>,
    /// Who gets in.
    pub access: AccessConfig,
    /// Whether we may listen beyond this machine, although whoever reaches us can read everything.
    pub insecure: bool,
    /// Bounds on connections and waiting.
    pub limits: Limits,
    /// The streams in the order written, no name twice.
    pub streams: Vec<Stream>,
    /// The files that all this was read from; none for what was never written.
    pub files: Vec<PathBuf>,
}

/// Files that are the daemon's own, which no stream may show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnPaths {
    /// With all that is below them.
    pub directories: Vec<PathBuf>,
    /// Single files.
    pub files: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)))],
            memory: DEFAULT_MEMORY,
            state_directory: None,
            hosts: Vec::new(),
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            base_path: "/".into(),
            tls: None,
            access: AccessConfig::default(),
            insecure: false,
            limits: Limits::default(),
            streams: Vec::new(),
            files: Vec::new(),
        }
    }
}

impl Config {
    /// The files that are the daemon's own: histories, keys, certificates, the configuration.
    pub fn own_paths(&self) -> OwnPaths {
        let directories = self.state_directory.iter().chain(&self.access.keys).cloned().collect();
        let tls = self.tls.iter().flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]);
        let issuers = self.access.issuers.iter().map(|issuer| &issuer.keys);
        let files = self.files.iter().chain(tls.flatten()).chain(issuers).cloned().collect();
        OwnPaths { directories, files }
    }

    /// Whether other machines may be able to reach us: nobody reads along and all are asked who they are, or it is said that
    /// this does not matter.
    pub fn is_safe_to_expose(&self) -> bool {
        self.insecure || self.tls.is_some() && !self.access.accepts_no_tokens()
    }
}

/// One stream: its name, where its lines come from, and how they are treated.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// Its name.
    pub name: StreamName,
    /// Where its lines come from.
    pub source: SourceKind,
    /// What it keeps.
    pub history: HistoryLimits,
    /// Longest line in bytes: [`MIN_MAX_LINE`] to [`MAX_LINE`].
    pub max_line: usize,
    /// What a carriage return within a line means.
    pub carriage_return: CarriageReturn,
    /// How its bytes are encoded.
    pub encoding: TextEncoding,
    /// Which of its lines are joined.
    pub multiline: Option<MultilineConfig>,
    /// Whether and by what its progress is seen.
    pub progress: ProgressDetection,
    /// The patterns of secrets that are taken out of its lines, beside those that are known; `None` if none are.
    pub redact: Option<Vec<ConfigRegex>>,
    /// Whether only those may read it who show a token for it; `None` if the source decides.
    pub private: Option<bool>,
    /// What it is, for people.
    pub description: Option<String>,
    /// What it is, for programs.
    pub labels: BTreeMap<String, String>,
}

impl Stream {
    /// A stream with this source, and all else as it is if nothing is said.
    pub fn new(name: StreamName, source: SourceKind) -> Self {
        Self {
            name,
            source,
            history: HistoryLimits::default(),
            max_line: MAX_LINE,
            carriage_return: CarriageReturn::Fold,
            encoding: TextEncoding::default(),
            multiline: None,
            progress: ProgressDetection::default(),
            redact: None,
            private: None,
            description: None,
            labels: BTreeMap::new(),
        }
    }

    /// What `rtlogd run` shows: a command that runs once, in the directory of the caller.
    pub fn for_command(name: StreamName, argv: Vec<OsString>) -> Self {
        let mut process = ProcessSourceConfig::new(argv);
        process.restart.when = RestartWhen::Never;
        Self::new(name, SourceKind::Process(process))
    }
}

/// What a stream keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Most bytes in memory; at least [`MIN_STREAM_MEMORY`].
    pub memory: usize,
    /// Most bytes on disk, where there is a state directory; at least [`MIN_STREAM_DISK`].
    pub disk: u64,
    /// How old events on disk may get; at least [`MIN_STREAM_AGE`].
    pub age: Duration,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { memory: DEFAULT_STREAM_MEMORY, disk: DEFAULT_STREAM_DISK, age: DEFAULT_STREAM_AGE }
    }
}

/// Where the lines of a stream come from.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    /// Files that grow.
    File(FileSourceConfig),
    /// A program that runs.
    Process(ProcessSourceConfig),
    /// The journal of systemd.
    Journal(JournalSourceConfig),
    /// Whoever sends lines.
    Push,
}

/// A program to run.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSourceConfig {
    /// The program and its arguments. The program is there and not empty; no word holds a NUL, if it came from a file.
    pub argv: Vec<OsString>,
    /// Where to run it: absolute; `None` for the directory of the daemon.
    pub directory: Option<PathBuf>,
    /// Variables beside those of the daemon; names are not empty and hold no `=`.
    pub environment: BTreeMap<String, String>,
    /// Who it runs as; `None` for the user of the daemon. That there is one, nobody looked.
    pub user: Option<String>,
    /// The size of its terminal when it starts; `None` for pipes.
    pub pty: Option<TerminalSize>,
    /// Whether those who have the right may type into it.
    pub input: bool,
    /// When it is started the first time.
    pub start: StartWhen,
    /// Whether and when to start it again.
    pub restart: Restart,
    /// How to end it.
    pub stop: Stop,
}

impl ProcessSourceConfig {
    /// A program, and all else as it is if nothing is said.
    pub fn new(argv: Vec<OsString>) -> Self {
        let (environment, restart, stop) = (BTreeMap::new(), Restart::default(), Stop::default());
        let start = StartWhen::default();
        Self { argv, directory: None, environment, user: None, pty: None, input: false, start, restart, stop }
    }
}

/// When a program is started the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StartWhen {
    /// With the daemon.
    #[default]
    Boot,
    /// With the first reader and, once it has ended, with the next one.
    Demand,
    /// By `rtlogd start` or another command.
    Manual,
}

/// The size of a terminal, in characters; neither is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl Default for TerminalSize {
    /// Wider than the 80 columns of old: what is wrapped at the terminal's edge stays so in the log.
    fn default() -> Self {
        Self { columns: 120, rows: 30 }
    }
}

/// Whether and when to start a program again.
#[derive(Debug, Clone, PartialEq)]
pub struct Restart {
    /// After which end.
    pub when: RestartWhen,
    /// How long to wait before: the first time, and the longest after further failures. At least 100 ms.
    pub backoff: RangeInclusive<Duration>,
    /// How often at most in how long; more, and it stays stopped.
    pub limit: Option<(u32, Duration)>,
}

impl Default for Restart {
    /// After a failure, from a second to a minute later, without limit.
    fn default() -> Self {
        let backoff = Duration::from_secs(1)..=Duration::from_mins(1);
        Self { when: RestartWhen::default(), backoff, limit: None }
    }
}

/// After which end of a program it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartWhen {
    /// Never.
    Never,
    /// After every end but exit code 0.
    #[default]
    OnFailure,
    /// After every end.
    Always,
}

/// How to end a program.
#[derive(Debug, Clone, PartialEq)]
pub struct Stop {
    /// What asks it to end.
    pub signal: SignalName,
    /// How long it may take, before `KILL` ends it.
    pub grace: Duration,
}

impl Default for Stop {
    /// `TERM`, and ten seconds.
    fn default() -> Self {
        Self { signal: SignalName::TERM, grace: Duration::from_secs(10) }
    }
}

/// What a carriage return within a line means; one before a newline always belongs to the end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CarriageReturn {
    /// The line is redrawn: readers see each drawing while it changes, and the last one is kept.
    #[default]
    Fold,
    /// The line ends.
    Split,
    /// Nothing; it stays in the line.
    Keep,
}

/// The JSON Schema (draft 2020-12) of a configuration file, for editors and for other checkers.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(raw::Config).to_value()
}
