//! What the targets call. The checks are those that `mod.rs` gives the corpus to.

pub mod checks;
mod harness;
