//! The pace of small reads: each wake-up of a source costs as much as hundreds of lines, and nobody receives each of them
//! alone if they come in quick succession.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::stream::ViewPace;

/// The longest time between two small reads of a file.
pub(super) const FILE_READ_INTERVAL: Duration = Duration::from_millis(20);

/// The same for everything whose writer may have to wait for us: a pipe, a terminal, and pushed lines.
pub(super) const PIPE_READ_INTERVAL: Duration = Duration::from_millis(5);

/// A read of this many bytes or more is not small: the next one is made at once.
const MIN_LARGE_READ: usize = 8 << 10;

/// The time after an input in which its echo and the answer of the program are read at once.
const ECHO_PERIOD: Duration = Duration::from_millis(100);

/// The time of the next read of one source, or of one of its pipes.
///
/// The first read after a quiet time is made at once, and so is each read after a large one. After a small one, the next
/// read is made when the fastest view of the stream may send its next batch, and at the latest after a fixed interval.
#[derive(Debug, Clone)]
pub(super) struct ReadPace {
    longest: Duration,
    /// The pace of the readers; `None` if it is not known.
    views: Option<ViewPace>,
    /// The time before which nothing is read; `None` if the next read is made at once.
    next_read_at: Option<Instant>,
    /// The last read had to wait, or came soon after that time: more is expected. Only while the next one has to wait.
    is_busy: bool,
    /// The time until which reads are made at once, since there was input.
    echo_until: Option<Instant>,
}

impl ReadPace {
    /// A pace with at most this time between two reads.
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, views: None, next_read_at: None, is_busy: false, echo_until: None }
    }

    /// The same pace, which is never slower than that of the readers.
    pub(super) fn with_views(self, views: ViewPace) -> Self {
        Self { views: Some(views), ..self }
    }

    /// Records that this many bytes were read.
    pub(super) fn note_read(&mut self, bytes: usize, now: Instant) {
        let is_echo = self.echo_until.is_some_and(|until| now < until);
        let waits = (1..MIN_LARGE_READ).contains(&bytes) && !is_echo && !self.longest.is_zero();
        let interval = self.interval();
        self.is_busy = waits && self.next_read_at.is_some_and(|at| now < at + interval);
        self.next_read_at = waits.then(|| now + interval);
    }

    /// Records that there was input: what follows may be its echo.
    pub(super) fn note_input(&mut self, now: Instant) {
        self.echo_until = Some(now + ECHO_PERIOD);
        (self.next_read_at, self.is_busy) = (None, false);
    }

    /// Makes all further reads at once, since the source ends.
    pub(super) fn lift(&mut self) {
        self.longest = Duration::ZERO;
        (self.next_read_at, self.is_busy) = (None, false);
    }

    /// The time before which nothing is read; `None` if the next read is made at once.
    pub(super) fn next_read_at(&self) -> Option<Instant> {
        self.next_read_at
    }

    /// Returns whether much is read, so that nobody need listen before the next read may be made.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Returns whether the next read has to wait.
    pub(super) fn is_waiting(&self, now: Instant) -> bool {
        self.next_read_at.is_some_and(|at| now < at)
    }

    /// Waits until `ready`, and until the next read may be made. May be dropped whenever `ready` may be.
    ///
    /// While much is read, nothing wakes the task before the next read may be made. A line that comes alone causes no
    /// wake-up but its own.
    pub(super) async fn after<T>(&self, ready: impl Future<Output = T>) -> T {
        if self.is_busy {
            self.wait().await;
        }
        let value = ready.await;
        self.wait().await;
        value
    }

    /// Waits until the next read may be made. May be dropped at any time.
    pub(super) async fn wait(&self) {
        if let Some(at) = self.next_read_at.filter(|at| Instant::now() < *at) {
            sleep_until(at).await;
        }
    }

    fn interval(&self) -> Duration {
        let views = self.views.as_ref().and_then(ViewPace::interval);
        views.map_or(self.longest, |fastest| fastest.min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Position};
    use crate::source::testing::view;
    use crate::stream::{self, Budget, Cursor, CursorEnd, CursorStart, Log};
    use tokio::time::advance;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// A pace with these readers of one view.
    async fn pace_with_readers(longest: Duration, readers: usize) -> (ReadPace, Vec<Cursor>, Log) {
        let last = Position { epoch: Epoch::ephemeral(1, 1), number: 0 };
        let (appender, log) = stream::open("test".parse().unwrap(), last, 1 << 20, &Budget::new(1 << 20));
        let mut cursors = Vec::new();
        for _ in 0..readers {
            cursors.push(log.cursor(view(false), CursorStart::Oldest, CursorEnd::default()).await);
        }
        (ReadPace::new(longest).with_views(appender.view_pace()), cursors, log)
    }

    /// The time for which the pace makes the next read wait.
    async fn waited(pace: &ReadPace) -> Duration {
        let start = Instant::now();
        pace.wait().await;
        assert!(!pace.is_waiting(Instant::now()));
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_follows_a_small_read_waits() {
        // The bytes of the last read, the time since then, and the time for which the next one waits, in milliseconds.
        let table = [
            (1, 0, 20),
            (120, 7, 13),
            (120, 20, 0),
            (120, 3_600_000, 0),
            (MIN_LARGE_READ - 1, 0, 20),
            (MIN_LARGE_READ, 0, 0),
            (1 << 20, 0, 0),
            // There was nothing to read.
            (0, 0, 0),
        ];
        for (bytes, later, expected) in table {
            let mut pace = ReadPace::new(FILE_READ_INTERVAL);
            assert_eq!(waited(&pace).await, Duration::ZERO, "the first read is made at once");
            pace.note_read(bytes, Instant::now());
            advance(MILLISECOND * later).await;
            assert_eq!(waited(&pace).await, MILLISECOND * expected, "{bytes} bytes, {later} ms ago");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_of_small_reads_is_that_of_the_fastest_view_at_most() {
        // The longest interval, the readers, and the interval in milliseconds: each reader of a view adds 0.2 ms.
        for (longest, readers, expected) in [
            (FILE_READ_INTERVAL, 0, 20),
            (FILE_READ_INTERVAL, 1, 1),
            (FILE_READ_INTERVAL, 10, 2),
            (FILE_READ_INTERVAL, 1000, 20),
            (PIPE_READ_INTERVAL, 0, 5),
            (PIPE_READ_INTERVAL, 10, 2),
            (PIPE_READ_INTERVAL, 1000, 5),
        ] {
            let (mut pace, cursors, log) = pace_with_readers(longest, readers).await;
            pace.note_read(120, Instant::now());
            assert_eq!(waited(&pace).await, MILLISECOND * expected, "{readers} readers");
            // One reader with a view of its own is faster than many with one view.
            let fast = log.cursor(view(true), CursorStart::Oldest, CursorEnd::default()).await;
            pace.note_read(120, Instant::now());
            assert_eq!(waited(&pace).await, MILLISECOND, "{readers} readers and a fast one");
            drop((cursors, fast));
            pace.note_read(120, Instant::now());
            assert_eq!(waited(&pace).await, longest, "the readers are gone");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_comes_alone_wakes_once_and_a_busy_source_is_not_listened_to_meanwhile() {
        // The time between the reads before, whether the source is listened to during the pace after the last one, and when
        // the next read is made if it is ready at once, or 3 or 30 ms after the last one.
        for (between, is_listened_to) in [(1000, true), (40, true), (39, false), (20, false)] {
            for (ready, expected) in [(0, 20), (3, 20), (30, 30)] {
                let mut pace = ReadPace::new(FILE_READ_INTERVAL);
                for _ in 0..3 {
                    pace.note_read(120, Instant::now());
                    advance(MILLISECOND * between).await;
                }
                pace.note_read(120, Instant::now());
                let start = Instant::now();
                let mut listened = None;
                pace.after(async {
                    listened = Some(start.elapsed());
                    sleep_until(start + MILLISECOND * ready).await;
                })
                .await;
                assert_eq!(
                    start.elapsed(),
                    MILLISECOND * expected,
                    "{between} ms between reads, ready after {ready} ms"
                );
                assert_eq!(listened < Some(MILLISECOND), is_listened_to, "{between} ms between reads: {listened:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_echo_does_not_wait_and_neither_does_the_end() {
        let mut pace = ReadPace::new(PIPE_READ_INTERVAL);
        pace.note_read(1, Instant::now());
        pace.note_input(Instant::now());
        assert_eq!(waited(&pace).await, Duration::ZERO, "what waits may be the echo");
        for (later, expected) in [(0, 0), (99, 0), (1, 5)] {
            advance(MILLISECOND * later).await;
            pace.note_read(1, Instant::now());
            assert_eq!(waited(&pace).await, MILLISECOND * expected, "{later} ms later");
        }
        pace.note_read(1, Instant::now());
        pace.lift();
        for _ in 0..2 {
            assert_eq!(waited(&pace).await, Duration::ZERO, "the source ends");
            pace.note_read(1, Instant::now());
        }
    }
}
