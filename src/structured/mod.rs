//! What a line declares about itself. No I/O.
//!
//! [`level_of`] (`level`) reads the level of any line: from the members of a JSON object (`json_members`) or the pairs
//! of a logfmt line (`logfmt_pairs`), of which `level_member` knows the names, or from the head of the line
//! (`level_head`, with `head_token`, `level_bracket` and `level_annotation`). `level_word` has the words. All of them
//! see the `visible` text of the line.

mod head_token;
mod json_members;
mod level;
mod level_annotation;
mod level_bracket;
mod level_head;
mod level_member;
#[cfg(test)]
mod level_tests;
mod level_word;
mod logfmt_pairs;
mod visible;

pub use level::{level_of, level_of_text};
