//! Names to logs: what the daemon serves now. A clone is the same catalog.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::event::StreamName;

use super::log::Log;

/// A stream as readers find it: its log, and what is said of it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where its events are.
    pub log: Log,
    /// What kind of source fills it: `file`, `process`.
    pub kind: &'static str,
    /// What it is, in the words of its owner.
    pub description: Option<String>,
    /// For dashboards to sort by.
    pub labels: BTreeMap<String, String>,
}

/// All streams by name.
#[derive(Debug, Clone, Default)]
pub struct Catalog(Arc<RwLock<BTreeMap<StreamName, Entry>>>);

impl Catalog {
    /// Enters a stream; one of the same name is replaced.
    pub fn insert(&self, entry: Entry) {
        let name = entry.log.name().clone();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, entry);
    }

    /// The stream of that name.
    pub fn get(&self, name: &StreamName) -> Option<Entry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All streams in the order of their names.
    pub fn list(&self) -> Vec<Entry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
