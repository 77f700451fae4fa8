//! rtlogd follows files and processes and republishes each as a resumable live stream over HTTP.
//!
//! The map, in reading order; each module opens with its one job:
//!
//! | layer | its job |
//! |---|---|
//! | [`event`] | the words all layers share |
//! | [`wire`] | how events look on the wire |
//! | [`stream`] | the log: one writer, many readers |

pub mod event;
pub mod wire;
pub mod stream;
