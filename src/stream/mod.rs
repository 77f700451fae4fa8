//! A stream is an append-only log of events in immutable segments. One [`Appender`] writes it; each reader is a
//! [`Cursor`]: a place, and a [`View`] that it shares with all who want the same.
//!
//! Reading never slows the writer: there is no queue for a reader, only its place. Who is too slow finds its place gone and
//! is told so by a gap. All of a log that memory keeps is one [`ring`](self) behind a watch channel.

mod segment;
mod counts;
mod course;
mod numbering;
mod ring;
mod bytes;
mod record;
mod history;
mod filter;
mod view;
mod memory;
mod appender;
mod private;
mod log;
mod cursor;
mod catalog;

pub use appender::Appender;
pub use catalog::{Catalog, Entry};
pub use counts::Counts;
pub use course::Run;
pub use cursor::{Cursor, Frames, Item, Start, Until};
pub use filter::{BadFilter, Filter};
pub use history::{Browsed, History, HistoryError, Keep, Kept, browse, read_events};
pub use log::{Info, Log, open, open_kept};
pub use memory::Budget;
pub use private::Private;
pub use segment::{Batch, Places};
pub use view::View;
