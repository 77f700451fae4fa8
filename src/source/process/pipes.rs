//! Reads the output of a process from both pipes at once or from its terminal, and copies it to a [`Tee`] if there is
//! one. The pipes are always drained.

use std::future::pending;
use std::io;

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe::Receiver;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::polled_fd::PolledFd;
use super::pty;
use super::shim::snapshot::{RestoredState, RunSnapshot};
use super::staging::{OutputEnd, OutputStaging, StageResult, StagedOutput};
use super::tee::Tee;
use super::turn::{Turn, reads_in};
use crate::config::{Stream, TerminalSize};
use crate::control::{Attachment, TerminalOutput};
use crate::event::Origin;
use crate::source::origin_state::PackedOrigin;
use crate::source::pipeline::LinePipeline;
use crate::source::read_pace::{PIPE_READ_INTERVAL, ReadPace};
use crate::source::{ClockReading, until};
use crate::stream::{Batch, ViewPace};

/// The maximum size of one read in bytes: the capacity of a pipe.
const PIPE_READ_SIZE: usize = 64 << 10;

/// The maximum number of bytes read from one pipe before the other one is read, and the batch is appended.
const MAX_PIPE_TURN_BYTES: usize = 4 * PIPE_READ_SIZE;

/// The result of a call of [`Pipes::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PipeRead {
    /// Bytes were read.
    Bytes,
    /// No bytes were read, but something may have been due, or an output has ended.
    NoBytes,
    /// The copy of a terminal's output has no reader any more, and the terminal was closed. Unlike a pipe, it does not
    /// tell its writers in the usual way.
    TerminalUnread,
    /// Both pipes are at their end.
    End,
}

impl PipeRead {
    fn of_count(bytes: usize) -> Self {
        if bytes > 0 { Self::Bytes } else { Self::NoBytes }
    }
}

/// The output that the program seems to hold in a buffer of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldBack {
    /// All output of the program, if it wrote any.
    All,
    /// The output behind the last whole block.
    PartialBlock,
}

/// The pipes of one run.
#[derive(Debug)]
pub(super) struct Pipes {
    /// Standard output and standard error while they are open, indexed by origin. A terminal is the first.
    ends: [Option<OutputEnd>; 2],
    /// The snapshot for the next daemon, if there is a shim that holds it.
    snapshot: Option<RunSnapshot>,
    /// The present generation was begun, and its state is not written yet.
    in_generation: bool,
    /// The changes since the snapshot was written.
    turn: Turn,
    /// The viewers of the raw terminal output.
    terminal_viewers: Option<TerminalOutput>,
    pipeline: LinePipeline,
    /// The number of bytes read from each.
    bytes_read: [u64; 2],
    /// Bytes are dropped until the next line begins.
    within_lost_line: [bool; 2],
    buffer: Box<[u8]>,
    pace: ReadPace,
    /// Both pipes are closed, and everything was passed on.
    ended: bool,
}

/// The unfinished state of [`Pipes`] for another process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PackedPipes {
    /// Standard output and standard error while they are open.
    origins: [Option<PackedOrigin>; 2],
    bytes_read: [u64; 2],
    terminal: bool,
    /// All outputs are read through staging pipes.
    #[serde(default)]
    staged: bool,
}

impl PackedPipes {
    /// Returns whether a daemon that is killed loses nothing.
    pub(super) fn is_staged(&self) -> bool {
        self.staged
    }
}

impl Pipes {
    /// Creates the reader of these pipes, which are read through staging pipes if there are any. A terminal is a single end.
    pub(super) fn new(spec: &Stream, ends: [Option<Receiver>; 2], staging: Option<OutputStaging>) -> Self {
        let (snapshot, pipes) = staging.map_or((None, Vec::new()), |staging| (Some(staging.snapshot), staging.pipes));
        let mut pipes = pipes.into_iter();
        let ends = ends.map(|end| {
            let end = PolledFd::Unwatched(end?.into_nonblocking_fd().ok()?);
            Some(match pipes.next() {
                // Without descriptors for it, the output could not be read at all.
                Some(staging) => OutputEnd::Staged(StagedOutput::new(end, staging).ok()?),
                None => OutputEnd::Plain(end),
            })
        });
        let pipeline = LinePipeline::new(spec, [Origin::stdout(), Origin::stderr()]);
        let terminal_viewers = ends[1].is_none().then(TerminalOutput::default);
        Self {
            ends,
            snapshot,
            in_generation: false,
            turn: Turn::Other,
            terminal_viewers,
            pipeline,
            bytes_read: [0; 2],
            within_lost_line: [false; 2],
            buffer: vec![0; PIPE_READ_SIZE].into(),
            pace: ReadPace::new(PIPE_READ_INTERVAL),
            ended: false,
        }
    }

    /// Reads at the pace at which the readers of the stream receive events.
    pub(super) fn follow_views(&mut self, views: ViewPace) {
        self.pace = self.pace.clone().with_views(views);
    }

    /// Records that the program was given input: its echo and its answer are read at once.
    pub(super) fn note_input(&mut self) {
        self.turn = Turn::Other;
        self.pace.note_input(Instant::now());
    }

    /// Returns whether output that is there now has to wait.
    pub(super) fn is_paced(&self) -> bool {
        self.pace.is_waiting(Instant::now()) && !self.has_viewers()
    }

    fn has_viewers(&self) -> bool {
        self.terminal_viewers.as_ref().is_some_and(TerminalOutput::has_attachments)
    }

    /// Reads everything at once from now on, since the run ends.
    pub(super) fn lift_pace(&mut self) {
        self.turn = Turn::Other;
        self.pace.lift();
    }

    /// Adds a viewer of the terminal; `None` if there is no terminal.
    pub(super) fn attach(&self) -> Option<Attachment> {
        self.terminal_viewers.as_ref().map(TerminalOutput::attach)
    }

    /// Changes the size of the terminal; `None` if there is none, or it is closed. Output that was written for the size
    /// before is read first.
    pub(super) fn resize(
        &mut self,
        size: TerminalSize,
        tee: &mut Option<Tee>,
        batch: &mut Batch,
    ) -> Option<io::Result<()>> {
        self.terminal_viewers.as_ref()?;
        self.read_available(0, tee, batch);
        let resized = pty::resize(self.ends[0].as_ref()?, size);
        if resized.is_ok() {
            self.turn = Turn::Other;
            self.pipeline.resize(0, size, ClockReading::read(), batch);
        }
        Some(resized)
    }

    /// Returns whether the program seems to buffer its standard output: either there was no output at all, or it
    /// consists of whole blocks as the C library writes them, and ends with an unfinished line.
    pub(super) fn looks_held_back(&self) -> Option<HeldBack> {
        /// The size of a block that the C library writes into a pipe, in bytes.
        const LIBC_BLOCK_SIZE: u64 = 4096;
        match self.bytes_read {
            _ if self.terminal_viewers.is_some() || self.ends[0].is_none() => None,
            [0, 0] => Some(HeldBack::All),
            [written, _] if written > 0 && written % LIBC_BLOCK_SIZE == 0 && self.pipeline.is_open(0) => {
                Some(HeldBack::PartialBlock)
            }
            _ => None,
        }
    }

    /// The unfinished state for another process, which continues in exactly this state if it `is_last`.
    pub(super) fn pack(&self, is_last: bool) -> PackedPipes {
        // The program may still move up to the last lines, and so may what follows in the log. Packing them takes longer than
        // reading a line, but not than reading as much as a log has.
        let with_recent = is_last || self.turn != Turn::Bulk;
        let origins =
            [0, 1].map(|output| self.ends[output].is_some().then(|| self.pipeline.pack(output, with_recent)).flatten());
        let is_staged = |end: &OutputEnd| matches!(end, OutputEnd::Staged(_));
        PackedPipes {
            origins,
            bytes_read: self.bytes_read,
            terminal: self.terminal_viewers.is_some(),
            staged: self.ends.iter().flatten().all(is_staged),
        }
    }

    #[cfg(test)]
    pub(super) fn snapshot(&self) -> &RunSnapshot {
        self.snapshot.as_ref().expect("the test left one")
    }

    /// Returns whether the state is left for a next daemon.
    pub(super) fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Notes that something else than the output has changed that is a part of the state for the next daemon.
    pub(super) fn note_other_change(&mut self) {
        self.turn = Turn::Other;
    }

    /// Leaves the state after the present generation for the next daemon. Returns the generation, up to which the events are
    /// recorded next if there are any; `None` if there is no shim.
    pub(super) fn write_snapshot(&mut self, has_events: bool, content: &[u8]) -> Option<u64> {
        self.begin_generation();
        let turn = if self.turn == Turn::Bulk { Turn::Other } else { Turn::Read(Vec::new()) };
        let snapshot = self.snapshot.as_mut()?;
        (self.in_generation, self.turn) = (false, turn);
        // A state that is too large is forgotten, rather than the output after it.
        if let Err(error) = snapshot.write(has_events, content).or_else(|_| snapshot.write(has_events, &[])) {
            log::warn!(errno = error.raw_os_error(), error:% = error; "cannot save the state of the run for the next rtlogd");
        }
        Some(snapshot.generation())
    }

    /// Leaves what was read in the present generation for the next daemon, which has the state before it. Returns the
    /// generation; `None` if the whole state must be [written](Self::write_snapshot).
    pub(super) fn append_to_snapshot(&mut self, has_events: bool) -> Option<u64> {
        self.begin_generation();
        let (snapshot, Turn::Read(bytes)) = (self.snapshot.as_mut()?, &mut self.turn) else { return None };
        if !snapshot.append(has_events, bytes).unwrap_or(false) {
            return None;
        }
        bytes.clear();
        self.in_generation = false;
        Some(snapshot.generation())
    }

    /// Forgets the bytes whose lines are recorded.
    pub(super) fn settle(&mut self) {
        for end in self.ends.iter_mut().flatten() {
            if let OutputEnd::Staged(output) = end
                && let Err(error) = output.settle(&mut self.buffer)
            {
                log::warn!(errno = error.raw_os_error(), error:% = error; "the staging pipe of a process cannot be emptied");
            }
        }
    }

    /// Begins a generation, unless the present one has only begun.
    fn begin_generation(&mut self) {
        if let Some(snapshot) = self.snapshot.as_mut().filter(|_| !self.in_generation) {
            self.in_generation = true;
            if let Err(error) = snapshot.begin() {
                log::warn!(errno = error.raw_os_error(), error:% = error; "cannot save the state of the run for the next rtlogd");
            }
        }
    }

    /// Returns whether nothing was read before the present generation.
    pub(super) fn is_first_generation(&self) -> bool {
        self.snapshot.as_ref().is_none_or(|snapshot| snapshot.generation() <= 1)
    }

    /// The state that an earlier daemon left, if the history has the events up to the generation `recorded`.
    pub(super) fn restore(&mut self, recorded: u64) -> Option<RestoredState> {
        let restored = self.snapshot.as_mut()?.restore(recorded);
        self.in_generation = !restored.is_staged_done;
        Some(restored)
    }

    /// Processes what an earlier daemon had taken from the program, or drops it if it was processed.
    pub(super) fn resume_staged(&mut self, is_done: bool, batch: &mut Batch) {
        for output in 0..self.ends.len() {
            let Some(OutputEnd::Staged(staged)) = &mut self.ends[output] else { continue };
            let count = match staged.content(&mut self.buffer) {
                Ok(count) => count,
                Err(error) => {
                    log::warn!(errno = error.raw_os_error(), error:% = error; "the staging pipe of a process cannot be read");
                    0
                }
            };
            if is_done {
                staged.settle(&mut self.buffer).unwrap_or_default();
            } else if count > 0 {
                self.process(output, count, &mut None, batch);
            }
        }
    }

    /// Continues the unfinished state of another process, with what that read after it; the events of both are recorded. An
    /// output that was at its end is not read again.
    pub(super) fn unpack(&mut self, packed: PackedPipes, log: &[u8], batch: &mut Batch) {
        if packed.terminal != self.terminal_viewers.is_some() {
            return;
        }
        self.bytes_read = packed.bytes_read;
        for (output, origin) in packed.origins.into_iter().enumerate() {
            match origin {
                Some(origin) => self.pipeline.unpack(output, origin, ClockReading::read(), batch),
                None => self.ends[output] = None,
            }
        }
        for (output, bytes) in reads_in(log) {
            self.pipeline.push(output, bytes, ClockReading::read(), &mut Batch::new());
            if let Some(bytes_read) = self.bytes_read.get_mut(output) {
                *bytes_read += bytes.len() as u64;
            }
        }
    }

    /// Says whether to drop the rest of the lines whose beginning an earlier daemon had read and not recorded: without the name
    /// before it, a secret would not be recognised as one.
    pub(super) fn drop_lost_lines(&mut self, are_dropped: bool) {
        self.within_lost_line = [are_dropped; 2];
    }

    /// Waits for output, and adds its events to `batch`. May be dropped at any time.
    ///
    /// Bytes that `tee` received before are written first, so that everything it passes on was appended.
    pub(super) async fn read(&mut self, tee: &mut Option<Tee>, batch: &mut Batch) -> PipeRead {
        if let Some(tee) = tee
            && tee.waits()
        {
            let mut read = PipeRead::Bytes;
            for output in tee.flush().await {
                // The reader of rtlogd's output is gone. The pipe is closed, from which the process learns that in the
                // usual way.
                if self.terminal_viewers.is_some() && self.ends[output].is_some() {
                    read = PipeRead::TerminalUnread;
                }
                self.close(output, batch);
            }
            return read;
        }
        let due = self.pipeline.due();
        let is_pipe = self.terminal_viewers.is_none() && self.ends[0].is_some();
        let is_shown_raw = tee.is_some() || self.has_viewers();
        let is_watched = self.set_watched(is_shown_raw || !self.pace.is_busy());
        let ready = async {
            if !is_watched {
                sleep_until(self.pace.next_read_at().unwrap_or_else(|| Instant::now() + PIPE_READ_INTERVAL)).await;
                return 0;
            }
            let readable = next_readable(&self.ends);
            if is_shown_raw { readable.await } else { self.pace.after(readable).await }
        };
        let first = select! {
            () = Tee::reader_gone(tee), if is_pipe => {
                // As without rtlogd, the next write of the process fails, and not only the one after it.
                self.close(0, batch);
                return PipeRead::Bytes;
            }
            output = ready, if self.ends.iter().any(Option::is_some) => output,
            () = until(due), if due.is_some() => {
                // What waited for the pace came before. A line that this continues has a new time then. Everything else is
                // due whether there are bytes or not: a program may never pause.
                let now = ClockReading::read().instant;
                let read = self.read_all(0, tee, batch);
                if !self.pipeline.run_due(now, batch).is_empty() {
                    self.turn = Turn::Other;
                }
                return PipeRead::of_count(read);
            }
            else => {
                self.ended = true;
                return PipeRead::End;
            }
        };
        // There may be none: an output that is not watched is read at intervals.
        PipeRead::of_count(self.read_all(first, tee, batch))
    }

    /// Lets the runtime watch the outputs, or not: while much is read, it would be woken by each write of the program. Returns
    /// whether it does.
    fn set_watched(&mut self, is_wanted: bool) -> bool {
        let mut is_watched = is_wanted;
        for end in self.ends.iter_mut().flatten().map(OutputEnd::polled) {
            if is_wanted {
                // Without a watch, the output is read at intervals.
                is_watched &= end.watch().is_ok();
            } else {
                end.unwatch();
            }
        }
        is_watched
    }

    /// Reads available bytes of both outputs. Returns their number.
    fn read_all(&mut self, first: usize, tee: &mut Option<Tee>, batch: &mut Batch) -> usize {
        let read = self.read_available(first, tee, batch) + self.read_available(1 - first, tee, batch);
        self.pace.note_read(read, Instant::now());
        read
    }

    /// Returns whether no more output can come.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Stops reading, and ends the unfinished lines.
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        self.close(0, batch);
        self.close(1, batch);
    }

    /// Reads available bytes, up to [`MAX_PIPE_TURN_BYTES`], or one staging pipe of them. Returns their number.
    fn read_available(&mut self, output: usize, tee: &mut Option<Tee>, batch: &mut Batch) -> usize {
        self.begin_generation();
        let mut taken = 0;
        while taken < MAX_PIPE_TURN_BYTES {
            let result = match &mut self.ends[output] {
                None => return taken,
                Some(OutputEnd::Staged(staged)) => match staged.stage() {
                    StageResult::Bytes(_) => {
                        // What is not settled yet must not be staged again.
                        let Ok(count) = staged.content(&mut self.buffer) else {
                            self.close(output, batch);
                            return taken;
                        };
                        self.process(output, count, tee, batch);
                        return taken + count;
                    }
                    StageResult::Nothing => return taken,
                    StageResult::End => Ok(0),
                    StageResult::Unsupported => {
                        self.read_without_staging(output);
                        continue;
                    }
                },
                Some(OutputEnd::Plain(end)) => end.try_read(|end| Ok(rustix::io::read(end, &mut self.buffer[..])?)),
            };
            match result {
                Ok(0) => self.close(output, batch),
                Ok(count) => {
                    self.process(output, count, tee, batch);
                    taken += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal that no process has open any more returns EIO; a pipe has no other errors.
                Err(_) => self.close(output, batch),
            }
        }
        taken
    }

    /// Reads an output as it is, since the system cannot move its bytes: a daemon that is killed loses what it had read.
    fn read_without_staging(&mut self, output: usize) {
        if let Some(OutputEnd::Staged(staged)) = self.ends[output].take() {
            log::info!(
                "this kernel cannot splice the output of a terminal: if rtlogd is killed, what it read last is lost"
            );
            self.ends[output] = Some(OutputEnd::Plain(staged.into_plain()));
        }
    }

    /// Processes the first `count` bytes in the buffer.
    fn process(&mut self, output: usize, count: usize, tee: &mut Option<Tee>, batch: &mut Batch) {
        let mut chunk = &self.buffer[..count];
        self.bytes_read[output] += count as u64;
        if self.within_lost_line[output] {
            self.turn = Turn::Other;
            let Some(at) = next_line_start(chunk) else { return };
            self.within_lost_line[output] = false;
            chunk = &chunk[at..];
        }
        if let Some(snapshot) = &self.snapshot {
            self.turn.add(output, chunk, |size| snapshot.has_room(size));
        }
        self.pipeline.push(output, chunk, ClockReading::read(), batch);
        if let Some(viewers) = &self.terminal_viewers {
            viewers.publish(chunk);
        }
        if let Some(tee) = tee {
            tee.push(output, chunk);
        }
    }

    fn close(&mut self, output: usize, batch: &mut Batch) {
        if self.ends[output].take().is_some() {
            self.turn = Turn::Other;
            self.pipeline.finish(output, ClockReading::read(), batch);
        }
    }
}

/// The position at which a line begins that is known from its first byte on: behind a newline, or at a carriage return that
/// does not precede one, after which the text of a line is written again.
fn next_line_start(bytes: &[u8]) -> Option<usize> {
    memchr::memchr2_iter(b'\n', b'\r', bytes).find_map(|at| match (bytes[at], bytes.get(at + 1)) {
        (b'\n', _) => Some(at + 1),
        (_, None | Some(b'\n')) => None,
        (_, Some(_)) => Some(at),
    })
}

/// Waits until one of the outputs has bytes. Returns its number.
async fn next_readable(ends: &[Option<OutputEnd>; 2]) -> usize {
    select! {
        () = readable(ends[0].as_ref()) => 0,
        () = readable(ends[1].as_ref()) => 1,
    }
}

async fn readable(end: Option<&OutputEnd>) {
    match end {
        Some(end) => end.readable().await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SourceKind;
    use crate::source::testing::{process, spec};
    use std::fs::File;
    use std::io::Write;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_finds_nothing_is_no_output() {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let end = Receiver::from_owned_fd(read).unwrap();
        let mut pipes = Pipes::new(&spec(SourceKind::Process(process(&["x"]))), [Some(end), None], None);
        let (mut batch, mut program) = (Batch::new(), File::from(write));
        // After two small reads in quick succession, the output is not watched, as if there were no descriptor for that.
        for _ in 0..2 {
            program.write_all(b"line\n").unwrap();
            assert_eq!(pipes.read(&mut None, &mut batch).await, PipeRead::Bytes);
        }
        assert!(pipes.is_paced());
        assert_eq!(pipes.read(&mut None, &mut batch).await, PipeRead::NoBytes);
    }

    #[test]
    fn a_line_whose_beginning_was_lost_is_dropped_up_to_the_next_one() {
        let table = [
            ("word=hunter2\nnext\n", Some("next\n")),
            ("ter2\r\nnext", Some("next")),
            ("ter2\rnext", Some("\rnext")),
            ("ter2\n", Some("")),
            ("ter2", None),
            ("ter2\r", None),
        ];
        for (bytes, rest) in table {
            assert_eq!(next_line_start(bytes.as_bytes()).map(|at| bytes.split_at(at).1), rest, "{bytes:?}");
        }
    }
}
