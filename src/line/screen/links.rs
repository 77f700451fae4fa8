//! The hyperlinks on the screen (OSC 8).

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The maximum number of hyperlinks on the screen; the text of further ones has no link.
const MAX_LINKS: usize = 4096;

/// The targets of hyperlinks, as they are written in OSC 8. Cells have their numbers, from 1 on; 0 is no link.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Box<[u8]>>", into = "Vec<Box<[u8]>>")]
pub(super) struct Links {
    targets: Vec<Arc<[u8]>>,
    /// The number of each target.
    numbers: HashMap<Arc<[u8]>, u16>,
    /// How many links were refused since it was looked for unused ones.
    refused: usize,
}

impl Links {
    /// The target with this number.
    pub(super) fn target(&self, number: u16) -> Option<&[u8]> {
        let at = usize::from(number).checked_sub(1)?;
        self.targets.get(at).map(AsRef::as_ref)
    }

    /// The number of a target; 0 if there are too many. Those that are not `used` are forgotten first, and the others get
    /// other numbers.
    pub(super) fn number_of<'a>(&mut self, target: &[u8], used: impl Iterator<Item = &'a mut u16>) -> u16 {
        if let Some(number) = self.numbers.get(target) {
            return *number;
        }
        if self.targets.len() >= MAX_LINKS {
            // The whole screen is searched, so not for each link.
            self.refused += 1;
            if self.refused % MAX_LINKS == 1 {
                self.keep(used);
            }
        }
        if self.targets.len() >= MAX_LINKS { 0 } else { self.add(target.into()) }
    }

    fn add(&mut self, target: Arc<[u8]>) -> u16 {
        self.targets.push(target.clone());
        let number = u16::try_from(self.targets.len()).expect("MAX_LINKS is a smaller number");
        self.numbers.insert(target, number);
        number
    }

    /// Removes from cells the numbers without a link.
    pub(super) fn check<'a>(&self, used: impl Iterator<Item = &'a mut u16>) {
        for link in used.filter(|link| usize::from(**link) > self.targets.len()) {
            *link = 0;
        }
    }

    /// Keeps only these links, and changes their numbers.
    fn keep<'a>(&mut self, used: impl Iterator<Item = &'a mut u16>) {
        let before = std::mem::take(&mut self.targets);
        self.numbers.clear();
        for link in used {
            let target = usize::from(*link).checked_sub(1).and_then(|at| before.get(at));
            *link = target.map_or(0, |target| {
                let known = self.numbers.get(target).copied();
                known.unwrap_or_else(|| self.add(target.clone()))
            });
        }
    }
}

impl From<Vec<Box<[u8]>>> for Links {
    fn from(targets: Vec<Box<[u8]>>) -> Self {
        let mut links = Self::default();
        for target in targets.into_iter().take(MAX_LINKS) {
            links.add(target.into());
        }
        links
    }
}

impl From<Links> for Vec<Box<[u8]>> {
    fn from(links: Links) -> Self {
        links.targets.iter().map(|target| target.as_ref().into()).collect()
    }
}
