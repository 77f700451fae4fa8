//! The words all layers share: an event and its parts. Data only; knows no clock, no file, no socket.
//!
//! Events of all four [`EventKind`]s are numbered and kept. What is kept of one is its text and a few bytes beside it: of a
//! line the line, of a state, a loss or an end the JSON object of its fields.

mod flags;
mod level;
mod lock;
mod position;
mod progress;
mod visible_text;
mod signal;

pub use flags::Flags;
pub use level::{BadLevel, Level};
pub(crate) use lock::lock;
pub use position::{BadPosition, Epoch, Position};
pub use progress::{Progress, ProgressGroup, ProgressState};
pub(crate) use signal::{signal_name, signal_number};
pub(crate) use visible_text::{is_unsafe, one_line, with_causes};

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest text of one event, in bytes; a longer line goes on in the next event. The smallest log still holds four.
pub const MAX_LINE: usize = 256 << 10;

/// One numbered event as it is read from a log; borrows its text from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its place in the stream.
    pub id: Position,
    /// When it was read from its source.
    pub time: Time,
    /// Where in the source it came from; `Cleared` for what the daemon itself says.
    pub origin: Option<&'a Origin>,
    /// What it is.
    pub kind: EventKind,
    /// How its line began and ended.
    pub flags: Flags,
    /// The line without its newline, or the JSON object of the fields of a [`SourceState`], [`Loss`] or [`RunEnd`].
    pub text: &'a [u8],
}

impl Event<'_> {
    /// How serious a line is: as its source said, else as its first words do.
    pub fn level(&self) -> Option<Level> {
        self.flags.level().or_else(|| Level::detect(self.text))
    }
}

/// What a numbered event says.
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
    /// The kind that is kept as this number; `Cleared` if there is none.
    pub(crate) fn from_u8(byte: u8) -> Option<Self> {
        [Self::Line, Self::State, Self::Loss, Self::End].into_iter().find(|kind| *kind as u8 == byte)
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
    /// Most bytes in a name.
    pub const MAX_LENGTH: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name may hold this character.
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

/// Where in its source a line came from: `stdout`, `stderr`, the path of a file, or who wrote it into the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(Arc<str>);

impl Origin {
    /// A process's standard output.
    pub fn stdout() -> Self {
        Self("stdout".into())
    }

    /// A process's standard error.
    pub fn stderr() -> Self {
        Self("stderr".into())
    }

    /// A file. Paths are bytes: `%` and bytes that are no UTF-8 are percent-encoded (RFC 3986, section 2.1).
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

    /// The path that [`file`](Self::file) made it of.
    pub fn path(&self) -> PathBuf {
        let mut bytes = Vec::new();
        let mut rest = self.0.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
            let encoded = digits.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.push(encoded.unwrap_or(byte));
            rest = if encoded.is_some() { &after[2..] } else { after };
        }
        OsString::from_vec(bytes).into()
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

/// One upper-case hexadecimal digit.
fn hex(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or('0').to_ascii_uppercase()
}

/// A point in time: microseconds since the Unix epoch. Shown as RFC 3339 in UTC with six digits of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub i64);

impl Time {
    /// This many milliseconds since the Unix epoch; zero for a clock that stands before it.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    /// Seconds from `earlier` to this; zero if that is later, as a clock may be set back.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        std::time::Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)).as_secs_f64()
    }

    /// The point in time so much later.
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

/// How a source is; the fields of a `state` event, and `source` in the list of streams.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SourceState {
    /// Files are open and read as they grow.
    Following {
        /// How many.
        files: usize,
    },
    /// The journal is read as it grows.
    Reading {
        /// What is remarkable about it, in words.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Lines are taken from whoever sends some.
    Receiving,
    /// The process runs.
    Running {
        /// Counts the runs of this process from 1.
        run: u64,
        /// Its process id.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// What is remarkable about it, in words. With it, it is no new run.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// What is to be followed is not there yet.
    Waiting {
        /// What is missed, in words.
        reason: String,
    },
    /// The system refuses; tried again by itself.
    Denied {
        /// The system's error number.
        #[serde(skip_serializing_if = "Option::is_none")]
        errno: Option<i32>,
        /// What was tried and why it failed.
        error: String,
    },
    /// Followed by looking at intervals, since the system cannot tell of changes there.
    Polling {
        /// How many files.
        files: usize,
        /// Why.
        reason: String,
    },
    /// It failed, and is started again later.
    BackingOff {
        /// When, at the earliest.
        until: Time,
        /// How often it failed in a row.
        failures: u32,
        /// How it failed the last time.
        error: String,
        /// How its last run ended, if there was one.
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<RunEnd>,
    },
    /// Shown to readers, but not recorded.
    Degraded {
        /// Why.
        reason: String,
    },
    /// About to end, since the daemon or an operator said so.
    Stopping,
    /// At its end, and not started again by itself.
    Stopped {
        /// Why.
        reason: String,
        /// How its last run ended, if there was one.
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<RunEnd>,
    },
}

impl SourceState {
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

/// Something the source could not deliver; the fields of a `loss` event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// How many lines, where that is known.
    pub missed: Option<u64>,
    /// How many bytes, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Why, in words.
    pub reason: String,
}

/// How one run of a process ended; the fields of an `end` event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunEnd {
    /// Which run, counted from 1.
    pub run: u64,
    /// The exit code, where it exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal's name without `SIG`, where one ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// How long it ran, in seconds, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Most memory that one process of it held, in bytes, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Why it ended.
    pub cause: EndCause,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndCause {
    /// By itself.
    Exited,
    /// By a signal from outside the daemon.
    Signalled,
    /// An operator stopped it.
    Stopped,
    /// The daemon stopped, and its children with it.
    DaemonStopped,
    /// The daemon was killed, and could not wait for it.
    DaemonKilled,
}

/// What a reader missed: events that were kept and then dropped. Not numbered, and this reader's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// How many events, where that is known.
    pub missed: Option<u64>,
    /// The id just before the event with which the reader goes on.
    pub resume: Position,
}

/// A line that is not finished: the newest is shown, none is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLine {
    /// When its last byte was read.
    pub time: Time,
    /// Where in the source it grows.
    pub origin: Origin,
    /// What there is of it; empty when it was finished or taken back.
    pub text: Vec<u8>,
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
