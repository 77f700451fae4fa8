//! The user's own patterns: expressions whose named groups say what is what.

use regex::Regex;

use super::Recogniser;
use super::report::{ObservedLine, ProgressReport};

/// The patterns in the order written; the first that matches speaks.
#[derive(Debug)]
pub(super) struct UserPatterns(pub(super) Vec<Regex>);

impl Recogniser for UserPatterns {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        self.0.iter().find_map(|pattern| ProgressReport::of_match(pattern, &pattern.captures(seen.text)?))
    }
}
