//! The configuration: parsed, and then checked once into types that all other layers rely on.
//!
//! [`load()`] reads the file and those in `conf.d`, `parse` turns YAML into the structs of `raw`, and `check` turns
//! these into a [`Config`]. Each step adds its mistakes to one `report`, so that [`ConfigErrors`] has all mistakes,
//! with file, line and column. Nothing here follows a file or starts a process.
//!
//! A new key is a field in `raw`, whose comment becomes its entry in the JSON Schema and, by
//! `RTLOGD_GENERATE=1 cargo it manual::`, in the manual; a field of the model with its default, which is in this file, in
//! `file` ([`FileSourceConfig`]) or in `journal`; and the step from one to the other in `check`. `check/source.rs` says to which sources a key of a stream
//! applies; STREAMS in rtlogd.yaml(5) repeats that by hand. `config/rtlogd.yaml` shows the key, and the `tests` of this
//! layer list what it may say (`accepted`) and what it may not (`mistakes`). The compiler then asks what a change of the key
//! means: for a key of all streams, whether a reload restarts the source (`daemon/running_sources.rs`; a change of the
//! source itself always does); for a command, whether the next daemon restarts the program (`source/process/run_record.rs`);
//! at the top level, whether it waits for a restart of rtlogd (`daemon/serve.rs`). `parse/foreign_keys.rs` has the names of
//! the key in other tools.
//!
//! Reading order: this file (the model), `load`, `parse`, `raw`, `check`. The other files hold the types of values:
//! `units`, `net`, `signal`, `limits`, `access`, `file`, `journal`, `progress`; `paths` makes a configuration from
//! paths.

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
#[cfg(test)]
mod tests;

pub use access::{AccessConfig, BadNamePattern, ClaimGrant, Grant, IssuerConfig, NamePattern, Right, TlsConfig};
pub use check::advice::{advice, hints_at_proxy};
pub use file::{
    BadEncoding, ConfigRegex, DEFAULT_MULTILINE_TIMEOUT, DEFAULT_ROTATE_WAIT, FileSelector, FileSourceConfig,
    MultilineConfig, ReadFrom, TextEncoding,
};
pub use journal::{BadJournalPriority, JournalPriority, JournalSourceConfig};
pub use limits::Limits;
pub use load::{is_configuration, load, load_strictly};
pub use net::{
    BadListenAddress, BadNetworkAddress, BadTrustedProxy, BadWebOrigin, ListenAddress, MAX_SOCKET_PATH, Network,
    TrustedProxy, WebOrigin,
};
pub(crate) use parse::deserializer::closest_word;
pub use paths::{STANDARD_INPUT, from_paths, stream_name_of};
pub use progress::{BadProgressPattern, PROGRESS_GROUP_NAMES, ProgressDetection, ProgressRegex};
pub use report::{ConfigError, ConfigErrors};
pub use signal::{BadSignalName, SignalName};

/// The default memory of all streams together, in bytes: 32 streams of [`DEFAULT_STREAM_MEMORY`].
pub const DEFAULT_MEMORY: usize = 256 << 20;

/// The default memory of one stream, in bytes: about fifty thousand lines.
pub const DEFAULT_STREAM_MEMORY: usize = 8 << 20;

/// The least memory of one stream, in bytes: four of the longest lines, so that a reader of one line finds the next
/// one.
pub const MIN_STREAM_MEMORY: usize = 4 * MAX_LINE;

/// The default size of one stream on disk, in bytes: about a million lines; thirty streams fit on a small disk.
pub const DEFAULT_STREAM_DISK: u64 = 256 << 20;

/// The least size of one stream on disk, in bytes: large enough for the events in memory, in files of a reasonable
/// size.
pub const MIN_STREAM_DISK: u64 = 4 << 20;

/// The default age of events on disk: a week, so that last Friday's build is still available.
pub const DEFAULT_STREAM_AGE: Duration = Duration::from_hours(7 * 24);

/// The least age that can be configured: files are checked once a minute.
pub const MIN_STREAM_AGE: Duration = Duration::from_mins(1);

/// The most runs of one process that can be remembered: the summaries of all of them are in memory, and are written into each
/// file of the history.
pub const MAX_STREAM_RUNS: usize = 10_000;

/// The default number of runs of one process that are remembered.
pub const DEFAULT_STREAM_RUNS: usize = 1000;

/// The least `max_line`, in bytes: a shorter bound would cut ordinary lines.
pub const MIN_MAX_LINE: usize = 1 << 10;

/// The configuration of a daemon, checked. [`Default`] has no streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The addresses to listen on; at least one, no two equal.
    pub listen: Vec<ListenAddress>,
    /// The most bytes that all streams together hold in memory.
    pub memory: usize,
    /// The directory for histories: absolute; `None` for memory only.
    pub state_directory: Option<PathBuf>,
    /// The treatment of processes when the daemon is stopped for good. [`ProcessesAtStop::Keep`] only with a
    /// `state_directory`.
    pub processes_at_stop: ProcessesAtStop,
    /// The host names of the daemon, in addition to the addresses it listens on; lower case, without a port. An IPv6
    /// address is in brackets.
    pub hosts: Vec<String>,
    /// The origins of web pages, in addition to the daemon's own, that may connect to the control channel and send
    /// commands.
    pub origins: Vec<WebOrigin>,
    /// The proxies that are trusted to name their client. A request of one of them is never local.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// The path under which clients see the daemon: `/`, or `/a/b` without a slash at the end.
    pub base_path: String,
    /// The certificate for TLS; `None` for plain connections.
    pub tls: Option<TlsConfig>,
    /// The keys and issuers whose tokens are accepted.
    pub access: AccessConfig,
    /// `true` if other machines may connect without TLS or tokens, although everybody can then read everything.
    pub insecure: bool,
    /// The bounds on connections and waiting.
    pub limits: Limits,
    /// The streams in the order written; no two have the same name.
    pub streams: Vec<Stream>,
    /// The files that the configuration was read from; empty if it was not read from files.
    pub files: Vec<PathBuf>,
}

/// The daemon's own files, which no stream may show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnPaths {
    /// Directories, with everything below them.
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
            processes_at_stop: ProcessesAtStop::default(),
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
    /// The daemon's own files: histories, keys, certificates, the configuration.
    pub fn own_paths(&self) -> OwnPaths {
        let directories = self.state_directory.iter().chain(&self.access.keys).cloned().collect();
        let tls = self.tls.iter().flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]);
        let issuers = self.access.issuers.iter().map(|issuer| &issuer.keys);
        let files = self.files.iter().chain(tls.flatten()).chain(issuers).cloned().collect();
        OwnPaths { directories, files }
    }

    /// Returns whether other machines may be able to connect: connections are encrypted and need a token, or the
    /// configuration explicitly allows insecure access.
    pub fn is_safe_to_expose(&self) -> bool {
        self.insecure || self.tls.is_some() && !self.access.accepts_no_tokens()
    }
}

/// One stream: its name, the source of its lines, and how they are treated.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// The name of the stream.
    pub name: StreamName,
    /// The source of its lines.
    pub source: SourceKind,
    /// The bounds on what it keeps.
    pub history: HistoryLimits,
    /// The longest line in bytes: [`MIN_MAX_LINE`] to [`MAX_LINE`].
    pub max_line: usize,
    /// The meaning of a carriage return within a line.
    pub carriage_return: CarriageReturn,
    /// The way in which the lines are wrapped or structured.
    pub format: LineFormat,
    /// The encoding of its bytes.
    pub encoding: TextEncoding,
    /// The rule by which lines are joined; `None` if no lines are joined.
    pub multiline: Option<MultilineConfig>,
    /// The detection of progress: off, or on with patterns.
    pub progress: ProgressDetection,
    /// The patterns of secrets that are removed from lines, in addition to the known ones; `None` if none are removed.
    pub redact: Option<Vec<ConfigRegex>>,
    /// `true` if reading the stream needs a token; `None` if the source decides.
    pub private: Option<bool>,
    /// `true` if everybody may read the stream, unless it is private.
    pub public: bool,
    /// A description for people.
    pub description: Option<String>,
    /// Labels for programs.
    pub labels: BTreeMap<String, String>,
}

impl Stream {
    /// A stream with this source and defaults for everything else.
    pub fn new(name: StreamName, source: SourceKind) -> Self {
        Self {
            name,
            carriage_return: CarriageReturn::default_for(&source, LineFormat::Text),
            source,
            history: HistoryLimits::default(),
            max_line: MAX_LINE,
            format: LineFormat::Text,
            encoding: TextEncoding::default(),
            multiline: None,
            progress: ProgressDetection::default(),
            redact: None,
            private: None,
            public: false,
            description: None,
            labels: BTreeMap::new(),
        }
    }

    /// The stream of `rtlogd run`: a command that runs once, in the directory of the caller.
    pub fn for_command(name: StreamName, argv: Vec<OsString>) -> Self {
        let mut process = ProcessSourceConfig::new(argv);
        process.restart.when = RestartWhen::Never;
        Self::new(name, SourceKind::Process(process))
    }
}

/// The bounds on what a stream keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// The most bytes in memory; at least [`MIN_STREAM_MEMORY`].
    pub memory: usize,
    /// The most bytes on disk, if there is a state directory; at least [`MIN_STREAM_DISK`].
    pub disk: u64,
    /// The age after which events on disk are dropped; at least [`MIN_STREAM_AGE`].
    pub age: Duration,
    /// The most runs of a process that are remembered; 1 to [`MAX_STREAM_RUNS`].
    pub runs: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            memory: DEFAULT_STREAM_MEMORY,
            disk: DEFAULT_STREAM_DISK,
            age: DEFAULT_STREAM_AGE,
            runs: DEFAULT_STREAM_RUNS,
        }
    }
}

/// The source of the lines of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    /// Files that grow.
    File(FileSourceConfig),
    /// A program that rtlogd runs.
    Process(ProcessSourceConfig),
    /// The journal of systemd.
    Journal(JournalSourceConfig),
    /// Clients that push lines.
    Push,
}

/// A program to run.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSourceConfig {
    /// The program and its arguments. The program is not empty; if the configuration came from a file, no word contains
    /// a NUL.
    pub argv: Vec<OsString>,
    /// The working directory: absolute; `None` for that of the daemon.
    pub directory: Option<PathBuf>,
    /// Variables in addition to those of the daemon; names are not empty and contain no `=`.
    pub environment: BTreeMap<String, String>,
    /// Files with further variables, which are read at each start; those in `environment` replace them. Absolute.
    pub environment_files: Vec<PathBuf>,
    /// The user to run as, by name or number; `None` for the user of the daemon. The user need not exist.
    pub user: Option<String>,
    /// The group to run as, by name or number; `None` for the group of `user`. The group need not exist.
    pub group: Option<String>,
    /// The permissions that are removed from created files, at most 0o777; `None`, as for `rtlogd run`, to keep the
    /// umask of the daemon. The default of a configured command is 022.
    pub umask: Option<u32>,
    /// The initial size of its terminal; `None` for pipes.
    pub pty: Option<TerminalSize>,
    /// `true` if clients with the right may type into the program.
    pub input: bool,
    /// The time of the first start.
    pub start: StartWhen,
    /// The ends after which the program is started again, and the waits before that.
    pub restart: Restart,
    /// The way in which the program is stopped.
    pub stop: Stop,
    /// The time for which the program lives without a daemon; zero if it ends with the daemon.
    pub orphan_timeout: Duration,
}

impl ProcessSourceConfig {
    /// The time for which a program lives without a daemon by default: longer than any restart, upgrade or repair of a
    /// mistake.
    pub const DEFAULT_ORPHAN_TIMEOUT: Duration = Duration::from_mins(10);

    /// A program with defaults for everything else.
    pub fn new(argv: Vec<OsString>) -> Self {
        let (environment, restart, stop) = (BTreeMap::new(), Restart::default(), Stop::default());
        let environment_files = Vec::new();
        let start = StartWhen::default();
        let (user, group, umask) = (None, None, None);
        Self {
            argv,
            directory: None,
            environment,
            environment_files,
            user,
            group,
            umask,
            pty: None,
            input: false,
            start,
            restart,
            stop,
            orphan_timeout: Self::DEFAULT_ORPHAN_TIMEOUT,
        }
    }
}

/// The treatment of processes when the daemon is stopped for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessesAtStop {
    /// They are stopped, each as its stream says.
    #[default]
    End,
    /// They continue to run for their `orphan_timeout`, and the next rtlogd takes them over.
    Keep,
}

/// When a program is first started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StartWhen {
    /// When the daemon starts.
    #[default]
    Boot,
    /// When the first reader connects and, after the command has ended, when the next one does.
    Demand,
    /// Only on request, such as by `rtlogd start`.
    Manual,
}

/// The size of a terminal, in characters; neither is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// The characters in a line.
    pub columns: u16,
    /// The number of lines.
    pub rows: u16,
}

impl Default for TerminalSize {
    /// Returns a size that is wider than the traditional 80 columns, so that fewer long lines are wrapped by the
    /// program. Text that a program wraps at the edge of the terminal stays wrapped in the log.
    fn default() -> Self {
        Self { columns: 120, rows: 30 }
    }
}

/// The conditions and the waits under which a program is started again.
#[derive(Debug, Clone, PartialEq)]
pub struct Restart {
    /// The ends after which it is started again.
    pub when: RestartWhen,
    /// The wait before a restart: the first one, and the longest after further failures. At least 100 ms.
    pub backoff: RangeInclusive<Duration>,
    /// The most restarts in a time, after which the program stays stopped; `None` for no limit.
    pub limit: Option<(u32, Duration)>,
}

impl Default for Restart {
    /// Restarts after a failure, one second to a minute later, without a limit.
    fn default() -> Self {
        let backoff = Duration::from_secs(1)..=Duration::from_mins(1);
        Self { when: RestartWhen::default(), backoff, limit: None }
    }
}

/// The ends of a program after which it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartWhen {
    /// Never.
    Never,
    /// Unless it exited with code 0.
    #[default]
    OnFailure,
    /// Whenever it has ended.
    Always,
}

/// The way in which a program is stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Stop {
    /// The signal that asks it to end.
    pub signal: SignalName,
    /// The time that it has before `KILL` ends it.
    pub grace: Duration,
    /// The processes that the signal asks first. `KILL` ends all of them.
    pub only: StopTarget,
}

/// The processes of a run that are asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopTarget {
    /// The command and all processes that it started.
    #[default]
    All,
    /// Only the command itself. This is for a command that ends its own processes when it is asked to end. Processes that it
    /// leaves behind receive the signal once it has ended.
    Leader,
}

impl Default for Stop {
    /// `TERM`, with ten seconds before `KILL`.
    fn default() -> Self {
        Self { signal: SignalName::SIGTERM, grace: Duration::from_secs(10), only: StopTarget::All }
    }
}

/// The meaning of a carriage return within a line; one before a newline always belongs to the end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CarriageReturn {
    /// The text after it replaces the text before it: readers see each version while it changes, and only the last one is
    /// kept. The output of commands and containers is read with all control functions, as a terminal shows it.
    #[default]
    Fold,
    /// A carriage return ends the line.
    Split,
    /// A carriage return has no meaning and stays in the line.
    Keep,
}

impl CarriageReturn {
    /// The meaning of a carriage return if none is configured. A program draws its lines again; in other files, and in
    /// pushed lines, text before a carriage return must not be hidden from readers.
    pub(crate) fn default_for(source: &SourceKind, format: LineFormat) -> Self {
        match (source, format) {
            (SourceKind::Process(_), _) | (_, LineFormat::Cri | LineFormat::Docker) => Self::Fold,
            (
                SourceKind::File(_) | SourceKind::Journal(_) | SourceKind::Push,
                LineFormat::Text | LineFormat::Json | LineFormat::Logfmt | LineFormat::Syslog,
            ) => Self::Keep,
        }
    }
}

/// The way in which the lines of a source are wrapped or structured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LineFormat {
    /// Lines of text.
    #[default]
    Text,
    /// The log files of container runtimes such as containerd and CRI-O: each line is unwrapped.
    Cri,
    /// The `json-file` logs of Docker: each line is unwrapped.
    Docker,
    /// JSON objects, one on each line: their members are fields.
    Json,
    /// Lines of `KEY=VALUE` pairs: the pairs are fields.
    Logfmt,
    /// Lines of the syslog protocol (RFC 3164 and RFC 5424).
    Syslog,
}

/// The JSON Schema (draft 2020-12) of a configuration file, for editors and for other checkers.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(raw::Config).to_value()
}
