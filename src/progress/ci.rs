//! Messages for build servers: Azure Pipelines logging commands, `TeamCity` service messages, GitHub groups and GitLab
//! sections.

use std::time::Duration;

use crate::event::{ProgressState, Time};

use super::Recogniser;
use super::report::{GroupBoundary, ObservedLine, ProgressReport, words};

/// Examines the beginning of a line; build servers add at most a time stamp before it.
#[derive(Debug)]
pub(super) struct CiRecogniser;

impl Recogniser for CiRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        // An unfinished line may continue, and a title would be cut off.
        if seen.open {
            return None;
        }
        let text = seen.text.trim();
        match text.bytes().next()? {
            b'#' => azure(text, seen.now).or_else(|| teamcity(text, seen.now)),
            b':' => github(text, seen.now),
            b's' => gitlab(text, seen.now),
            _ => None,
        }
    }
}

fn begin(title: &str, at: Time) -> Option<ProgressReport> {
    let title = words(title)?;
    Some(ProgressReport {
        group: Some(GroupBoundary::Begin { key: title.clone(), title, at }),
        ..ProgressReport::default()
    })
}

fn end(key: Option<&str>, at: Time) -> ProgressReport {
    ProgressReport { group: Some(GroupBoundary::End { key: key.map(str::to_owned), at }), ..ProgressReport::default() }
}

/// Recognises `##vso[task.setprogress value=75;]Upload`, `##vso[task.complete result=Failed;]`, `##[group]Title`,
/// `##[endgroup]`.
fn azure(text: &str, now: Time) -> Option<ProgressReport> {
    if let Some(title) = text.strip_prefix("##[group]") {
        return begin(title, now);
    }
    if text.starts_with("##[endgroup]") {
        return Some(end(None, now));
    }
    let (command, message) = text.strip_prefix("##vso[")?.split_once(']')?;
    let (name, properties) = command.split_once(' ').unwrap_or((command, ""));
    let value = |wanted: &str| {
        let mut pairs = properties.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(key, _)| *key == wanted).map(|(_, value)| value)
    };
    match name {
        "task.setprogress" => {
            let percent = value("value")?.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))?;
            Some(ProgressReport { percent: Some(percent), message: words(message), ..ProgressReport::default() })
        }
        "task.complete" => {
            let failed = value("result") == Some("Failed");
            let state = if failed { ProgressState::Error } else { ProgressState::Done };
            Some(ProgressReport { message: words(message), ..ProgressReport::of_state(state) })
        }
        _ => None,
    }
}

/// Recognises `##teamcity[progressMessage 'text']`, `[progressStart 'text']`, `[blockOpened name='x']`, `[buildProblem
/// ...]` and their counterparts.
fn teamcity(text: &str, now: Time) -> Option<ProgressReport> {
    let inside = text.strip_prefix("##teamcity[")?.strip_suffix(']')?;
    let (name, rest) = inside.split_once(' ')?;
    let message = || {
        let quoted = rest.trim().strip_prefix('\'')?.strip_suffix('\'')?;
        words(&unescaped(quoted))
    };
    match name {
        "progressMessage" => Some(ProgressReport { message: Some(message()?), ..ProgressReport::default() }),
        "progressStart" => begin(&message()?, now),
        "progressFinish" => Some(end(Some(&message()?), now)),
        "blockOpened" | "testSuiteStarted" | "compilationStarted" => begin(&attribute(rest, "name")?, now),
        "blockClosed" | "testSuiteFinished" | "compilationFinished" => {
            Some(end(words(&attribute(rest, "name")?).as_deref(), now))
        }
        "buildProblem" => {
            let message = attribute(rest, "description").and_then(|text| words(&text));
            Some(ProgressReport { message, ..ProgressReport::of_state(ProgressState::Error) })
        }
        "buildStatus" => {
            let message = attribute(rest, "text").and_then(|text| words(&text));
            let failed = attribute(rest, "status").is_some_and(|status| status == "FAILURE");
            Some(ProgressReport { message, state: failed.then_some(ProgressState::Error), ..ProgressReport::default() })
        }
        _ => None,
    }
}

/// The value of `name='value'`, in which `|` is the escape character.
fn attribute(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("{name}='"))?;
    let mut escaped = false;
    let end = rest.find(|c| {
        let ends = c == '\'' && !escaped;
        escaped = c == '|' && !escaped;
        ends
    })?;
    Some(unescaped(rest.get(..end)?))
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        plain.push(match (c, if c == '|' { letters.next() } else { None }) {
            (_, Some('n' | 'r')) => ' ',
            (_, Some(escaped)) => escaped,
            (c, None) => c,
        });
    }
    plain
}

/// Recognises `::group::Title` and `::endgroup::`.
fn github(text: &str, now: Time) -> Option<ProgressReport> {
    match text.strip_prefix("::group::") {
        Some(title) => begin(title, now),
        None => text.starts_with("::endgroup::").then(|| end(None, now)),
    }
}

/// Recognises `section_start:1560896352:my_section[collapsed=true]\rTitle` and `section_end:1560896353:my_section\r`.
fn gitlab(text: &str, now: Time) -> Option<ProgressReport> {
    let (is_begin, rest) = match text.strip_prefix("section_start:") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("section_end:")?),
    };
    let (seconds, rest) = rest.split_once(':')?;
    // The time in the message is the most precise, since lines may arrive late; a time from another day is ignored.
    let reported = seconds.parse::<u64>().ok().map(|seconds| Time::default().plus(Duration::from_secs(seconds)));
    let at = reported.filter(|reported| (reported.0 - now.0).abs() < 86_400_000_000).unwrap_or(now);
    let key_end =
        rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-')).unwrap_or(rest.len());
    let (key, rest) = rest.split_at_checked(key_end)?;
    if key.is_empty() {
        return None;
    }
    if !is_begin {
        return Some(end(Some(key), at));
    }
    let title = if rest.starts_with('[') { rest.split_once(']').map_or("", |(_, title)| title) } else { rest };
    let title = words(title).or_else(|| words(&key.replace('_', " ")))?;
    Some(ProgressReport {
        group: Some(GroupBoundary::Begin { key: key.to_owned(), title, at }),
        ..ProgressReport::default()
    })
}
