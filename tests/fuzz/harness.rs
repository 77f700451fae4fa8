//! Of the harness of `tests/`, what the checks need.

#[path = "../harness/event_stream.rs"]
pub(crate) mod event_stream;
