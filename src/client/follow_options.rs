//! The options of `rtlogd follow`: from the command line and the parameters of a URL to the query of a request.

use std::fmt::Write as _;

use super::connect::percent_encode;
use super::terminal::ColourChoice;

/// The streams to follow, and the part of them to print.
#[derive(Debug, Clone, Default)]
pub(crate) struct FollowOptions {
    pub(crate) names: Vec<String>,
    pub(crate) tail: Option<String>,
    pub(crate) since: Option<String>,
    pub(crate) grep: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) conditions: Vec<String>,
    pub(crate) level: Option<String>,
    pub(crate) origin: Vec<String>,
    pub(crate) run: Option<String>,
    pub(crate) json: bool,
    pub(crate) colours: ColourChoice,
}

impl FollowOptions {
    /// Adds what the parameter of a URL asks for; an option that has one value and was given keeps it. Returns false for a
    /// parameter that is no option.
    pub(super) fn take_parameter(&mut self, name: &str, value: &str) -> bool {
        let value = value.to_owned();
        let (single, repeated) = match name {
            "tail" => (Some(&mut self.tail), None),
            "since" => (Some(&mut self.since), None),
            "level" => (Some(&mut self.level), None),
            "run" => (Some(&mut self.run), None),
            "grep" => (None, Some(&mut self.grep)),
            "exclude" => (None, Some(&mut self.exclude)),
            "where" => (None, Some(&mut self.conditions)),
            "origin" => (None, Some(&mut self.origin)),
            _ => return false,
        };
        if let Some(single) = single {
            single.get_or_insert(value);
        } else if let Some(repeated) = repeated {
            repeated.push(value);
        }
        true
    }

    /// The query of a request for the part to print.
    pub(super) fn query(&self) -> String {
        let mut query = "format=sse&data=json".to_owned();
        let one = |name, value: &Option<String>| value.as_ref().map(|value| (name, value.clone()));
        let many = |name, values: &[String]| values.iter().map(|value| (name, value.clone())).collect::<Vec<_>>();
        let single =
            [one("tail", &self.tail), one("since", &self.since), one("run", &self.run), one("level", &self.level)];
        let repeated = [
            many("grep", &self.grep),
            many("exclude", &self.exclude),
            many("where", &self.conditions),
            many("origin", &self.origin),
        ];
        for (name, value) in single.into_iter().flatten().chain(repeated.into_iter().flatten()) {
            write!(query, "&{name}={}", percent_encode(&value)).expect("a text takes all");
        }
        query
    }

    /// Returns whether a run is asked for that is not the current one, unless it happens to be.
    pub(super) fn selects_run(&self) -> bool {
        self.run.as_deref().is_some_and(|run| run != "current")
    }
}
