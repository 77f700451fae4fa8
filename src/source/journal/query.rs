//! What journalctl is asked, and the place in the journal that is recorded. Does no IO.

use std::ffi::OsString;

use crate::config::{JournalSourceConfig, ReadFrom};
use crate::line::Carry;

use super::entry;

/// Which entries are wanted, as the words of a command.
#[derive(Debug, Clone)]
pub(super) struct JournalQuery {
    words: Vec<String>,
    /// That of this machine alone, as a word; none if the machine has no id.
    machine: Option<String>,
}

/// How far the journal was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JournalCheckpoint {
    /// Not at all, and all that is in it is wanted.
    Start,
    /// Up to this entry.
    At {
        cursor: String,
        /// It is one of those that are wanted now; else the configuration was another.
        same_query: bool,
        /// Whether the next lines are part of a secret that began before them.
        carry: Carry,
    },
}

impl JournalQuery {
    /// What picks the entries that `source` is about, of the machine with this id (machine-id(5)).
    pub(super) fn new(source: &JournalSourceConfig, machine: Option<&str>) -> Self {
        let JournalSourceConfig { units, identifiers, priority, kernel, matches, from: _ } = source;
        let mut words = Vec::new();
        words.extend(units.iter().map(|unit| format!("--unit={unit}")));
        words.extend(identifiers.iter().map(|identifier| format!("--identifier={identifier}")));
        words.extend(priority.map(|level| format!("--priority={}", level as u8)));
        // Not `--dmesg`, which is about the last start of the machine alone.
        words.extend(kernel.then(|| "_TRANSPORT=kernel".to_owned()));
        words.extend(matches.iter().cloned());
        Self { words, machine: machine.map(|id| format!("_MACHINE_ID={}", id.trim())) }
    }

    /// Asks for the newest entry.
    pub(super) fn newest(&self) -> Vec<OsString> {
        // Quiet: that there is none is nothing to talk about.
        self.command(&["--quiet", "--lines=1"])
    }

    /// Asks for all entries from a place on, also for those to come. The one at the place comes first, if it is there still.
    pub(super) fn follow(&self, place: &JournalCheckpoint) -> Vec<OsString> {
        match place {
            JournalCheckpoint::Start => self.command(&["--follow", "--no-tail"]),
            // Not `--after-cursor`: if its entry is gone, that skips another one.
            JournalCheckpoint::At { cursor, .. } => {
                self.command(&["--follow", "--no-tail", &format!("--cursor={cursor}")])
            }
        }
    }

    fn command(&self, options: &[&str]) -> Vec<OsString> {
        let fields = format!("--output-fields={}", entry::JOURNAL_FIELDS);
        // All: a field of more than 4096 bytes would be left out. Merge: else who follows gets only what was written since
        // the machine was started; of other machines' journals, which it would add, the match keeps us.
        let fixed = ["journalctl", "--no-pager", "--output=json", "--all", "--merge", &fields];
        let picked = self.words.iter().chain(&self.machine).map(String::as_str);
        let words = fixed.iter().chain(options).copied().chain(picked);
        words.map(Into::into).collect()
    }

    /// A place as it is recorded.
    pub(super) fn written(&self, place: &JournalCheckpoint) -> String {
        match place {
            JournalCheckpoint::Start => "start".to_owned(),
            JournalCheckpoint::At { cursor, carry: Carry::Nothing, .. } => format!("{:08x} {cursor}", self.mark()),
            JournalCheckpoint::At { cursor, carry, .. } => format!("{:08x} {cursor} {carry}", self.mark()),
        }
    }

    /// The place that was recorded; where nothing was, `None` if the journal is to be read from its end.
    pub(super) fn read(&self, written: Option<&str>, from: ReadFrom) -> Option<JournalCheckpoint> {
        let Some(written) = written else { return (from == ReadFrom::Beginning).then_some(JournalCheckpoint::Start) };
        let mut words = written.split(' ');
        let (Some(mark), Some(cursor)) = (words.next(), words.next()) else { return Some(JournalCheckpoint::Start) };
        let ours = u32::from_str_radix(mark, 16) == Ok(self.mark());
        let carry = words.next().and_then(|carry| carry.parse().ok()).unwrap_or_default();
        Some(JournalCheckpoint::At { cursor: cursor.to_owned(), same_query: ours, carry })
    }

    /// Tells it from most others.
    fn mark(&self) -> u32 {
        crc32fast::hash(self.words.join("\0").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Level;

    fn query() -> JournalQuery {
        JournalQuery::new(
            &JournalSourceConfig {
                units: vec!["a.service".into(), "b*".into()],
                identifiers: vec!["sshd".into()],
                priority: Some(Level::Warning),
                matches: vec!["_UID=0".into()],
                ..JournalSourceConfig::default()
            },
            Some("7f\n"),
        )
    }

    #[test]
    fn it_is_asked_for_what_is_wanted() {
        let place = JournalCheckpoint::At { cursor: "s=1".into(), same_query: true, carry: Carry::Nothing };
        let words: Vec<_> = query().follow(&place).into_iter().map(|word| word.into_string().unwrap()).collect();
        let wanted = "--follow --no-tail --cursor=s=1 --unit=a.service --unit=b* --identifier=sshd --priority=4 _UID=0 \
            _MACHINE_ID=7f";
        assert!(words.join(" ").ends_with(wanted), "{words:?}");
        let kernel = JournalQuery::new(&JournalSourceConfig { kernel: true, ..JournalSourceConfig::default() }, None);
        assert_eq!(kernel.newest().last().unwrap(), "_TRANSPORT=kernel");
    }

    #[test]
    fn a_place_is_known_again_and_one_of_another_query_is_told_apart() {
        let block = Carry::Block { column: 2, prefixed: true, lines: 7 };
        for carry in [Carry::Key(3), Carry::Nothing, block, Carry::Value] {
            let place = JournalCheckpoint::At { cursor: "s=1;i=2".into(), same_query: true, carry };
            let written = query().written(&place);
            assert_eq!(query().read(Some(&written), ReadFrom::End), Some(place));
        }
        let written = query().written(&JournalCheckpoint::At {
            cursor: "s=1;i=2".into(),
            same_query: true,
            carry: Carry::Nothing,
        });
        let other = JournalQuery::new(&JournalSourceConfig::default(), None).read(Some(&written), ReadFrom::End);
        assert_eq!(
            other,
            Some(JournalCheckpoint::At { cursor: "s=1;i=2".into(), same_query: false, carry: Carry::Nothing })
        );
        assert_eq!(
            query().read(Some(&query().written(&JournalCheckpoint::Start)), ReadFrom::End),
            Some(JournalCheckpoint::Start)
        );
        assert_eq!(query().read(None, ReadFrom::End), None);
        assert_eq!(query().read(None, ReadFrom::Beginning), Some(JournalCheckpoint::Start));
    }
}
