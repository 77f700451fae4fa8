//! The real program, from outside.

mod layers;
