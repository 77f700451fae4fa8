//! The part of a history about senders: the bodies of `Senders` records, which are JSON. They are read, but not written yet.
//! The tests of `Run` records are here as well.

use serde::{Deserialize, Serialize};

/// The most senders that are remembered for one stream.
const MAX_REMEMBERED_SENDERS: usize = 1000;

/// The longest identity of the owner of a sender, in bytes.
const MAX_OWNER_LENGTH: usize = 1024;

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
    use crate::event::{Epoch, GroupSummary, NewLines, Position, RunCounts, RunSummary};
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
            duration: None,
            code: Some(2),
            signal: None,
            cause: None,
            counts: Some(RunCounts { lines: 3182, errors: 2, warnings: 17 }),
            new: Some(NewLines { shapes: 3, lines: 12, judged: 3182 }),
            first: 7,
            end: 3189,
            peak_memory: Some(64 << 20),
            groups: vec![GroupSummary { name: "Install dependencies".to_owned(), duration: 4.25, started: None }],
        }
    }

    pub(in crate::history) fn sender(id: u128) -> SenderProgress {
        let owner = "https://ci.example.com ada".to_owned();
        SenderProgress { id, owner, next: 3190, run: Some(41), seen: 1_763_874_690_500_000 }
    }

    #[test]
    fn a_run_and_its_senders_read_back() {
        let quiet = RunSummary { ended: None, code: None, new: None, peak_memory: None, groups: vec![], ..summary() };
        let uncounted =
            RunSummary { counts: None, duration: Some(18.5), cause: Some("stopped".to_owned()), ..summary() };
        let none: [SenderProgress; 0] = [];
        for (run, senders) in [(summary(), &[sender(0), sender(u128::MAX)][..]), (quiet, &none), (uncounted, &none)] {
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
        let group = |name: &str, duration| GroupSummary { name: name.to_owned(), duration, started: None };
        let runs = [
            RunSummary { run: 0, ..summary() },
            RunSummary { first: 9, end: 8, ..summary() },
            RunSummary { end: MAX_SEQ + 1, ..summary() },
            RunSummary { duration: Some(-0.5), ..summary() },
            RunSummary { counts: Some(RunCounts { lines: 3183, errors: 0, warnings: 0 }), ..summary() },
            RunSummary { counts: Some(RunCounts { lines: 3, errors: 2, warnings: 2 }), ..summary() },
            RunSummary { counts: Some(RunCounts { lines: 3, errors: u64::MAX, warnings: 1 }), ..summary() },
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
