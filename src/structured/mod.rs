//! The declarations of a line about itself: its level and, in structured logs, its time and its fields. No I/O.
//!
//! [`level_of`] (`level`) reads the level of any line: from the members of a JSON object (`json_members`) or the pairs
//! of a logfmt line (`logfmt_pairs`), of which `level_member` knows the names, or from the head of the line
//! (`level_head`, with `head_token`, `level_bracket` and `level_annotation`). `level_word` has the words.
//!
//! A [`StructuredFormat`] (`declaration`) reads the time (`timestamp`) and the fields (`field`) of a line: those of
//! `json_fields`, `logfmt_fields` or `syslog`. A [`Condition`] (`condition`) compares a field. All of them see the
//! visible text of the line.
//!
//! Reading order: `level`, `level_member`, `json_members`, `logfmt_pairs`, `level_head`, `head_token`, `level_bracket`,
//! `level_annotation`, `level_word`; then `declaration`, `timestamp`, `field`, `json_fields`, `logfmt_fields`, `syslog`,
//! `condition`.

mod condition;
mod declaration;
mod field;
mod head_token;
mod json_fields;
mod json_members;
mod level;
mod level_annotation;
mod level_bracket;
mod level_head;
mod level_member;
#[cfg(test)]
mod level_tests;
mod level_word;
mod logfmt_fields;
mod logfmt_pairs;
#[cfg(test)]
mod sample_tests;
mod syslog;
mod timestamp;

pub use condition::{BadCondition, Condition};
pub use declaration::StructuredFormat;
pub use field::{Declaration, DeclaredValue, Fields};
pub use level::{level_of, level_of_text};
