//! rtlogd follows files and processes and republishes each as a resumable live stream over HTTP.
//!
//! ```text
//! config ──▶ source ─bytes─▶ line ─events─▶ Appender ─segments─▶ Ring ─slices─▶ View ─slots─▶ Cursor ─▶ http
//!  YAML,      a file, a       splits,        the one              in memory,     equal         one        SSE, NDJSON,
//!  checked    process, the    decodes,       writer               reference-     views are     reader's   text, long
//!             journal, a      redacts, finds   │                  counted        one object    position   poll, sockets
//!             push            progress         └──▶ history         │
//!                                                   on disk ────────┘
//! ```
//!
//! The arrows show how the data flows: a batch of events becomes an immutable segment, and readers with the same format
//! and filter share a view, which encodes each of its slots once. A `source` calls `line` and `progress`, which do no
//! I/O, and appends what they return; readers in `http` poll their cursors, and these their views. `Appender`, `Ring`, `View`
//! and `Cursor` are in `stream`.
//!
//! A line of a file, from the disk to the socket: `driver::run_file`, `FileSource::next`, `Tailer::run_pass`, `PathTail::read`,
//! `FileReader::read`, `LinePipeline::push`, `OriginState::process`, `OriginOutput::emit` (all of these in `source`) and
//! `Batch::line`; `StreamWriter::flush` and `Appender::append`, which calls `Recorder::record` and then `Ring::push`;
//! `Cursor::next`, `Slot::encode` and `Encoder::push`, or `Encoder::push_plain_line` for a line of plain ASCII; `BodyStage::next` in `http/stream/follow.rs`; `listen::protocol` and
//! `listen::lasting`.
//!
//! What a `kill -9` leaves, loses and repeats: see [`history`].
//!
//! The layers, from the bottom up; each module opens with what it does and in which order to read its files:
//!
//! | layer | its job |
//! |---|---|
//! | [`event`] | the types that every layer shares |
//! | [`structured`] | what a line declares: its level, and the time and the fields of structured logs; no I/O |
//! | [`mod@line`] | bytes to lines: splitting, encodings, redaction, multiline; no I/O |
//! | [`progress`] | lines to a progress model; no I/O |
//! | [`wire`] | how events look on the wire: SSE, NDJSON, text, JSON-RPC |
//! | [`config`] | the configuration, parsed and then checked once into types that the rest can trust |
//! | [`segment`] | an immutable run of events: numbering, status changes, filters |
//! | [`history`] | segments on disk |
//! | [`stream`] | the log in memory: one writer, and a cursor for each reader |
//! | [`control`] | commands to sources, and their replies |
//! | [`access`] | who may do what: tokens, keys, rights |
//! | [`source`] | files, processes, the journal, pushed lines |
//! | [`listen`] | sockets, TLS, connection limits, timeouts, drain |
//! | [`http`] | the route table, streams as bodies, the control channel, the page |
//! | [`client`] | `rtlogd follow` and the other commands that talk to a daemon |
//! | [`daemon`] | puts it together: sources, catalog, server, signals, reload, systemd, logging |
//! | [`cli`] | the command line |
//!
//! `tests/layers.rs` holds the table of which layer may import which, and fails on any other import.

#![expect(rustdoc::private_intra_doc_links, reason = "the map links to private layers, which `cargo docs` documents")]

pub mod event;
pub mod structured;
pub mod line;
pub mod progress;
pub mod wire;
pub mod config;
pub mod segment;
pub mod history;
pub mod stream;
mod control;
mod access;
mod source;
mod listen;
mod http;
mod client;
mod daemon;
pub mod cli;

// The fuzz targets in `tests/fuzz` call these.
#[doc(hidden)]
pub use http::{CheckedQuery, check_query, resolve_for_fuzz};

// Unit tests report what they cannot test on this machine in the same way as the tests of the program.
#[cfg(test)]
#[path = "../tests/harness/skip.rs"]
mod skip;
