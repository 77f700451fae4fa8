//! A cursor that can be steered while it is read: paused, resumed, given another filter. The reader holds only its
//! position, so a pause needs no queue.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::access::Credential;
use crate::event::Position;
use crate::stream::{Cursor, CursorEnd, CursorItem, CursorStart, Filter, Log, View};

/// Minimum and maximum length of `session`, in bytes: long enough not to be guessed, short enough to store.
pub(crate) const SESSION_TOKEN_SIZE: std::ops::RangeInclusive<usize> = 16..=128;

/// Maximum number of readers of one `session`: those of a connection with 64 streams, and as many for its reconnect.
/// All readers together are limited separately, per caller and in total.
const READERS_PER_SESSION: usize = 128;

/// The requested state of a reader.
#[derive(Debug, Clone, Default)]
struct SteeringState {
    paused: bool,
    /// The number of changes of the filter.
    filter_changes: u64,
    filter_change: Option<(Filter, Option<CursorStart>)>,
}

/// The control of one reader. The reader ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ReaderControl(watch::Sender<SteeringState>);

impl ReaderControl {
    /// Pauses the reader at its position, or resumes it there.
    pub(crate) fn pause(&self, paused: bool) {
        self.0.send_modify(|wish| wish.paused = paused);
    }

    /// Sets another filter, from the next line on or from `from`.
    pub(crate) fn filter(&self, filter: Filter, from: Option<CursorStart>) {
        self.0.send_modify(|wish| {
            wish.filter_changes += 1;
            wish.filter_change = Some((filter, from));
        });
    }
}

/// A cursor, and its control if it is steered.
#[derive(Debug)]
pub(crate) struct SteerableCursor {
    cursor: Cursor,
    /// The control, boxed since few readers are steered and most should stay small.
    steered: Option<Box<Steering>>,
}

/// The data for opening a reader's cursor again, and the signal that the daemon stops, which a paused reader would not
/// notice.
#[derive(Debug)]
pub(crate) struct CursorSpec {
    pub(crate) log: Log,
    pub(crate) view: View,
    pub(crate) until: CursorEnd,
    pub(crate) ready: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Steering {
    spec: CursorSpec,
    state: watch::Receiver<SteeringState>,
    paused: bool,
    changes: u64,
    /// The entry by which the session finds the reader.
    _session_entry: Option<SessionEntry>,
}

impl SteerableCursor {
    /// A reader that is not steered.
    pub(super) fn new(cursor: Cursor) -> Self {
        Self { cursor, steered: None }
    }

    /// A reader and its control.
    pub(crate) fn with_control(cursor: Cursor, course: CursorSpec) -> (Self, ReaderControl) {
        let (wheel, wishes) = watch::channel(SteeringState::default());
        let steered = Steering { spec: course, state: wishes, paused: false, changes: 0, _session_entry: None };
        (Self { cursor, steered: Some(Box::new(steered)) }, ReaderControl(wheel))
    }

    /// A reader that is steered by its session.
    pub(super) fn of_session(cursor: Cursor, course: CursorSpec, known: SessionEntry) -> Self {
        let wishes = known.state.clone();
        let steered = Steering { spec: course, state: wishes, paused: false, changes: 0, _session_entry: Some(known) };
        Self { cursor, steered: Some(Box::new(steered)) }
    }

    /// The next item, as [`Cursor::next`]; while the reader is paused, only [`CursorItem::TimedOut`].
    pub(crate) async fn next(&mut self, deadline: Instant) -> Option<CursorItem> {
        match &mut self.steered {
            // The future is boxed, since its state is large and readers that are not steered would reserve room for it.
            Some(steered) => Box::pin(steered.next(&mut self.cursor, deadline)).await,
            None => self.cursor.next(deadline).await,
        }
    }

    /// See [`Cursor::position`].
    pub(super) fn place(&self) -> Position {
        self.cursor.position()
    }

    /// See [`Cursor::is_denied`].
    pub(super) fn is_denied(&self) -> bool {
        self.cursor.is_denied()
    }

    /// See [`Cursor::take_skipped`].
    pub(super) fn has_skipped(&mut self) -> bool {
        !self.is_paused() && self.cursor.take_skipped()
    }

    /// Returns true if the reader was paused when it ended, and so did not receive everything it asked for.
    pub(super) fn is_paused(&self) -> bool {
        self.steered.as_ref().is_some_and(|steered| steered.paused)
    }

    /// All items of the reader, each with the position after it, and whether the reader skipped events there that the
    /// filter hides. The last item may be a denial.
    pub(crate) fn told(self, quiet: Duration) -> ReaderDeliveries {
        Box::pin(stream::unfold(Some(self), move |reading| async move {
            let mut reading = reading?;
            let item = reading.next(Instant::now() + quiet).await;
            let skipped = matches!(item, Some(CursorItem::TimedOut)) && reading.has_skipped();
            let place = reading.place();
            match item {
                Some(item) => Some(((ReaderItem::Item(item), place, skipped), Some(reading))),
                None => reading.is_denied().then_some(((ReaderItem::Denied, place, false), None)),
            }
        }))
    }
}

impl Steering {
    async fn next(&mut self, cursor: &mut Cursor, deadline: Instant) -> Option<CursorItem> {
        loop {
            self.apply_state(cursor).await;
            tokio::select! {
                biased;
                changed = self.state.changed() => changed.ok()?,
                item = cursor.next(deadline), if !self.paused => return item,
                () = sleep_until(deadline), if self.paused => return Some(CursorItem::TimedOut),
                _ = self.spec.ready.wait_for(|ready| !ready), if self.paused => return None,
                () = self.spec.log.denied(), if self.paused => return None,
            }
        }
    }

    async fn apply_state(&mut self, cursor: &mut Cursor) {
        let wish = self.state.borrow_and_update().clone();
        self.paused = wish.paused;
        if wish.filter_changes == self.changes {
            return;
        }
        self.changes = wish.filter_changes;
        let Some((filter, from)) = wish.filter_change else { return };
        let course = &mut self.spec;
        course.view.filter = filter;
        match from {
            Some(start) => *cursor = course.log.cursor(course.view.clone(), start, course.until).await,
            None => cursor.change_view(course.view.clone()),
        }
    }
}

/// An item from a reader.
#[derive(Debug)]
pub(crate) enum ReaderItem {
    /// The next item of the cursor.
    Item(CursorItem),
    /// The stream became private; nothing more follows.
    Denied,
}

/// A reader as a stream of its items and positions.
pub(super) type ReaderDeliveries = Pin<Box<dyn Stream<Item = (ReaderItem, Position, bool)> + Send + Sync>>;

/// The key of a session: its token, and the credential of its callers, so that nobody else finds it.
type SessionKey = (Credential, String);

/// The readers by session. Clones share the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct SteeringSessions(Arc<Mutex<SessionTable>>);

#[derive(Debug, Default)]
struct SessionTable {
    by_key: HashMap<SessionKey, Vec<(u64, Arc<ReaderControl>)>>,
    next: u64,
}

/// A reader's entry, which is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SessionEntry {
    sessions: SteeringSessions,
    key: SessionKey,
    number: u64,
    state: watch::Receiver<SteeringState>,
}

impl SteeringSessions {
    fn found(&self) -> MutexGuard<'_, SessionTable> {
        // Each change leaves the entries consistent, so a panic elsewhere does not affect them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers the readers of one connection; `None` if the session would have too many.
    pub(crate) fn register(&self, credential: Credential, token: &str, readers: usize) -> Option<Vec<SessionEntry>> {
        let key = (credential, token.to_owned());
        let mut found = self.found();
        let same = found.by_key.get(&key).map_or(0, Vec::len);
        if same + readers > READERS_PER_SESSION {
            return None;
        }
        let known = (0..readers).map(|_| {
            found.next += 1;
            let number = found.next;
            let (wheel, wishes) = watch::channel(SteeringState::default());
            found.by_key.entry(key.clone()).or_default().push((number, Arc::new(ReaderControl(wheel))));
            SessionEntry { sessions: self.clone(), key: key.clone(), number, state: wishes }
        });
        Some(known.collect())
    }

    /// The controls of all readers of a session.
    pub(crate) fn controls(&self, credential: &Credential, token: &str) -> Vec<Arc<ReaderControl>> {
        let found = self.found();
        let readers = found.by_key.get(&(credential.clone(), token.to_owned()));
        readers.map_or_else(Vec::new, |readers| readers.iter().map(|(_, wheel)| wheel.clone()).collect())
    }
}

impl Drop for SessionEntry {
    fn drop(&mut self) {
        let mut found = self.sessions.found();
        if let Some(readers) = found.by_key.get_mut(&self.key) {
            readers.retain(|(number, _)| *number != self.number);
            if readers.is_empty() {
                found.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Flags, Origin, Time};
    use crate::stream::{Appender, Batch, Budget, open};
    use crate::wire::Encoding;

    async fn write(appender: &mut Appender, lines: std::ops::Range<u32>) {
        let mut batch = Batch::new();
        for line in lines {
            batch.line(Time(0), &Origin::stdout(), Flags::NONE, line.to_string().as_bytes());
        }
        appender.append(&mut batch).await;
    }

    async fn drain(reading: &mut SteerableCursor) -> Vec<u32> {
        let mut seen = Vec::new();
        while let Some(item) = reading.next(Instant::now() + Duration::from_secs(1)).await {
            match item {
                CursorItem::Frames(frames) => {
                    let text = String::from_utf8(frames.bytes.to_vec()).unwrap();
                    seen.extend(text.lines().map(|line| line.parse::<u32>().unwrap()));
                }
                CursorItem::Gap(gap) => panic!("{gap:?}"),
                CursorItem::OpenLine(_) | CursorItem::Progress(_) => {}
                CursorItem::TimedOut => break,
            }
        }
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_reader_holds_its_place_and_goes_on_there() {
        let last = Position { epoch: Epoch::persistent(7), number: 0 };
        let (mut appender, log) = open("s".parse().unwrap(), last, 1 << 20, &Budget::new(usize::MAX));
        let ready = watch::Sender::new(true);
        let view = View { encoding: Encoding::Text, filter: Filter::default(), several: false };
        let until = CursorEnd::default();
        let cursor = log.cursor(view.clone(), CursorStart::Tail(0), until).await;
        let (mut reading, wheel) =
            SteerableCursor::with_control(cursor, CursorSpec { log, view, until, ready: ready.subscribe() });
        write(&mut appender, 0..3).await;
        assert_eq!(drain(&mut reading).await, [0, 1, 2]);
        wheel.pause(true);
        write(&mut appender, 3..1000).await;
        assert!(drain(&mut reading).await.is_empty());
        assert!(!reading.has_skipped());
        wheel.pause(false);
        assert_eq!(drain(&mut reading).await, (3..1000).collect::<Vec<_>>());
        let eights = Filter::new(&["8$".to_owned()], &[], vec![], 1 << 20).unwrap();
        wheel.filter(eights.clone(), None);
        write(&mut appender, 1000..1010).await;
        assert_eq!(drain(&mut reading).await, [1008]);
        wheel.filter(eights, Some(CursorStart::Tail(2)));
        assert_eq!(drain(&mut reading).await, [998, 1008]);
        wheel.pause(true);
        assert!(drain(&mut reading).await.is_empty());
        ready.send_replace(false);
        assert!(reading.next(Instant::now() + Duration::from_secs(1)).await.is_none(), "the daemon stops");
        wheel.pause(false);
        drop(wheel);
        assert!(reading.next(Instant::now() + Duration::from_secs(1)).await.is_none(), "unsubscribed");
    }

    #[tokio::test]
    async fn a_reader_among_many_is_small() {
        let last = Position { epoch: Epoch::persistent(7), number: 0 };
        let (_appender, log) = open("s".parse().unwrap(), last, 1 << 20, &Budget::new(usize::MAX));
        let view = View { encoding: Encoding::Text, filter: Filter::default(), several: true };
        let cursor = log.cursor(view, CursorStart::Tail(0), CursorEnd::default()).await;
        let told = SteerableCursor::new(cursor).told(Duration::from_secs(1));
        // One connection may have 64 readers, and one caller half of all readers.
        assert!(size_of_val(&*told) < 1024, "{} bytes", size_of_val(&*told));
    }

    #[test]
    fn a_session_is_found_by_its_token_and_credential() {
        let sessions = SteeringSessions::default();
        let token = "0123456789abcdef";
        let known = sessions.register(Credential::Loopback, token, 2).unwrap();
        assert_eq!(sessions.controls(&Credential::Loopback, token).len(), 2);
        assert!(sessions.controls(&Credential::Owner, token).is_empty());
        assert!(sessions.controls(&Credential::Loopback, "0123456789abcdeF").is_empty());
        assert!(
            sessions.register(Credential::Loopback, token, READERS_PER_SESSION - 1).is_none(),
            "with those there are"
        );
        let more = sessions.register(Credential::Loopback, token, READERS_PER_SESSION - 2).unwrap();
        assert!(sessions.register(Credential::Loopback, token, 1).is_none());
        drop((known, more));
        assert!(sessions.controls(&Credential::Loopback, token).is_empty());
        assert!(sessions.found().by_key.is_empty(), "nothing is kept of a session that nobody has");
    }
}
