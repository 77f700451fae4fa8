//! Follows the systemd journal: `journalctl` reads it, and each entry is one line.
//!
//! The cursor of the last entry is recorded with it, so that nothing is lost or repeated when rtlogd or journalctl is
//! restarted. That entry is requested again before those after it: if it no longer exists, the next ones may be
//! missing, too, and a loss is reported.
//!
//! The files: `query` has the arguments of journalctl and the text of a checkpoint, `entry` parses an entry. Neither
//! does any I/O.

mod entry;
mod query;

pub(super) use query::START_CHECKPOINT;

use std::fs;
use std::io::ErrorKind;
use std::mem;
use std::time::Duration;

use futures_util::future::BoxFuture;
use log::{info, warn};
use memchr::memchr;
use rustix::io::Errno;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use crate::config::{JournalSourceConfig, Restart, Stream};
use crate::event::{Flags, Loss, SourceState};
use crate::line::{Carry, Line, Redactor};
use crate::stream::{Batch, Checkpoints, ViewPace};

use super::backoff::Backoff;
use super::emit::{redact, redact_origin};
use super::process::{Children, Helper};
use super::progress::SourceProgress;
use super::read_pace::{PIPE_READ_INTERVAL, ReadPace};
use super::{ClockReading, SourceError, until};
use entry::JournalEntry;
use query::{JournalCheckpoint, JournalQuery};

/// The key under which the position in the journal is recorded.
pub(super) const CHECKPOINT_KEY: &str = "journal";

/// The file with the id of the machine (machine-id(5)).
const MACHINE_ID_PATH: &str = "/etc/machine-id";

/// journalctl is considered healthy after this time: one without permission reports that sooner.
const STARTUP_GRACE: Duration = Duration::from_millis(500);

/// The longest entry that is read, in bytes of JSON, where binary data is four times as long. It is held in memory.
const MAX_ENTRY_SIZE: usize = 16 << 20;

/// The messages of journalctl if it may read nothing, and if it may not read everything.
const DENIED_MESSAGE: &str = "insufficient permissions";
const PARTLY_DENIED_MESSAGE: &str = "not seeing messages from other users";

/// A source that follows the journal.
pub(super) struct JournalSource {
    stream: String,
    query: JournalQuery,
    children: Children,
    /// The recorded position; `None` for the end of the journal.
    checkpoint: Option<JournalCheckpoint>,
    /// The entry that is expected first, since it was the last one emitted.
    expected: Option<String>,
    phase: JournalPhase,
    /// The beginning of an entry that is not complete yet.
    buffer: Vec<u8>,
    /// The entry is too long, and the rest of it is skipped.
    skipping: bool,
    pace: ReadPace,
    backoff: Backoff,
    progress: SourceProgress,
    max_line: usize,
    /// Redacts secrets in each entry before it is split.
    redact: Option<Redactor>,
    /// The state that was reported last.
    state: Option<SourceState>,
}

enum JournalPhase {
    /// Waiting for this time before the next start.
    Waiting(Instant),
    Starting(BoxFuture<'static, Result<(Helper, JournalCheckpoint), JournalError>>),
    /// Reading, since this time.
    Following(Helper, Instant),
    Ending(BoxFuture<'static, (String, String)>),
}

/// The reason why the journal is not read.
#[derive(Debug, PartialEq)]
enum JournalError {
    /// journalctl is not installed.
    Missing,
    /// The journal may not be read.
    Denied(String),
    Failed(String),
}

impl From<SourceError> for JournalError {
    fn from(error: SourceError) -> Self {
        match error.io().kind() {
            ErrorKind::NotFound => Self::Missing,
            ErrorKind::PermissionDenied => Self::Denied(error.with_cause()),
            _ => Self::Failed(error.with_cause()),
        }
    }
}

impl JournalError {
    /// The error if journalctl ended in this way, having written `stderr`.
    fn ended(how: &str, stderr: &str) -> Self {
        let last = stderr.lines().last().unwrap_or_default();
        if stderr.contains(DENIED_MESSAGE) {
            Self::Denied(format!("{last} (add the user to the group adm or systemd-journal)"))
        } else if last.is_empty() {
            Self::Failed(format!("journalctl {how}"))
        } else {
            Self::Failed(format!("journalctl {how}: {last}"))
        }
    }
}

impl JournalSource {
    /// Continues from the checkpoint in `checkpoints`, if there is one.
    pub(super) fn new(
        spec: &Stream,
        source: &JournalSourceConfig,
        checkpoints: &Checkpoints,
        children: Children,
        views: ViewPace,
    ) -> Self {
        let query = JournalQuery::new(source, fs::read_to_string(MACHINE_ID_PATH).ok().as_deref());
        let checkpoint = query.read(checkpoints.get(CHECKPOINT_KEY).map(String::as_str), source.from);
        let mut redact = redact(spec).map(|(redact, _)| redact);
        if let (Some(redact), Some(JournalCheckpoint::At { carry, .. })) = (&mut redact, &checkpoint) {
            redact.resume(*carry);
        }
        Self {
            stream: spec.name.to_string(),
            query,
            children,
            checkpoint,
            expected: None,
            phase: JournalPhase::Waiting(Instant::now()),
            buffer: Vec::new(),
            skipping: false,
            pace: ReadPace::new(PIPE_READ_INTERVAL).with_views(views),
            backoff: Backoff::new(&Restart::default()),
            progress: SourceProgress::new(spec),
            max_line: spec.max_line,
            redact,
            state: None,
        }
    }

    /// Adds the next entries to `batch`. May be dropped at any time.
    pub(crate) async fn next(&mut self, batch: &mut Batch) {
        while batch.is_empty() {
            let due = self.progress.due();
            match &mut self.phase {
                JournalPhase::Waiting(until) => {
                    sleep_until(*until).await;
                    let (stream, query) = (self.stream.clone(), self.query.clone());
                    let begin = begin(stream, query, self.checkpoint.clone(), self.children.clone());
                    self.phase = JournalPhase::Starting(Box::pin(begin));
                }
                JournalPhase::Starting(beginning) => match beginning.await {
                    Ok((helper, checkpoint)) => self.started(helper, checkpoint, batch),
                    Err(fault) => self.failed(fault, Duration::ZERO, batch),
                },
                JournalPhase::Following(helper, since) => {
                    // No deadline is needed if an entry has already led to the report.
                    let well =
                        (!matches!(self.state, Some(SourceState::Reading { .. }))).then_some(*since + STARTUP_GRACE);
                    let before = self.buffer.len();
                    let read = async {
                        self.pace.wait().await;
                        helper.read(&mut self.buffer).await
                    };
                    select! {
                        more = read => if more {
                            self.pace.note_read(self.buffer.len() - before, Instant::now());
                            self.take_entries(batch);
                        } else {
                            self.helper_ended();
                        },
                        () = until(well) => self.report_reading(batch),
                        () = until(due) => self.progress.run_due(Instant::now(), false, batch),
                    }
                }
                JournalPhase::Ending(ending) => {
                    let (how, stderr) = ending.await;
                    // The state `Reading` is reported only of a healthy journalctl, so it also says whether the run was
                    // long enough.
                    let well = matches!(self.state, Some(SourceState::Reading { .. }));
                    let ran = if well { Duration::MAX } else { Duration::ZERO };
                    self.failed(JournalError::ended(&how, &stderr), ran, batch);
                }
            }
        }
    }

    /// journalctl runs, and begins at `checkpoint`.
    fn started(&mut self, helper: Helper, checkpoint: JournalCheckpoint, batch: &mut Batch) {
        info!(stream = self.stream.as_str(), pid = helper.pid(); "journalctl started");
        self.expected = match &checkpoint {
            JournalCheckpoint::At { cursor, same_query: true, .. } => Some(cursor.clone()),
            JournalCheckpoint::At { same_query: false, .. } | JournalCheckpoint::Start => None,
        };
        if self.checkpoint.is_none() {
            batch.checkpoint(CHECKPOINT_KEY, Some(self.query.to_text(&checkpoint)));
        }
        self.checkpoint = Some(checkpoint);
        self.buffer.clear();
        self.skipping = false;
        self.phase = JournalPhase::Following(helper, Instant::now());
    }

    /// Handles the end of journalctl's output.
    fn helper_ended(&mut self) {
        let idle = JournalPhase::Waiting(Instant::now());
        if let JournalPhase::Following(helper, _) = mem::replace(&mut self.phase, idle) {
            self.phase = JournalPhase::Ending(Box::pin(helper.ended()));
        }
    }

    /// Reports why the journal is not read, and when it is tried again.
    fn failed(&mut self, fault: JournalError, ran: Duration, batch: &mut Batch) {
        let now = ClockReading::read();
        let wait = self.backoff.wait(true, ran, now.instant).unwrap_or_default();
        self.phase = JournalPhase::Waiting(now.instant + wait);
        let state = match fault {
            JournalError::Missing => SourceState::Waiting {
                reason: "for journalctl, which is not installed (Debian's package systemd contains it)".to_owned(),
            },
            JournalError::Denied(error) => SourceState::Denied { errno: Some(Errno::ACCESS.raw_os_error()), error },
            JournalError::Failed(error) => {
                let failures = self.backoff.failures();
                SourceState::BackingOff { until: now.time.plus(wait), failures, error, last: None }
            }
        };
        // An unchanged reason is reported once.
        if self.state.as_ref() != Some(&state) {
            let (stream, retry) = (self.stream.as_str(), wait);
            match &state {
                SourceState::Waiting { reason } => {
                    warn!(stream, retry_in:? = retry; "the journal is not read: waiting {reason}");
                }
                SourceState::Denied { error, errno } => {
                    let error = error.as_str();
                    match *errno {
                        Some(errno) => warn!(stream, errno, error, retry_in:? = retry; "the journal is not read"),
                        None => warn!(stream, error, retry_in:? = retry; "the journal is not read"),
                    }
                }
                SourceState::BackingOff { error, failures, .. } => {
                    warn!(stream, error = error.as_str(), failures, retry_in:? = retry; "the journal is not read");
                }
                _ => {}
            }
            self.say(state, batch);
        }
    }

    fn say(&mut self, state: SourceState, batch: &mut Batch) {
        self.state = Some(state.clone());
        batch.state(ClockReading::read().time, state);
    }

    /// Reports that the journal is read, unless that was reported.
    fn report_reading(&mut self, batch: &mut Batch) {
        let JournalPhase::Following(helper, _) = &self.phase else { return };
        if matches!(self.state, Some(SourceState::Reading { .. })) {
            return;
        }
        let note = helper.stderr_text().contains(PARTLY_DENIED_MESSAGE).then(|| {
            "but only the entries that this user may see; to read all, add the user to the group systemd-journal"
                .to_owned()
        });
        if let Some(note) = &note {
            warn!(stream = self.stream.as_str(); "the journal is read, {note}");
        }
        self.say(SourceState::Reading { note }, batch);
    }

    /// Handles all complete entries.
    fn take_entries(&mut self, batch: &mut Batch) {
        self.report_reading(batch);
        let buffer = mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        while let Some(end) = memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if !mem::take(&mut self.skipping) {
                self.line(line, batch);
            }
        }
        let long = rest.len() > MAX_ENTRY_SIZE;
        if long && !self.skipping {
            self.skipping = true;
            let reason = format!("a journal entry is longer than {} MiB", MAX_ENTRY_SIZE >> 20);
            batch.loss(ClockReading::read().time, &Loss { missed: Some(1), bytes: None, reason });
        }
        self.buffer = if self.skipping { Vec::new() } else { rest.to_vec() };
        let now = ClockReading::read();
        self.progress.open(0, Vec::new, now, batch);
        if let Some(checkpoint) = &self.checkpoint {
            batch.checkpoint(CHECKPOINT_KEY, Some(self.query.to_text(checkpoint)));
        }
    }

    fn line(&mut self, line: &[u8], batch: &mut Batch) {
        match JournalEntry::read(line) {
            Ok(Some(entry)) => self.entry(entry, batch),
            Ok(None) => {}
            Err(error) => {
                let reason = error.to_string();
                warn!(stream = self.stream.as_str(), error = reason.as_str(); "a journal entry cannot be parsed and is skipped");
                batch.loss(ClockReading::read().time, &Loss { missed: Some(1), bytes: None, reason });
            }
        }
    }

    fn entry(&mut self, entry: JournalEntry, batch: &mut Batch) {
        match self.expected.take() {
            // The entry was emitted before.
            Some(expected) if expected == entry.cursor => return,
            Some(_) => {
                warn!(stream = self.stream.as_str(); "the last entry read is no longer in the journal");
                let reason = "the last entry read is no longer in the journal, which was rotated or vacuumed; entries after it \
                    may be lost";
                batch.loss(ClockReading::read().time, &Loss { missed: None, bytes: None, reason: reason.to_owned() });
            }
            None => {}
        }
        let JournalEntry { cursor, time, origin, level, message } = entry;
        // Some entries have no message, only other fields.
        let message = message.map(|message| self.redacted(message, batch));
        let carry = self.redact.as_ref().map_or(Carry::Nothing, Redactor::carry);
        self.checkpoint = Some(JournalCheckpoint::At { cursor, same_query: true, carry });
        let Some(message) = message else { return };
        let origin = redact_origin(self.redact.as_ref(), origin);
        let level = level.map_or(Flags::NONE, Flags::from_level);
        let mut rest = &message[..];
        while rest.len() > self.max_line {
            let (piece, behind) = rest.split_at(cut(rest, self.max_line));
            batch.line(time, &origin, level.with(Flags::CONTINUED), piece);
            rest = behind;
        }
        batch.line(time, &origin, level, rest);
        for line in message.split(|byte| *byte == b'\n') {
            self.progress.line(0, line, Flags::NONE, time);
        }
    }

    /// The message without its secrets.
    fn redacted(&mut self, message: Vec<u8>, batch: &mut Batch) -> Vec<u8> {
        let Some(redact) = &mut self.redact else { return message };
        let whole = Line { text: &message, source: 0, continued: false, partial: false };
        let mut clean = Vec::new();
        redact.redact_line(whole, usize::MAX, &mut |line| clean = line.text.to_vec());
        batch.redacted(redact.take_count());
        clean
    }
}

/// The index at which a message of more than `max` bytes is split: not within a UTF-8 character, if the message is
/// text.
fn cut(message: &[u8], max: usize) -> usize {
    /// The maximum number of bytes of a character after its first (UTF-8, RFC 3629).
    const MAX_CONTINUATION_BYTES: usize = 3;
    let inside = |at: &usize| message.get(*at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    (max - MAX_CONTINUATION_BYTES..=max).rev().find(|at| !inside(at)).unwrap_or(max)
}

/// Starts journalctl at the recorded position. The future must not be dropped before it is done: journalctl would be
/// killed.
async fn begin(
    stream: String,
    query: JournalQuery,
    checkpoint: Option<JournalCheckpoint>,
    children: Children,
) -> Result<(Helper, JournalCheckpoint), JournalError> {
    let checkpoint = match checkpoint {
        Some(checkpoint) => checkpoint,
        None => end_of_journal(&stream, &query, &children).await?,
    };
    let helper = Helper::start(&stream, query.follow(&checkpoint), &children).await?;
    Ok((helper, checkpoint))
}

/// The position of the current end of the journal.
async fn end_of_journal(
    stream: &str,
    query: &JournalQuery,
    children: &Children,
) -> Result<JournalCheckpoint, JournalError> {
    let mut helper = Helper::start(stream, query.newest(), children).await?;
    let mut newest = Vec::new();
    while newest.len() < MAX_ENTRY_SIZE && helper.read(&mut newest).await {}
    if newest.is_empty() {
        let (how, stderr) = helper.ended().await;
        // No entry matches yet, so all that come later are wanted.
        return if stderr.contains(DENIED_MESSAGE) {
            Err(JournalError::ended(&how, &stderr))
        } else {
            Ok(JournalCheckpoint::Start)
        };
    }
    let line = newest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match JournalEntry::read(line) {
        Ok(Some(JournalEntry { cursor, .. })) => {
            Ok(JournalCheckpoint::At { cursor, same_query: true, carry: Carry::Nothing })
        }
        Ok(None) => Ok(JournalCheckpoint::Start),
        Err(error) => Err(JournalError::Failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let text = "aäöü€".as_bytes();
        for (max, at) in [(4, 3), (5, 5), (6, 5), (7, 7), (8, 7), (9, 7)] {
            assert_eq!(cut(text, max), at, "{max}");
        }
        assert_eq!(cut(&[0x80; 9], 5), 5, "what is no text is cut anywhere");
    }

    #[test]
    fn the_reason_of_its_end_is_what_it_wrote() {
        let stderr = "Hint: x\nNo journal files were opened due to insufficient permissions.";
        assert!(
            matches!(JournalError::ended("exited with code 1", stderr), JournalError::Denied(why) if why.starts_with("No journal files"))
        );
        let failed = JournalError::ended("exited with code 1", "a\nFailed to iterate");
        assert_eq!(failed, JournalError::Failed("journalctl exited with code 1: Failed to iterate".into()));
        assert_eq!(JournalError::ended("x", ""), JournalError::Failed("journalctl x".into()));
    }
}
