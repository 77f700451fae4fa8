//! The watermark of a path: all sibling files created before it are done. No file of a rotation is missed, however late
//! it is found, and none is read twice.

use super::siblings::{FILE_CLOCK_TICK_NANOS, Sibling};
use crate::source::file::fingerprint::Identity;

/// The age up to which files are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watermark {
    /// The birth time of the newest file that is done, in nanoseconds since the Unix epoch.
    age: u64,
    /// The inodes of the files that are done, of those created within the same clock tick.
    inodes: Vec<u64>,
}

/// The maximum number of files of one tick that are remembered.
const MAX_INODES_PER_TICK: usize = 64;

impl Watermark {
    pub(crate) fn new(age: u64, inodes: Vec<u64>) -> Self {
        Self { age, inodes }
    }

    /// A watermark under which no file created since `time` is done; in nanoseconds since the Unix epoch.
    pub(crate) fn at(time: u64) -> Self {
        Self::new(time.saturating_sub(FILE_CLOCK_TICK_NANOS), Vec::new())
    }

    pub(crate) fn age(&self) -> u64 {
        self.age
    }

    pub(crate) fn inodes(&self) -> &[u64] {
        &self.inodes
    }

    pub(crate) fn is_done(&self, sibling: &Sibling) -> bool {
        sibling.age < self.age || (sibling.age == self.age && self.inodes.contains(&sibling.identity.inode))
    }

    /// Marks a file of this age, and all older ones, as done.
    pub(crate) fn raise(&mut self, age: u64, identity: Identity) {
        if age > self.age {
            (self.age, self.inodes) = (age, vec![identity.inode]);
        } else if age == self.age && !self.inodes.contains(&identity.inode) {
            self.inodes.push(identity.inode);
            if self.inodes.len() > MAX_INODES_PER_TICK {
                self.inodes.remove(0);
            }
        }
    }

    /// A watermark under which all of these files are done.
    pub(crate) fn behind(siblings: &[Sibling]) -> Self {
        let mut mark = Self::new(0, Vec::new());
        mark.raise_to_all(siblings);
        mark
    }

    pub(crate) fn raise_to_all(&mut self, siblings: &[Sibling]) {
        for sibling in siblings {
            self.raise(sibling.age, sibling.identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn sibling(age: u64, inode: u64) -> Sibling {
        Sibling::test(age, Identity { device: 1, inode, born: age }, PathBuf::new())
    }

    #[test]
    fn what_is_older_is_done_with_and_of_the_same_tick_what_was_said() {
        let mut mark = Watermark::at(10 + FILE_CLOCK_TICK_NANOS);
        mark.raise_to_all(&[sibling(20, 1), sibling(20, 2), sibling(15, 3)]);
        for (age, inode, done) in [(15, 9, true), (20, 1, true), (20, 2, true), (20, 3, false), (21, 1, false)] {
            assert_eq!(mark.is_done(&sibling(age, inode)), done, "{age} {inode}");
        }
        mark.raise(21, sibling(21, 1).identity);
        assert_eq!((mark.age(), mark.inodes()), (21, &[1][..]));
    }
}
