//! The part of the harness in `tests/` that the checks need.

#[path = "../harness/event_stream.rs"]
pub(crate) mod event_stream;
