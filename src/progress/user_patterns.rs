//! User patterns: regular expressions whose named groups say what they match.

use regex::Regex;

use super::Recogniser;
use super::report::{ObservedLine, ProgressReport};

/// The patterns in the configured order; the first one that matches is used.
#[derive(Debug)]
pub(super) struct UserPatterns(pub(super) Vec<Regex>);

impl Recogniser for UserPatterns {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        self.0.iter().find_map(|pattern| ProgressReport::of_match(pattern, &pattern.captures(seen.text)?))
    }
}
