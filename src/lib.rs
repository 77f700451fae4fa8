//! rtlogd follows files and processes and republishes each as a resumable live stream over HTTP.
//!
//! ```text
//! config ──▶ source ──bytes──▶ line ──events──▶ Appender ──segments──▶ ring ──slices──▶ Cursor ──▶ http
//! ```
//!
//! The map, in reading order; each module opens with its one job:
//!
//! | layer | its job |
//! |---|---|
//! | [`event`] | the words all layers share |
//! | [`mod@line`] | from bytes to lines, without IO |
//! | [`progress`] | from lines to how far the source is |
//! | [`wire`] | how events look on the wire |
//! | [`stream`] | the log: one writer, many readers, each at its own place |
//! | [`config`] | what people write, checked once, as types that all others rely on |
//! | [`control`] | commands to sources, and what comes of them |
//! | [`directory`] | files in directories of other users, without following their links |
//! | [`descriptors`] | what this process inherited, and is to keep from its children |
//! | [`access`] | who may do what: tokens, keys, rights |
//! | [`source`] | follows files and the journal, keeps processes running, takes what others send |
//! | [`http`] | the route table; streams as bodies; sockets with their limits |
//! | [`systemd`], [`logging`] | readiness, watchdog, its sockets; the logger |
//! | [`terminal`] | what is printed, and cannot steer a terminal |
//! | [`sources`], [`reload`] | the sources that run, and what a changed configuration changes; who asks for that |
//! | [`daemon`] | puts it together: sources, catalog, server, signals, drain |
//! | [`serve`] | the daemon proper: begins what is wanted, applies changes, ends |
//! | [`mod@wrap`] | streams one command, and ends as it does |
//! | [`detach`], [`pid_file`] | leaves the terminal, where there is no systemd |
//! | [`doctor`] | what stands in the way of a configuration |
//! | [`history`] | what a state directory holds, for people |
//! | [`client`] | `rtlogd follow` and its like: the other end of our own HTTP |
//! | [`cli`] | the command line |
//!
//! The first six are the core: no IO but for the files of [`config`] and of a history, and no clock but for waiting in
//! [`stream`]. Sources and surfaces meet only there, and in [`control`].

#![expect(
    rustdoc::private_intra_doc_links,
    reason = "the map shows the whole house, and `cargo docs` has its private rooms"
)]

pub mod event;
pub mod line;
pub mod progress;
pub mod wire;
pub mod stream;
pub mod config;
mod control;
mod descriptors;
mod directory;
mod access;
mod source;
mod http;
mod systemd;
mod logging;
mod terminal;
mod reload;
mod daemon;
mod serve;
mod wrap;
mod detach;
mod pid_file;
mod doctor;
mod history;
mod client;
pub mod cli;
mod sources;

// For `tests/fuzz` alone: the readers of foreign text that stand outside the core.
#[doc(hidden)]
pub use http::{CheckedQuery, check_query, resolve_for_fuzz};
