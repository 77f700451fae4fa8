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
