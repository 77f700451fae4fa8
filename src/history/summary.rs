//! The part of a history about runs and senders as a whole: the bodies of `Run` and `Senders` records, which are JSON.

use serde::{Deserialize, Serialize};

/// The most groups in the summary of a run; the run may have had more.
const MAX_SUMMARY_GROUPS: usize = 64;

/// The longest name of a group, in characters.
const MAX_GROUP_NAME_LENGTH: usize = 80;

/// The most senders that are remembered for one stream.
const MAX_REMEMBERED_SENDERS: usize = 1000;

/// The longest identity of the owner of a sender, in bytes.
const MAX_OWNER_LENGTH: usize = 1024;

/// The summary of one run: an execution of a process, or what one sender pushed from its first line to its end.
///
/// A run that is summarised again replaces the earlier summary of the same number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunSummary {
    /// The number of the run, counted from 1.
    pub(super) run: u64,
    /// The start and the end, in microseconds since the Unix epoch; no end while the run lasts.
    pub(super) started: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<i64>,
    /// The exit code or the signal, as far as the run ended with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signal: Option<String>,
    /// The reason why the run ended, if that was not the process itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<String>,
    /// The number of lines, and of those among them with the level error or worse, and warning.
    pub(super) lines: u64,
    pub(super) errors: u64,
    pub(super) warnings: u64,
    /// The comparison with earlier runs; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) new: Option<NewLines>,
    /// The sequence numbers of the first event and after the last one; `first` <= `end`.
    pub(super) first: u64,
    pub(super) end: u64,
    /// The highest memory use of the process, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peak_memory: Option<u64>,
    /// At most [`MAX_SUMMARY_GROUPS`], in the order in which they began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) groups: Vec<GroupSummary>,
}

/// The result of comparing the lines of a run with those of earlier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NewLines {
    /// The number of shapes and of lines that no compared run has, and of the lines that were judged; `lines` <=
    /// `judged`.
    pub(super) shapes: u64,
    pub(super) lines: u64,
    pub(super) judged: u64,
}

/// A group of lines of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct GroupSummary {
    /// At most [`MAX_GROUP_NAME_LENGTH`] characters.
    pub(super) name: String,
    /// From its start to its end, in seconds.
    pub(super) duration: f64,
}

/// How far one sender has pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SenderProgress {
    /// The random id that the sender gave itself. It is a secret between the sender and the server.
    pub(super) id: u128,
    /// The issuer and the subject of the token, or the user on the socket, to whom the id is bound; at most
    /// [`MAX_OWNER_LENGTH`] bytes.
    pub(super) owner: String,
    /// The number of the event that the sender must send next; at least 1.
    pub(super) next: u64,
    /// The run that the sender has open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<u64>,
    /// The time at which the sender was last heard of, in microseconds since the Unix epoch.
    pub(super) seen: i64,
}

impl RunSummary {
    /// Returns whether the summary is one that a log can have.
    pub(super) fn is_valid(&self, max_seq: u64) -> bool {
        self.run > 0
            && self.first <= self.end
            && self.end <= max_seq
            && self.new.is_none_or(|new| new.lines <= new.judged)
            && self.groups.len() <= MAX_SUMMARY_GROUPS
            && self.groups.iter().all(|group| {
                group.name.chars().count() <= MAX_GROUP_NAME_LENGTH
                    && group.duration.is_finite()
                    && group.duration >= 0.0
            })
    }
}

/// Returns whether these are senders that a stream can have: not too many, and each of them once.
pub(super) fn are_valid_senders(senders: &[SenderProgress]) -> bool {
    let mut ids: Vec<_> = senders.iter().map(|sender| sender.id).collect();
    ids.sort_unstable();
    senders.len() <= MAX_REMEMBERED_SENDERS
        && ids.windows(2).all(|pair| pair[0] != pair[1])
        && senders.iter().all(|sender| sender.next > 0 && sender.owner.len() <= MAX_OWNER_LENGTH)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::{Epoch, Position};
    use crate::history::byte_codec::RecordError;
    use crate::history::record::{
        MAX_RECORD_SIZE, MAX_SEQ, RECORD_HEADER_SIZE, RecordBody, RecordKind, RecordWriter, read,
    };

    fn first() -> Position {
        Position { epoch: Epoch::persistent(1), number: 7 }
    }

    pub(in crate::history) fn summary() -> RunSummary {
        RunSummary {
            run: 41,
            started: 1_763_874_672_000_000,
            ended: Some(1_763_874_690_500_000),
            code: Some(2),
            signal: None,
            cause: None,
            lines: 3182,
            errors: 2,
            warnings: 17,
            new: Some(NewLines { shapes: 3, lines: 12, judged: 3182 }),
            first: 7,
            end: 3189,
            peak_memory: Some(64 << 20),
            groups: vec![GroupSummary { name: "Install dependencies".to_owned(), duration: 4.25 }],
        }
    }

    pub(in crate::history) fn sender(id: u128) -> SenderProgress {
        let owner = "https://ci.example.com ada".to_owned();
        SenderProgress { id, owner, next: 3190, run: Some(41), seen: 1_763_874_690_500_000 }
    }

    #[test]
    fn a_run_and_its_senders_read_back() {
        let quiet = RunSummary { ended: None, code: None, new: None, peak_memory: None, groups: vec![], ..summary() };
        let none: [SenderProgress; 0] = [];
        for (run, senders) in [(summary(), &[sender(0), sender(u128::MAX)][..]), (quiet, &none)] {
            let mut writer = RecordWriter::default();
            writer.put_run(first(), 9, &run);
            writer.put_senders(first(), 9, senders);
            writer.end();
            let (head, body) = read(&writer.bytes).unwrap();
            assert!(matches!(body, RecordBody::Run(read) if read == run));
            let (_, body) = read(&writer.bytes[RECORD_HEADER_SIZE + head.length..]).unwrap();
            assert!(matches!(body, RecordBody::Senders(read) if read == senders));
        }
    }

    #[test]
    fn runs_and_senders_that_cannot_be_are_damage() {
        let group = |name: &str, duration| GroupSummary { name: name.to_owned(), duration };
        let runs = [
            RunSummary { run: 0, ..summary() },
            RunSummary { first: 9, end: 8, ..summary() },
            RunSummary { end: MAX_SEQ + 1, ..summary() },
            RunSummary { new: Some(NewLines { shapes: 1, lines: 2, judged: 1 }), ..summary() },
            RunSummary { groups: vec![group("x", -1.0)], ..summary() },
            RunSummary { groups: vec![group(&"x".repeat(81), 1.0)], ..summary() },
            RunSummary { groups: vec![group("x", 1.0); 65], ..summary() },
        ];
        for run in runs {
            let mut writer = RecordWriter::default();
            writer.put_json(RecordKind::Run, false, first(), 9, &run);
            assert_eq!(read(&writer.bytes).unwrap_err(), RecordError::Damaged, "{run:?}");
        }
        let senders = [
            vec![sender(1), sender(2), sender(1)],
            vec![SenderProgress { next: 0, ..sender(1) }],
            vec![SenderProgress { owner: "x".repeat(1025), ..sender(1) }],
            (0..1001).map(sender).collect(),
        ];
        for senders in senders {
            let mut writer = RecordWriter::default();
            writer.put_json(RecordKind::Senders, false, first(), 9, &senders);
            assert_eq!(read(&writer.bytes).unwrap_err(), RecordError::Damaged, "{} senders", senders.len());
        }
        let most: Vec<_> = (0..1000).map(sender).collect();
        let mut writer = RecordWriter::default();
        writer.put_senders(first(), 9, &most);
        assert!(read(&writer.bytes).is_ok() && writer.bytes.len() < MAX_RECORD_SIZE);
    }
}
