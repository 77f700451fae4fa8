//! The hyperlinks on the screen (OSC 8).

use serde::{Deserialize, Serialize};

/// The maximum number of hyperlinks on the screen; the text of further ones has no link.
const MAX_LINKS: usize = 4096;

/// The targets of hyperlinks, as they are written in OSC 8. Cells have their numbers, from 1 on; 0 is no link.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Links(Vec<Box<[u8]>>);

impl Links {
    /// The target with this number.
    pub(super) fn target(&self, number: u16) -> Option<&[u8]> {
        let at = usize::from(number).checked_sub(1)?;
        self.0.get(at).map(AsRef::as_ref)
    }

    /// The number of a target; 0 if there are too many. Those that are not `used` are forgotten first, and the others get
    /// other numbers.
    pub(super) fn number_of<'a>(&mut self, target: &[u8], used: impl Iterator<Item = &'a mut u16>) -> u16 {
        let found = self.0.iter().rposition(|link| **link == *target);
        if found.is_none() && self.0.len() >= MAX_LINKS {
            self.keep(used);
        }
        let at = found.unwrap_or(self.0.len());
        if at >= MAX_LINKS {
            return 0;
        }
        if found.is_none() {
            self.0.push(target.into());
        }
        u16::try_from(at + 1).expect("MAX_LINKS is a smaller number")
    }

    /// Removes the links that have too high a number, and from cells the numbers without a link.
    pub(super) fn check<'a>(&mut self, used: impl Iterator<Item = &'a mut u16>) {
        self.0.truncate(MAX_LINKS);
        for link in used.filter(|link| usize::from(**link) > self.0.len()) {
            *link = 0;
        }
    }

    /// Keeps only these links, and changes their numbers.
    fn keep<'a>(&mut self, used: impl Iterator<Item = &'a mut u16>) {
        let mut numbers = vec![0; self.0.len() + 1];
        let mut kept = Vec::new();
        for link in used.filter(|link| **link != 0) {
            let number = &mut numbers[usize::from(*link)];
            if *number == 0 {
                kept.push(self.0[usize::from(*link) - 1].clone());
                *number = u16::try_from(kept.len()).expect("there are no more than before");
            }
            *link = *number;
        }
        self.0 = kept;
    }
}
