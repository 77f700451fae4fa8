//! Names to logs: what the daemon serves now. A clone is the same catalog.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use crate::event::StreamName;

use super::log::Log;

/// A stream as readers find it: its log, and what is said of it.
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    /// Where its events are.
    pub log: Log,
    /// What kind of source fills it: `file`, `process`.
    pub kind: &'static str,
    /// Whether its process may be typed into.
    pub takes_input: bool,
    /// What it is, in the words of its owner.
    pub description: Option<String>,
    /// For dashboards to sort by.
    pub labels: BTreeMap<String, String>,
}

/// An entry, and whether another will soon be in its place.
#[derive(Debug)]
struct CatalogSlot {
    entry: CatalogEntry,
    being_replaced: bool,
}

/// All streams by name.
#[derive(Debug, Clone, Default)]
pub struct Catalog(Arc<RwLock<BTreeMap<StreamName, CatalogSlot>>>);

impl Catalog {
    /// Enters a stream; one of the same name is replaced.
    pub fn insert(&self, entry: CatalogEntry) {
        let name = entry.log.name().clone();
        self.write().insert(name, CatalogSlot { entry, being_replaced: false });
    }

    /// Says that the stream of that name ends to be begun anew. Its log ends, but nobody who comes back is to be sent away
    /// for good.
    pub fn hold(&self, name: &StreamName) {
        if let Some(shown) = self.write().get_mut(name) {
            shown.being_replaced = true;
        }
    }

    /// Whether the stream of that name ends to be begun anew; see [`hold`](Self::hold).
    pub fn is_being_replaced(&self, name: &StreamName) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).is_some_and(|shown| shown.being_replaced)
    }

    /// Changes what is said of a stream; its log and its readers stay.
    pub fn describe(&self, name: &StreamName, description: Option<String>, labels: BTreeMap<String, String>) {
        if let Some(shown) = self.write().get_mut(name) {
            (shown.entry.description, shown.entry.labels) = (description, labels);
        }
    }

    /// Takes a stream out. Those who read it go on to its end.
    pub fn remove(&self, name: &StreamName) {
        self.write().remove(name);
    }

    /// The stream of that name.
    pub fn get(&self, name: &StreamName) -> Option<CatalogEntry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).map(|shown| shown.entry.clone())
    }

    /// How many streams there are.
    pub fn count(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// All streams in the order of their names.
    pub fn list(&self) -> Vec<CatalogEntry> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.values().map(|shown| shown.entry.clone()).collect()
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<StreamName, CatalogSlot>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
