//! Follows the journal of systemd: `journalctl` reads it for us, and each entry is one line.
//!
//! The cursor of the last entry is recorded with it, so that nothing is lost or repeated whoever of us is started anew. An
//! entry is asked for once more before those behind it: if it is no longer there, what came next may be gone, too, and that
//! is told.

mod entry;
mod query;

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

use crate::config::{JournalSource, Restart, Stream};
use crate::event::{Flags, Loss, SourceState};
use crate::line::{Carry, Line, Redact};
use crate::stream::{Batch, Places};

use super::backoff::Backoff;
use super::give::{clean, redact};
use super::process::{Children, Tool};
use super::progress::Watch;
use super::{Now, SourceError, until};
use entry::Entry;
use query::{Place, Query};

/// The part of the stream under which the place in the journal is recorded.
const PLACE: &str = "journal";

/// Where a machine's id stands (machine-id(5)).
const MACHINE: &str = "/etc/machine-id";

/// journalctl is taken to be well once it ran for so long: one that may not read says so sooner.
const WELL: Duration = Duration::from_millis(500);

/// Longest entry that is read, in bytes as JSON: what is no text is four times as long there. It is held in memory.
const LONGEST: usize = 16 << 20;

/// What journalctl says if it may not read anything, and if it may not read all.
const MAY_NOT: &str = "insufficient permissions";
const MAY_NOT_ALL: &str = "not seeing messages from other users";

/// The journal, as it is followed.
pub(super) struct Journal {
    stream: String,
    query: Query,
    children: Children,
    /// `None`: where the journal ends.
    place: Option<Place>,
    /// The entry that comes first, since it is the last one that was given out.
    expected: Option<String>,
    phase: Phase,
    /// What was read of an entry whose end was not.
    buffer: Vec<u8>,
    /// The entry is too long, and the rest of it is skipped.
    skips: bool,
    backoff: Backoff,
    watch: Watch,
    max_line: usize,
    /// Takes secrets out of each entry, before it is cut.
    redact: Option<Redact>,
    /// What was said last.
    state: Option<SourceState>,
}

enum Phase {
    /// Begins at this time.
    Waiting(Instant),
    Beginning(BoxFuture<'static, Result<(Tool, Place), Fault>>),
    /// Since this time.
    Following(Tool, Instant),
    Ending(BoxFuture<'static, (String, String)>),
}

/// Why the journal is not read.
#[derive(Debug, PartialEq)]
enum Fault {
    /// There is no journalctl.
    Missing,
    /// We may not read the journal.
    Denied(String),
    Failed(String),
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        match error.io().kind() {
            ErrorKind::NotFound => Self::Missing,
            ErrorKind::PermissionDenied => Self::Denied(error.in_full()),
            _ => Self::Failed(error.in_full()),
        }
    }
}

impl Fault {
    /// journalctl ended so, having said this.
    fn ended(how: &str, said: &str) -> Self {
        let last = said.lines().last().unwrap_or_default();
        if said.contains(MAY_NOT) {
            Self::Denied(format!("{last} (the groups adm and systemd-journal may read the journal)"))
        } else if last.is_empty() {
            Self::Failed(format!("journalctl {how}"))
        } else {
            Self::Failed(format!("journalctl {how}: {last}"))
        }
    }
}

impl Journal {
    /// Goes on where `places` say.
    pub(super) fn new(spec: &Stream, source: &JournalSource, places: &Places, children: Children) -> Self {
        let query = Query::new(source, fs::read_to_string(MACHINE).ok().as_deref());
        let place = query.read(places.get(PLACE).map(String::as_str), source.from);
        let mut redact = redact(spec).map(|(redact, _)| redact);
        if let (Some(redact), Some(Place::At { carry, .. })) = (&mut redact, &place) {
            redact.resume(*carry);
        }
        Self {
            stream: spec.name.to_string(),
            query,
            children,
            place,
            expected: None,
            phase: Phase::Waiting(Instant::now()),
            buffer: Vec::new(),
            skips: false,
            backoff: Backoff::new(&Restart::default()),
            watch: Watch::new(spec),
            max_line: spec.max_line,
            redact,
            state: None,
        }
    }

    /// Adds what comes next to `batch`. May be dropped at any time.
    pub(super) async fn next(&mut self, batch: &mut Batch) {
        while batch.is_empty() {
            let due = self.watch.due();
            match &mut self.phase {
                Phase::Waiting(until) => {
                    sleep_until(*until).await;
                    let (stream, query) = (self.stream.clone(), self.query.clone());
                    let begin = begin(stream, query, self.place.clone(), self.children.clone());
                    self.phase = Phase::Beginning(Box::pin(begin));
                }
                Phase::Beginning(beginning) => match beginning.await {
                    Ok((tool, place)) => self.begun(tool, place, batch),
                    Err(fault) => self.failed(fault, Duration::ZERO, batch),
                },
                Phase::Following(tool, since) => {
                    // Said already, if it is: an entry came.
                    let well = (!matches!(self.state, Some(SourceState::Reading { .. }))).then_some(*since + WELL);
                    select! {
                        more = tool.read(&mut self.buffer) => if more { self.take(batch) } else { self.end() },
                        () = until(well) => self.say_reading(batch),
                        () = until(due) => self.watch.show(Instant::now(), false, batch),
                    }
                }
                Phase::Ending(ending) => {
                    let (how, said) = ending.await;
                    // How long it ran, its state says: it is said only of one that is well.
                    let well = matches!(self.state, Some(SourceState::Reading { .. }));
                    let ran = if well { Duration::MAX } else { Duration::ZERO };
                    self.failed(Fault::ended(&how, &said), ran, batch);
                }
            }
        }
    }

    /// journalctl runs, and will begin at `place`.
    fn begun(&mut self, tool: Tool, place: Place, batch: &mut Batch) {
        info!(stream = self.stream.as_str(), pid = tool.pid(); "journalctl started");
        self.expected = match &place {
            Place::At { cursor, ours: true, .. } => Some(cursor.clone()),
            Place::At { ours: false, .. } | Place::Before => None,
        };
        if self.place.is_none() {
            batch.place(PLACE, Some(self.query.written(&place)));
        }
        self.place = Some(place);
        self.buffer.clear();
        self.skips = false;
        self.phase = Phase::Following(tool, Instant::now());
    }

    /// journalctl writes no more.
    fn end(&mut self) {
        let idle = Phase::Waiting(Instant::now());
        if let Phase::Following(tool, _) = mem::replace(&mut self.phase, idle) {
            self.phase = Phase::Ending(Box::pin(tool.ended()));
        }
    }

    /// Says why the journal is not read, and when it is tried again.
    fn failed(&mut self, fault: Fault, ran: Duration, batch: &mut Batch) {
        let now = Now::read();
        let wait = self.backoff.wait(true, ran, now.instant).unwrap_or_default();
        self.phase = Phase::Waiting(now.instant + wait);
        let state = match fault {
            Fault::Missing => SourceState::Waiting {
                reason: "for journalctl, which is not there (it is in Debian's package systemd)".to_owned(),
            },
            Fault::Denied(error) => SourceState::Denied { errno: Some(Errno::ACCESS.raw_os_error()), error },
            Fault::Failed(error) => {
                let failures = self.backoff.failures();
                SourceState::BackingOff { until: now.time.after(wait), failures, error, last: None }
            }
        };
        // What stays as it was is said once.
        if self.state.as_ref() != Some(&state) {
            let (stream, retry) = (self.stream.as_str(), wait);
            match &state {
                SourceState::Waiting { reason } => {
                    warn!(stream, retry_in:? = retry; "the journal is not read: waits {reason}");
                }
                SourceState::Denied { error, errno } => {
                    warn!(stream, errno = errno, error = error.as_str(), retry_in:? = retry; "the journal is not read");
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
        batch.state(Now::read().time, state);
    }

    /// Says that the journal is read, unless that was said.
    fn say_reading(&mut self, batch: &mut Batch) {
        let Phase::Following(tool, _) = &self.phase else { return };
        if matches!(self.state, Some(SourceState::Reading { .. })) {
            return;
        }
        let note = tool.said().contains(MAY_NOT_ALL).then(|| {
            "only what this user may see of it: the groups adm and systemd-journal may read all of the journal"
                .to_owned()
        });
        if let Some(note) = &note {
            warn!(stream = self.stream.as_str(); "the journal is read, {note}");
        }
        self.say(SourceState::Reading { note }, batch);
    }

    /// Takes all entries that are complete.
    fn take(&mut self, batch: &mut Batch) {
        self.say_reading(batch);
        let buffer = mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        while let Some(end) = memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if !mem::take(&mut self.skips) {
                self.line(line, batch);
            }
        }
        let long = rest.len() > LONGEST;
        if long && !self.skips {
            self.skips = true;
            let reason = format!("an entry of the journal is longer than {} MiB", LONGEST >> 20);
            batch.loss(Now::read().time, &Loss { missed: Some(1), bytes: None, reason });
        }
        self.buffer = if self.skips { Vec::new() } else { rest.to_vec() };
        let now = Now::read();
        self.watch.open(0, &[], now, batch);
        if let Some(place) = &self.place {
            batch.place(PLACE, Some(self.query.written(place)));
        }
    }

    fn line(&mut self, line: &[u8], batch: &mut Batch) {
        match Entry::read(line) {
            Ok(Some(entry)) => self.entry(entry, batch),
            Ok(None) => {}
            Err(error) => {
                let reason = error.to_string();
                warn!(stream = self.stream.as_str(), error = reason.as_str(); "an entry of the journal is lost");
                batch.loss(Now::read().time, &Loss { missed: Some(1), bytes: None, reason });
            }
        }
    }

    fn entry(&mut self, entry: Entry, batch: &mut Batch) {
        match self.expected.take() {
            // It was given out before.
            Some(expected) if expected == entry.cursor => return,
            Some(_) => {
                warn!(stream = self.stream.as_str(); "what was read last is no longer in the journal");
                let reason = "what was read last is no longer in the journal, which was rotated or cleaned up: entries behind \
                    it may be lost";
                batch.loss(Now::read().time, &Loss { missed: None, bytes: None, reason: reason.to_owned() });
            }
            None => {}
        }
        let Entry { cursor, time, origin, level, message } = entry;
        // Some are there for their other fields.
        let message = message.map(|message| self.cleaned(message, batch));
        let carry = self.redact.as_ref().map_or(Carry::Nothing, Redact::carry);
        self.place = Some(Place::At { cursor, ours: true, carry });
        let Some(message) = message else { return };
        let origin = clean(self.redact.as_ref(), origin);
        let level = level.map_or(Flags::NONE, Flags::of_level);
        let mut rest = &message[..];
        while rest.len() > self.max_line {
            let (piece, behind) = rest.split_at(cut(rest, self.max_line));
            batch.line(time, &origin, level.with(Flags::CONTINUED), piece);
            rest = behind;
        }
        batch.line(time, &origin, level, rest);
        for line in message.split(|byte| *byte == b'\n') {
            self.watch.line(0, line, Flags::NONE, time);
        }
    }

    /// The message without its secrets.
    fn cleaned(&mut self, message: Vec<u8>, batch: &mut Batch) -> Vec<u8> {
        let Some(redact) = &mut self.redact else { return message };
        let whole = Line { text: &message, source: 0, continued: false, partial: false };
        let mut clean = Vec::new();
        redact.line(whole, usize::MAX, &mut |line| clean = line.text.to_vec());
        batch.redacted(redact.take_count());
        clean
    }
}

/// Where a message is cut that has more than `max` bytes: not within a character, if it is text.
fn cut(message: &[u8], max: usize) -> usize {
    /// Most bytes of a character behind its first (UTF-8, RFC 3629).
    const BEHIND: usize = 3;
    let inside = |at: &usize| message.get(*at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    (max - BEHIND..=max).rev().find(|at| !inside(at)).unwrap_or(max)
}

/// Starts journalctl where it is to begin. Do not drop it before it is done: it would be killed.
async fn begin(stream: String, query: Query, place: Option<Place>, children: Children) -> Result<(Tool, Place), Fault> {
    let place = match place {
        Some(place) => place,
        None => end_of_journal(&stream, &query, &children).await?,
    };
    let tool = Tool::start(&stream, query.follow(&place), &children).await?;
    Ok((tool, place))
}

/// Where the journal ends now.
async fn end_of_journal(stream: &str, query: &Query, children: &Children) -> Result<Place, Fault> {
    let mut tool = Tool::start(stream, query.newest(), children).await?;
    let mut newest = Vec::new();
    while newest.len() < LONGEST && tool.read(&mut newest).await {}
    if newest.is_empty() {
        let (how, said) = tool.ended().await;
        // Nothing there is wanted, so all that comes is.
        return if said.contains(MAY_NOT) { Err(Fault::ended(&how, &said)) } else { Ok(Place::Before) };
    }
    let line = newest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match Entry::read(line) {
        Ok(Some(Entry { cursor, .. })) => Ok(Place::At { cursor, ours: true, carry: Carry::Nothing }),
        Ok(None) => Ok(Place::Before),
        Err(error) => Err(Fault::Failed(error.to_string())),
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
    fn why_it_ended_is_told_by_what_it_said() {
        let said = "Hint: x\nNo journal files were opened due to insufficient permissions.";
        assert!(
            matches!(Fault::ended("exited with code 1", said), Fault::Denied(why) if why.starts_with("No journal files"))
        );
        let failed = Fault::ended("exited with code 1", "a\nFailed to iterate");
        assert_eq!(failed, Fault::Failed("journalctl exited with code 1: Failed to iterate".into()));
        assert_eq!(Fault::ended("x", ""), Fault::Failed("journalctl x".into()));
    }
}
