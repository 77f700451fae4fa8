//! A part of a segment.

use std::sync::Arc;

use super::segment::Segment;

/// Events of one segment, from event `from` up to `to`, counted from 0.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) segment: Arc<Segment>,
    pub(crate) from: usize,
    pub(crate) to: usize,
}
