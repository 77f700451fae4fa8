//! Groups that a source names: those that are open, and how long each took.

use crate::event::ProgressGroup;

use super::report::GroupBoundary;

/// The maximum number of groups that are shown; the oldest ended ones are dropped first. A pipeline has some dozens.
const MAX_PROGRESS_GROUPS: usize = 64;

/// The maximum nesting depth; a deeper group is part of the group around it.
const MAX_GROUP_DEPTH: usize = 16;

/// All groups that were named, and those that are open.
#[derive(Debug, Default)]
pub(super) struct GroupTracker {
    all: Vec<ProgressGroup>,
    /// The keys of the open groups, the outermost first, with their indexes in `all`.
    open: Vec<(String, usize)>,
}

impl GroupTracker {
    /// Applies the start or end of a group.
    pub(super) fn apply(&mut self, edge: GroupBoundary) {
        match edge {
            GroupBoundary::Next { ended, key, title, at } => {
                self.apply(GroupBoundary::End { key: Some(ended), at });
                self.apply(GroupBoundary::Begin { key, title, at });
            }
            GroupBoundary::Begin { key, title, at } => {
                if self.open.len() < MAX_GROUP_DEPTH {
                    self.make_room();
                    self.open.push((key, self.all.len()));
                    let depth = self.open.len() - 1;
                    self.all.push(ProgressGroup { name: title, depth, started: at, duration: None });
                }
            }
            GroupBoundary::End { key, at } => {
                let from = match key {
                    // The end of an inner group may be lost, so the groups inside end with this one.
                    Some(key) => self.open.iter().rposition(|(open, _)| *open == key),
                    None => self.open.len().checked_sub(1),
                };
                if let Some(from) = from {
                    for (_, index) in self.open.drain(from..) {
                        let group = &mut self.all[index];
                        group.duration = Some(round(at.seconds_since(group.started)));
                    }
                }
            }
        }
    }

    fn make_room(&mut self) {
        if self.all.len() < MAX_PROGRESS_GROUPS {
            return;
        }
        // The number of open groups is below the limit, so that at least one group has ended.
        if let Some(oldest) = self.all.iter().position(|group| group.duration.is_some()) {
            self.all.remove(oldest);
            for (_, index) in &mut self.open {
                *index -= usize::from(*index > oldest);
            }
        }
    }

    /// The titles of the open groups, the outermost first.
    pub(super) fn phase(&self) -> Option<String> {
        let titles: Vec<_> = self.open.iter().map(|(_, index)| self.all[*index].name.as_str()).collect();
        (!titles.is_empty()).then(|| titles.join(" / "))
    }

    /// All groups, in the order in which they began.
    pub(super) fn all(&self) -> Vec<ProgressGroup> {
        self.all.clone()
    }

    /// Returns whether no group was named.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// Rounds seconds to three decimal places.
fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
