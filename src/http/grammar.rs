//! The grammar of the values that choose events: the same for the parameters of a query and of the control channel.

use std::time::SystemTime;

use http::StatusCode;

use crate::config::units::parse_duration;
use crate::event::{Level, Position, Time};
use crate::stream::{BadFilter, Condition, CursorStart, Filter, RunSelection};
use crate::wire::message::{RpcError, RpcErrorCode};

use super::problem::Problem;

/// The number of lines that a reader receives first by default.
pub(super) const DEFAULT_TAIL: u64 = 100;

/// A value that does not follow the grammar, or cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadValue {
    #[error("{name}={text}: {reason}")]
    Invalid { name: &'static str, text: String, reason: String },
    #[error("{0}={1} is not known; use {2}")]
    Unknown(&'static str, String, &'static str),
    #[error("tail={0} is neither a number nor all")]
    Tail(String),
    #[error("since={0} is neither a time (2026-11-23T05:11:12Z) nor how long ago (5m)")]
    Since(String),
    #[error("{}", filter_reason(.0))]
    Filter(#[from] BadFilter),
}

impl BadValue {
    fn invalid(name: &'static str, text: &str, reason: &impl ToString) -> Self {
        Self::Invalid { name, text: text.to_owned(), reason: reason.to_string() }
    }

    /// Returns whether the same value may be served later.
    fn is_temporary(&self) -> bool {
        match self {
            Self::Filter(bad) => bad.is_temporary(),
            Self::Invalid { .. } | Self::Unknown(..) | Self::Tail(_) | Self::Since(_) => false,
        }
    }
}

/// The reason in one line. The regex library draws the expression with a mark under the mistake, in several lines, and
/// ends with the reason.
fn filter_reason(bad: &BadFilter) -> String {
    let text = bad.to_string();
    match (bad, text.trim_end().rsplit_once("\nerror: ")) {
        (BadFilter::Syntax(_), Some((_, reason))) => format!("not a regular expression: {reason}"),
        _ => text,
    }
}

impl From<BadValue> for Problem {
    fn from(bad: BadValue) -> Self {
        let status = if bad.is_temporary() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
        Self::new(status, bad.to_string())
    }
}

impl From<BadValue> for RpcError {
    fn from(bad: BadValue) -> Self {
        let code = if bad.is_temporary() { RpcErrorCode::Busy } else { RpcErrorCode::Parameters };
        Self::new(code, bad.to_string())
    }
}

/// The criteria of a filter, as they are written.
#[derive(Debug, Default)]
pub(super) struct FilterText<'a> {
    pub(super) grep: &'a [String],
    pub(super) exclude: &'a [String],
    pub(super) origin: &'a [String],
    pub(super) conditions: &'a [String],
    pub(super) level: Option<&'a str>,
}

/// The filter of these criteria, whose compiled expressions may use `max_size` bytes. Cost: the compilation of the
/// expressions.
pub(super) fn filter(text: &FilterText<'_>, max_size: usize) -> Result<Filter, BadValue> {
    let FilterText { grep, exclude, origin, conditions, level } = *text;
    let level = level.map(|text| text.parse::<Level>().map_err(|error| BadValue::invalid("level", text, &error)));
    let conditions = conditions
        .iter()
        .map(|text| text.parse::<Condition>().map_err(|error| BadValue::invalid("where", text, &error)))
        .collect::<Result<_, _>>()?;
    let filter = Filter::new(grep, exclude, origin.to_vec(), max_size)?;
    Ok(filter.with_level(level.transpose()?).with_conditions(conditions)?)
}

/// The run to which the reader is restricted.
pub(super) fn run(text: &str) -> Result<RunSelection, BadValue> {
    match text {
        "current" => Ok(RunSelection::Current),
        "last" => Ok(RunSelection::Last),
        "passed" => Ok(RunSelection::Passed),
        number => match number.parse() {
            Ok(number) if number > 0 => Ok(RunSelection::Number(number)),
            _ => Err(BadValue::Unknown("run", text.to_owned(), "the number of a run, current, last or passed")),
        },
    }
}

/// The position after which to begin.
pub(super) fn after(text: &str) -> Result<Position, BadValue> {
    text.parse().map_err(|error| BadValue::invalid("after", text, &error))
}

/// The start with a number of lines, or with `all`.
pub(super) fn tail(text: &str) -> Result<CursorStart, BadValue> {
    match text {
        "all" => Ok(CursorStart::Oldest),
        text => text.parse().map(CursorStart::Tail).map_err(|_| BadValue::Tail(text.to_owned())),
    }
}

/// The start without `after`, `since` and `tail`.
pub(super) fn default_start(run: Option<RunSelection>) -> CursorStart {
    if run.is_some() { CursorStart::Run } else { CursorStart::Tail(DEFAULT_TAIL) }
}

/// The start at a time, which is given itself or as a duration before `now`.
pub(super) fn since(text: &str, now: SystemTime) -> Result<CursorStart, BadValue> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(CursorStart::Since(now.checked_sub(ago).map(Time::from).unwrap_or_default()));
    }
    // In a query, a plus that was not escaped is a space, such as the plus of a time zone.
    let time = text.replace(' ', "+").parse::<jiff::Timestamp>();
    let time = time.map_err(|_| BadValue::Since(text.to_owned()))?;
    Ok(CursorStart::Since(Time(time.as_microsecond())))
}
