//! The user's own patterns: expressions whose named groups say what is what.

use regex::Regex;

use super::Recogniser;
use super::report::{Report, Seen};

/// The patterns in the order written; the first that matches speaks.
#[derive(Debug)]
pub(super) struct Pattern(pub(super) Vec<Regex>);

impl Recogniser for Pattern {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Report> {
        self.0.iter().find_map(|pattern| Report::of_match(pattern, &pattern.captures(seen.text)?))
    }
}
