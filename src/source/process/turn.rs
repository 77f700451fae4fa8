//! The changes of the unfinished state of a run in one turn, as they are left for the next daemon.

/// The size of the numbers before the bytes of a read.
const READ_HEAD_SIZE: usize = 5;

/// The longest read that is logged, in bytes. After a longer one, the state is written: that of a program that writes as
/// fast as it can is short.
const MAX_LOGGED_READ: usize = 16 << 10;

/// The changes of the unfinished state since it was left for the next daemon.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Only these bytes were processed: for each read the number of the output, the number of its bytes, and the bytes.
    Read(Vec<u8>),
    /// So many bytes were processed that they are not kept.
    Bulk,
    /// There were other changes, or the log would be too long.
    Other,
}

impl Turn {
    /// Adds a read of an output. `has_room` says whether a turn may have this size.
    pub(super) fn add(&mut self, output: usize, bytes: &[u8], has_room: impl FnOnce(usize) -> bool) {
        if bytes.len() > MAX_LOGGED_READ {
            *self = Self::Bulk;
        }
        let Self::Read(turn) = self else { return };
        if !has_room(turn.len() + READ_HEAD_SIZE + bytes.len()) {
            *self = Self::Other;
            return;
        }
        let length = u32::try_from(bytes.len()).expect("a read has at most 64 KiB");
        turn.push(u8::from(output > 0));
        turn.extend_from_slice(&length.to_le_bytes());
        turn.extend_from_slice(bytes);
    }
}

/// The reads in the turns of a log, as the number of the output and the bytes.
pub(super) fn reads_in(log: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = log;
    std::iter::from_fn(move || {
        let ([output, length @ ..], after) = rest.split_first_chunk::<READ_HEAD_SIZE>()?;
        let (bytes, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        rest = after;
        Some((usize::from(*output), bytes))
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{ConfigRegex, MultilineConfig, SourceKind, Stream};
    use crate::source::process::pipes::Pipes;
    use crate::source::process::shim::snapshot::RunSnapshot;
    use crate::source::process::staging::OutputStaging;
    use crate::source::testing::{process, spec};
    use crate::stream::Batch;
    use proptest::prelude::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::fs::File;
    use std::io::Write;
    use std::time::Duration;
    use tokio::net::unix::pipe::Receiver;

    /// A program whose output is written here, and the daemon that reads it.
    struct TestRun {
        spec: Stream,
        pipes: Pipes,
        outputs: [File; 2],
    }

    /// The ends of a daemon, with the snapshot of the one before, and the ends to write to.
    fn open(spec: &Stream, snapshot: RunSnapshot) -> (Pipes, [File; 2]) {
        let pipe = || {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
            (Receiver::from_owned_fd(read).unwrap(), File::from(write))
        };
        let ([first, second], [out, error]) = {
            let ((first, out), (second, error)) = (pipe(), pipe());
            ([first, second], [out, error])
        };
        let staging = OutputStaging { snapshot, pipes: Vec::new() };
        (Pipes::new(spec, [Some(first), Some(second)], Some(staging)), [out, error])
    }

    impl TestRun {
        fn new(spec: Stream) -> Self {
            let (pipes, outputs) = open(&spec, RunSnapshot::new().unwrap());
            Self { spec, pipes, outputs }
        }

        /// One turn, as a run does it.
        async fn turn(&mut self, output: usize, bytes: &[u8]) {
            if bytes.is_empty() {
                return;
            }
            self.outputs[output].write_all(bytes).unwrap();
            let mut batch = Batch::new();
            self.pipes.read(&mut None, &mut batch).await;
            if self.pipes.append_to_snapshot(batch.has_events()).is_none() {
                let state = self.state();
                self.pipes.write_snapshot(batch.has_events(), &state);
            }
            self.pipes.settle();
        }

        fn state(&self) -> Vec<u8> {
            serde_json::to_vec(&self.pipes.pack(true)).unwrap()
        }

        fn written(&self) -> u64 {
            self.pipes.snapshot().written
        }

        /// The state in which the next daemon continues.
        fn state_of_next(&self) -> Vec<u8> {
            let (mut pipes, outputs) = open(&self.spec, self.pipes.snapshot().of_next_daemon());
            let restored = pipes.restore(u64::MAX).unwrap();
            let packed = serde_json::from_slice(&restored.content).unwrap();
            pipes.unpack(packed, &restored.log, &mut Batch::new());
            Self { pipes, outputs, spec: self.spec.clone() }.state()
        }
    }

    fn command() -> Stream {
        spec(SourceKind::Process(process(&["x"])))
    }

    fn joined() -> Stream {
        let expression = ConfigRegex(regex::bytes::Regex::new("^ ").unwrap());
        Stream {
            multiline: Some(MultilineConfig { begins: false, expression, timeout: Duration::from_mins(10) }),
            ..command()
        }
    }

    fn redacted() -> Stream {
        Stream { redact: Some(Vec::new()), ..command() }
    }

    /// The clock stands still except while the pace of reads is waited for.
    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_an_unfinished_line_is_proportional_to_it() {
        // The stream, the start of the line, its pieces, and what else is written to standard error.
        let table = [
            ("plain", command(), "", "x", ""),
            ("redacted", redacted(), "", "x ", ""),
            ("joined", joined(), "a\n", " b\n", ""),
            ("drawn", command(), "\x1b[31m", "x", ""),
            ("a line meanwhile", command(), "", "x", "e\n"),
        ];
        for (name, spec, start, piece, error) in table {
            let mut run = TestRun::new(spec);
            run.turn(0, start.as_bytes()).await;
            let mut read = start.len();
            for _ in 0..12_000 / piece.len() {
                run.turn(0, piece.as_bytes()).await;
                run.turn(1, error.as_bytes()).await;
                read += piece.len() + error.len();
            }
            // A read has a head of five bytes, and a byte of a state has up to four digits. Without the log, it is about
            // 12,000 times as much as was read.
            let factor = run.written() / read as u64;
            assert!(factor <= 30, "{name}: {factor} times as much as was read");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_next_daemon_continues_in_the_same_state(
            turns in proptest::collection::vec((0usize..2, "(a|ü| |\n|\r|\r\n|\x1b\\[31m|\x1b\\[A|\x1b\\[K|password: |x{300}){0,4}"), 1..40),
            kind in 0usize..3,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            let spec = [command, joined, redacted][kind]();
            runtime.block_on(async {
                let mut run = TestRun::new(spec);
                for (output, bytes) in turns.iter().filter(|(_, bytes)| !bytes.is_empty()) {
                    run.turn(*output, bytes.as_bytes()).await;
                    let (expected, found) = (run.state(), run.state_of_next());
                    assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected));
                }
            });
        }
    }
}
