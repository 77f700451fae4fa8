//! The live rows of the origins of a source: which are shown, and when they are shown next.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::event::{OpenLine, Origin, Time};
use crate::stream::Batch;

/// The time after which live rows are first shown: most lines are finished sooner, and would only flicker.
pub(super) const OPEN_LINE_DELAY: Duration = Duration::from_millis(200);

/// The minimum time between two updates of the live rows of a source: ten a second are as many as an eye can use.
pub(super) const MIN_OPEN_LINE_INTERVAL: Duration = Duration::from_millis(100);

/// Decides when the live rows of which origin are shown. Origins are served in the order in which they began to wait, so
/// that one that draws all the time does not keep the others waiting.
#[derive(Debug, Default)]
pub(super) struct LiveRowsSchedule {
    /// The numbers of the origins that wait, and since when; each at most once.
    waiting: BTreeSet<(Instant, usize)>,
    since: HashMap<usize, Instant>,
    /// The rows that are shown, with the numbers of their origins; at most [`OpenLine::MAX_ORIGINS`].
    shown: HashMap<Origin, (usize, Arc<OpenLine>)>,
    /// The time at which rows were last shown.
    shown_at: Option<Instant>,
}

impl LiveRowsSchedule {
    /// The time from which [`take_due`](Self::take_due) returns an origin.
    pub(super) fn due(&self) -> Option<Instant> {
        let (first, _) = self.waiting.first()?;
        Some(self.shown_at.map_or(*first, |shown| (shown + MIN_OPEN_LINE_INTERVAL).max(*first)))
    }

    /// Takes the origin whose rows are to be shown now.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<usize> {
        self.due().filter(|due| *due <= now)?;
        let (_, at) = self.waiting.pop_first()?;
        self.since.remove(&at);
        Some(at)
    }

    /// Shows the rows of an origin as soon as it is their turn, since they may have changed.
    pub(super) fn request(&mut self, at: usize, origin: &Origin, now: Instant) {
        let is_shown = self.is_shown(at, origin);
        let since = *self.since.entry(at).or_insert(if is_shown { now } else { now + OPEN_LINE_DELAY });
        self.waiting.insert((since, at));
    }

    /// Ends the wait of an origin.
    pub(super) fn cancel(&mut self, at: usize) {
        if let Some(since) = self.since.remove(&at) {
            self.waiting.remove(&(since, at));
        }
    }

    /// Returns whether the rows of an origin are shown.
    pub(super) fn is_shown(&self, at: usize, origin: &Origin) -> bool {
        self.shown.get(origin).is_some_and(|(number, _)| *number == at)
    }

    /// Shows these rows; none withdraws those that are shown.
    pub(super) fn show(&mut self, at: usize, line: OpenLine, now: Instant, batch: &mut Batch) {
        if line.rows.iter().all(Vec::is_empty) {
            return self.withdraw(at, &line.origin, batch);
        }
        let shown = self.shown.get(&line.origin);
        if shown.is_some_and(|(number, shown)| *number == at && shown.rows == line.rows)
            || (shown.is_none() && self.shown.len() >= OpenLine::MAX_ORIGINS)
        {
            return;
        }
        let line = Arc::new(line);
        self.shown.insert(line.origin.clone(), (at, line.clone()));
        self.shown_at = Some(now);
        batch.open(line);
    }

    /// Withdraws the rows of an origin if they are shown.
    pub(super) fn withdraw(&mut self, at: usize, origin: &Origin, batch: &mut Batch) {
        if self.is_shown(at, origin) {
            self.shown.remove(origin);
            batch.open(OpenLine::withdrawn(Time::default(), origin.clone()));
        }
    }

    /// Gives an origin another number.
    pub(super) fn renumber(&mut self, at: usize, to: usize, origin: &Origin) {
        if let Some(since) = self.since.remove(&at) {
            self.waiting.remove(&(since, at));
            self.waiting.insert((since, to));
            self.since.insert(to, since);
        }
        if let Some((number, _)) = self.shown.get_mut(origin).filter(|(number, _)| *number == at) {
            *number = to;
        }
    }

    /// Forgets an origin, which has nothing unfinished.
    pub(super) fn forget(&mut self, at: usize, origin: &Origin) {
        self.cancel(at);
        if self.is_shown(at, origin) {
            self.shown.remove(origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct TestSchedule {
        rows: LiveRowsSchedule,
        now: Instant,
        begun: Instant,
        drawings: usize,
    }

    impl TestSchedule {
        fn new() -> Self {
            let now = Instant::now();
            Self { rows: LiveRowsSchedule::default(), now, begun: now, drawings: 0 }
        }

        fn draw(&mut self, at: usize) {
            self.rows.request(at, &origin(at), self.now);
        }

        /// Advances the time, and returns the origins that are shown by then, with the times in milliseconds.
        fn wait(&mut self, millis: u64) -> Vec<(u128, usize)> {
            let end = self.now + Duration::from_millis(millis);
            let mut shown = Vec::new();
            while let Some(due) = self.rows.due().filter(|due| *due <= end) {
                let at = self.rows.take_due(due).expect("an origin is due");
                self.drawings += 1;
                let rows = vec![self.drawings.to_string().into_bytes()];
                let mut batch = Batch::new();
                self.rows.show(at, OpenLine { time: Time(0), origin: origin(at), rows }, due, &mut batch);
                shown.extend((!batch.is_empty()).then(|| ((due - self.begun).as_millis(), at)));
            }
            self.now = end;
            shown
        }
    }

    fn origin(at: usize) -> Origin {
        Origin::from(&*at.to_string())
    }

    #[test]
    fn all_origins_together_are_shown_ten_times_a_second_in_turn() {
        let mut source = TestSchedule::new();
        let mut shown = Vec::new();
        for _ in 0..100 {
            for at in 0..3 {
                source.draw(at);
                shown.extend(source.wait(3));
            }
        }
        let (times, numbers): (Vec<_>, Vec<_>) = shown.into_iter().unzip();
        assert!(times.len() == 8 && times.windows(2).all(|two| two[1] - two[0] >= 100), "{times:?}");
        assert_eq!(numbers[..3], [0, 1, 2]);
        let count = |number| numbers.iter().filter(|at| **at == number).count();
        assert!((0..3).all(|number| count(number) >= 2), "{numbers:?}");
        source.draw(0);
        source.rows.cancel(0);
        (1..3).for_each(|at| source.rows.cancel(at));
        assert_eq!(source.wait(1000), []);
    }

    #[test]
    fn only_rows_that_changed_are_shown_and_only_shown_rows_are_withdrawn() {
        let mut rows = LiveRowsSchedule::default();
        let now = Instant::now();
        let line = |text: &str| OpenLine { time: Time(0), origin: origin(1), rows: vec![text.into()] };
        // The number of the origin, its row, and the rows that readers receive.
        let table: [(usize, &str, Option<&[&str]>); 7] = [
            (1, "", None),
            (1, "a", Some(&["a"])),
            (1, "a", None),
            (1, "b", Some(&["b"])),
            // The rest of a rotated file has the same name.
            (2, "b", Some(&["b"])),
            (1, "", None),
            (2, "", Some(&[])),
        ];
        for (at, text, expected) in table {
            let mut batch = Batch::new();
            rows.show(at, line(text), now, &mut batch);
            let seen = batch.last_open().map(|line| line.rows.clone());
            let expected = expected.map(|rows| rows.iter().map(|row| row.as_bytes().to_vec()).collect::<Vec<_>>());
            assert_eq!(seen, expected, "{at} {text:?}");
        }
    }

    #[test]
    fn the_number_of_origins_is_bounded() {
        let mut rows = LiveRowsSchedule::default();
        let shown = |rows: &mut LiveRowsSchedule, at: usize| {
            let mut batch = Batch::new();
            rows.show(
                at,
                OpenLine { time: Time(0), origin: origin(at), rows: vec![b"x".to_vec()] },
                Instant::now(),
                &mut batch,
            );
            !batch.is_empty()
        };
        assert!((0..OpenLine::MAX_ORIGINS).all(|at| shown(&mut rows, at)));
        assert!(!shown(&mut rows, 1000));
        rows.withdraw(7, &origin(7), &mut Batch::new());
        assert!(shown(&mut rows, 1000));
    }
}
