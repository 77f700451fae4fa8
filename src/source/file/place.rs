//! How far a file was read, as one line of text: what history records with each batch, and gives back at the next start.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use crate::event::Time;

use super::identity::{Identity, Trace};

/// The recorded place of one path. Its content decides whether a file is the one; the identity says where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    /// There was no file when it was recorded: what comes is new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
    #[serde(rename = "dev")]
    device: u64,
    #[serde(rename = "ino")]
    inode: u64,
    #[serde(rename = "born")]
    born: u64,
    /// The offset behind the last byte that was delivered.
    at: u64,
    /// Hashes of the first bytes, and of those before the offset, in hexadecimal.
    head: Print,
    before: Print,
    /// When it was recorded, in milliseconds since the Unix epoch.
    time: u64,
    /// Files that are read after it and were read in part already, under another name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    next: Vec<Saved>,
}

/// A hash; as text, since JSON numbers are exact only up to 53 bits everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Print(u64);

impl TryFrom<String> for Print {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

impl From<Print> for String {
    fn from(print: Print) -> Self {
        format!("{:016x}", print.0)
    }
}

impl Saved {
    /// Of a file that was delivered up to `trace`.
    pub(super) fn new(identity: Identity, trace: &Trace, time: Time) -> Self {
        let (at, head, before) = trace.prints();
        let Identity { device, inode, born } = identity;
        let (head, before) = (Print(head), Print(before));
        Self { gone: false, device, inode, born, at, head, before, time: time.millis(), next: Vec::new() }
    }

    /// Of a path that names nothing: whatever it names later is read from its start.
    pub(super) fn gone(time: Time) -> Self {
        let identity = Identity { device: 0, inode: 0, born: 0 };
        Self { gone: true, ..Self::new(identity, &Trace::new(), time) }
    }

    /// The same, and what is read after it.
    pub(super) fn followed_by(self, next: Vec<Self>) -> Self {
        Self { next, ..self }
    }

    /// It, and what is read after it, each by itself.
    pub(super) fn row(mut self) -> Vec<Self> {
        let next = std::mem::take(&mut self.next);
        std::iter::once(self).chain(next).collect()
    }

    /// From what was recorded; `None` if it is damaged.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// What to record.
    pub(super) fn written(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts")
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Which file it was.
    pub(super) fn identity(&self) -> Identity {
        Identity { device: self.device, inode: self.inode, born: self.born }
    }

    /// The offset.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// When it was recorded, in milliseconds since the Unix epoch.
    pub(super) fn time(&self) -> u64 {
        self.time
    }

    /// The place in `file`, if its content is what it was. Of an empty one nothing can be told: only its identity says so.
    pub(super) fn trace_in(&self, file: &File, identity: Identity) -> io::Result<Option<Trace>> {
        if self.at == 0 && identity != self.identity() {
            return Ok(None);
        }
        let trace = Trace::of(file, self.at)?;
        Ok(trace.filter(|trace| trace.prints() == (self.at, self.head.0, self.before.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_recorded_reads_back_and_finds_its_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        let identity = Identity::from(&file.metadata().unwrap());
        let trace = Trace::of(&file, 8).unwrap().unwrap();
        let saved = Saved::new(identity, &trace, Time(1_000_000));
        let text = saved.written();
        assert!(!text.contains('\n') && text.len() < 200, "{text}");
        let read = Saved::read(&text).unwrap();
        assert_eq!((&read, read.identity(), read.at(), read.time()), (&saved, identity, 8, 1000));
        assert_eq!(read.trace_in(&file, identity).unwrap(), Some(trace));
        file.set_len(7).unwrap();
        assert_eq!(read.trace_in(&file, identity).unwrap(), None);
        for damaged in ["", "{}", "8", &text.replace('}', ""), &text.replace("\"at\":8", "\"at\":-8")] {
            assert_eq!(Saved::read(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn at_the_start_only_the_identity_tells() {
        let (file, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let [identity, else_] = [&file, &other].map(|file| Identity::from(&file.metadata().unwrap()));
        let saved = Saved::new(identity, &Trace::new(), Time(0));
        assert!(saved.trace_in(&file, identity).unwrap().is_some());
        assert!(saved.trace_in(&other, else_).unwrap().is_none());
    }
}
