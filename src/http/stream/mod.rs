//! Streams as bodies: each answer is a loop over a cursor. `follow` sends events while they come, `poll` answers once, `push` takes lines,
//! and `steering` lets a control channel change what a reader sees.

pub(crate) mod follow;
pub(super) mod poll;
pub(super) mod push;
pub(super) mod steering;
