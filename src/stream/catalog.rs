//! The catalog: all streams by name, as the daemon serves them now. A clone is the same catalog.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use crate::event::{StreamName, lock_exclusive, lock_shared};

use super::log::Log;
use super::private::PublicAccess;

/// A stream as readers see it: its log, and facts about its source.
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    /// The log with its events.
    pub log: Log,
    /// The kind of its source: `file`, `process`, `journal` or `push`.
    pub kind: &'static str,
    /// `true` if its process accepts input.
    pub takes_input: bool,
    /// The permission of everybody to read it, unless it is private; `None` if the configuration gives none.
    pub public_access: Option<PublicAccess>,
    /// The description for people.
    pub description: Option<String>,
    /// The labels for programs.
    pub labels: BTreeMap<String, String>,
}

/// An entry, and whether another one will replace it soon.
#[derive(Debug)]
struct CatalogSlot {
    entry: CatalogEntry,
    being_replaced: bool,
}

/// All streams by name.
#[derive(Debug, Clone, Default)]
pub struct Catalog(Arc<RwLock<BTreeMap<StreamName, CatalogSlot>>>);

impl Catalog {
    /// Adds a stream; an entry of the same name is replaced.
    pub fn insert(&self, entry: CatalogEntry) {
        let name = entry.log.name().clone();
        lock_exclusive(&self.0).insert(name, CatalogSlot { entry, being_replaced: false });
    }

    /// Marks the stream of that name as being replaced: its log ends, but its readers may come back to its successor.
    pub fn hold(&self, name: &StreamName) {
        if let Some(slot) = lock_exclusive(&self.0).get_mut(name) {
            slot.being_replaced = true;
        }
    }

    /// Returns whether the stream of that name is being replaced; see [`hold`](Self::hold).
    pub fn is_being_replaced(&self, name: &StreamName) -> bool {
        lock_shared(&self.0).get(name).is_some_and(|slot| slot.being_replaced)
    }

    /// Changes the description and the labels of a stream; its log and its readers stay.
    pub fn describe(&self, name: &StreamName, description: Option<String>, labels: BTreeMap<String, String>) {
        if let Some(slot) = lock_exclusive(&self.0).get_mut(name) {
            (slot.entry.description, slot.entry.labels) = (description, labels);
        }
    }

    /// Lets everybody read the stream, unless it is private, or takes this back and ends the readers who have no other
    /// right to read it.
    pub fn set_public(&self, name: &StreamName, is_public: bool) {
        let mut slots = lock_exclusive(&self.0);
        let Some(entry) = slots.get_mut(name).map(|slot| &mut slot.entry) else { return };
        match (is_public, &entry.public_access) {
            (true, None) => entry.public_access = Some(entry.log.public_access()),
            (false, Some(permission)) => {
                permission.withdraw();
                entry.public_access = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Removes a stream. Its readers still receive the remaining events.
    pub fn remove(&self, name: &StreamName) {
        lock_exclusive(&self.0).remove(name);
    }

    /// The stream of that name.
    pub fn get(&self, name: &StreamName) -> Option<CatalogEntry> {
        lock_shared(&self.0).get(name).map(|slot| slot.entry.clone())
    }

    /// The number of streams.
    pub fn count(&self) -> usize {
        lock_shared(&self.0).len()
    }

    /// All streams in the order of their names.
    pub fn list(&self) -> Vec<CatalogEntry> {
        lock_shared(&self.0).values().map(|slot| slot.entry.clone()).collect()
    }
}
