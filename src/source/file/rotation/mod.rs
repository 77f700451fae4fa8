//! What a rotation does to a followed file: `siblings` finds the other files of its log and their order, `generation` is one of them that is
//! still to be read, and `watermark` says which have been read.

pub(super) mod generation;
pub(super) mod siblings;
pub(super) mod watermark;
