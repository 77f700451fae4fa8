//! The vocabulary that all layers share: an event and its parts. The types hold data only and have no access to clocks,
//! files or sockets.
//!
//! Events of all four [`EventKind`]s are numbered and recorded. A recorded event consists of its text and a few bytes
//! of metadata. The text of a line is the line itself; the text of a state, a loss or an end is the JSON object of its
//! fields.
//!
//! The files: this file has the event, the names and the states of streams, and the parts of an event; `position` has the
//! ids, `flags` and `level` the facts about a line, `progress` the progress of a source. `escapes` finds the escape
//! sequences in a line, and `style` has the colours that they set. `run_info` and `run_summary` are what is known of a run,
//! `signal` names signals, `duration` and `word_list` put
//! durations and lists into words, `visible_text` makes text from outside harmless in messages, and `lock` is the only way
//! to lock a mutex.

mod duration;
mod escapes;
mod flags;
mod level;
mod lock;
mod position;
mod progress;
mod run_info;
mod run_summary;
mod style;
mod visible_text;
mod signal;
mod word_list;

pub(crate) use duration::duration_words;
pub(crate) use escapes::{
    Introducer, append_visible, control_sequence_length, control_string_length, escape_at_end, has_escapes,
    simple_escape_length, visible_text,
};
pub use flags::Flags;
pub use level::{BadLevel, Level};
pub(crate) use lock::{lock, lock_exclusive, lock_shared};
pub use position::{BadPosition, Epoch, Position};
pub use progress::{Progress, ProgressGroup, ProgressState};
pub use run_info::RunInfo;
pub use run_summary::{GroupSummary, MAX_GROUP_NAME_LENGTH, MAX_SUMMARY_GROUPS, NewLines, RunCounts, RunSummary};
pub(crate) use signal::{signal_name, signal_number};
pub(crate) use style::Style;
pub(crate) use visible_text::{is_unsafe, lossy_text, one_line, shell_word, with_causes};
pub(crate) use word_list::word_list;

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest text of one event, in bytes; a longer line continues in the next event. The smallest log holds four.
pub const MAX_LINE: usize = 256 << 10;

/// One numbered event as read from a log, from which its text is borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The position of the event in the stream.
    pub id: Position,
    /// The time at which the event was read from its source.
    pub time: Time,
    /// The part of the source that the event came from; `None` for events of the daemon itself.
    pub origin: Option<&'a Origin>,
    /// The kind of the event.
    pub kind: EventKind,
    /// Facts about the event, such as how its line began and ended.
    pub flags: Flags,
    /// The time that the line itself declares, if it declares one.
    pub logged: Option<Time>,
    /// The line without its newline, or the JSON object of the fields of a [`SourceState`], [`Loss`] or [`RunEnd`].
    pub text: &'a [u8],
}

/// The kind of a numbered event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// A line of the source.
    Line = 0,
    /// The source changed its [`SourceState`].
    State = 1,
    /// The source could not deliver something: a [`Loss`].
    Loss = 2,
    /// A run of a process ended: a [`RunEnd`].
    End = 3,
}

impl EventKind {
    /// The kind that is recorded as this number, or `None` if there is none.
    pub(crate) fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Line,
            1 => Self::State,
            2 => Self::Loss,
            3 => Self::End,
            _ => return None,
        })
    }

    /// The name on the wire: the SSE event type and the JSON `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::State => "state",
            Self::Loss => "loss",
            Self::End => "end",
        }
    }
}

/// The name of a stream: 1 to 64 of `A-Z a-z 0-9 . _ -`, not beginning with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(Arc<str>);

/// A text that is not a [`StreamName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a stream name: {0:?} (use A-Z, a-z, 0-9, dot, - and _; at most 64, no dot in front)")]
pub struct BadStreamName(pub String);

impl StreamName {
    /// The most bytes in a name.
    pub const MAX_LENGTH: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a name may contain this character.
    pub fn is_valid_char(c: char) -> bool {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
    }
}

impl TryFrom<String> for StreamName {
    type Error = BadStreamName;
    fn try_from(name: String) -> Result<Self, BadStreamName> {
        name.parse()
    }
}

impl FromStr for StreamName {
    type Err = BadStreamName;
    fn from_str(name: &str) -> Result<Self, BadStreamName> {
        let plain = (1..=Self::MAX_LENGTH).contains(&name.len())
            && !name.starts_with('.')
            && name.chars().all(Self::is_valid_char);
        if plain { Ok(Self(name.into())) } else { Err(BadStreamName(name.chars().take(100).collect())) }
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.as_str().to_owned()
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The part of a source that a line came from: `stdout`, `stderr`, a file's path, or the writer of a journal entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(Arc<str>);

impl Origin {
    /// The standard output of a process.
    pub fn stdout() -> Self {
        Self("stdout".into())
    }

    /// The standard error of a process.
    pub fn stderr() -> Self {
        Self("stderr".into())
    }

    /// A file. Paths are bytes: `%` and bytes that are not UTF-8 are percent-encoded (RFC 3986, section 2.1).
    pub fn file(path: &Path) -> Self {
        let mut text = String::new();
        for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
            text.push_str(&chunk.valid().replace('%', "%25"));
            for byte in chunk.invalid() {
                text.extend(['%', hex(byte >> 4), hex(byte & 15)]);
            }
        }
        Self(text.into())
    }

    /// Returns whether a reader that asks for `wanted` receives lines of this origin. Lines that a container runtime
    /// wrapped have origins such as `/var/log/containers/x.log:stdout`, of which either part is enough.
    pub fn is_selected_by(&self, wanted: &str) -> bool {
        let parts = self.0.rsplit_once(':').filter(|(_, stream)| matches!(*stream, "stdout" | "stderr"));
        *self.0 == *wanted || parts.is_some_and(|(path, stream)| path == wanted || stream == wanted)
    }

    /// The path from which [`file`](Self::file) made this origin.
    pub fn path(&self) -> PathBuf {
        OsString::from_vec(percent_decode(&self.0)).into()
    }

    /// The origin as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Origin {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// The bytes of a text in which `%` and two hexadecimal digits stand for a byte (RFC 3986, section 2.1). Any other `%`
/// stands for itself.
pub(crate) fn percent_decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let encoded = digits.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(encoded.unwrap_or(byte));
        rest = if encoded.is_some() { &after[2..] } else { after };
    }
    bytes
}

/// One upper-case hexadecimal digit.
fn hex(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or('0').to_ascii_uppercase()
}

/// A point in time: microseconds since the Unix epoch. Shown as RFC 3339 in UTC with six digits of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub i64);

impl Time {
    /// The number of milliseconds since the Unix epoch; zero for a clock set before it.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    /// The seconds from `earlier` to this time; zero if `earlier` is later, since a clock may be set back.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        std::time::Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)).as_secs_f64()
    }

    /// The point in time that is earlier by `time`.
    #[must_use]
    pub fn minus(self, time: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The point in time that is later by `time`.
    #[must_use]
    pub fn plus(self, time: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl From<std::time::SystemTime> for Time {
    fn from(time: std::time::SystemTime) -> Self {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.6}")
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// The state of a source: the fields of a `state` event, and `source` in the list of streams.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SourceState {
    /// Files are open and are read as they grow.
    Following {
        /// The number of files.
        files: usize,
    },
    /// The journal is read as it grows.
    Reading {
        /// A remark about this state, in words.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Lines are accepted from clients that push them.
    Receiving,
    /// The process runs.
    Running {
        /// The number of this run of the process, counted from 1.
        run: u64,
        /// The process id.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// A remark about this state, in words. A state with a note does not begin a new run.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// The target to follow does not exist yet.
    Waiting {
        /// The reason for waiting, in words.
        reason: String,
    },
    /// The system denies access; the source retries automatically.
    Denied {
        /// The system's error number.
        #[serde(skip_serializing_if = "Option::is_none")]
        errno: Option<i32>,
        /// The operation that was tried, and why it failed.
        error: String,
    },
    /// Files are polled at intervals, since the system cannot report changes to them.
    Polling {
        /// The number of files.
        files: usize,
        /// The reason for polling.
        reason: String,
    },
    /// The source failed, and is started again later.
    BackingOff {
        /// The earliest time of the next start.
        until: Time,
        /// The number of consecutive failures.
        failures: u32,
        /// The most recent failure.
        error: String,
        /// The end of the last run, if there was one.
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<RunEnd>,
    },
    /// Events are shown to readers, but not recorded.
    Degraded {
        /// The reason why they are not recorded.
        reason: String,
    },
    /// The source is about to end at the request of the daemon or an operator.
    Stopping,
    /// The source has ended, and is not started again automatically.
    Stopped {
        /// The reason for the end.
        reason: String,
        /// The end of the last run, if there was one.
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<RunEnd>,
    },
}

impl SourceState {
    /// The reason for which a process does not run that starts with its first reader.
    pub const STARTS_WITH_READER: &str = "starts with the first reader";

    /// The name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Following { .. } => "following",
            Self::Reading { .. } => "reading",
            Self::Receiving => "receiving",
            Self::Running { .. } => "running",
            Self::Waiting { .. } => "waiting",
            Self::Denied { .. } => "denied",
            Self::Polling { .. } => "polling",
            Self::BackingOff { .. } => "backing-off",
            Self::Degraded { .. } => "degraded",
            Self::Stopping => "stopping",
            Self::Stopped { .. } => "stopped",
        }
    }
}

/// Data that the source could not deliver; the fields of a `loss` event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The number of lines, if known.
    pub missed: Option<u64>,
    /// The number of bytes, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The reason, in words.
    pub reason: String,
}

/// The end of one run of a process; the fields of an `end` event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEnd {
    /// The number of the run, counted from 1.
    pub run: u64,
    /// The exit code, if the process exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The name, without `SIG`, of the signal that ended the process, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// The duration of the run in seconds, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// The peak memory of any one process of the run, in bytes, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// The cause of the end.
    pub cause: EndCause,
    /// The processes that were left and did not end when they were asked to, so that `KILL` ended them: names with ids, such
    /// as `sleep (4711)`; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub killed: Vec<String>,
}

/// The cause of the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndCause {
    /// The process exited on its own.
    Exited,
    /// A signal from outside the daemon ended the process.
    Signalled,
    /// An operator stopped the process.
    Stopped,
    /// The daemon stopped, and stopped its child processes.
    DaemonStopped,
    /// The daemon was killed, and could not wait for the process.
    DaemonKilled,
    /// The process between the daemon and the program was killed, so that it is not known how the program ended.
    Lost,
}

impl EndCause {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signalled => "signalled",
            Self::Stopped => "stopped",
            Self::DaemonStopped => "daemon-stopped",
            Self::DaemonKilled => "daemon-killed",
            Self::Lost => "lost",
        }
    }
}

/// Recorded events that were dropped before a reader reached them. A gap has no number, and is sent to that reader
/// alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The number of events, if known.
    pub missed: Option<u64>,
    /// The id just before the event from which the reader continues.
    pub resume: Position,
}

/// The rows that a program can still change: the line that is not finished yet, or the block that it redraws. Only the
/// newest of each origin are shown, and none are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLine {
    /// The time at which its last byte was read.
    pub time: Time,
    /// The part of the source in which the rows are.
    pub origin: Origin,
    /// The text of each row so far, with its colours: at most [`Self::MAX_ROWS`] rows of [`Self::MAX_SIZE`] bytes
    /// together. Without rows, those of the same origin are withdrawn.
    pub rows: Vec<Vec<u8>>,
}

impl OpenLine {
    /// The largest number of rows: more than any terminal shows.
    pub const MAX_ROWS: usize = 200;

    /// The largest size of all rows, in bytes.
    pub const MAX_SIZE: usize = 64 << 10;

    /// The largest number of origins whose rows are shown at the same time, so that a stream of many files needs little
    /// memory for them.
    pub const MAX_ORIGINS: usize = 100;

    /// Withdraws the rows of this origin.
    pub fn withdrawn(time: Time, origin: Origin) -> Self {
        Self { time, origin, rows: Vec::new() }
    }

    /// The last row: the unfinished line of a program that does not draw.
    pub fn text(&self) -> &[u8] {
        self.rows.last().map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_message_allows() {
        for good in ["a", "build", "A.b_c-9", "-", &"x".repeat(64)] {
            assert_eq!(good.parse::<StreamName>().unwrap().as_str(), good);
        }
        for bad in ["", ".a", "a b", "ä", "a/b", "a:b", "a,b", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_cause_has_the_same_name_everywhere() {
        let causes = [
            EndCause::Exited,
            EndCause::Signalled,
            EndCause::Stopped,
            EndCause::DaemonStopped,
            EndCause::DaemonKilled,
            EndCause::Lost,
        ];
        for cause in causes {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
        }
    }

    #[test]
    fn time_is_rfc_3339_with_microseconds() {
        assert_eq!(Time(1_763_874_672_123_456).to_string(), "2025-11-23T05:11:12.123456Z");
        assert_eq!(Time(0).to_string(), "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn a_path_that_is_not_utf_8_is_percent_encoded() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/a/50%/\xff.log"));
        assert_eq!(Origin::file(path).as_str(), "/a/50%25/%FF.log");
        assert_eq!(Origin::file(path).path(), path);
    }
}
