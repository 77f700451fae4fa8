//! Histories: what a disk gives back is the events that were written, or is left out, and said so.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rtlogd::event::{Event, EventKind, Flags, Origin, Position, StreamName, Time};
use rtlogd::stream::{Batch, Budget, History, Retention, inspect, open_with_history, read_events};

use super::choices;

/// The separators of lines and of batches.
const BETWEEN: [u8; 2] = [0xFE, 0xFF];

/// Most batches, so that one run is short.
const BATCHES: usize = 32;

/// What each record begins with, and how long its head is; see `src/stream/record.rs`.
const MARK: &[u8] = b"\xE7RL\n";
const HEAD: usize = 56;

/// One event of a history: its id, kind and text.
type Seen = (Position, EventKind, Vec<u8>);

/// The first byte chooses: a file of any bytes, or a file of any lines, with damage at the place that the next two say.
pub fn history(data: &[u8]) {
    let ([how, place @ ..], rest) = choices::<3>(data);
    let bench = Bench::new();
    if how & 1 == 0 {
        let mut file = rest.to_vec();
        if how & 2 == 0 {
            set_right(&mut file);
        }
        bench.put(0, &file);
        let seen = bench.seen();
        if let Some(seen) = &seen {
            let bytes: usize = seen.iter().map(|event| event.2.len()).sum();
            assert!(bytes <= file.len(), "{bytes} bytes of text in {}", file.len());
        }
        if how & 4 == 0 && leaves_room(&file) {
            bench.goes_on(seen);
        }
    } else {
        let batches: Vec<Vec<&[u8]>> = rest
            .splitn(BATCHES, |byte| *byte == BETWEEN[1])
            .map(|batch| batch.split(|byte| *byte == BETWEEN[0]).collect())
            .collect();
        bench.write(&batches);
        let written = bench.seen().expect("it was written just now");
        // On a machine under load the disk may be late: then the stream says so by a state, in a new epoch.
        let is_line = |event: &&Seen| event.1 == EventKind::Line;
        let texts = written.iter().filter(is_line).map(|event| &event.2[..]);
        assert!(texts.eq(batches.iter().flatten().copied()), "other lines");
        bench.damage(how, usize::from(u16::from_be_bytes(place)));
        let seen = bench.seen().expect("the version is as it was");
        assert!(seen.iter().all(|event| written.contains(event)), "what was never written: {seen:?}");
        if how & 2 == 0 {
            // Cut off: what is left is all batches up to some place, each whole.
            let ends: Vec<usize> =
                batches.iter().scan(0, |end, batch| Some(std::mem::replace(end, *end + batch.len()))).collect();
            assert_eq!(seen, written[..seen.len()]);
            let lines = seen.iter().filter(is_line).count();
            assert!(seen.len() == written.len() || ends.contains(&lines), "half a batch: {seen:?}");
        }
        let seen = bench.goes_on(Some(seen));
        let ids: HashSet<_> = seen.iter().map(|event| (event.0.epoch, event.0.number)).collect();
        assert_eq!(ids.len(), seen.len(), "an id twice: {seen:?}");
    }
}

/// Gives the records among `file` the checksum that they should have.
fn set_right(file: &mut [u8]) {
    let marks: Vec<usize> = memchr::memmem::find_iter(file, MARK).collect();
    for at in marks {
        let length =
            file.get(at + 4..at + 8).map_or(0, |four| u32::from_le_bytes(four.try_into().expect("they are four")));
        if let Some(record) = file.get_mut(at..).and_then(|rest| rest.get_mut(..HEAD + length as usize)) {
            let sum = crc32fast::hash(&record[12..]).to_le_bytes();
            record[8..12].copy_from_slice(&sum);
        }
    }
}

/// Whether no number in `file` is near the greatest that is believed: behind that nothing can go on.
fn leaves_room(file: &[u8]) -> bool {
    let is_near = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).is_ok_and(|number| number >= 1 << 56);
    let heads = memchr::memmem::find_iter(file, MARK).filter_map(|at| file.get(at + 32..at + 48));
    let digits = file.split(|byte| !byte.is_ascii_digit()).map(<[u8]>::len).max();
    digits.is_none_or(|most| most < 17) && !heads.into_iter().any(|head| head.chunks(8).any(is_near))
}

/// A state directory with one stream.
struct Bench {
    directory: tempfile::TempDir,
    name: StreamName,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is room for files");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("there is a thread");
        let bench = Self { directory, name: "s".parse().expect("it is a name"), runtime };
        fs::create_dir_all(bench.folder()).expect("there is room for files");
        bench
    }

    fn folder(&self) -> PathBuf {
        self.directory.path().join("streams/s")
    }

    fn put(&self, first: u64, bytes: &[u8]) {
        fs::write(self.folder().join(format!("{first:016x}.rlog")), bytes).expect("there is room for a file");
    }

    /// All events; `None` if a newer version wrote them. What is said of them together agrees.
    fn seen(&self) -> Option<Vec<Seen>> {
        let mut seen = Vec::new();
        let keep = |event: &Event<'_>| {
            seen.push((event.id, event.kind, event.text.to_vec()));
            Ok(())
        };
        read_events(self.directory.path(), &self.name, keep).ok()?;
        let all = inspect(self.directory.path()).expect("it was read just now");
        assert_eq!(all.len(), 1);
        Some(seen)
    }

    /// Lets `work` append to the stream, as a daemon does that starts and stops.
    fn append(&self, work: impl AsyncFnOnce(&mut rtlogd::stream::Appender)) -> bool {
        let keep = Retention { bytes: 1 << 30, age: Duration::from_hours(1_000_000), runs: 1000 };
        let history = History::open(self.directory.path()).expect("nobody else has it");
        let Ok(kept) = history.stream(&self.name, keep) else { return false };
        self.runtime.block_on(async {
            let (mut appender, _log, _places) =
                open_with_history(self.name.clone(), kept, 1 << 20, &Budget::new(usize::MAX));
            work(&mut appender).await;
            appender.close().await;
        });
        history.close();
        true
    }

    fn write(&self, batches: &[Vec<&[u8]>]) {
        self.append(async |appender| {
            for lines in batches {
                let mut batch = Batch::new();
                for line in lines {
                    batch.line(Time(1_763_874_672_000_000), &Origin::stdout(), Flags::NONE, line);
                }
                batch.checkpoint("file", Some(lines.len().to_string()));
                appender.append(&mut batch).await;
            }
        });
    }

    /// Cuts the file off, or changes a byte of it, behind the snapshot that it begins with.
    fn damage(&self, how: u8, place: usize) {
        for entry in fs::read_dir(self.folder()).expect("it is there") {
            let path: &Path = &entry.expect("it can be listed").path();
            let mut bytes = fs::read(path).expect("it can be read");
            let head = memchr::memmem::find_iter(&bytes, MARK).nth(1).unwrap_or(bytes.len());
            let at = head + place % (bytes.len() - head).max(1);
            if how & 2 == 0 {
                bytes.truncate(at);
            } else if let Some(byte) = bytes.get_mut(at) {
                *byte ^= (how >> 2) | 0x40;
            }
            fs::write(path, bytes).expect("there is room for it");
        }
    }

    /// Whatever was found, the next daemon goes on: what it appends is there, and what was read before still is.
    fn goes_on(&self, before: Option<Vec<Seen>>) -> Vec<Seen> {
        let begun = self.append(async |appender| {
            let mut batch = Batch::new();
            batch.line(Time(1_763_874_673_000_000), &Origin::stdout(), Flags::NONE, b"the newest line");
            appender.append(&mut batch).await;
        });
        assert_eq!(begun, before.is_some(), "it can be read, but not gone on with");
        let Some(before) = before else { return Vec::new() };
        let seen = self.seen().expect("it was written just now");
        let newest = seen.last().expect("there is a line");
        assert_eq!(newest.2, b"the newest line");
        assert!(before.iter().all(|event| seen.contains(event)), "gone: {before:?}, {seen:?}");
        seen
    }
}
