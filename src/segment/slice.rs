//! A part of a segment.

use std::sync::Arc;

use super::segment::Segment;

/// The events `from` to before `to` of one segment, counted from 0; `from` < `to` <= `segment.len()`.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) segment: Arc<Segment>,
    pub(crate) from: usize,
    pub(crate) to: usize,
}
