//! A stream is an append-only log of events in immutable segments. One [`Appender`] writes it; each reader is a
//! [`Cursor`]: a place, and a [`View`] that it shares with all who want the same.
//!
//! Reading never slows the writer: there is no queue for a reader, only its place. Who is too slow finds its place gone and
//! is told so by a gap. All of a log that memory keeps is one [`ring`](self) behind a watch channel.

mod counts;
pub(crate) mod status;
pub(crate) mod ring;
mod view;
mod budget;
mod appender;
pub(crate) mod private;
pub(crate) mod log;
mod cursor;
mod catalog;

pub use crate::history::inspect;
pub use crate::history::{History, HistoryError, Retention, StreamHistory, StreamInspection, read_events};
pub use crate::segment::{BadFilter, Filter};
pub use crate::segment::{Batch, Checkpoints};
pub use appender::Appender;
pub use budget::Budget;
pub use catalog::{Catalog, CatalogEntry};
pub use counts::StreamCounts;
pub use cursor::{Cursor, CursorEnd, CursorItem, CursorStart, EncodedFrames};
pub use log::{Log, LogInfo, open, open_with_history};
pub use private::PrivateFlag;
pub use status::RunInfo;
pub use view::View;
