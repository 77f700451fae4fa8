//! The order in which paths are examined: first those that were notified, then those that are due. The
//! scheduler has no knowledge of files.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// The interval of the grid on which polls are aligned, so that paths are polled together: a separate pass for each
/// would cost more than the poll itself.
const POLL_GRID: Duration = Duration::from_secs(1);

/// The schedule of the paths of one stream, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    ready: VecDeque<usize>,
    is_ready: HashSet<usize>,
    deadlines: BTreeSet<(Instant, usize)>,
    deadline_of: HashMap<usize, Instant>,
    /// The start of the grid.
    grid_start: Option<Instant>,
}

impl Scheduler {
    /// Queues a path, behind those that are waiting.
    pub(super) fn wake(&mut self, id: usize) {
        if self.is_ready.insert(id) {
            self.ready.push_back(id);
        }
    }

    /// Queues all paths that are due by `now`.
    pub(super) fn wake_due(&mut self, now: Instant) {
        while let Some(&(due, id)) = self.deadlines.first().filter(|(due, _)| *due <= now) {
            self.deadlines.remove(&(due, id));
            self.deadline_of.remove(&id);
            self.wake(id);
        }
    }

    /// Takes the next path from the queue.
    pub(super) fn pop(&mut self) -> Option<usize> {
        let id = self.ready.pop_front()?;
        self.is_ready.remove(&id);
        Some(id)
    }

    /// Sorts the queue by this key.
    pub(super) fn sort_by_key<K: Ord>(&mut self, key: impl Fn(usize) -> K) {
        self.ready.make_contiguous().sort_by_key(|id| key(*id));
    }

    /// Returns whether the queue is empty.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Sets the time at which a path is due, in place of an earlier setting.
    pub(super) fn set_deadline(&mut self, id: usize, at: Instant) {
        if let Some(before) = self.deadline_of.insert(id, at) {
            self.deadlines.remove(&(before, id));
        }
        self.deadlines.insert((at, id));
    }

    /// The time at which the next path is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// Removes a path.
    pub(crate) fn remove(&mut self, id: usize) {
        if let Some(due) = self.deadline_of.remove(&id) {
            self.deadlines.remove(&(due, id));
        }
    }

    /// The next time on the grid that is about `wait` from now.
    pub(super) fn on_grid(&mut self, now: Instant, wait: Duration) -> Instant {
        let grid_start = *self.grid_start.get_or_insert(now);
        let steps = (now + wait).duration_since(grid_start).as_secs() / POLL_GRID.as_secs();
        grid_start + POLL_GRID * u32::try_from(steps).unwrap_or(u32::MAX) + POLL_GRID / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_due_once_and_in_order() {
        let (mut scheduler, now) = (Scheduler::default(), Instant::now());
        for id in [3, 1, 3] {
            scheduler.wake(id);
        }
        scheduler.set_deadline(2, now);
        scheduler.set_deadline(4, now + POLL_GRID);
        scheduler.set_deadline(2, now + 2 * POLL_GRID);
        scheduler.wake_due(now + POLL_GRID);
        let mut popped = Vec::new();
        while let Some(id) = scheduler.pop() {
            popped.push(id);
        }
        assert_eq!((popped, scheduler.next_deadline()), (vec![3, 1, 4], Some(now + 2 * POLL_GRID)));
    }

    #[test]
    fn polls_are_made_together() {
        let (mut scheduler, now) = (Scheduler::default(), Instant::now());
        scheduler.on_grid(now, POLL_GRID);
        let times: BTreeSet<_> =
            (0..100).map(|ms| scheduler.on_grid(now + Duration::from_millis(ms), 5 * POLL_GRID)).collect();
        assert_eq!(times.len(), 1);
        assert!(times.first().is_some_and(|at| *at > now));
    }
}
