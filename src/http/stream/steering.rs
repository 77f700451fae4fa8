//! A cursor that can be steered while it is read: paused, resumed, given another filter. The reader holds only its
//! position, so a pause needs no queue.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::access::Credential;
use crate::event::{Position, lock};
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
        self.0.send_modify(|wanted| wanted.paused = paused);
    }

    /// Sets another filter, from the next line on or from `from`.
    pub(crate) fn filter(&self, filter: Filter, from: Option<CursorStart>) {
        self.0.send_modify(|wanted| {
            wanted.filter_changes += 1;
            wanted.filter_change = Some((filter, from));
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
    pub(crate) fn with_control(cursor: Cursor, spec: CursorSpec) -> (Self, ReaderControl) {
        let (control, state) = watch::channel(SteeringState::default());
        let steered = Steering { spec, state, paused: false, changes: 0, _session_entry: None };
        (Self { cursor, steered: Some(Box::new(steered)) }, ReaderControl(control))
    }

    /// A reader that is steered by its session.
    pub(super) fn of_session(cursor: Cursor, spec: CursorSpec, entry: SessionEntry) -> Self {
        let state = entry.state.clone();
        let steered = Steering { spec, state, paused: false, changes: 0, _session_entry: Some(entry) };
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

    /// See [`Cursor::is_done`].
    pub(super) fn is_done(&mut self) -> bool {
        self.cursor.is_done()
    }

    /// See [`Cursor::position`].
    pub(super) fn position(&self) -> Position {
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
    pub(crate) fn into_deliveries(self, timeout: Duration) -> ReaderDeliveries {
        Box::pin(stream::unfold(Some(self), move |reader| async move {
            let mut reader = reader?;
            let item = reader.next(Instant::now() + timeout).await;
            let skipped = matches!(item, Some(CursorItem::TimedOut)) && reader.has_skipped();
            let place = reader.position();
            match item {
                Some(item) => Some(((ReaderItem::Item(item), place, skipped), Some(reader))),
                None => reader.is_denied().then_some(((ReaderItem::Denied, place, false), None)),
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
                () = self.spec.log.until_denied(), if self.paused => return None,
            }
        }
    }

    async fn apply_state(&mut self, cursor: &mut Cursor) {
        let wanted = self.state.borrow_and_update().clone();
        self.paused = wanted.paused;
        cursor.set_paused(self.paused);
        if wanted.filter_changes == self.changes {
            return;
        }
        self.changes = wanted.filter_changes;
        let Some((filter, from)) = wanted.filter_change else { return };
        let spec = &mut self.spec;
        spec.view.filter = filter;
        match from {
            Some(start) => {
                let takes_compressed = cursor.takes_compressed();
                *cursor = spec.log.cursor(spec.view.clone(), start, spec.until).await;
                if takes_compressed {
                    cursor.take_compressed();
                }
            }
            None => cursor.change_view(spec.view.clone()),
        }
        cursor.set_paused(self.paused);
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
    fn table(&self) -> MutexGuard<'_, SessionTable> {
        lock(&self.0)
    }

    /// Registers the readers of one connection; `None` if the session would have too many.
    pub(crate) fn register(&self, credential: Credential, token: &str, readers: usize) -> Option<Vec<SessionEntry>> {
        let key = (credential, token.to_owned());
        let mut table = self.table();
        let same = table.by_key.get(&key).map_or(0, Vec::len);
        if same + readers > READERS_PER_SESSION {
            return None;
        }
        let entries = (0..readers).map(|_| {
            table.next += 1;
            let number = table.next;
            let (control, state) = watch::channel(SteeringState::default());
            table.by_key.entry(key.clone()).or_default().push((number, Arc::new(ReaderControl(control))));
            SessionEntry { sessions: self.clone(), key: key.clone(), number, state }
        });
        Some(entries.collect())
    }

    /// The controls of all readers of a session.
    pub(crate) fn controls(&self, credential: &Credential, token: &str) -> Vec<Arc<ReaderControl>> {
        let table = self.table();
        let readers = table.by_key.get(&(credential.clone(), token.to_owned()));
        readers.map_or_else(Vec::new, |readers| readers.iter().map(|(_, control)| control.clone()).collect())
    }
}

impl Drop for SessionEntry {
    fn drop(&mut self) {
        let mut table = self.sessions.table();
        if let Some(readers) = table.by_key.get_mut(&self.key) {
            readers.retain(|(number, _)| *number != self.number);
            if readers.is_empty() {
                table.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Flags, Origin, Time};
    use crate::stream::Ansi;
    use crate::stream::{Appender, Batch, Budget, open};
    use crate::wire::WireFormat;

    async fn write(appender: &mut Appender, lines: std::ops::Range<u32>) {
        let mut batch = Batch::new();
        for line in lines {
            batch.line(Time(0), &Origin::stdout(), Flags::NONE, line.to_string().as_bytes());
        }
        appender.append(&mut batch).await;
    }

    async fn drain(reader: &mut SteerableCursor) -> Vec<u32> {
        let mut seen = Vec::new();
        while let Some(item) = reader.next(Instant::now() + Duration::from_secs(1)).await {
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
    async fn a_paused_reader_holds_its_position_and_continues_there() {
        let last = Position { epoch: Epoch::persistent(7), number: 0 };
        let (mut appender, log) = open("s".parse().unwrap(), last, 1 << 20, &Budget::new(usize::MAX));
        let ready = watch::Sender::new(true);
        let view = View { wire_format: WireFormat::Text, filter: Filter::default(), several: false, ansi: Ansi::Keep };
        let until = CursorEnd::default();
        let cursor = log.cursor(view.clone(), CursorStart::Tail(0), until).await;
        let (mut reader, control) =
            SteerableCursor::with_control(cursor, CursorSpec { log, view, until, ready: ready.subscribe() });
        write(&mut appender, 0..3).await;
        assert_eq!(drain(&mut reader).await, [0, 1, 2]);
        control.pause(true);
        write(&mut appender, 3..1000).await;
        assert!(drain(&mut reader).await.is_empty());
        assert!(!reader.has_skipped());
        control.pause(false);
        assert_eq!(drain(&mut reader).await, (3..1000).collect::<Vec<_>>());
        let eights = Filter::new(&["8$".to_owned()], &[], vec![], 1 << 20).unwrap();
        control.filter(eights.clone(), None);
        write(&mut appender, 1000..1010).await;
        assert_eq!(drain(&mut reader).await, [1008]);
        control.filter(eights, Some(CursorStart::Tail(2)));
        assert_eq!(drain(&mut reader).await, [998, 1008]);
        control.pause(true);
        assert!(drain(&mut reader).await.is_empty());
        ready.send_replace(false);
        assert!(reader.next(Instant::now() + Duration::from_secs(1)).await.is_none(), "the daemon stops");
        control.pause(false);
        drop(control);
        assert!(reader.next(Instant::now() + Duration::from_secs(1)).await.is_none(), "unsubscribed");
    }

    #[tokio::test]
    async fn a_reader_among_many_is_small() {
        let last = Position { epoch: Epoch::persistent(7), number: 0 };
        let (_appender, log) = open("s".parse().unwrap(), last, 1 << 20, &Budget::new(usize::MAX));
        let view = View { wire_format: WireFormat::Text, filter: Filter::default(), several: true, ansi: Ansi::Keep };
        let cursor = log.cursor(view, CursorStart::Tail(0), CursorEnd::default()).await;
        let deliveries = SteerableCursor::new(cursor).into_deliveries(Duration::from_secs(1));
        // One connection may have 64 readers, and one caller half of all readers.
        assert!(size_of_val(&*deliveries) < 1024, "{} bytes", size_of_val(&*deliveries));
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
        assert!(sessions.table().by_key.is_empty(), "nothing is kept of a session that nobody has");
    }
}
