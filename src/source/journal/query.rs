//! The arguments of journalctl, and the recorded position in the journal. No I/O.

use std::ffi::OsString;

use crate::config::{JournalSourceConfig, ReadFrom};
use crate::line::Carry;

use super::entry;

/// The text in which the start of the journal is recorded.
pub(in crate::source) const START_CHECKPOINT: &str = "start";

/// The selection of entries as command-line arguments.
#[derive(Debug, Clone)]
pub(super) struct JournalQuery {
    words: Vec<String>,
    /// The match that selects entries of this machine; `None` if the machine has no id.
    machine: Option<String>,
}

/// The point up to which the journal was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JournalCheckpoint {
    /// Nothing was read yet, and all existing entries are wanted.
    Start,
    /// The journal was read up to this entry.
    At {
        cursor: String,
        /// The entry belongs to the current selection; if not, the configuration has changed.
        same_query: bool,
        /// The redaction state: whether the next lines are part of a secret that began before them.
        carry: Carry,
    },
}

impl JournalQuery {
    /// The query for the entries of `source`, on the machine with this id (machine-id(5)).
    pub(super) fn new(source: &JournalSourceConfig, machine: Option<&str>) -> Self {
        let JournalSourceConfig { units, identifiers, priority, kernel, matches, directory, namespace, from: _ } =
            source;
        let mut words = Vec::new();
        words.extend(directory.iter().map(|path| format!("--directory={}", path.display())));
        words.extend(namespace.iter().map(|name| format!("--namespace={name}")));
        // The journal in a directory is that of another machine, or of several.
        let machine = machine.filter(|_| directory.is_none());
        words.extend(units.iter().map(|unit| format!("--unit={unit}")));
        words.extend(identifiers.iter().map(|identifier| format!("--identifier={identifier}")));
        words.extend(priority.map(|level| format!("--priority={}", level as u8)));
        // The option `--dmesg` is not used, since it shows only the current boot.
        words.extend(kernel.then(|| "_TRANSPORT=kernel".to_owned()));
        words.extend(matches.iter().cloned());
        Self { words, machine: machine.map(|id| format!("_MACHINE_ID={}", id.trim())) }
    }

    /// The command that prints the newest entry.
    pub(super) fn newest(&self) -> Vec<OsString> {
        // The option suppresses the note that there are no entries.
        self.command(&["--quiet", "--lines=1"])
    }

    /// The command that prints all entries from a position on, including future ones. The entry at the position comes
    /// first, if it still exists.
    pub(super) fn follow(&self, checkpoint: &JournalCheckpoint) -> Vec<OsString> {
        match checkpoint {
            JournalCheckpoint::Start => self.command(&["--follow", "--no-tail"]),
            // The option `--after-cursor` is not used: if its entry is gone, it skips a different one.
            JournalCheckpoint::At { cursor, .. } => {
                self.command(&["--follow", "--no-tail", &format!("--cursor={cursor}")])
            }
        }
    }

    fn command(&self, options: &[&str]) -> Vec<OsString> {
        let fields = format!("--output-fields={}", entry::JOURNAL_FIELDS);
        // `--all`: otherwise fields of more than 4096 bytes are left out. `--merge`: otherwise only entries of the
        // current boot are followed. It adds the journals of other machines, which the match of the machine id
        // excludes.
        let fixed = ["journalctl", "--no-pager", "--output=json", "--all", "--merge", &fields];
        let picked = self.words.iter().chain(&self.machine).map(String::as_str);
        let words = fixed.iter().chain(options).copied().chain(picked);
        words.map(Into::into).collect()
    }

    /// The text in which a position is recorded.
    pub(super) fn to_text(&self, checkpoint: &JournalCheckpoint) -> String {
        match checkpoint {
            JournalCheckpoint::Start => START_CHECKPOINT.to_owned(),
            JournalCheckpoint::At { cursor, carry: Carry::Nothing, .. } => format!("{:08x} {cursor}", self.mark()),
            JournalCheckpoint::At { cursor, carry, .. } => format!("{:08x} {cursor} {carry}", self.mark()),
        }
    }

    /// Parses a recorded position. If nothing was recorded, returns `None` if the journal is to be read from its end.
    pub(super) fn read(&self, written: Option<&str>, from: ReadFrom) -> Option<JournalCheckpoint> {
        let Some(written) = written else { return (from == ReadFrom::Beginning).then_some(JournalCheckpoint::Start) };
        let mut words = written.split(' ');
        let (Some(mark), Some(cursor)) = (words.next(), words.next()) else { return Some(JournalCheckpoint::Start) };
        let ours = u32::from_str_radix(mark, 16) == Ok(self.mark());
        let carry = words.next().and_then(|carry| carry.parse().ok()).unwrap_or_default();
        Some(JournalCheckpoint::At { cursor: cursor.to_owned(), same_query: ours, carry })
    }

    /// A checksum that distinguishes this query from most others.
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
    fn the_arguments_name_what_is_wanted() {
        let directory = JournalCheckpoint::At { cursor: "s=1".into(), same_query: true, carry: Carry::Nothing };
        let words: Vec<_> = query().follow(&directory).into_iter().map(|word| word.into_string().unwrap()).collect();
        let wanted = "--follow --no-tail --cursor=s=1 --unit=a.service --unit=b* --identifier=sshd --priority=4 _UID=0 \
            _MACHINE_ID=7f";
        assert!(words.join(" ").ends_with(wanted), "{words:?}");
        let kernel = JournalQuery::new(&JournalSourceConfig { kernel: true, ..JournalSourceConfig::default() }, None);
        assert_eq!(kernel.newest().last().unwrap(), "_TRANSPORT=kernel");
    }

    #[test]
    fn a_checkpoint_is_recognised_and_one_of_another_query_is_not() {
        let block = Carry::Block { column: 2, prefixed: true, lines: 7 };
        for carry in [Carry::Key(3), Carry::Nothing, block, Carry::Value] {
            let directory = JournalCheckpoint::At { cursor: "s=1;i=2".into(), same_query: true, carry };
            let written = query().to_text(&directory);
            assert_eq!(query().read(Some(&written), ReadFrom::End), Some(directory));
        }
        let written = query().to_text(&JournalCheckpoint::At {
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
            query().read(Some(&query().to_text(&JournalCheckpoint::Start)), ReadFrom::End),
            Some(JournalCheckpoint::Start)
        );
        assert_eq!(query().read(None, ReadFrom::End), None);
        assert_eq!(query().read(None, ReadFrom::Beginning), Some(JournalCheckpoint::Start));
    }
}
