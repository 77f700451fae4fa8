//! A stream is an append-only log of events in immutable segments. One [`Appender`] writes it; each reader is a
//! [`Cursor`]: a place, and a [`View`] that it shares with all who want the same.
//!
//! Reading never slows the writer: there is no queue for a reader, only its place. Who is too slow finds its place gone and
//! is told so by a gap. All of a log that memory keeps is one [`ring`](self) behind a watch channel.

mod segment;
mod counts;
mod status;
mod numbering;
mod ring;
mod byte_codec;
mod record;
mod history;
mod filter;
mod view;
mod budget;
mod appender;
mod private;
mod log;
mod cursor;
mod catalog;

pub use appender::Appender;
pub use budget::Budget;
pub use catalog::{Catalog, CatalogEntry};
pub use counts::StreamCounts;
pub use cursor::{Cursor, CursorEnd, CursorItem, CursorStart, EncodedFrames};
pub use filter::{BadFilter, Filter};
pub use history::{History, HistoryError, Retention, StreamHistory, StreamInspection, inspect, read_events};
pub use log::{Log, LogInfo, open, open_with_history};
pub use private::PrivateFlag;
pub use segment::{Batch, Checkpoints};
pub use status::RunInfo;
pub use view::View;
