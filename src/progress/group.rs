//! The groups that a source names: which are open, and how long each took.

use crate::event::ProgressGroup;

use super::report::GroupBoundary;

/// Most groups that are shown; older ones that ended go first. A pipeline has some dozens.
const MAX_PROGRESS_GROUPS: usize = 64;

/// Deepest nesting; what lies deeper belongs to the group around it.
const MAX_GROUP_DEPTH: usize = 16;

/// All that were named, and which of them are open.
#[derive(Debug, Default)]
pub(super) struct GroupTracker {
    all: Vec<ProgressGroup>,
    /// Keys of the open ones, the outermost first, and where they are in `all`.
    open: Vec<(String, usize)>,
}

impl GroupTracker {
    /// Takes what a line says of groups.
    pub(super) fn apply(&mut self, edge: GroupBoundary) {
        match edge {
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
                    // Its end may be lost, so those inside end with it.
                    Some(key) => self.open.iter().rposition(|(open, _)| *open == key),
                    None => self.open.len().checked_sub(1),
                };
                if let Some(from) = from {
                    for (_, place) in self.open.drain(from..) {
                        let group = &mut self.all[place];
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
        // Fewer are open than there are, so one of them ended.
        if let Some(oldest) = self.all.iter().position(|group| group.duration.is_some()) {
            self.all.remove(oldest);
            for (_, place) in &mut self.open {
                *place -= usize::from(*place > oldest);
            }
        }
    }

    /// The open ones' titles, the outermost first.
    pub(super) fn phase(&self) -> Option<String> {
        let titles: Vec<_> = self.open.iter().map(|(_, place)| self.all[*place].name.as_str()).collect();
        (!titles.is_empty()).then(|| titles.join(" / "))
    }

    /// All of them, in the order they began.
    pub(super) fn all(&self) -> Vec<ProgressGroup> {
        self.all.clone()
    }

    /// Whether none was named.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// Seconds with three digits behind the point.
fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
