//! A cursor that can be steered while it is read: paused, resumed, given another filter. Its place is held by nothing but
//! itself, so a pause costs no queue.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::access::Credential;
use crate::event::Position;
use crate::stream::{Cursor, Filter, Item, Log, Start, Until, View};

/// Shortest and longest `session`, in bytes: long enough that nobody guesses it, short enough to keep.
pub(super) const SESSION: std::ops::RangeInclusive<usize> = 16..=128;

/// Most readers that can be steered by one `session`: those of a connection with 64 streams, and as many of its reconnect. All of
/// them together are bounded as readers are, for each caller and over all.
const READERS_PER_SESSION: usize = 128;

/// What a reader is to do.
#[derive(Debug, Clone, Default)]
struct Wish {
    paused: bool,
    /// Counts the changes of the filter.
    changes: u64,
    change: Option<(Filter, Option<Start>)>,
}

/// The wheel of one reader. When it is dropped, the reader ends.
#[derive(Debug)]
pub(super) struct Wheel(watch::Sender<Wish>);

impl Wheel {
    /// Holds the place, or goes on there.
    pub(super) fn pause(&self, paused: bool) {
        self.0.send_modify(|wish| wish.paused = paused);
    }

    /// Another filter from the next line on, or from `from`.
    pub(super) fn filter(&self, filter: Filter, from: Option<Start>) {
        self.0.send_modify(|wish| {
            wish.changes += 1;
            wish.change = Some((filter, from));
        });
    }
}

/// A cursor, and who steers it, if anybody does.
#[derive(Debug)]
pub(super) struct Reading {
    cursor: Cursor,
    /// Boxed, since few readers are steered, and there are many of the others.
    steered: Option<Box<Steered>>,
}

/// What it takes to make a reader's cursor anew, and how it learns that the daemon stops, which a paused one would not notice.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) log: Log,
    pub(super) view: View,
    pub(super) until: Until,
    pub(super) ready: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Steered {
    course: Course,
    wishes: watch::Receiver<Wish>,
    paused: bool,
    changes: u64,
    /// Keeps it findable by its session.
    _known: Option<Known>,
}

impl Reading {
    /// A reader that nobody steers.
    pub(super) fn new(cursor: Cursor) -> Self {
        Self { cursor, steered: None }
    }

    /// A reader and its wheel.
    pub(super) fn with_wheel(cursor: Cursor, course: Course) -> (Self, Wheel) {
        let (wheel, wishes) = watch::channel(Wish::default());
        let steered = Steered { course, wishes, paused: false, changes: 0, _known: None };
        (Self { cursor, steered: Some(Box::new(steered)) }, Wheel(wheel))
    }

    /// A reader that is steered by its session.
    pub(super) fn of_session(cursor: Cursor, course: Course, known: Known) -> Self {
        let wishes = known.wishes.clone();
        let steered = Steered { course, wishes, paused: false, changes: 0, _known: Some(known) };
        Self { cursor, steered: Some(Box::new(steered)) }
    }

    /// What comes next, as [`Cursor::next`]; while it is paused, nothing but [`Item::Quiet`].
    pub(super) async fn next(&mut self, deadline: Instant) -> Option<Item> {
        match &mut self.steered {
            // Boxed, since its state is large, and each reader of many would have room for it.
            Some(steered) => Box::pin(steered.next(&mut self.cursor, deadline)).await,
            None => self.cursor.next(deadline).await,
        }
    }

    /// See [`Cursor::place`].
    pub(super) fn place(&self) -> Position {
        self.cursor.place()
    }

    /// See [`Cursor::is_denied`].
    pub(super) fn is_denied(&self) -> bool {
        self.cursor.is_denied()
    }

    /// See [`Cursor::has_skipped`].
    pub(super) fn has_skipped(&mut self) -> bool {
        !self.is_paused() && self.cursor.has_skipped()
    }

    /// Whether it was held when it ended, and so did not get what it asked for.
    pub(super) fn is_paused(&self) -> bool {
        self.steered.as_ref().is_some_and(|steered| steered.paused)
    }

    /// All it gives, each with the place behind it, and whether it moved there past what it does not show. At the end it may
    /// be denied.
    pub(super) fn told(self, quiet: Duration) -> Told {
        Box::pin(stream::unfold(Some(self), move |reading| async move {
            let mut reading = reading?;
            let item = reading.next(Instant::now() + quiet).await;
            let skipped = matches!(item, Some(Item::Quiet)) && reading.has_skipped();
            let place = reading.place();
            match item {
                Some(item) => Some(((Given::Item(item), place, skipped), Some(reading))),
                None => reading.is_denied().then_some(((Given::Denied, place, false), None)),
            }
        }))
    }
}

impl Steered {
    async fn next(&mut self, cursor: &mut Cursor, deadline: Instant) -> Option<Item> {
        loop {
            self.obey(cursor).await;
            tokio::select! {
                biased;
                changed = self.wishes.changed() => changed.ok()?,
                item = cursor.next(deadline), if !self.paused => return item,
                () = sleep_until(deadline), if self.paused => return Some(Item::Quiet),
                _ = self.course.ready.wait_for(|ready| !ready), if self.paused => return None,
                () = self.course.log.denied(), if self.paused => return None,
            }
        }
    }

    async fn obey(&mut self, cursor: &mut Cursor) {
        let wish = self.wishes.borrow_and_update().clone();
        self.paused = wish.paused;
        if wish.changes == self.changes {
            return;
        }
        self.changes = wish.changes;
        let Some((filter, from)) = wish.change else { return };
        let course = &mut self.course;
        course.view.filter = filter;
        match from {
            Some(start) => *cursor = course.log.cursor(course.view.clone(), start, course.until).await,
            None => cursor.change(course.view.clone()),
        }
    }
}

/// What a reader gives.
#[derive(Debug)]
pub(super) enum Given {
    /// What comes next.
    Item(Item),
    /// The stream turned private; nothing more comes.
    Denied,
}

/// A reader as a stream of what it gave and where it stood then.
pub(super) type Told = Pin<Box<dyn Stream<Item = (Given, Position, bool)> + Send + Sync>>;

/// A session is found by its token, by those alone who show the same for themselves.
type Key = (Credential, String);

/// The readers that can be found by their session. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    by_key: HashMap<Key, Vec<(u64, Arc<Wheel>)>>,
    next: u64,
}

/// A reader's entry; dropping it takes it out.
#[derive(Debug)]
pub(super) struct Known {
    sessions: Sessions,
    key: Key,
    number: u64,
    wishes: watch::Receiver<Wish>,
}

impl Sessions {
    fn found(&self) -> MutexGuard<'_, Found> {
        // Each change leaves the entries consistent, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters as many readers as share a connection; `None` if the session has too many then.
    pub(super) fn enter(&self, credential: Credential, token: &str, readers: usize) -> Option<Vec<Known>> {
        let key = (credential, token.to_owned());
        let mut found = self.found();
        let same = found.by_key.get(&key).map_or(0, Vec::len);
        if same + readers > READERS_PER_SESSION {
            return None;
        }
        let known = (0..readers).map(|_| {
            found.next += 1;
            let number = found.next;
            let (wheel, wishes) = watch::channel(Wish::default());
            found.by_key.entry(key.clone()).or_default().push((number, Arc::new(Wheel(wheel))));
            Known { sessions: self.clone(), key: key.clone(), number, wishes }
        });
        Some(known.collect())
    }

    /// The wheels of all readers of a session.
    pub(super) fn wheels(&self, credential: &Credential, token: &str) -> Vec<Arc<Wheel>> {
        let found = self.found();
        let readers = found.by_key.get(&(credential.clone(), token.to_owned()));
        readers.map_or_else(Vec::new, |readers| readers.iter().map(|(_, wheel)| wheel.clone()).collect())
    }
}

impl Drop for Known {
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

    async fn drain(reading: &mut Reading) -> Vec<u32> {
        let mut seen = Vec::new();
        while let Some(item) = reading.next(Instant::now() + Duration::from_secs(1)).await {
            match item {
                Item::Frames(frames) => {
                    let text = String::from_utf8(frames.bytes.to_vec()).unwrap();
                    seen.extend(text.lines().map(|line| line.parse::<u32>().unwrap()));
                }
                Item::Gap(gap) => panic!("{gap:?}"),
                Item::Open(_) | Item::Progress(_) => {}
                Item::Quiet => break,
            }
        }
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_reader_holds_its_place_and_goes_on_there() {
        let last = Position { epoch: Epoch::kept(7), number: 0 };
        let (mut appender, log) = open("s".parse().unwrap(), last, 1 << 20, &Budget::new(usize::MAX));
        let ready = watch::Sender::new(true);
        let view = View { encoding: Encoding::Text, filter: Filter::default(), several: false };
        let until = Until::default();
        let cursor = log.cursor(view.clone(), Start::Tail(0), until).await;
        let (mut reading, wheel) = Reading::with_wheel(cursor, Course { log, view, until, ready: ready.subscribe() });
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
        wheel.filter(eights, Some(Start::Tail(2)));
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
        let last = Position { epoch: Epoch::kept(7), number: 0 };
        let (_appender, log) = open("s".parse().unwrap(), last, 1 << 20, &Budget::new(usize::MAX));
        let view = View { encoding: Encoding::Text, filter: Filter::default(), several: true };
        let cursor = log.cursor(view, Start::Tail(0), Until::default()).await;
        let told = Reading::new(cursor).told(Duration::from_secs(1));
        // One connection may have 64 of them, and one caller half of all readers.
        assert!(size_of_val(&*told) < 1024, "{} bytes", size_of_val(&*told));
    }

    #[test]
    fn a_session_is_found_by_its_token_and_credential() {
        let sessions = Sessions::default();
        let token = "0123456789abcdef";
        let known = sessions.enter(Credential::Loopback, token, 2).unwrap();
        assert_eq!(sessions.wheels(&Credential::Loopback, token).len(), 2);
        assert!(sessions.wheels(&Credential::Owner, token).is_empty());
        assert!(sessions.wheels(&Credential::Loopback, "0123456789abcdeF").is_empty());
        assert!(sessions.enter(Credential::Loopback, token, READERS_PER_SESSION - 1).is_none(), "with those there are");
        let more = sessions.enter(Credential::Loopback, token, READERS_PER_SESSION - 2).unwrap();
        assert!(sessions.enter(Credential::Loopback, token, 1).is_none());
        drop((known, more));
        assert!(sessions.wheels(&Credential::Loopback, token).is_empty());
        assert!(sessions.found().by_key.is_empty(), "nothing is kept of a session that nobody has");
    }
}
