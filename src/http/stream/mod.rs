//! Streams as response bodies: each response is a loop over a cursor. `follow` sends events as they arrive, `poll`
//! responds once, `push` accepts lines, and `steering` lets a control channel change what a reader sees.

pub(crate) mod follow;
pub(super) mod poll;
pub(super) mod push;
pub(super) mod steering;
