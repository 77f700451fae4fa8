//! An immutable run of events, and the operations on it that the layers above share: numbering, status changes,
//! filtering, reading backwards.
//!
//! The files, in reading order: `batch` collects the events of a source, with its `checkpoint`s and `status_change`s.
//! `segment` keeps and reads events, and a `slice` is a part of one. `numbering` maps ids to sequence numbers, `filter`
//! chooses events, and `backwards` finds the last ones that it chooses.

#[expect(clippy::module_inception, reason = "the file is named after its type")]
mod segment;
mod batch;
pub(crate) mod numbering;
mod filter;
mod slice;
mod checkpoint;
mod status_change;
mod backwards;

pub(crate) use backwards::BackwardSearch;
pub use batch::Batch;
pub(crate) use checkpoint::CheckpointChange;
pub use checkpoint::Checkpoints;
pub use filter::{BadFilter, Filter};
pub(crate) use numbering::Numbering;
pub(crate) use segment::{IndexEntry, NO_ORIGIN, Segment};
pub(crate) use slice::Slice;
pub(crate) use status_change::StatusChange;
