//! One entry of the journal, as `journalctl --output=json` writes it (systemd's "Journal JSON Format"). No I/O.

use std::borrow::Cow;

use serde::Deserialize;

use crate::event::{Level, Origin, Time};

/// The requested fields, in addition to those that every entry has.
pub(super) const JOURNAL_FIELDS: &str = "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_COMM,_SYSTEMD_UNIT";

/// An entry.
#[derive(Debug, PartialEq)]
pub(super) struct JournalEntry {
    /// The position of the entry in the journal.
    pub(super) cursor: String,
    /// The time at which the journal received the entry.
    pub(super) time: Time,
    /// The origin of the entry.
    pub(super) origin: Origin,
    /// The priority, if the entry has one.
    pub(super) level: Option<Level>,
    /// The message; `None` if the entry has none.
    pub(super) message: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct RawEntry<'a> {
    #[serde(rename = "__CURSOR", borrow)]
    cursor: Cow<'a, str>,
    #[serde(rename = "__REALTIME_TIMESTAMP", borrow)]
    time: Cow<'a, str>,
    #[serde(rename = "MESSAGE", default)]
    message: FieldValue,
    #[serde(rename = "PRIORITY", default)]
    priority: FieldValue,
    #[serde(rename = "SYSLOG_IDENTIFIER", default)]
    identifier: FieldValue,
    #[serde(rename = "_COMM", default)]
    command: FieldValue,
    #[serde(rename = "_SYSTEMD_UNIT", default)]
    unit: FieldValue,
}

/// The value of a field.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum FieldValue {
    /// The field is missing, or was too long to be written.
    #[default]
    None,
    Text(String),
    /// The value is not UTF-8, or contains control characters.
    Bytes(Vec<u8>),
    /// The field occurs several times.
    Multiple(Vec<FieldValue>),
}

impl FieldValue {
    fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::None => None,
            Self::Text(text) => Some(text.into_bytes()),
            Self::Bytes(bytes) => Some(bytes),
            Self::Multiple(all) => {
                let all: Vec<_> = all.into_iter().filter_map(Self::bytes).collect();
                Some(all.join(&b'\n'))
            }
        }
    }

    fn text(self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes()?).into_owned();
        Some(text).filter(|text| !text.is_empty())
    }
}

/// The reason why a line is not an entry.
#[derive(Debug, thiserror::Error)]
#[error("journalctl wrote something that is not an entry: {0}")]
pub(super) struct InvalidEntry(String);

impl JournalEntry {
    /// Parses a line of journalctl; `None` if the line is a remark of journalctl itself.
    pub(super) fn read(line: &[u8]) -> Result<Option<Self>, InvalidEntry> {
        // Such a line marks a reboot, even between JSON entries.
        if line.is_empty() || line.starts_with(b"-- ") {
            return Ok(None);
        }
        let written: RawEntry<'_> = serde_json::from_slice(line).map_err(|error| InvalidEntry(error.to_string()))?;
        let time = written.time.parse().map_err(|_| InvalidEntry(format!("its time is {:?}", written.time)))?;
        let origin = written.identifier.text().or_else(|| written.command.text()).or_else(|| written.unit.text());
        let priority = written.priority.text().and_then(|number| number.parse().ok());
        Ok(Some(Self {
            cursor: written.cursor.into_owned(),
            time: Time(time),
            origin: Origin::from(origin.as_deref().unwrap_or("unknown")),
            level: priority.and_then(Level::from_number),
            message: written.message.bytes(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &str) -> JournalEntry {
        let line = format!(r#"{{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1763874672123456"{fields}}}"#);
        JournalEntry::read(line.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn an_entry_has_its_time_its_level_and_its_writer() {
        let entry = read(r#","MESSAGE":"hello\nthere","PRIORITY":"3","SYSLOG_IDENTIFIER":"sshd","_COMM":"x""#);
        let expected = JournalEntry {
            cursor: "s=1;i=2".into(),
            time: Time(1_763_874_672_123_456),
            origin: "sshd".into(),
            level: Some(Level::Error),
            message: Some(b"hello\nthere".into()),
        };
        assert_eq!(entry, expected);
    }

    #[test]
    fn missing_fields_are_replaced_by_others() {
        for (fields, origin) in [
            (r#","_COMM":"make","_SYSTEMD_UNIT":"b.service""#, "make"),
            (r#","SYSLOG_IDENTIFIER":"","_SYSTEMD_UNIT":"b.service""#, "b.service"),
            ("", "unknown"),
        ] {
            assert_eq!(read(fields).origin.as_str(), origin);
        }
        assert_eq!((read("").level, read("").message), (None, None));
        assert_eq!(read(r#","PRIORITY":"9""#).level, None);
    }

    #[test]
    fn a_message_is_bytes_and_may_be_there_several_times() {
        for (message, bytes) in [
            (r"[255,10,27]", Some(&b"\xff\n\x1b"[..])),
            (r#"["a","b"]"#, Some(b"a\nb")),
            (r#"["a",[255]]"#, Some(b"a\n\xff")),
            ("[]", Some(b"")),
            ("null", None),
            (r#""ä""#, Some("ä".as_bytes())),
        ] {
            assert_eq!(read(&format!(r#","MESSAGE":{message}"#)).message.as_deref(), bytes, "{message}");
        }
    }

    #[test]
    fn a_remark_is_no_entry_and_nonsense_is_an_error() {
        assert!(JournalEntry::read(b"-- Boot 1f --").unwrap().is_none());
        for line in [&b"{"[..], b"x", br#"{"__CURSOR":"a"}"#, br#"{"__CURSOR":"a","__REALTIME_TIMESTAMP":"now"}"#] {
            JournalEntry::read(line).unwrap_err();
        }
    }
}
